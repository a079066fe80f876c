"""A key command in a process of its own that is killed at its n-th moment: no two are alike, and none is left out.

A moment is right before a statement that changes a key, its wrapping or a sealed value, right before
such a transaction is committed, or right after.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from signal import SIGKILL
from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from integrations.contract import Secret
from tests.forks import FORKS
from tests.rig import settings
from vault.app import build
from vault.errors import Conflict
from vault.keyring import Keyring
from vault.keys.reseal import reseal
from vault.keys.retire import retire
from vault.keys.rewrap import Rewrapping
from vault.keys.roots import Keys
from vault.services import Vault
from vault.store.database import Database
from vault.unlock import open_keyring

Command = Literal["add", "promote", "reseal", "retire", "rewrap", "finish"]
REFUSED = 3  # exit code of a command that found nothing to do
NEW_SECRET = "canary-new-secret-" + "n" * 32
_TABLES = frozenset({"keyring", "keyring_wraps", "sealed_values"})


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the process does, and at which moment (from 1) it is killed."""

    url: str
    keyring: Keyring
    command: Command
    moment: int


def carried_out(order: Order) -> int:
    """Return the exit code of a process that carries out *order*: -9 where it came to its moment."""
    with _started(order) as process:
        process.join(60)
        assert process.exitcode is not None, "still running"
        return process.exitcode


@contextmanager
def _started(order: Order) -> Iterator[BaseProcess]:
    process = FORKS.Process(target=main, args=(order,), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def main(order: Order) -> None:
    hook(order.moment, _TABLES)
    try:
        asyncio.run(_run(order))
    except Conflict:
        os._exit(REFUSED)


async def _run(order: Order) -> None:
    database = Database(order.url)
    vault = build(settings(order.url), database, order.keyring, alone=False)
    try:
        await vault.watch.listen()
        await _COMMANDS[order.command](vault)
    finally:
        await vault.close()


async def _finish(vault: Vault) -> None:
    keyring = await open_keyring(vault.database, Secret(NEW_SECRET))
    await Rewrapping(vault.database, vault.writer, keyring).finish()


def _unseen(_expected: int) -> Callable[[int], None]:
    return lambda _done: None


_COMMANDS: dict[Command, Callable[[Vault], Awaitable[Any]]] = {
    "add": lambda vault: Keys(vault.database, vault.writer, vault.keyring).add(),
    "promote": lambda vault: Keys(vault.database, vault.writer, vault.keyring).promote(),
    "reseal": lambda vault: reseal(vault.database, vault.writer, vault.keyring, _unseen),
    "retire": lambda vault: retire(vault.database, vault.writer, vault.keyring, _unseen, lose=0),
    "rewrap": lambda vault: Rewrapping(vault.database, vault.writer, vault.keyring).add(Secret(NEW_SECRET)),
    "finish": _finish,
}


def hook(fatal: int, tables: frozenset[str]) -> None:
    """Kill this process at its moment number *fatal*, of those at which one of *tables* is changed."""
    changing: set[Any] = set()  # database connections
    passed = 0

    def moment() -> None:
        nonlocal passed
        passed += 1
        if passed == fatal:
            os.kill(os.getpid(), SIGKILL)

    @event.listens_for(Engine, "before_execute")
    def _before_execute(connection: Any, statement: Any, *_: Any) -> None:
        if getattr(statement, "is_dml", False) and statement.table.name in tables:
            changing.add(connection.connection.dbapi_connection)
            moment()

    @event.listens_for(Engine, "commit")
    def _before_commit(connection: Any) -> None:
        if connection.connection.dbapi_connection in changing:
            moment()

    @event.listens_for(Pool, "checkin")
    def _after_commit(dbapi_connection: Any, _record: Any) -> None:
        if dbapi_connection in changing:
            changing.discard(dbapi_connection)
            moment()
