"""Deleting a tenant with all that hangs on it, a handful at a time.

First its kill switch is thrown and its keys are withdrawn: from then on nothing of it is served or
refreshed anywhere. Then connections go, a few in a transaction, and after each of those their grants
at the providers. The tenants themselves go last, from the leaves up, the one that was named at the very
end. So whoever is interrupted finds it again, and goes on with what is left.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import IntegrityError

from vault.access import Caller
from vault.audit import Event
from vault.clock import uptime
from vault.conditions import UNCONDITIONAL, Condition
from vault.connection import Path
from vault.disconnect import Ended, Last, Outcome, Revoking, bury, end, path
from vault.errors import Conflict
from vault.gates import Gates
from vault.means import Means
from vault.memory import TENANTS
from vault.store import offboarding as store
from vault.store import tenants
from vault.store.changes import Stale
from vault.store.offboarding import Felled, Key
from vault.store.revocations import give_up
from vault.store.writer import Transaction
from vault.tenants import version

ABREAST = 8  # connections a transaction, and then calls to providers at once
# Seconds after which nothing more is begun: with the calls under way, less than a process that ends waits for it.
BUDGET = 12.0
MOST_NAMED = 1000  # connections in a report; all are in the audit


@dataclass
class Report:
    """What one call has deleted, what came of the grants, and which of them may live on.

    *complete* says that nothing is left; else calling again goes on.
    """

    tenants: int = 0
    connections: int = 0
    clients: int = 0
    callers: int = 0
    revocations: Counter[Ended] = field(default_factory=Counter)
    unrevoked: list[tuple[Path, Ended]] = field(default_factory=list)
    complete: bool = False

    def ended(self, lasts: Sequence[Last], outcomes: Sequence[Outcome]) -> None:
        """Take in what came of the grants of connections that were deleted."""
        self.connections += len(lasts)
        for last, outcome in zip(lasts, outcomes, strict=True):
            self._came_of(path(last.connection), outcome, lives_on=last.held and outcome != "revoked")

    def given_up(self, paths: Sequence[Path]) -> None:
        """Take in the connections of an earlier call that died over their revocations."""
        for each in paths:
            self._came_of(each, "unknown", lives_on=True)

    def _came_of(self, path: Path, outcome: Ended, *, lives_on: bool) -> None:
        self.revocations[outcome] += 1
        if lives_on and len(self.unrevoked) < MOST_NAMED:
            self.unrevoked.append((path, outcome))

    def felled(self, gone: Felled) -> None:
        self.tenants += len(gone.tenants)
        self.clients += len(gone.clients)
        self.callers += len(gone.callers)


class Offboarding:
    def __init__(self, means: Means, gates: Gates) -> None:
        self._means = means
        self._gates = gates

    async def offboard(
        self, caller: Caller, tenant: str, condition: Condition = UNCONDITIONAL, *, revoking: Revoking
    ) -> Report:
        """Delete *tenant* and all below, and end its grants as far as is wanted, for a while.

        Raises Conflict where its registrations are needed elsewhere, or paused by somebody above *caller*, who
        could otherwise make them anew without the pause; NotFound; PreconditionFailed where
        *condition* is not met; StorageUnavailable.
        """
        if tenant == tenants.ROOT:
            raise Conflict("The root of the tenants stays.", code="tenant_is_root")
        async with self._means.database.read() as tx:
            before = await tenants.find(tx, tenant)
            condition.check(None if before is None else version(before))
            if await store.is_leaned_on(tx, tenant):
                raise _leaned_on()
            for owner, provider in await store.paused_clients(tx, tenant):
                await self._gates.require_resumable(tx, owner, provider, caller)
        actor = caller.actor
        await self._gates.switch_tenant(tenant, actor, paused=True)  # NotFound before anything is deleted
        began, report = uptime(), Report()
        while withdrawn := await self._withdraw(actor, tenant):
            report.callers += withdrawn
        while not report.complete and uptime() - began < BUDGET:
            lasts = await self._bury(actor, tenant, revoking)
            report.ended(lasts, await self._end(actor, tenant, lasts, revoking))
            if not lasts:
                report.given_up(await self._give_up(actor, tenant))
                gone, report.complete = await self._fell(actor, tenant)
                report.felled(gone)
        await self._means.memory.elsewhere()
        return report

    async def _withdraw(self, actor: str, tenant: str) -> int:
        async def unit(tx: Transaction) -> int:
            keys = await store.withdraw(tx.connection, tenant)
            _note_withdrawn(tx, actor, keys)
            return len(keys)

        return await self._means.writer.submit(unit, alone=True)

    async def _bury(self, actor: str, tenant: str, revoking: Revoking) -> list[Last]:
        async def unit(tx: Transaction) -> list[Last]:
            await tenants.hold_tree(tx.connection)  # nobody adds one meanwhile, or buries the same
            found = await store.some(tx.connection, tenant, ABREAST)
            return [await bury(tx, self._means, actor, one, revoking) for one in found]

        return await self._means.writer.submit(unit, alone=True)

    async def _end(self, actor: str, tenant: str, lasts: Sequence[Last], revoking: Revoking) -> list[Outcome]:
        ending = (end(self._means, actor, last, revoking, doomed=tenant) for last in lasts)
        return await asyncio.gather(*ending)

    async def _give_up(self, actor: str, tenant: str) -> list[Path]:
        async def unit(tx: Transaction) -> list[Path]:
            return await give_up(tx, actor, store.within(tenant))

        return await self._means.writer.submit(unit)

    async def _fell(self, actor: str, tenant: str) -> tuple[Felled, bool]:
        """Delete some of the tenants; return what went, and whether nothing is left, whoever took it."""

        async def unit(tx: Transaction) -> tuple[Felled, bool]:
            await tenants.hold_tree(tx.connection)
            gone = await store.fell(tx.connection, tenant)
            _note_withdrawn(tx, actor, gone.callers)
            for owner, provider in gone.clients:
                tx.record(Event(actor, "client.deleted", "ok", owner, provider))
            for each in gone.tenants:
                tx.record(Event(actor, "tenant.deleted", tenant=each))
            tx.outdate(TENANTS)
            return gone, await tenants.find(tx.connection, tenant) is None

        try:
            return await self._means.writer.submit(unit, alone=True)
        except IntegrityError:
            raise _leaned_on() from None


def _note_withdrawn(tx: Transaction, actor: str, keys: Sequence[Key]) -> None:
    for caller, tenant in keys:
        tx.outdate(Stale("caller", caller))
        tx.record(Event(actor, "caller.deleted", tenant=tenant, detail={"caller": caller}))


def _leaned_on() -> Conflict:
    return Conflict("Connections elsewhere were got with its registrations.", code="client_in_use")
