"""Works: what takes a provider several calls, with something to be kept in between. Rotating a secret is one.

    claim   one committed statement: the lease of the connection, and a line that says what is begun
    work    calls, each sent once while the lease lasts; what is kept is committed before it goes on (`keeping.py`)
    end     the lease given back, and when it is to be done again, if ever

Whoever dies over one leaves the line behind: any replica begins it anew, from what was kept. No transaction is
open while the provider is called.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from integrations.contract import Finding, ProviderError
from vault.carrying import worked
from vault.clock import uptime
from vault.connection import Connection, Path
from vault.errors import CannotOpen, Conflict, NotFound, StorageUnavailable, Unavailable, VaultError, does_not_open
from vault.holding import holding
from vault.means import Means
from vault.providers import kind_of
from vault.store import connections, leases
from vault.store import works as store
from vault.store.changes import Stale
from vault.store.leases import Terms
from vault.store.writer import Transaction
from vault.tries import count_try
from vault.works.ending import LATEST, Claimed, Ended, done, failed, told, unable
from vault.works.keeping import Keeping, Superseded
from vault.works.rotating import schedule_next

log = logging.getLogger(__name__)
SCHEDULER = "scheduler"  # who does what nobody has ordered
SET_UP = "set_up"
AT_ONCE = 4  # a process begins by itself
MARGIN = 10.0  # seconds of a lease in which nothing is sent any more: what came must be written


class Works:
    """Carries out works, each in a task that outlives whoever asked for it."""

    def __init__(self, means: Means, *, holder: str, lease: timedelta) -> None:
        self._means = means
        self._terms = Terms(holder, lease, timedelta(0))
        self._tasks: set[asyncio.Task[Connection]] = set()
        self._draining = False

    async def run(self, actor: str, path: Path, ability: str) -> Connection:
        """Do *ability* with what is stored at *path*; return the connection as it is then.

        Raises NotFound; Conflict where it has no such ability, or the provider says that it has not; Unavailable
        where somebody is at it, or nobody can tell what came of it: then it is done later, from where it was.
        """
        async with self._means.database.read() as tx:
            found = await connections.find(tx, *path)
            if found is None:
                raise NotFound
            provider = await self._means.providers.get(found.provider, tx)
        abilities = kind_of(provider, found.kind).abilities
        if ability not in abilities:
            raise Conflict("Credentials of this kind cannot do that.", code="not_able", abilities=list(abilities))
        if not found.enabled or found.paused:
            raise Conflict("This connection is switched off.", code="disabled", paused=found.paused)
        return await asyncio.shield(self._start(found.id, self._done(actor, found.id, ability)))

    async def order(self, actor: str, path: Path, ability: str) -> Connection:
        """Do what somebody asks for, as `run` does. Raises TooManyRequests as well."""
        await count_try(self._means.writer, path)
        return await self.run(actor, path, ability)

    async def set_up(self, actor: str, connection: Connection) -> Connection:
        """Do what has to be done before *connection*, just entered, is of any use; return it as it is then.

        What does not succeed now is done later: its status says so.
        """
        path = (connection.tenant, connection.provider, connection.name)
        with contextlib.suppress(Conflict, Unavailable):
            return await self.run(actor, path, SET_UP)
        async with self._means.database.read() as tx:
            return await connections.get(tx, connection.id) or connection

    async def tick(self) -> None:
        """Begin what is due, and what somebody died over. Nobody waits here for it."""
        room = AT_ONCE - len(self._tasks)
        if room <= 0 or self._draining:
            return
        try:
            async with self._means.database.read() as tx:
                due = await store.due(tx, room)
        except StorageUnavailable:
            log.warning("works cannot be begun: the database does not answer")
            return
        for connection, ability in due:
            self._start(connection, self._done(SCHEDULER, connection, ability))

    async def drain(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._draining = True
        await self.settled()

    async def settled(self) -> None:
        """Wait until what is under way has been written."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, connection: str, work: Coroutine[Any, Any, Connection]) -> asyncio.Task[Connection]:
        task = asyncio.create_task(work, name=f"work {connection}")
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(connection, ended))
        return task

    def _ended(self, connection: str, task: asyncio.Task[Connection]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, VaultError):
            log.error("a work ended in an error of ours", extra={"connection": connection}, exc_info=error)

    async def _done(self, actor: str, connection: str, ability: str) -> Connection:
        started = uptime()
        claimed = None if self._draining else await self._claimed(actor, connection, ability)
        if claimed is None:
            raise Unavailable("Somebody is at it already.", code="work_in_progress", retry_after=5)
        finding = await self._carried_out(claimed, started)
        if ability in finding.lacks:
            raise unable(finding.code, ability)
        async with self._means.database.read() as tx:
            found = await connections.get(tx, connection)
        if found is None:
            raise NotFound
        return found

    async def _claimed(self, actor: str, connection: str, ability: str) -> Claimed | None:
        attempt = leases.new_attempt()

        async def unit(tx: Transaction) -> Claimed | None:
            ordered = actor != SCHEDULER
            turn = await store.claim(tx.connection, self._terms, connection, ability, attempt, ordered=ordered)
            about = None if turn is None else await connections.get(tx.connection, connection)
            if turn is None or about is None:
                return None
            holds = await holding(tx.connection, self._means.keyring, about)
            assert holds is not None, "what is claimed holds something"
            claimed = Claimed(actor=actor, ability=ability, turn=turn, connection=about, root=holds.root)
            tx.record(claimed.event("work.begun"))
            return claimed

        try:
            with contextlib.suppress(StorageUnavailable):
                return await self._means.writer.submit(unit)
            # Once more where the answer to the commit was lost: the same attempt finds itself.
            return await self._means.writer.submit(unit)
        except CannotOpen:
            # Put off, where it was due: a key may come back, and meanwhile it stands in nobody's way.
            await self._means.writer.submit(lambda tx: store.again(tx.connection, connection, LATEST))
            raise does_not_open() from None

    async def _carried_out(self, claimed: Claimed, started: float) -> Finding:
        """Do the work and settle whatever comes of it. Raises what whoever asked is to be told."""
        about, root = claimed.connection, claimed.root
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(about.provider, tx)
        work = provider.work(claimed.ability, root)
        if work is None:  # it was entered anew since, as another kind
            await self._end(claimed, Ended("not_able", {}))
            raise unable(None, claimed.ability)
        keeping = Keeping(self._means, kind_of(provider, about.kind), claimed)
        try:
            finding = await worked(self._means.outbound, work, self._deadlines(started), keeping.keep)
        except Superseded:
            # What is begun stays so: whoever finds it due goes on with what is there then.
            raise Conflict("It was changed meanwhile: look, and try again.", code="superseded") from None
        except ProviderError as error:
            await self._end(claimed, failed(claimed, error, self._means.jitter, kept=keeping.anything))
            raise told(error) from None
        await self._end(claimed, done(claimed, finding))
        return finding

    def _deadlines(self, started: float) -> Callable[[], float]:
        """Return what tells the deadline of the next call: its own, and that of a lease taken at *started*."""
        last = started + self._terms.lease.total_seconds() - MARGIN
        return lambda: min(self._means.deadline(), last)

    async def _end(self, claimed: Claimed, ended: Ended) -> None:
        turn, connection = claimed.turn, claimed.connection.id

        async def unit(tx: Transaction) -> None:
            if not await store.release(tx.connection, turn):
                return
            if ended.again is not None:
                await store.again(tx.connection, connection, ended.again)
            else:
                await store.end(tx.connection, connection)
                await schedule_next(tx, connection)
            if ended.changed:
                await connections.note_probe(tx.connection, connection, turn.generation, ended.changed)
            tx.outdate(Stale("connection", connection))
            tx.record(claimed.event("work.ended", ended.code))

        await self._means.writer.insist(unit, vital=False)
