"""Exporting: all that is stored as records, in the clear, for somebody to seal.

An export is a copy, and a refresh token that is replaced at each use must not live in two vaults: the
second use of it ends the grant. Nor must a key that is rotated on a schedule. So nothing is exported while
this vault may still renew it, unless the copy is to be a *live* one, which is out of date with the next
refresh.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vault.audit import Event
from vault.callers import OPERATOR
from vault.connection import Connection
from vault.errors import CannotOpen, Conflict
from vault.grants import renews
from vault.listing import everything
from vault.moving.departures import client_record, connection_record, empty_record, provider_record, tenant_records
from vault.moving.records import AnyRecord, ClientRecord, ConnectionRecord
from vault.providers import kind_of
from vault.services import Vault
from vault.store import clients, connections, providers, sealed, tenants
from vault.store.writer import Transaction
from vault.works.rotating import ROTATE, every

PAGE = 200
LEFT_OUT = frozenset({"undecryptable", "no_provider"})
POLL = 0.2  # seconds between two looks at a refresh that is under way
Begin = Callable[[int], Callable[[int], None]]


@dataclass
class Report:
    """How much is in the export; and of what there is something to say, its path and a code.

    What is `undecryptable` is not in it, nor what has `no_provider` here; of what is `empty` only what people
    edited of it. The others are:
    `former_client` was got with a registration that new consents do not use, so that an import refuses
    it; of what is `uncertain` nobody knows whether its refresh token is spent, or its rotation is unfinished.
    """

    exported: dict[str, int] = field(default_factory=dict)
    remarks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not any(code in LEFT_OUT for _, code in self.remarks)

    def facts(self) -> dict[str, Any]:
        remarks = [{"path": path, "code": code} for path, code in self.remarks]
        return {"complete": self.complete, "exported": self.exported, "remarks": remarks}

    def __str__(self) -> str:
        counts = ", ".join(f"{what}s {count}" for what, count in self.exported.items()) or "nothing"
        return "\n".join([*(f"{path}: {code}" for path, code in self.remarks), f"Exported: {counts}."])


class Exporting:
    def __init__(self, vault: Vault, *, live: bool) -> None:
        self._vault = vault
        self._live = live
        self.report = Report()

    async def records(self, begin: Begin) -> AsyncIterator[AnyRecord]:
        """Give all records in an order in which they can be imported. The audit has each secret's before.

        Raises Conflict where a refresh token may be used and replaced here meanwhile.
        """
        found = [one async for one in self._at_rest()]
        advance = begin(len(found))
        async for around in self._around():
            yield self._counted(around)
        for start in range(0, len(found), PAGE):
            part = found[start : start + PAGE]
            records = [record for one in part if (record := await self._record(one)) is not None]
            await self._write_down(records)
            for record in records:
                yield self._counted(record)
            advance(len(part))

    async def _around(self) -> AsyncIterator[AnyRecord]:
        """Give what connections rely on."""
        async with self._vault.database.read() as tx:
            definitions = await providers.all_definitions(tx)
            registered = [(row, await sealed.load(tx, "client", row.id)) for row in await clients.all_current(tx)]
            tree = await tenants.everyone(tx)
        for provider, text in definitions.items():
            yield provider_record(provider, text)
        for tenant in tenant_records(tree):
            yield tenant
        known = list[ClientRecord]()
        for row, values in registered:
            try:
                known.append(client_record(self._vault.keyring, row, values))
            except CannotOpen:
                self._remark(f"{row.tenant_id}/{row.provider}", "undecryptable")
        await self._write_down(known)
        for client in known:
            yield client

    async def _at_rest(self) -> AsyncIterator[Connection]:
        """Give all connections at known providers. Raises Conflict at the first one that is not at rest."""
        async with self._vault.database.read() as tx:
            known = {provider.id for provider in await self._vault.providers.all(tx)}
        async for connection in everything(self._vault, tenant=None, status=None):
            if connection.provider not in known:  # as the sandbox is to a command that runs without its setting
                self._remark(connection.path, "no_provider")
                continue
            await self._require_rest(connection)
            yield connection

    async def _require_rest(self, connection: Connection) -> None:
        """Raise Conflict where what *connection* holds may be used up, or replaced, here."""
        if self._live or not connection.enabled or connection.paused is not None:
            return
        async with self._vault.database.read() as tx:
            provider = await self._vault.providers.get(connection.provider, tx)
        refreshed = renews(connection) and provider.rotation != "never"
        if refreshed or every(connection.settings) is not None:
            detail = f"{connection.path} goes on being renewed here: pause its tenant, or `platform` for all."
            raise Conflict(detail, code="not_paused")

    async def _record(self, connection: Connection) -> ConnectionRecord | None:
        """Return what is stored of *connection* once no refresh of it is under way, None where that is nothing."""
        while True:
            async with self._vault.database.read() as tx:
                found = await connections.get(tx, connection.id)
                values = await sealed.load(tx, "connection", connection.id)
                again = await connections.get(tx, connection.id)
            if found is None or again is None:
                return None
            await self._require_rest(again)
            if not _under_way(again) and found.state.generation == again.state.generation:
                return await self._opened(again, values)
            await asyncio.sleep(POLL)

    async def _opened(self, found: Connection, values: Any) -> ConnectionRecord | None:
        if not found.state.holds_tokens:
            self._remark(found.path, "empty")
            return empty_record(found)
        async with self._vault.database.read() as tx:
            kind = kind_of(await self._vault.providers.get(found.provider, tx), found.kind)
            above = await tenants.ancestors(tx, found.tenant)
            nearest = await clients.nearest(tx, above, found.provider)
        if found.client is not None and (nearest is None or nearest.client_id != found.client_id):
            self._remark(found.path, "former_client")
        unfinished = "pending" in values and ROTATE in kind.abilities  # the other half of a rotation stays here
        if unfinished or found.state.uncertain or found.state.inflight_generation == found.state.generation:
            self._remark(found.path, "uncertain")
        try:
            return connection_record(self._vault.keyring, kind, found, values)
        except CannotOpen:
            self._remark(found.path, "undecryptable")
            return None

    def _remark(self, path: str, code: str) -> None:
        self.report.remarks.append((path, code))

    def _counted(self, record: AnyRecord) -> AnyRecord:
        what = str(record.__struct_config__.tag)
        self.report.exported[what] = self.report.exported.get(what, 0) + 1
        return record

    async def _write_down(self, records: Sequence[ClientRecord | ConnectionRecord]) -> None:
        """Have it in the audit that the secrets of *records* are about to leave."""

        async def unit(tx: Transaction) -> None:
            for record in records:
                tx.record(_event(record))

        await self._vault.writer.submit(unit)


def _under_way(connection: Connection) -> bool:
    lease = connection.state.lease_expires_at
    return lease is not None and lease > connection.read_at


def _event(record: ClientRecord | ConnectionRecord) -> Event:
    if isinstance(record, ClientRecord):
        return Event(OPERATOR.actor, "client.exported", tenant=record.tenant, provider=record.provider)
    return Event(OPERATOR.actor, "connection.exported", "ok", record.tenant, record.provider, record.name)
