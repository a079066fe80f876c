"""Looking at connections, changing what people may change, importing tokens, and disconnecting."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Client, Provider, ProviderError, Secret, TokenSet
from vault.access import Caller, subtree
from vault.audit import Event
from vault.authorize import KIND
from vault.clients import opened
from vault.conditions import UNCONDITIONAL, Condition
from vault.connection import Connection
from vault.editing import Edit, columns, version
from vault.errors import CannotOpen, Conflict, Invalid, NotFound
from vault.grants import Received, store_grant
from vault.inheritance import served_by
from vault.means import Means
from vault.revoke import Revoked, revoke
from vault.sealing import Place, open_one
from vault.store import clients, parking, sealed, settle, tenants, ways
from vault.store import connections as store
from vault.store.changes import Stale, vacancy
from vault.store.parking import Scope
from vault.store.writer import Transaction

Verdict = Literal["valid", "invalid", "unknown"]
Path = tuple[str, str, str]
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Change(Edit):
    """What a person wants of a connection; what is not given stays as it is."""

    tokens: TokenSet | None = None
    expires_at: datetime | None = None
    verify: bool = True


class Connections:
    def __init__(self, means: Means) -> None:
        self._means = means

    async def get(self, path: Path) -> Connection:
        """Return the connection at *path*, without opening anything. Raises NotFound."""
        async with self._means.database.read() as tx:
            found = await store.find(tx, *path)
        if found is None:
            raise NotFound
        return found

    async def source(self, path: Path) -> Path | None:
        """Return which connection serves *path*, its own or an inherited one; None where none does.

        A kill switch does not change that: it only keeps what is there from being handed out.
        """
        async with self._means.database.read() as tx:
            way = [stop.connection for stop in (await ways.find(tx, *path)).stops]
        number = served_by(way)
        serving = None if number is None else way[number]
        return None if serving is None else (serving.tenant, serving.provider, serving.name)

    async def page(
        self,
        caller: Caller,
        *,
        tenant: str | None,
        provider: str | None,
        status: str | None,
        expiring_within: timedelta | None,
        metadata: Mapping[str, str] = NOTHING,
        after: list[str] | None,
        limit: int,
    ) -> list[Connection]:
        """Return up to *limit* connections that *caller* may see, in the order of their paths.

        Those whose *metadata* says all of what is asked for, where anything is.
        """
        filters: dict[str, Any] = {"metadata": metadata}
        if caller.names is not None:
            filters["name"] = sorted(caller.names)
        if status is not None:
            filters["status"] = [status]
        providers = caller.providers
        if provider is not None:
            providers = frozenset({provider}) if providers is None else providers & {provider}
        if providers is not None:
            filters["provider"] = sorted(providers)
        async with self._means.database.read() as tx:
            within = await subtree(tx, caller, tenant)
            if expiring_within is not None:
                filters["expiring_before"] = await store.database_time(tx) + expiring_within
            return await store.page(tx, within, filters, after, limit)

    async def put(
        self,
        actor: str,
        path: Path,
        above: list[str],
        change: Change,
        condition: Condition = UNCONDITIONAL,
        *,
        new_too: bool = True,
    ) -> tuple[Connection, bool]:
        """Store *change*, the connection too where it is new; return it and whether it is.

        Imported tokens are verified first: an access token that the provider refuses is not stored.
        Raises PreconditionFailed where *condition* is not met, NotFound for a new one unless *new_too*.
        """
        verdict: Verdict = "unknown"
        if change.tokens is not None and change.verify:
            verdict = await self._probed(path[1], change.tokens)
            if verdict == "invalid":
                raise Invalid("The provider refuses this access token.", code="credentials_rejected")

        async def unit(tx: Transaction) -> tuple[Connection, bool]:
            provider = await self._means.providers.get(path[1], tx.connection)
            if await tenants.find(tx.connection, path[0]) is None:
                raise NotFound
            connection = await _held(tx, path)
            new = connection is None
            if new and not new_too:
                raise NotFound
            condition.check(None if connection is None else version(connection))
            if connection is None:
                if change.tokens is None:
                    raise Invalid("A new connection needs credentials.", code="credentials_missing")
                connection = await self._added(tx, path)
            await self._apply(tx, connection, provider, above, change, verdict)
            tx.record(Event(actor, "connection.changed", "created" if new else "ok", *path))
            changed = await store.get(tx.connection, connection.id)
            assert changed is not None
            return changed, new

        stored = await self._means.writer.submit(unit, alone=True)
        if change.takes_away:
            await self._means.memory.elsewhere()
        return stored

    async def delete(
        self, actor: str, path: Path, condition: Condition = UNCONDITIONAL, *, revoking: bool
    ) -> Revoked | Literal["not_asked"]:
        """Disconnect: unusable at once, its secrets gone. Says truthfully what the provider made of it."""

        async def unit(tx: Transaction) -> tuple[Provider, Client, Secret] | None:
            connection = await _held(tx, path)
            if connection is None:
                raise NotFound
            condition.check(version(connection))
            # First, so that no other replica can settle a successor behind our back.
            await settle.supersede(tx.connection, connection.id)
            last = await self._last_token(tx.connection, connection) if revoking else None
            await store.bury(tx.connection, connection.id)
            tx.outdate(Stale("connection", connection.id))
            tx.record(Event(actor, "connection.deleted", "ok", *path))
            return last

        last = await self._means.writer.submit(unit, alone=True)
        revoked = await self._revoked(last) if revoking else "not_asked"
        await self._means.memory.elsewhere()
        return revoked

    async def _probed(self, provider_id: str, tokens: TokenSet) -> Verdict:
        """Ask the provider about an access token, in a way that spends nothing."""
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(provider_id, tx)
        request = provider.probe_request(tokens.access_token) if tokens.access_token else None
        if request is None:
            return "unknown"
        try:
            answer = await self._means.outbound.send(request, deadline=self._means.deadline())
        except ProviderError:
            return "unknown"
        if 200 <= answer.status < 300:
            return "valid"
        return "invalid" if answer.status in {401, 403} else "unknown"

    async def _added(self, tx: Transaction, path: Path) -> Connection:
        identity = secrets.token_hex(16)
        row = {
            "id": identity,
            "tenant_id": path[0],
            "provider": path[1],
            "name": path[2],
            "kind": KIND,
            "client": None,
            "created_at": await store.database_time(tx.connection),
        }
        await store.add(tx.connection, row)
        tx.outdate(vacancy(*path))
        made = await store.get(tx.connection, identity)
        assert made is not None
        return made

    async def _apply(
        self,
        tx: Transaction,
        connection: Connection,
        provider: Provider,
        above: list[str],
        change: Change,
        verdict: Verdict,
    ) -> None:
        values = columns(change, connection)
        if values:
            await store.edit(tx.connection, connection.id, values)
            await parking.park(tx.connection, Scope("connection", connection.id))
            tx.outdate(Stale("connection", connection.id))
        if change.tokens is not None:
            client = await clients.nearest(tx.connection, above, connection.provider)
            if client is None and change.tokens.refresh_token is not None:
                raise Conflict("No client is registered that could use this refresh token.", code="no_client")
            received = Received(
                _dated(change, connection.read_at),
                None,
                None if client is None else client.id,
                (),
                0.0,
                False,
                "verified" if verdict == "valid" else "configured",
                None if verdict == "valid" else "probe_unknown" if change.verify else "unverified",
            )
            await store_grant(tx, self._means, connection, provider, received)

    async def _last_token(
        self, tx: AsyncConnection, connection: Connection
    ) -> tuple[Provider, Client, Secret] | None:
        """Return what a revocation needs, None where there is nothing to revoke or it does not open."""
        values = await sealed.load(tx, "connection", connection.id)
        row = None if connection.client is None else await clients.get(tx, connection.client)
        field = "refresh_token" if "refresh_token" in values else "access_token"
        if row is None or field not in values:
            return None
        place = Place(connection.tenant, connection.provider, "connection", connection.id)
        try:
            token = open_one(self._means.keyring, place, field, values[field])
            return (
                await self._means.providers.get(connection.provider, tx),
                await opened(tx, self._means.keyring, row),
                token,
            )
        except CannotOpen:
            return None

    async def _revoked(self, last: tuple[Provider, Client, Secret] | None) -> Revoked:
        if last is None:
            return "failed"
        return await revoke(self._means, *last)


async def _held(tx: Transaction, path: Path) -> Connection | None:
    """Return the connection at *path*, which nobody else changes in this transaction; None where there is none.

    Parking passes by what somebody else is writing.
    """
    await parking.stand_still(tx.connection)
    found = await store.find(tx.connection, *path)
    return None if found is None else await store.hold(tx.connection, found.id)


def _dated(change: Change, now: datetime) -> TokenSet:
    """Return the imported tokens with the rest of their life in seconds, where it is known."""
    assert change.tokens is not None
    tokens = change.tokens
    if not tokens.access_token:
        return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=0)
    if change.expires_at is None:
        return tokens
    rest = max(int((change.expires_at - now).total_seconds()), 0)
    return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=rest)
