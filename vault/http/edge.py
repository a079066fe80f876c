"""The outermost layer: what holds for every answer, whoever makes it."""

import logging
import re
import secrets
import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from vault.audit import request_id

log = logging.getLogger("vault.access_log")
_USABLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Edge:
    """Gives each request an id, each answer its headers, and the log one line without query or body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        identity = _id_of(scope)
        request_id.set(identity)
        started, status = time.monotonic(), 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message.get("headers", [])}
                added = [*_ALWAYS, (b"x-request-id", identity.encode())]
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in added if pair[0] not in present),
                ]
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        finally:
            took = round((time.monotonic() - started) * 1000, 1)
            facts = {"method": scope.get("method"), "route": _route(scope), "status": status, "ms": took}
            log.info("request", extra={**facts, "request_id": identity})


def _route(scope: Scope) -> str:
    """Return the template of the route, never the path: a ticket in it is a secret."""
    return str(scope.get("path_template") or "unmatched")


def _id_of(scope: Scope) -> str:
    """Return the sender's X-Request-ID where it is harmless, else a new one."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"")
    return sent.decode() if _USABLE_ID.fullmatch(sent) else secrets.token_hex(8)
