"""Making and withdrawing API keys."""

from datetime import UTC, datetime
from typing import Any

from integrations.contract import Secret
from vault.access import SCOPES, Access, Caller, exceeds, key_digest, new_key
from vault.audit import Event
from vault.errors import InsufficientScope, Invalid, NotFound
from vault.keyring import Keyring
from vault.memory import Memory
from vault.store import callers as store
from vault.store import tenants
from vault.store.changes import Stale
from vault.store.database import Database
from vault.store.writer import Transaction, Writer

# Who runs commands on the machine itself has every right that there is.
OPERATOR = Caller(
    id="operator",
    name="operator",
    tenant=tenants.ROOT,
    scopes=frozenset({"admin"}),
    providers=None,
    names=None,
    expires_at=None,
    actor="operator",
)


class Callers:
    def __init__(
        self, database: Database, writer: Writer, keyring: Keyring, access: Access, memory: Memory
    ) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._access = access
        self._memory = memory

    async def create(self, maker: Caller, wanted: dict[str, Any]) -> tuple[Caller, Secret]:
        """Make a caller and its key, which is shown now and never again.

        *wanted* has name, scopes, tenant, providers, names, expires_at. Nobody gives away more than
        they have: raises InsufficientScope; NotFound for a tenant out of sight; Invalid otherwise.
        """
        unknown = sorted(set(wanted["scopes"]) - set(SCOPES))
        if unknown or not wanted["scopes"]:
            raise Invalid("Each scope must be one of: " + ", ".join(SCOPES) + ".", code="invalid_scope")
        if wanted["expires_at"] is not None and wanted["expires_at"] <= datetime.now(UTC):
            raise Invalid("expires_at must lie ahead.", code="invalid_expiry")
        tenant = wanted.pop("tenant") or maker.tenant
        above = await self._access.require_reach(maker, tenant)
        beyond = exceeds(maker, above=above, wanted=wanted)
        if beyond:
            await self._access.denied(maker, "more_than_own", tenant)
            raise InsufficientScope("A key cannot be given more than its maker has.", field=beyond)
        return await self._store(maker, tenant, wanted)

    async def renew(self, name: str, wanted: dict[str, Any]) -> tuple[Caller, Secret]:
        """Make *name* anew, in place of every caller called that. For the quickstart."""

        async def unit(tx: Transaction) -> None:
            for caller in await store.remove_named(tx.connection, name):
                tx.outdate(Stale("caller", caller))

        await self._writer.submit(unit)
        return await self.create(OPERATOR, {"name": name, **wanted})

    async def page(self, caller: Caller, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Return up to *limit* callers that *caller* may see."""
        async with self._database.read() as tx:
            return await store.page(tx, caller.tenant, after, limit)

    async def get(self, caller: Caller, caller_id: str) -> dict[str, Any]:
        """Return one caller. Raises NotFound."""
        async with self._database.read() as tx:
            row = await store.find(tx, caller_id)
            above = await tenants.ancestors(tx, row["tenant_id"]) if row else []
        if row is None:
            raise NotFound
        if caller.tenant not in above or not caller.covers(row):
            await self._access.denied(caller, "out_of_reach", row["tenant_id"])
            raise NotFound
        return row

    async def delete(self, caller: Caller, caller_id: str) -> None:
        """Withdraw a key, everywhere. Raises NotFound."""
        row = await self.get(caller, caller_id)

        async def unit(tx: Transaction) -> None:
            await store.remove(tx.connection, caller_id)
            tx.outdate(Stale("caller", caller_id))
            tx.record(Event(caller.actor, "caller.deleted", tenant=row["tenant_id"], detail={"caller": caller_id}))

        await self._writer.submit(unit)
        await self._memory.elsewhere()

    async def _store(self, maker: Caller, tenant: str, wanted: dict[str, Any]) -> tuple[Caller, Secret]:
        caller_id, key = new_key()
        row = {
            "id": caller_id,
            "tenant_id": tenant,
            "key_digest": key_digest(self._keyring, key),
            "created_at": datetime.now(UTC),
            **wanted,
        }

        async def unit(tx: Transaction) -> None:
            await store.add(tx.connection, row)
            detail = {"caller": caller_id, "name": wanted["name"], "scopes": list(wanted["scopes"])}
            tx.record(Event(maker.actor, "caller.created", tenant=tenant, detail=detail))

        await self._writer.submit(unit, alone=True)
        return Caller.of(row), key
