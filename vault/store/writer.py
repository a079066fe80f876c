"""The one task of a process that writes.

What arrives while a commit is under way is the next transaction: under load, many settles and audit
rows share one commit; without load, nobody waits for a timer. So SQLite has its one writer, and the
order of the audit is the order of the commits.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from msgspec import Struct
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.audit import Event, request_id
from vault.clock import uptime
from vault.errors import StorageUnavailable
from vault.metrics import Metrics
from vault.store import changes
from vault.store.changes import Stale
from vault.store.database import Database
from vault.store.express import MOST
from vault.store.schema import audit_events
from vault.store.trail import STORED, Trail

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item
log = logging.getLogger(__name__)
SLOWEST_RETRY = 5.0  # seconds between tries to write down an outcome
LARGEST_GROUP = MOST  # units a commit
QUIET = 3  # rounds of the event loop without anything new, after which a commit waits for nobody


@dataclass
class Transaction:
    """What a unit of work writes through: statements, and the audit rows and changes that go with them."""

    connection: AsyncConnection
    events: list[Event] = field(default_factory=list)
    changes: list[Stale] = field(default_factory=list)

    def record(self, event: Event) -> None:
        """Add *event* to the audit of this transaction."""
        self.events.append(event)

    def outdate(self, change: Stale) -> None:
        """Have every replica forget what *change* names."""
        self.changes.append(change)

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return await self.connection.execute(statement, parameters)


Unit = Callable[[Transaction], Awaitable[T]]
# Carries out all its items of one transaction together, and returns a result for each.
Batch = Callable[[Transaction, list[I]], Awaitable[Sequence[T]]]


class _Submitted(Struct, Generic[T], eq=False):
    batch: Batch[Any, T]
    item: Any
    alone: bool
    done: "asyncio.Future[T]"
    again: bool = False


class Writer:
    """Runs units of work, grouped into transactions, in the order of their arrival."""

    def __init__(
        self, database: Database, trail: Trail, forget: Callable[[Sequence[Stale]], None], metrics: Metrics
    ) -> None:
        self._database = database
        self._express = database.express(audit_events.name, STORED)
        self._trail = trail
        self._forget = forget  # told of the changes of each commit, before anybody hears that it is done
        self._metrics = metrics
        self._waiting: deque[_Submitted[Any]] = deque()
        self._arrived = asyncio.Event()
        self._ending = False
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="writer")

    @property
    def queued(self) -> int:
        """Return how many units wait for the commit under way."""
        return len(self._waiting)

    async def submit(self, unit: Unit[T], *, alone: bool = False) -> T:
        """Run *unit* and return its result once it is committed.

        A unit that may violate a constraint runs *alone*, so that it spoils nobody else's commit.
        Raises what the unit raises, and StorageUnavailable where nothing could be committed or
        nobody can say whether it was: a unit must bear being submitted again.
        """
        return await self._submit(_each, (unit, request_id.get()), alone=alone)

    async def submit_to(self, batch: Batch[I, T], item: I) -> T:
        """Have *batch* carry out *item* with all the others of its next transaction; return the item's result.

        Raises like `submit`. What an item needs of the request that it came from, it has to carry.
        """
        return await self._submit(batch, item)

    def record(self, event: Event) -> Awaitable[None]:
        """Write *event* into the audit. What is returned is done once it is durable. Raises StorageUnavailable."""
        return self._submit(_recorded, event)

    def _submit(self, batch: Batch[Any, T], item: Any, *, alone: bool = False) -> "asyncio.Future[T]":
        if self._closing:
            raise StorageUnavailable
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Submitted(batch, item, alone, done))
        self._arrived.set()
        # Whoever gives up cancels this future alone: the unit stays in the transaction.
        return done

    def begin_closing(self) -> None:
        """Insist no more on what nobody loses."""
        self._ending = True

    async def insist(self, unit: Unit[T], *, vital: bool = True, alone: bool = False) -> T:
        """Run *unit* until it is committed: what a provider answered once is not to be had again.

        What is not *vital* is given up once the process is to end: a lease lapses by itself.
        """
        return await self._insisted(lambda: self.submit(unit, alone=alone), vital=vital)

    async def insist_to(self, batch: Batch[I, T], item: I) -> T:
        """Have *batch* carry out *item* until it is committed."""
        return await self._insisted(lambda: self.submit_to(batch, item), vital=True)

    async def _insisted(self, submit: Callable[[], Awaitable[T]], *, vital: bool) -> T:
        delay = 0.1
        while True:
            try:
                return await submit()
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
        await self._express.close()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._gathered()
                await self._write(self._next_group())
            if self._closing:
                return

    async def _gathered(self) -> None:
        """Return when rounds of the event loop bring no more, or there is enough: it shares the next commit."""
        seen = quiet = 0
        while quiet < QUIET and len(self._waiting) < self._express.plenty:
            quiet = quiet + 1 if seen == len(self._waiting) else 0
            seen = len(self._waiting)
            await asyncio.sleep(0)

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
            away, contended = isinstance(error, StorageUnavailable), getattr(error, "contended", False)
            if away:
                self._trail.lost()
            if len(group) == 1 and (contended or isinstance(error, IntegrityError)) and not group[0].again:
                # Another replica was first: what it committed is there to be found the second time.
                group[0].again = True
                await self._write(group)
                return
            if len(group) == 1 or (away and not contended):
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
        began = uptime()
        if all(submitted.batch is _recorded for submitted in group):
            events = [submitted.item for submitted in group]
            if await self._trail.append_alone(self._express, events):
                self._metrics.committed(len(events), uptime() - began)
                return [None] * len(group)
        async with self._database.transaction() as connection:
            transaction = Transaction(connection)
            results = await _carried_out(group, transaction)
            await changes.add(connection, transaction.changes)
            position = await self._trail.append(connection, transaction.events)
        self._trail.committed(position)
        self._forget(transaction.changes)
        self._metrics.committed(len(transaction.events), uptime() - began)
        return results


async def _carried_out(group: list[_Submitted[Any]], transaction: Transaction) -> list[Any]:
    """Return the results of *group*, whose items are gathered by the batch that carries them out."""
    members: dict[Any, list[int]] = {}
    for number, submitted in enumerate(group):
        members.setdefault(submitted.batch, []).append(number)
    results: list[Any] = [None] * len(group)
    for batch, numbers in members.items():
        found = await batch(transaction, [group[number].item for number in numbers])
        for number, result in zip(numbers, found, strict=True):
            results[number] = result
    return results


async def _each(transaction: Transaction, items: list[tuple[Unit[Any], str | None]]) -> list[Any]:
    """Run units one after the other, so that the audit rows of each name the request that it came from."""
    results = []
    for unit, request in items:
        token = request_id.set(request)
        try:
            results.append(await unit(transaction))
        finally:
            request_id.reset(token)
    return results


async def _recorded(transaction: Transaction, events: list[Event]) -> list[None]:
    transaction.events += events
    return [None] * len(events)


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
