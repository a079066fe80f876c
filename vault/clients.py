"""Registrations at providers: ours, or a tenant's own."""

import secrets
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Client
from vault.audit import Event
from vault.errors import CannotOpen, Conflict, NotFound
from vault.gates import Gates
from vault.keyring import Keyring
from vault.providers import Providers
from vault.sealing import Place, open_one, seal_all
from vault.store import clients as store
from vault.store import parking, sealed
from vault.store.database import Database
from vault.store.parking import Scope
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer


class Clients:
    def __init__(
        self, database: Database, writer: Writer, keyring: Keyring, providers: Providers, gates: Gates
    ) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._providers = providers
        self._gates = gates

    async def put(self, tenant: str, provider: str, client: Client, actor: str) -> None:
        """Make *client* the registration that new consents of *tenant* and below use.

        Existing grants keep the client that they belong to. The same client_id with another secret
        takes a rejected client out of its pause.
        """

        async def unit(tx: Transaction) -> list[Scope]:
            await parking.hold(tx.connection)
            await self._providers.get(provider, tx.connection)
            row = {
                "id": secrets.token_hex(16),
                "tenant_id": tenant,
                "provider": provider,
                "client_id": client.client_id,
            }
            client_row, generation = await store.put(tx.connection, row, datetime.now(UTC))
            await sealed.forget(tx.connection, "client", client_row)
            if client.client_secret is not None:
                place = Place(tenant, provider, "client", client_row)
                values = seal_all(self._keyring, place, generation, {"client_secret": client.client_secret})
                await sealed.put(tx.connection, "client", client_row, generation, values)
            tx.record(Event(actor, "client.changed", tenant=tenant, provider=provider))
            scope = Scope("client", client_row)
            return [] if await parking.park(tx.connection, scope) else [scope]

        for scope in await self._writer.submit(unit, alone=True):
            await self._gates.finish(scope)

    async def get(self, tenant: str, provider: str, *, retired: bool = False) -> AnyRow:
        """Return the row of *tenant*'s own registration, without its secret. Raises NotFound.

        Where there is no current one, the newest *retired* one, if that will do.
        """
        find = store.newest if retired else store.current
        async with self._database.read() as tx:
            row = await find(tx, tenant, provider)
        if row is None:
            raise NotFound
        return row

    async def delete(self, tenant: str, provider: str, actor: str) -> bool:
        """Remove *tenant*'s registration. Returns whether it is gone, or retired for its grants' sake."""

        async def unit(tx: Transaction) -> bool:
            row = await store.current(tx.connection, tenant, provider)
            if row is None:
                raise NotFound
            gone = await store.remove(tx.connection, row.id)
            tx.record(Event(actor, "client.deleted", "ok" if gone else "retired", tenant, provider))
            return gone

        return await self._writer.submit(unit, alone=True)


async def opened(tx: AsyncConnection, keyring: Keyring, row: AnyRow) -> Client:
    """Return the client of *row* with its secret opened. Raises CannotOpen."""
    values = await sealed.load(tx, "client", row.id)
    if "client_secret" not in values:
        return Client(row.client_id)
    place = Place(row.tenant_id, row.provider, "client", row.id)
    return Client(row.client_id, open_one(keyring, place, "client_secret", values["client_secret"]))


async def usable(tx: AsyncConnection, keyring: Keyring, row: AnyRow) -> Client:
    """Return the client of *row* for somebody who waits. Raises Conflict where its secret does not open."""
    try:
        return await opened(tx, keyring, row)
    except CannotOpen:
        raise Conflict("The client's secret does not open.", code="operator_required") from None
