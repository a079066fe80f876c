"""The ASGI application: controllers, how errors look, and what holds for all."""

from functools import cache
from typing import Any

from litestar import Litestar, asgi
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from vault.errors import VaultError
from vault.http import problems
from vault.http.audit import AuditController
from vault.http.auth import ApiKey
from vault.http.body import JsonRequest, each_known, each_once, no_null
from vault.http.bound import Bound, vault_of
from vault.http.callers import CallersController
from vault.http.clients import ClientsController
from vault.http.conditional import OneLine
from vault.http.connections import ConnectionsController
from vault.http.consent import ConsentController
from vault.http.credentials import CredentialsController
from vault.http.description import described
from vault.http.edge import Edge
from vault.http.health import healthz, metrics, readyz
from vault.http.hot import HotTokens
from vault.http.openapi import assets, openapi
from vault.http.providers import ProvidersController
from vault.http.tenants import TenantsController
from vault.http.tokens import TokensController
from vault.http.usage import UsageController
from vault.pages.connect import ConnectController
from vault.pages.overview import OverviewController
from vault.pages.signing_in import SigningInController
from vault.services import Vault

LARGEST_BODY = 64 * 1024  # bytes


# What no vault is needed for: the routes, and so the description.
HANDLERS: tuple[Any, ...] = (
    TokensController,
    ConsentController,
    ConnectionsController,
    CredentialsController,
    TenantsController,
    ClientsController,
    ProvidersController,
    CallersController,
    AuditController,
    UsageController,
    ConnectController,
    SigningInController,
    OverviewController,
    healthz,
    readyz,
    metrics,
)


def application(vault: Vault) -> ASGIApp:
    """Return the whole of what listens, for *vault*."""
    edge = Edge(Bound(litestar(sandbox=vault.sandbox is not None), vault), vault.requests)
    return HotTokens(edge, vault.access, vault.limits, vault.tokens, vault.requests)


@cache
def litestar(*, sandbox: bool) -> Litestar:
    """Return the routes, with the *sandbox* or without: the same for every vault, and long in the making."""
    return Litestar(
        [*HANDLERS, assets(), *([_sandbox] if sandbox else [])],
        dependencies={"vault": Provide(vault_of, sync_to_thread=False)},
        middleware=[ApiKey(), OneLine()],
        guards=[each_once, each_known, no_null],
        before_send=[whole_allow],
        request_class=JsonRequest,
        exception_handlers={
            VaultError: problems.render,
            HTTPException: problems.render_framework,
            Exception: problems.render_unexpected,
        },
        request_max_body_size=LARGEST_BODY,
        openapi_config=openapi(),
        logging_config=None,
        debug=False,
    )


@asgi("/sandbox", is_mount=True, copy_scope=False, opt={"public": True})
async def _sandbox(scope: Scope, receive: Receive, send: Send) -> None:
    await vault_of(scope).sandbox(scope, receive, send)  # type: ignore[misc]  # mounted where there is one


def description() -> dict[str, Any]:
    """Return how the API describes itself, which is the same for every vault."""
    nothing = Provide(lambda: None, sync_to_thread=False)
    bare = Litestar([*HANDLERS], dependencies={"vault": nothing}, openapi_config=openapi(), logging_config=None)
    return described(bare)


async def whole_allow(message: Message, scope: Scope) -> None:
    """Have an answer to OPTIONS name every method: the framework's leaves out what was added to a path later."""
    if message["type"] != "http.response.start" or scope.get("method") != "OPTIONS":
        return
    template = scope.get("path_template")
    for route in scope["litestar_app"].routes:
        if isinstance(route, HTTPRoute) and route.path_format == template:
            others = [pair for pair in message["headers"] if pair[0] != b"allow"]
            message["headers"] = [*others, (b"allow", ", ".join(sorted(route.route_handler_map)).encode())]
