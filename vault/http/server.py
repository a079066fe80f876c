"""The ASGI application: controllers, how errors look, and what holds for all."""

from typing import Any

from litestar import Litestar, asgi
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp

from vault.errors import VaultError
from vault.http import problems
from vault.http.auth import ApiKey
from vault.http.body import JsonRequest, each_once
from vault.http.callers import CallersController
from vault.http.clients import ClientsController
from vault.http.connections import ConnectionsController
from vault.http.edge import Edge
from vault.http.health import healthz, metrics, readyz
from vault.http.hot import HotTokens
from vault.http.openapi import assets, openapi
from vault.http.providers import ProvidersController
from vault.http.tenants import TenantsController
from vault.http.tokens import TokensController
from vault.pages.connect import ConnectController
from vault.pages.overview import OverviewController
from vault.pages.signing_in import SigningInController
from vault.services import Vault

LARGEST_BODY = 64 * 1024  # bytes


def application(vault: Vault) -> ASGIApp:
    """Return the whole of what listens, for *vault*."""
    edge = Edge(litestar(vault), vault.requests)
    return HotTokens(edge, vault.access, vault.limits, vault.tokens, vault.requests)


def litestar(vault: Vault) -> Litestar:
    """Return the application without its outermost layer."""
    handlers: list[Any] = [
        TokensController,
        ConnectionsController,
        TenantsController,
        ClientsController,
        ProvidersController,
        CallersController,
        ConnectController,
        SigningInController,
        OverviewController,
        healthz,
        readyz,
        metrics,
        assets(),
    ]
    if vault.sandbox is not None:
        mount = asgi("/sandbox", is_mount=True, copy_scope=False, opt={"public": True})
        handlers.append(mount(vault.sandbox))
    return Litestar(
        handlers,
        dependencies={"vault": Provide(lambda: vault, sync_to_thread=False)},
        middleware=[ApiKey(vault.access, vault.limits)],
        guards=[each_once],
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
