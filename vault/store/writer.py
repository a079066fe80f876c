"""The one task of a process that writes.

What arrives while a commit is under way is the next transaction: under load, many settles and audit
rows share one commit; without load, nobody waits for a timer. So SQLite has its one writer, and the
order of the audit is the order of the commits.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.audit import Event, request_id
from vault.errors import StorageUnavailable
from vault.store.database import Database
from vault.store.schema import audit_events

T = TypeVar("T")
log = logging.getLogger(__name__)
SLOWEST_RETRY = 5.0  # seconds between tries to write down an outcome
LARGEST_GROUP = 256  # units a commit

_RECORD = insert(audit_events)
_LAST = select(func.max(audit_events.c.seq)).where(audit_events.c.stream == bindparam("this_stream"))


@dataclass
class Transaction:
    """What a unit of work writes through: statements, and the audit rows that go with them."""

    connection: AsyncConnection
    events: list[Event] = field(default_factory=list)

    def record(self, event: Event) -> None:
        self.events.append(event)

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return await self.connection.execute(statement, parameters)


Unit = Callable[[Transaction], Awaitable[T]]


@dataclass
class _Submitted(Generic[T]):
    unit: Unit[T]
    alone: bool
    request_id: str | None
    done: "asyncio.Future[T]"
    again: bool = False


class Writer:
    """Runs units of work, grouped into transactions, in the order of their arrival."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stream = secrets.token_hex(8)
        self._sequence: int | None = 0
        self._waiting: deque[_Submitted[Any]] = deque()
        self._arrived = asyncio.Event()
        self._ending = False
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="writer")

    async def submit(self, unit: Unit[T], *, alone: bool = False) -> T:
        """Run *unit* and return its result once it is committed.

        A unit that may violate a constraint runs *alone*, so that it spoils nobody else's commit.
        Raises what the unit raises, and StorageUnavailable where nothing could be committed or
        nobody can say whether it was: a unit must bear being submitted again.
        """
        if self._closing:
            raise StorageUnavailable
        submitted = _Submitted(unit, alone, request_id.get(), asyncio.get_running_loop().create_future())
        self._waiting.append(submitted)
        self._arrived.set()
        # Shielded: a caller that gives up must not take a unit out of somebody else's transaction.
        return await asyncio.shield(submitted.done)

    def begin_closing(self) -> None:
        """Insist no more on what nobody loses."""
        self._ending = True

    async def insist(self, unit: Unit[T], *, vital: bool = True) -> T:
        """Run *unit* until it is committed: what a provider answered once is not to be had again.

        What is not *vital* is given up once the process is to end: a lease lapses by itself.
        """
        delay = 0.1
        while True:
            try:
                return await self.submit(unit)
            except StorageUnavailable:
                if self._closing or (self._ending and not vital):
                    raise
                log.error("an outcome waits to be written", extra={"retry_in": delay})
                await asyncio.sleep(delay)
                delay = min(delay * 2, SLOWEST_RETRY)

    async def close(self) -> None:
        """Write what has been submitted, then stop."""
        self._closing = True
        self._arrived.set()
        await self._task

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._write(self._next_group())
            if self._closing:
                return

    def _next_group(self) -> list[_Submitted[Any]]:
        group = [self._waiting.popleft()]
        while self._waiting and len(group) < LARGEST_GROUP and not group[0].alone and not self._waiting[0].alone:
            group.append(self._waiting.popleft())
        return group

    async def _write(self, group: list[_Submitted[Any]]) -> None:
        try:
            results = await self._commit(group)
        except (Exception, asyncio.CancelledError) as error:
            if _is_being_stopped(error):
                raise
            if len(group) == 1 and isinstance(error, IntegrityError) and not group[0].again:
                # Another replica was first: what it committed is there to be found the second time.
                group[0].again = True
                await self._write(group)
                return
            away = isinstance(error, StorageUnavailable)
            self._sequence = None if away else self._sequence
            if len(group) == 1 or (away and not getattr(error, "contended", False)):
                _fail(group, error)
                return
            # One unit spoiled it for all: each has its own transaction now, and its own failure.
            for submitted in group:
                await self._write([submitted])
        else:
            for submitted, result in zip(group, results, strict=True):
                if not submitted.done.done():
                    submitted.done.set_result(result)

    async def _commit(self, group: list[_Submitted[Any]]) -> list[Any]:
        async with self._database.transaction() as connection:
            transaction = Transaction(connection)
            results = [await _run_for(submitted, transaction) for submitted in group]
            reached = await self._append(connection, transaction.events)
        self._sequence = reached
        return results

    async def _append(self, connection: AsyncConnection, events: list[Event]) -> int:
        """Add *events* to the stream and return the number of the last one."""
        if self._sequence is None:
            # The last commit went unanswered: only the database knows how far the stream got.
            last = await connection.scalar(_LAST, {"this_stream": self._stream})
            self._sequence = int(last or 0)
        now = datetime.now(UTC)
        rows = [
            {"stream": self._stream, "seq": self._sequence + n, "at": now, **event.columns()}
            for n, event in enumerate(events, start=1)
        ]
        if rows:
            try:
                await connection.execute(_RECORD, rows)
            except DBAPIError as error:
                # Whatever keeps the audit from being written keeps its consequence from happening.
                raise StorageUnavailable from error
        return self._sequence + len(rows)


async def _run_for(submitted: _Submitted[T], transaction: Transaction) -> T:
    """Run a unit so that its audit rows name the request that it came from."""
    token = request_id.set(submitted.request_id)
    try:
        return await submitted.unit(transaction)
    finally:
        request_id.reset(token)


def _is_being_stopped(error: BaseException) -> bool:
    """Say whether the writer itself is cancelled, and not only something inside a unit."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _fail(group: list[_Submitted[Any]], error: BaseException) -> None:
    for submitted in group:
        if not submitted.done.done():
            submitted.done.set_exception(error)
        with contextlib.suppress(asyncio.CancelledError):
            submitted.done.exception()  # whoever waited may be gone, and asyncio would call it never retrieved
