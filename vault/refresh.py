"""The one function that refreshes. Callers and the sweep all come through it.

    claim     one committed statement: the lease, and the intent to send this generation's token
    exchange  sends it once and settles the outcome (`exchange.py`)

Nothing is sent without the lease. What each step survives is in `store/leases.py` and
`store/settle.py`, and every way in which the steps can interleave is in `tests/model/`.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

from vault.clock import uptime
from vault.connection import Connection
from vault.errors import StorageUnavailable
from vault.exchange.exchange import Exchange
from vault.exchange.grant import Claimed
from vault.exchange.patience import Patience
from vault.places import Places
from vault.providers import Providers
from vault.store import connections, due, leases
from vault.store.database import Database
from vault.store.leases import Terms, Turn
from vault.store.writer import Transaction, Unit, Writer

log = logging.getLogger(__name__)


class Refresher:
    """Refreshes connections, each at most once at a time, whoever asks and however many."""

    def __init__(
        self,
        *,
        database: Database,
        writer: Writer,
        providers: Providers,
        exchange: Exchange,
        patience: Patience,
        holder: str,
        concurrency: int,
    ) -> None:
        self._database = database
        self._writer = writer
        self._providers = providers
        self._exchange = exchange
        self._patience = patience
        self._holder = holder
        self._joinable: dict[str, asyncio.Task[bool]] = {}
        self._tasks: set[asyncio.Task[bool]] = set()
        self._concurrency = concurrency
        self._places: dict[str, Places] = {}
        self._draining = asyncio.Event()

    async def refresh(self, connection: Connection, actor: str) -> bool:
        """Try once to get new tokens in place of the ones in *connection*; joins a try under way.

        Returns, when that is over, whether anything was tried: if not, somebody else has the lease.
        The try goes on when its caller gives up: others may wait for it, and a token may be spent.
        """
        task = self._joinable.get(connection.id)
        if task is None:
            if self._draining.is_set():
                return False
            task = self._start(connection.id, self._alone(connection, actor))
        return await asyncio.shield(task)

    def is_refreshing(self, connection: str) -> bool:
        """Say whether this process has a try under way that can be joined."""
        return connection in self._joinable

    def waits(self, connection: Connection) -> float:
        """Return how many seconds a try for *connection* may wait for its turn at the provider, at least."""
        places = self._places.get(connection.provider)
        return 0.0 if places is None else places.waits(connection.client)

    async def places(self, provider: str) -> Places:
        """Return the places for calls to *provider*, as it is defined now: full, it makes nobody else wait."""
        async with self._database.read() as tx:
            limits = (await self._providers.get(provider, tx)).limits
        places = self._places.get(provider)
        if places is None or places.limits != limits:
            places = self._places[provider] = Places(limits, self._concurrency, self._draining)
        return places

    async def claim_due(self, provider: str, most: int, client: str | None = None) -> list[tuple[Claimed, float]]:
        """Claim up to *most* due connections of *provider*, or of a *client* there.

        Each comes with when its deadline counts from.
        """
        if self._draining.is_set() or most == 0:
            return []
        started = uptime()
        attempt = leases.new_attempt()

        async def unit(tx: Transaction) -> list[Claimed]:
            terms = await self._terms(tx, provider)
            turns = await due.claim_due(tx.connection, terms, provider, most, attempt, client)
            return await _with_grants(tx, turns)

        return [(claimed, started) for claimed in await self._submitted(unit)]

    def exchange(self, claimed: Claimed, started: float, place: ExitStack) -> None:
        """Carry out a claimed turn in a task of its own, and close its *place* when it needs that no more."""
        self._start(claimed.turn.connection, self._exchange.spend(claimed, started, "scheduler", place))

    async def settled(self) -> None:
        """Wait until what is under way has been written."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop_claiming(self) -> None:
        """Begin nothing more. What is under way goes on."""
        self._draining.set()

    def _start(self, connection: str, work: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        task = asyncio.create_task(work, name=f"refresh {connection}")
        self._joinable[connection] = task
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(connection, ended))
        return task

    def _ended(self, connection: str, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        if self._joinable.get(connection) is task:
            del self._joinable[connection]
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, StorageUnavailable):
            log.error("a refresh ended in an error of ours", extra={"connection": connection}, exc_info=error)

    async def _alone(self, connection: Connection, actor: str) -> bool:
        """Wait for a place, claim, and exchange. The place comes first: a lease never waits in a queue."""
        places = await self.places(connection.provider)
        with await places.take(connection.client) as place:
            if self._draining.is_set():
                return False
            started = uptime()
            claimed = await self._claimed(connection)
            if not claimed:
                places.give_back(connection.client, [place])
                return False
            return await self._exchange.spend(claimed[0], started, actor, place)

    async def _claimed(self, connection: Connection) -> list[Claimed]:
        attempt, seen = leases.new_attempt(), connection.state.generation

        async def unit(tx: Transaction) -> list[Claimed]:
            terms = await self._terms(tx, connection.provider)
            turn = await leases.claim(tx.connection, terms, connection.id, seen, attempt)
            return await _with_grants(tx, [turn] if turn else [])

        return await self._submitted(unit)

    async def _submitted(self, unit: Unit[list[Claimed]]) -> list[Claimed]:
        """Claim; once more where the answer to the commit was lost, for then the same attempt finds itself."""
        try:
            return await self._writer.submit(unit)
        except StorageUnavailable:
            return await self._writer.submit(unit)

    async def _terms(self, tx: Transaction, provider: str) -> Terms:
        """Return the terms of a claim by what *provider* is as it is made.

        Its limits were read before the queue: who stood in it for minutes may claim from another definition.
        """
        known = await self._providers.get(provider, tx.connection)
        return Terms(self._holder, self._patience.lease, self._patience.of(known))


async def _with_grants(tx: Transaction, turns: list[Turn]) -> list[Claimed]:
    """Return *turns*, each with what it is to be spent with, as it was when it was claimed."""
    rows = await connections.grants(tx.connection, [turn.connection for turn in turns])
    return [Claimed(turn, rows.get(turn.connection)) for turn in turns]
