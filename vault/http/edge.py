"""The outermost layer: what holds for every answer, whoever makes it."""

import logging
import re
import secrets
import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from vault import names
from vault.audit import request_id
from vault.metrics import Metrics

log = logging.getLogger("vault.access_log")
_USABLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_OF_A_CONNECTION = "/v1/connections/{"
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Edge:
    """Gives each request an id, each answer its headers, and the log one line without query or body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

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
            seconds = time.monotonic() - started
            answered(self._metrics, _route(scope), scope["method"], status, seconds, _ids(scope, identity))


def answered(metrics: Metrics, route: str, method: str, status: int, seconds: float, ids: dict[str, str]) -> None:
    """Count a request, and log its one line. *status* is 0 where no answer was begun."""
    metrics.answered(route, method, status, seconds)
    if log.isEnabledFor(logging.INFO):
        facts = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1), **ids}
        # As `log.info` does it, without a search for this very line of code.
        log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, "request", (), None, extra=facts))


def _ids(scope: Scope, identity: str) -> dict[str, str]:
    """Return who asked, and about which connection: ids and names, none of which opens anything.

    Names that could not be any are left out, and so are those from somebody without a key: what is
    sent by mistake, in a place where it does not belong, may be a secret.
    """
    ids, caller = {"request_id": identity}, scope.get("auth")
    if caller is not None:
        ids["caller"] = caller.id
        if (route := scope.get("path_template")) and route.startswith(_OF_A_CONNECTION):
            path = "/".join(scope["path"].split("/")[3:6])
            if names.is_path(path):
                ids["connection"] = path
    return ids


def _route(scope: Scope) -> str:
    """Return the template of the route, never the path: a ticket in it is a secret."""
    return str(scope.get("path_template") or "unmatched")


def _id_of(scope: Scope) -> str:
    """Return the sender's X-Request-ID where it is harmless, else a new one."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"")
    return sent.decode() if _USABLE_ID.fullmatch(sent) else secrets.token_hex(8)
