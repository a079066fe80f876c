"""A replica in a process of its own that ends itself, or stands still, between two steps of a refresh.

The product has no failpoints: what is hooked are SQLAlchemy's events (which statement is executed or
committed), aiohttp's connector (the last moment before the request's bytes) and the ASGI `send`.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any, Literal

import aiohttp
import httpx
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from tests.forks import FORKS
from tests.rig import settings
from vault.app import build
from vault.http.server import application
from vault.keyring import Keyring
from vault.services import Vault
from vault.store import connections, due, leases, settle, usage, works
from vault.store.database import Database

Step = Literal[
    "claim.execute",  # about to claim
    "claim.commit",  # claimed, and not committed
    "claim.committed",
    "send",  # connected to the provider, nothing sent
    "settle.execute",  # the answer was read, nothing of it is in the database
    "settle.commit",  # settled, and not committed
    "settle.committed",
    "answer",  # about to answer whoever asked
    "bury.commit",  # a connection is deleted, and that is not committed
    "bury.committed",
    "count.commit",  # hand-outs are counted, and that is not committed
    "count.committed",
    "turn.execute",  # about to begin a work at the provider
    "turn.committed",
    "keep.commit",  # what a work keeps is written, and not committed
    "keep.committed",
    "never",
]
STATEMENTS = {
    id(leases.CLAIM): "claim",
    id(due.CLAIM_DUE): "claim",
    id(settle.SETTLE_SUCCESS): "settle",
    id(connections.TOMBSTONE): "bury",
    id(usage.MOVE_MARK): "count",
    id(works.CLAIM): "turn",
    id(works.KEEP): "keep",
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the process does: carry out one request, sweep, or roll up usage; and where it gets *signal*.

    That is when it comes to *step* for the *nth* time.
    """

    url: str
    keyring: Keyring
    key: str
    path: str
    step: Step
    nth: int = 1
    method: str = "GET"
    body: dict[str, Any] | None = None
    sweep: bool = False
    roll_up: bool = False
    signal: Signals = SIGKILL
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Child:
    """The running process. Its answer, where it lives to give one, is a status and a token."""

    process: BaseProcess
    answers: Pipe

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    async def ended(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        await asyncio.to_thread(self.process.join, 30)
        assert self.process.exitcode is not None, "still running"
        return self.process.exitcode

    async def stopped(self) -> None:
        """Wait until it stands still (SIGSTOP)."""
        for _ in range(3000):
            assert self.process.is_alive(), "it ended instead"
            if self._state() == "T":
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it did not stop")

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def send(self, number: Signals) -> None:
        os.kill(self.pid, number)

    async def answer(self) -> tuple[int, str | None]:
        answered: tuple[int, str | None] = await asyncio.to_thread(self.answers.recv)
        return answered


@contextmanager
def started(order: Order) -> Iterator[Child]:
    """Give a process that carries out *order*; kills it in the end by its process id."""
    mine, its = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=main, args=(order, its), daemon=True)
    process.start()
    its.close()
    try:
        yield Child(process, mine)
    finally:
        process.kill()
        process.join()
        process.close()
        mine.close()


def main(order: Order, answers: Pipe) -> None:
    _hook(_Moment(order))
    asyncio.run(_refresh(order, answers))


class _Moment:
    """The moment in which the process gets its signal, once."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._left = order.nth

    def reached(self, step: str) -> None:
        if step != self._order.step:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._order.signal)


def _hook(moment: _Moment) -> None:
    executed = defaultdict[Any, list[str]](list)  # by database connection: a commit may be of several

    @event.listens_for(Engine, "before_execute")
    def _before_execute(_connection: Any, statement: Any, *_: Any) -> None:
        if name := STATEMENTS.get(id(statement)):
            moment.reached(f"{name}.execute")

    @event.listens_for(Engine, "after_execute")
    def _after_execute(connection: Any, statement: Any, *_: Any) -> None:
        if name := STATEMENTS.get(id(statement)):
            executed[connection.connection.dbapi_connection].append(name)

    @event.listens_for(Engine, "commit")
    def _before_commit(connection: Any) -> None:
        for name in executed.get(connection.connection.dbapi_connection, ()):
            moment.reached(f"{name}.commit")

    @event.listens_for(Pool, "checkin")
    def _after_commit(dbapi_connection: Any, _record: Any) -> None:
        for name in executed.pop(dbapi_connection, ()):
            moment.reached(f"{name}.committed")

    connect = aiohttp.TCPConnector.connect

    async def _connected(self: Any, *arguments: Any) -> Any:
        connection = await connect(self, *arguments)
        moment.reached("send")
        return connection

    aiohttp.TCPConnector.connect = _connected  # type: ignore[method-assign, assignment]  # to be told of it
    _Answering.moment = moment


class _Answering:
    """The application, with its answers passing the moment."""

    moment: _Moment

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.moment.reached("answer")
            await send(message)

        await self._app(scope, receive, sending)


async def _refresh(order: Order, answers: Pipe) -> None:
    vault = build(
        settings(order.url, **order.settings),
        Database(order.url),
        order.keyring,
        alone=order.url.startswith("sqlite"),
    )
    try:
        if order.sweep:
            await vault.sweeper.once()
        elif order.roll_up:
            await vault.roll_up()
        else:
            answers.send(await _asked(vault, order))
    finally:
        await vault.close()


async def _asked(vault: Vault, order: Order) -> tuple[int, str | None]:
    transport = httpx.ASGITransport(_Answering(application(vault)))
    headers = {"Authorization": f"Bearer {order.key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://vault", headers=headers) as api:
        query = {"wait": 20} if order.method == "GET" else None
        answer = await api.request(order.method, order.path, params=query, json=order.body)
    return answer.status_code, answer.json().get("access_token")
