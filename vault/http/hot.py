"""The token route as nearly every request meets it: all it takes is remembered, and nothing stands against it.

Such a request needs nothing of the framework, which would cost more than all the rest. This layer
can only say yes. Whatever keeps it from that (a scope that is missing, a tenant out of reach, a token
that is old, a parameter that is not quite right) it neither judges nor words: the request goes on,
untouched, to the ordinary route in `tokens.py`, where all rules and all refusals are. The rules
that lead to yes are the same functions there and here (`Access`, `Tokens`).
"""

import logging
import re
import time
from datetime import timedelta

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from vault.access import Access, Caller
from vault.connection import Path
from vault.errors import VaultError
from vault.http.auth import bearer
from vault.http.edge import ALWAYS, begin
from vault.http.tokens import LEAST_TTL, LONGEST_TTL, LONGEST_WAIT, TOKEN_ROUTE
from vault.http.views.connections import TokenView
from vault.limits import CallerLimits
from vault.request_log import Line, RequestLog
from vault.tokens import HandedOut, Ready, Tokens

log = logging.getLogger(__name__)

_NUMBER = rb"(0|[1-9][0-9]{0,7})"  # as the framework takes it: without a zero in front
_QUERY = re.compile(rb"min_ttl=%b(?:&wait=%b)?|wait=%b" % (_NUMBER, _NUMBER, _NUMBER))


class HotTokens:
    """Answers what it can at once, and passes everything else on to *app*."""

    def __init__(
        self, app: ASGIApp, access: Access, limits: CallerLimits, tokens: Tokens, requests: RequestLog
    ) -> None:
        self._app = app
        self._access = access
        self._limits = limits
        self._tokens = tokens
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path(scope)
        if path is None or not await self._answered(scope, path, send):
            await self._app(scope, receive, send)

    async def _answered(self, scope: Scope, path: Path, send: Send) -> bool:
        identity, began = begin(scope), time.monotonic()
        found = await self._handed(scope, path)
        if found is None:
            return False
        caller, handed = found
        body = msgspec.json.encode(TokenView.of(handed))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *ALWAYS,
            (b"x-request-id", identity.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        took = round((time.monotonic() - began) * 1000, 2)
        self._requests.note(Line("GET", TOKEN_ROUTE, 200, took, identity, caller.id, "/".join(path)))
        return True

    async def _handed(self, scope: Scope, path: Path) -> tuple[Caller, HandedOut] | None:
        """Return who gets what; None where the ordinary route has to answer, which knows how to refuse."""
        try:
            known = self._ready(scope, path)
            return await self._taken(*known) if known else None
        except VaultError:
            return None
        except Exception:
            # The ordinary route may not meet a mistake of ours.
            log.exception("a token was not handed out the short way")
            return None

    def _ready(self, scope: Scope, path: Path) -> tuple[Caller, Ready] | None:
        min_ttl = _min_ttl(scope["query_string"])
        caller = self._access.recognised(bearer(scope))
        ready = self._tokens.at_once(caller, path, min_ttl=min_ttl) if caller and min_ttl is not None else None
        return (caller, ready) if caller and ready else None

    async def _taken(self, caller: Caller, ready: Ready) -> tuple[Caller, HandedOut] | None:
        if not self._limits.take(caller.id):
            return None
        try:
            return caller, await self._tokens.hand_out(caller, ready)
        except Exception:
            self._limits.give_back(caller.id)  # the ordinary route takes it again
            raise


def _path(scope: Scope) -> Path | None:
    """Return which connection's token is asked for; None where the request is another, or may be."""
    if scope["type"] != ScopeType.HTTP or scope["method"] != "GET":
        return None
    parts = scope["path"].split("/")
    if len(parts) != 7 or parts[0] or parts[6] != "token" or parts[1] != "v1" or parts[2] != "connections":
        return None
    return parts[3], parts[4], parts[5]


def _min_ttl(query: bytes) -> timedelta | None:
    """Return the min_ttl in a *query* that is plain and in range; None for any other."""
    if not query:
        return timedelta(seconds=LEAST_TTL)
    found = _QUERY.fullmatch(query)
    if found is None or int(found[2] or found[3] or 0) > LONGEST_WAIT:
        return None
    seconds = LEAST_TTL if found[1] is None else int(found[1])
    return timedelta(seconds=seconds) if seconds <= LONGEST_TTL else None
