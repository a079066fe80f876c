"""The outermost layer of the framework's answers: what holds for every one of them, whoever makes it."""

import re
import secrets
import time
from itertools import count
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from vault import names
from vault.audit import request_id
from vault.request_log import Line, RequestLog

_PROCESS, _numbers = secrets.token_hex(4), count()  # what an id of ours is made of: no two are alike
_NOTED = "vault.request_id"
_OF_A_CONNECTION = "/v1/connections/{"
_USABLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)  # headers of every answer that does not say otherwise


class Edge:
    """Gives each request an id, each answer its headers, and the log one line without query or body.

    HEAD is GET without the content of the answer (RFC 9110 9.3.2), whatever is asked for.
    """

    def __init__(self, app: ASGIApp, requests: RequestLog) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        identity = begin(scope)
        started, status = time.monotonic(), 0
        bare = scope["method"] == "HEAD"
        asked = cast(Scope, {**scope, "method": "GET"}) if bare else scope

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message.get("headers", [])}
                added = [*ALWAYS, (b"x-request-id", identity.encode())]
                message["headers"] = [
                    *map(_with_head, message["headers"]),
                    *(pair for pair in added if pair[0] not in present),
                ]
            elif bare and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        try:
            await self._app(asked, receive, with_headers)
        finally:
            took = round((time.monotonic() - started) * 1000, 2)
            self._requests.note(Line(scope["method"], _route(asked), status, took, identity, **_who(asked)))


def begin(scope: Scope) -> str:
    """Return the id of a request, from here on that of this task: the sender's where it is harmless.

    However often a request is begun, it has one id.
    """
    notes = cast(dict[str, Any], scope)
    if _NOTED in notes:
        return str(notes[_NOTED])
    sent = [value for name, value in scope["headers"] if name == b"x-request-id"]
    identity = sent[-1].decode() if sent and _USABLE_ID.fullmatch(sent[-1]) else f"{_PROCESS}{next(_numbers):08x}"
    notes[_NOTED] = identity
    request_id.set(identity)
    return identity


def _with_head(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return *header*; the one that says which methods there are has HEAD wherever it has GET."""
    name, value = header
    methods = value.split(b", ")
    return (name, b", ".join(sorted({*methods, b"HEAD"}))) if name == b"allow" and b"GET" in methods else header


def _who(scope: Scope) -> dict[str, str]:
    """Return who asked, and about which connection.

    Names that could not be any are left out, and so are those from somebody without a key: what is
    sent by mistake, in a place where it does not belong, may be a secret.
    """
    known, caller = {}, scope.get("auth")
    if caller is not None:
        known["caller"] = caller.id
        if (route := scope.get("path_template")) and route.startswith(_OF_A_CONNECTION):
            path = "/".join(scope["path"].split("/")[3:6])
            if names.is_path(path):
                known["connection"] = path
    return known


def _route(scope: Scope) -> str:
    """Return the template of the route, never the path: a ticket in it is a secret."""
    return str(scope.get("path_template") or "unmatched")
