"""The tree of tenants: whom connections belong to."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.access import Caller
from vault.audit import Event
from vault.conditions import UNCONDITIONAL, Condition, version_of
from vault.errors import Conflict, Invalid, NotFound
from vault.gates import Gates
from vault.memory import GATES, TENANTS, Memory
from vault.store import parking
from vault.store import tenants as store
from vault.store.database import Database
from vault.store.offboarding import within
from vault.store.parking import Scope
from vault.store.revocations import give_up
from vault.store.writer import Transaction, Writer

ROOT = store.ROOT


class Tenants:
    def __init__(self, database: Database, writer: Writer, memory: Memory, gates: Gates) -> None:
        self._database = database
        self._writer = writer
        self._memory = memory
        self._gates = gates

    async def put(
        self,
        caller: Caller,
        tenant: str,
        *,
        parent: str,
        name: str,
        return_urls: list[str],
        inherit: bool = True,
        condition: Condition = UNCONDITIONAL,
    ) -> bool:
        """Store *tenant*. Returns whether it is new.

        Raises NotFound for a place that *caller* does not reach, Conflict for a cycle or a root
        with a parent, Invalid for a return address that no browser could be sent to,
        PreconditionFailed where *condition* is not met.
        """
        columns = {"parent_id": parent, "name": name, "return_urls": return_urls, "inherit": inherit}
        return await self._store(caller, tenant, columns, condition)

    async def patch(
        self, caller: Caller, tenant: str, changes: dict[str, Any], condition: Condition = UNCONDITIONAL
    ) -> None:
        """Store what *changes* of the columns of *tenant*. Raises like `put`, NotFound where it is missing."""
        await self._store(caller, tenant, changes, condition, new_too=False)

    async def _store(
        self,
        caller: Caller,
        tenant: str,
        changes: dict[str, Any],
        condition: Condition,
        *,
        new_too: bool = True,
    ) -> bool:
        for url in changes.get("return_urls", ()):
            check_return_url(url)
        scope = Scope("tenant", tenant)

        async def unit(tx: Transaction) -> tuple[bool, bool]:
            await store.hold_tree(tx.connection)
            before = await store.find(tx.connection, tenant)
            if before is None and not new_too:
                raise NotFound
            columns = {**_edited(before), **changes} if before else changes
            parent = columns["parent_id"] or store.ROOT
            await self._check_place(tx.connection, caller, tenant, parent)
            condition.check(None if before is None else version(before))
            tx.record(Event(caller.actor, "tenant.changed", tenant=tenant, detail={"parent": parent}))
            tx.outdate(TENANTS)
            above = None if tenant == store.ROOT else parent
            new = await store.put(tx.connection, tenant, {**columns, "parent_id": above}, datetime.now(UTC))
            if before is None or before["parent_id"] == above:
                return new, True
            tx.outdate(GATES)  # it may have moved from or to where a kill switch is on
            return new, await parking.park(tx.connection, scope)

        new, settled = await self._writer.submit(unit, alone=True)
        if not settled:
            await self._gates.finish(scope)
        if not new:
            await self._memory.elsewhere()  # it may have moved out of somebody's reach
        return new

    async def get(self, tenant: str) -> dict[str, Any]:
        """Return the columns of *tenant*. Raises NotFound."""
        async with self._database.read() as tx:
            found = await store.find(tx, tenant)
        if found is None:
            raise NotFound
        return found

    async def page(
        self, caller: Caller, parent: str | None, after: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Return up to *limit* tenants that *caller* reaches, of *parent*'s own children if given."""
        async with self._database.read() as tx:
            return await store.page(tx, caller.tenant, parent, after, limit)

    async def delete(self, caller: Caller, tenant: str, condition: Condition = UNCONDITIONAL) -> None:
        """Delete a tenant on which nothing hangs. Raises Conflict."""
        if tenant == store.ROOT:
            raise Conflict("The root of the tenants stays.", code="tenant_is_root")

        async def unit(tx: Transaction) -> None:
            await store.hold_tree(tx.connection)
            before = await store.find(tx.connection, tenant)
            condition.check(None if before is None else version(before))
            await give_up(tx, caller.actor, within(tenant))
            await store.remove(tx.connection, tenant)
            tx.record(Event(caller.actor, "tenant.deleted", tenant=tenant))
            tx.outdate(TENANTS)

        try:
            await self._writer.submit(unit, alone=True)
        except IntegrityError:
            raise Conflict(
                "Tenants, connections, clients or callers still belong to it.", code="tenant_not_empty"
            ) from None

    async def _check_place(self, tx: AsyncConnection, caller: Caller, tenant: str, parent: str) -> None:
        if tenant == store.ROOT:
            if caller.tenant != store.ROOT:
                raise NotFound
            if parent != store.ROOT:
                raise Conflict("The root of the tenants has no parent.", code="tenant_is_root")
            return
        above_parent = await store.ancestors(tx, parent)
        if caller.tenant not in above_parent:
            raise NotFound("There is no such parent.")
        if tenant in above_parent:
            raise Conflict("A tenant cannot stand under itself.", code="tenant_cycle")
        above = await store.ancestors(tx, tenant)
        if above and caller.tenant not in above:
            raise NotFound


def version(row: dict[str, Any]) -> str:
    """Return what stands for all that people edit of the tenant in *row*; no pause is among it."""
    return version_of({"id": row["id"], "made": row["created_at"].isoformat(), **_edited(row)})


def _edited(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("parent_id", "name", "return_urls", "inherit")}


def check_return_url(url: str) -> None:
    """Raise Invalid where no browser could be sent to *url*."""
    try:
        parts = urlsplit(url)
        loopback = parts.hostname in {"127.0.0.1", "::1", "localhost"}
        usable = bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and loopback))
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or not url.isascii()
        or "#" in url
        or "@" in parts.netloc
        or any(c <= " " or c == "\\" for c in url)
    ):
        raise Invalid(
            "A return address must be https, or http on loopback, without a fragment.", code="invalid_url"
        )
