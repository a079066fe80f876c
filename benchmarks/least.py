"""The least that an audited answer can be: a bare handler whose answer waits for a durable row.

No key is checked, nothing is opened and nothing is chained; no framework is between the server and
the handler. What this reaches is the most that a vault on this machine and this database could.
"""

import asyncio
import os
from typing import Any

from litestar.types import ASGIApp

from vault.store.database import Database
from vault.store.express import Row
from vault.store.schema import audit_events

BODY = b'{"access_token":"' + b"x" * 1024 + b'"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
COLUMNS = ("stream", "seq", "at", "actor", "action", "outcome", "tenant", "provider", "name", "mac")
ABOUT = (1_700_000_000_000, "caller" * 4, "token.handed_out", "ok", "tenant" * 3, "sandbox", "main", b"m" * 32)


class Least:
    """An ASGI application; what arrives while a transaction is under way shares the next one."""

    def __init__(self, database: Database) -> None:
        self._express = database.express(audit_events.name, COLUMNS)
        self._stream, self._seq = f"least-{os.getpid()}", 0
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._recorded()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})

    def _recorded(self) -> "asyncio.Future[None]":
        self._seq += 1
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(((self._stream, self._seq, *ABOUT), done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return done

    async def _write(self) -> None:
        while self._waiting:
            await self._gathered()
            group, self._waiting = self._waiting, []
            await self._express.append([row for row, _ in group])
            for _, done in group:
                done.set_result(None)

    async def _gathered(self) -> None:
        """Return when a round of the event loop brings no more."""
        seen = 0
        while seen < len(self._waiting):
            seen = len(self._waiting)
            await asyncio.sleep(0)


def application() -> ASGIApp:
    """Return the application for the migrated database at DATABASE_URL."""
    return Least(Database(os.environ["DATABASE_URL"]))
