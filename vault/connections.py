"""Looking at connections, changing what people may change, importing tokens, and disconnecting."""

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Provider, Secret, TokenSet
from vault.access import Caller, subtree
from vault.audit import Event
from vault.connection import Connection
from vault.entering import Entered, Tried, checked, imported, tried
from vault.errors import CannotOpen, Invalid, NotFound
from vault.grants import Received, store_grant
from vault.means import Means
from vault.providers import kind_of
from vault.registration import Registration, registration
from vault.revoke import Revoked, revoke
from vault.sealing import Place, open_one
from vault.store import clients, parking, sealed, settle, tenants
from vault.store import connections as store
from vault.store.changes import Stale
from vault.store.parking import Scope
from vault.store.writer import Transaction

Path = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a person wants of a connection; None leaves a field as it is."""

    kind: str | None = None
    credentials: dict[str, str] | None = None  # the fields of the kind, or tokens from elsewhere
    metadata: dict[str, Any] | None = None
    enabled: bool | None = None
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

    async def page(
        self,
        caller: Caller,
        *,
        tenant: str | None,
        provider: str | None,
        status: str | None,
        expiring_within: timedelta | None,
        after: list[str] | None,
        limit: int,
    ) -> list[Connection]:
        """Return up to *limit* connections that *caller* may see, in the order of their paths."""
        filters: dict[str, Any] = {}
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

    async def put(self, actor: str, path: Path, above: list[str], change: Change) -> tuple[Connection, bool]:
        """Store *change*, the connection too where it is new; return it and whether it is.

        Credentials are tried first: what the provider refuses is not stored.
        """
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(path[1], tx)
            known = await store.find(tx, *path)
        entered = _entered(provider, known, change)
        found = None
        if entered is not None:
            found = await tried(self._means, provider, entered, above, verify=change.verify)

        async def unit(tx: Transaction) -> tuple[Connection, bool]:
            if await tenants.find(tx.connection, path[0]) is None:
                raise NotFound
            connection = await store.find(tx.connection, *path)
            new = connection is None
            if connection is None:
                if entered is None:
                    raise Invalid("A new connection needs credentials.", code="credentials_missing")
                connection = await self._added(tx.connection, path, entered.kind.id)
            await self._edit(tx, connection, change)
            if entered is not None and found is not None:
                received = _received(entered, found, connection.read_at, verified=change.verify)
                await store_grant(tx, self._means, connection, provider, received)
            tx.record(Event(actor, "connection.changed", "created" if new else "ok", *path))
            changed = await store.get(tx.connection, connection.id)
            assert changed is not None
            return changed, new

        stored = await self._means.writer.submit(unit, alone=True)
        if change.enabled is False:
            await self._means.memory.elsewhere()
        return stored

    async def delete(self, actor: str, path: Path, *, revoking: bool) -> Revoked | Literal["not_asked"]:
        """Disconnect: unusable at once, its secrets gone. Says truthfully what the provider made of it."""

        async def unit(tx: Transaction) -> tuple[Provider, Registration, Secret] | None:
            connection = await store.find(tx.connection, *path)
            if connection is None:
                raise NotFound
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

    async def _added(self, tx: AsyncConnection, path: Path, kind: str) -> Connection:
        identity = secrets.token_hex(16)
        row = {
            "id": identity,
            "tenant_id": path[0],
            "provider": path[1],
            "name": path[2],
            "kind": kind,
            "client": None,
            "created_at": await store.database_time(tx),
        }
        await store.add(tx, row)
        made = await store.get(tx, identity)
        assert made is not None
        return made

    async def _edit(self, tx: Transaction, connection: Connection, change: Change) -> None:
        values: dict[str, Any] = {}
        if change.metadata is not None:
            values["metadata"] = json.dumps(change.metadata)
        if change.enabled is not None:
            values["enabled"] = change.enabled
        if not values:
            return
        await parking.stand_still(tx.connection)
        await store.hold(tx.connection, connection.id)  # parking passes by what somebody else is writing
        await store.edit(tx.connection, connection.id, values)
        await parking.park(tx.connection, Scope("connection", connection.id))
        tx.outdate(Stale("connection", connection.id))

    async def _last_token(
        self, tx: AsyncConnection, connection: Connection
    ) -> tuple[Provider, Registration, Secret] | None:
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
                registration(self._means.keyring, row, await sealed.load(tx, "client", row.id)),
                token,
            )
        except CannotOpen:
            return None

    async def _revoked(self, last: tuple[Provider, Registration, Secret] | None) -> Revoked:
        if last is None:
            return "failed"
        return await revoke(self._means, *last)


def _entered(provider: Provider, known: Connection | None, change: Change) -> Entered | None:
    """Return what *change* brings for a connection, None where that is no credentials. Raises Invalid."""
    kind = kind_of(provider, change.kind or (known.kind if known else None))
    given = change.credentials
    if kind.how == "consent":
        return None if given is None else imported(kind, given)
    if given is None and change.kind is not None and not any(field.required for field in kind.fields):
        given = {}  # it takes nothing but to be wanted
    return None if given is None else Entered(kind=kind, fields=checked(kind, given))


def _received(entered: Entered, found: Tried, now: datetime, *, verified: bool) -> Received:
    """Return what is to be stored of credentials after the try, *verified* if that was wanted."""
    valid = found.verdict in {"valid", "limited"}
    return Received(
        tokens=_dated(entered, found.tokens, now),
        account=found.account,
        client=None if found.client is None else found.client.id,
        scopes=(),
        age=0.0,
        consented=False,
        kind=entered.kind.id,
        renewal=entered.kind.renewal,
        credentials=entered.fields,
        status="verified" if valid else "configured",
        reason=None if valid else "probe_unknown" if verified else "unverified",
    )


def _dated(entered: Entered, tokens: TokenSet, now: datetime) -> TokenSet:
    """Return tokens from elsewhere with the rest of their life in seconds, where it is known."""
    if not tokens.access_token:
        return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=0)
    if entered.expires_at is None:
        return tokens
    rest = max(int((entered.expires_at - now).total_seconds()), 0)
    return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=rest)
