"""Closing and opening gates: kill switches for people, and what refreshes find out about clients and providers.

A pause is in force everywhere when it is answered: the database refuses every claim below it, and no
process serves from memory any more.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from vault import breaker
from vault.access import Caller
from vault.audit import Event
from vault.errors import Conflict, NotFound, StorageUnavailable
from vault.memory import GATES, Memory
from vault.providers import Providers
from vault.store import clients, parking, tenants
from vault.store import gates as store
from vault.store.database import Database
from vault.store.leases import Turn
from vault.store.parking import Scope
from vault.store.writer import Transaction, Unit, Writer
from vault.timing import Jitter

log = logging.getLogger(__name__)
_PAUSED_ABOVE = "Whoever has paused this stands above this API key, and resumes it."
BREATH = 0.05  # seconds between two chunks, in which others write


class Gates:
    def __init__(
        self, database: Database, writer: Writer, memory: Memory, providers: Providers, jitter: Jitter
    ) -> None:
        self._database = database
        self._writer = writer
        self._memory = memory
        self._providers = providers
        self._jitter = jitter

    # --- kill switches

    async def switch_provider(self, provider: str, actor: str, *, paused: bool) -> None:
        """Pause or resume *provider*. Raises NotFound."""

        async def unit(tx: Transaction) -> list[Scope]:
            await self._providers.get(provider, tx.connection)
            if await store.pause_provider(tx.connection, provider, paused=paused):
                tx.record(Event(actor, "provider.changed", _word(paused), provider=provider))
            return []

        await self._switch(unit, paused)

    async def switch_client(self, tenant: str, provider: str, caller: Caller, *, paused: bool) -> None:
        """Pause or resume *tenant*'s registrations at *provider*, retired ones too, and all grants of theirs.

        Raises NotFound where there is none, Conflict where somebody above *caller* has paused them.
        """

        async def unit(tx: Transaction) -> list[Scope]:
            await parking.hold(tx.connection)
            registered = await store.clients_of(tx.connection, tenant, provider)
            if not registered:
                raise NotFound
            mine = await self._is_resumable(tx.connection, tenant, provider, caller)
            if not paused and not mine:
                raise Conflict(_PAUSED_ABOVE, code="paused_above")
            if await store.pause_clients(tx.connection, tenant, provider, paused=paused):
                tx.record(Event(caller.actor, "client.changed", _word(paused), tenant, provider))
            if mine:
                await store.note_who_paused(tx.connection, tenant, provider, caller.tenant if paused else None)
            return [Scope("client", each) for each in registered]

        await self._switch(unit, paused)

    async def require_resumable(self, tx: AsyncConnection, tenant: str, provider: str, caller: Caller) -> None:
        """Raise Conflict where *tenant*'s registrations at *provider* are paused by somebody above *caller*."""
        if not await self._is_resumable(tx, tenant, provider, caller):
            raise Conflict(_PAUSED_ABOVE, code="paused_above")

    async def _is_resumable(self, tx: AsyncConnection, tenant: str, provider: str, caller: Caller) -> bool:
        """Say whether *caller* stands where they were paused from, or above, or nobody knows where that was."""
        paused = await clients.paused(tx, tenant, provider)
        if paused is None or paused.paused_by is None or caller.tenant == tenants.ROOT:
            return True
        return caller.tenant in await tenants.ancestors(tx, paused.paused_by)

    async def switch_tenant(self, tenant: str, actor: str, *, paused: bool) -> None:
        """Pause or resume *tenant* and all below. Raises NotFound."""

        async def unit(tx: Transaction) -> list[Scope]:
            await parking.hold(tx.connection)
            if await tenants.find(tx.connection, tenant) is None:
                raise NotFound
            if await store.pause_tenant(tx.connection, tenant, paused=paused):
                tx.record(Event(actor, "tenant.changed", _word(paused), tenant))
            return [Scope("tenant", tenant)]

        await self._switch(unit, paused)

    async def paused_providers(self) -> dict[str, datetime]:
        """Return since when providers are paused, by id."""
        async with self._database.read() as tx:
            return await store.paused_providers(tx)

    # --- what refreshes find out

    async def judge(self, tx: Transaction, turn: Turn, works: bool | None, *, trips: bool) -> None:
        """Open or close the breaker of *turn*'s provider, by whether that *works* and *trips* it."""
        if works and turn.trying:
            if await store.close_breaker(tx.connection, turn.provider):
                tx.record(Event("scheduler", "provider.breaker_closed", provider=turn.provider))
        elif works is False and (trips or turn.trying):
            news = await store.open_breaker(tx.connection, turn.provider, self._pause, again=turn.trying)
            if news:
                log.critical("a provider fails as a whole", extra={"provider": turn.provider})
                tx.record(Event("scheduler", "provider.breaker_opened", provider=turn.provider))

    async def reject_client(self, client: str, generation: int, event: Event) -> None:
        """Pause *client*, and park all its connections. Of all that fail together, one raises the alarm.

        Where its secrets are not those of *generation* any more, nothing is known against the new ones.
        """

        async def unit(tx: Transaction) -> bool:
            await parking.hold(tx.connection)
            if not await store.reject_client(tx.connection, client, generation):
                return True
            log.critical("a client registration was rejected", extra={"client": client})
            tx.record(event)
            return await parking.park(tx.connection, Scope("client", client))

        await self._insist(unit, Scope("client", client))

    async def accept_client(self, client: str, event: Event) -> None:
        """Take *client* as right again, and set its connections free."""

        async def unit(tx: Transaction) -> bool:
            await parking.hold(tx.connection)
            if not await store.accept_client(tx.connection, client):
                return True
            tx.record(event)
            return await parking.park(tx.connection, Scope("client", client))

        await self._insist(unit, Scope("client", client))

    # --- what takes more than one chunk

    async def finish(self, scope: Scope) -> None:
        """Reckon all that is left of *scope*. Raises StorageUnavailable; then somebody else finishes it."""

        async def unit(tx: Transaction) -> bool:
            await parking.hold(tx.connection)
            if scope.kind == "tenant":
                tx.outdate(GATES)  # whoever read a connection meanwhile may remember it as free
            return await parking.park(tx.connection, scope)

        done = await self._writer.submit(unit, alone=True)
        while not done:
            await asyncio.sleep(BREATH)
            done = await self._writer.submit(unit, alone=True)

    async def finish_all(self) -> None:
        """Reckon what others began and did not finish. Raises StorageUnavailable."""
        async with self._database.read() as tx:
            left = await parking.unsettled(tx)
        for scope in left:
            await self.finish(scope)

    async def _switch(self, change: Unit[list[Scope]], paused: bool) -> None:
        """Carry out *change*, which returns whom it concerns. Returns when that is in force everywhere."""

        async def unit(tx: Transaction) -> list[Scope]:
            concerned = await change(tx)
            tx.outdate(GATES)
            return [scope for scope in concerned if not await parking.park(tx.connection, scope)]

        for scope in await self._writer.submit(unit, alone=True):
            await self.finish(scope)
        if paused:
            await self._memory.elsewhere()

    async def _insist(self, unit: Unit[bool], scope: Scope) -> None:
        try:
            if not await self._writer.insist(unit, vital=False, alone=True):
                await self.finish(scope)
        except StorageUnavailable:
            log.warning("a client's connections wait to be parked", extra={"client": scope.key})

    def _pause(self, trips: int) -> timedelta:
        return breaker.pause(trips, self._jitter)


def _word(paused: bool) -> str:
    return "paused" if paused else "resumed"
