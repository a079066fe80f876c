"""From the Authorization header to a caller, before any controller runs.

A route says in its `opt` which scope it takes, or that it is `public`. One that says neither is
refused to everybody, and a test fails.
"""

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from vault.access import Caller
from vault.errors import InsufficientScope, TooManyRequests, Unauthenticated
from vault.http.bound import vault_of

Call = Request[Any, Caller, State]  # a request whose caller is known


class ApiKey(ASGIMiddleware):
    """Puts the caller into the connection's `auth`, or refuses."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        opt = scope["route_handler"].opt
        # What OPTIONS tells, which methods there are, the framework reads off the routes for anybody.
        if not opt.get("public") and scope.get("method") != "OPTIONS":
            vault = vault_of(scope)
            caller = await vault.access.identify(bearer(scope))
            scope["auth"] = caller  # before any refusal: the log says who was refused
            if not vault.limits.take(caller.id):
                # Not audited: a flood of requests must not become a flood of records.
                raise TooManyRequests(retry_after=1)
            if "scope" not in opt:
                raise InsufficientScope
            if opt["scope"] is not None:
                await vault.access.require_scope(caller, opt["scope"])
        await next_app(scope, receive, send)


def bearer(scope: Scope) -> str:
    """Return the one API key that was sent. Raises Unauthenticated."""
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(sent) != 1:
        raise Unauthenticated
    scheme, _, key = sent[0].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated
    return key.strip()
