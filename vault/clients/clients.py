"""Registrations at providers: ours, or a tenant's own."""

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.assertions import signer
from integrations.contract import Client, ClientAuthMethod, Provider, Unreadable
from vault.access import Caller
from vault.audit import Event
from vault.clients.registration import is_live, opened
from vault.errors import Invalid, NotFound
from vault.gates import Gates
from vault.keyring import Keyring
from vault.providers import Providers
from vault.sealing import Place, seal_all
from vault.store import clients as store
from vault.store import parking, sealed
from vault.store.clients import SECRETS, Slot, field_of
from vault.store.database import Database
from vault.store.parking import Scope
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer

OF_ONE_PROVIDER = ("config_id", "embedded_signup")  # settings that mean something where `client_settings` has them
SETTINGS = ("token_endpoint_auth_method", "key_id", "algorithm", *OF_ONE_PROVIDER)
_NEEDS = {
    "client_secret_basic": "client_secret",
    "client_secret_post": "client_secret",
    "private_key_jwt": "private_key",
}


@dataclass(frozen=True, kw_only=True)
class Held:
    """What is there of one way to authenticate, since when it was entered, and how it is used."""

    client_secret: bool
    private_key: bool
    since: datetime | None  # None: nobody knows
    settings: dict[str, Any]


@dataclass(frozen=True)
class Registered:
    """A registration as it may be shown: its row, and what it authenticates with."""

    row: AnyRow
    current: Held
    previous: Held | None


class Clients:
    def __init__(
        self, database: Database, writer: Writer, keyring: Keyring, providers: Providers, gates: Gates
    ) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._providers = providers
        self._gates = gates

    async def put(self, tenant: str, provider: str, client: Client, actor: str, *, current: bool = True) -> None:
        """Make *client* the registration that new consents of *tenant* and below use.

        Existing grants keep the client that they belong to. The same client_id with another secret
        keeps the former one live beside it, and with any takes a rejected client out of its pause.
        If it is not to be *current*, one that is known keeps its place: a retired one goes on serving its
        grants. Raises Invalid where it lacks what its settings take, or its key cannot sign; NotFound.
        """
        _check_own(client)

        async def unit(tx: Transaction) -> list[Scope]:
            await parking.hold(tx.connection)
            there = await self._providers.get(provider, tx.connection)
            _check_at(client, there)
            make = _made_current if current else _registered
            row = await make(tx.connection, tenant, provider, client.client_id)
            await self._change(tx, row, client)
            tx.record(Event(actor, "client.changed", tenant=tenant, provider=provider))
            scope = Scope("client", row.id)
            return [] if await parking.park(tx.connection, scope) else [scope]

        for scope in await self._writer.submit(unit, alone=True):
            await self._gates.finish(scope)

    async def get(
        self, tenant: str, provider: str, client_id: str | None = None, *, retired: bool = False
    ) -> Registered:
        """Return *tenant*'s own registration, without its secrets: that of *client_id*, or the current one.

        Where there is no current one, the newest *retired* one, if that will do. Raises NotFound.
        """
        async with self._database.read() as tx:
            row = await (
                store.newest(tx, tenant, provider) if retired else _registered(tx, tenant, provider, client_id)
            )
            if row is None:
                raise NotFound
            fields = await sealed.fields(tx, "client", row.id)
        previous = _held(fields, "previous", row.previous_since, row.previous_settings or "{}")
        current = _held(fields, "current", row.secret_since, row.settings)
        return Registered(row, current, previous if is_live(fields, "previous") else None)

    async def delete(self, tenant: str, provider: str, caller: Caller) -> bool:
        """Remove *tenant*'s registration. Returns whether it is gone, or retired for its grants' sake.

        Raises Conflict where somebody above *caller* has paused it: the next one would not be paused.
        """

        async def unit(tx: Transaction) -> bool:
            row = await store.current(tx.connection, tenant, provider)
            if row is None:
                raise NotFound
            await self._gates.require_resumable(tx.connection, tenant, provider, caller)
            gone = await store.remove(tx.connection, row.id)
            tx.record(Event(caller.actor, "client.deleted", "ok" if gone else "retired", tenant, provider))
            return gone

        return await self._writer.submit(unit, alone=True)

    async def drop_previous(self, tenant: str, provider: str, client_id: str | None, actor: str) -> None:
        """Forget the former secret of *tenant*'s registration. Raises NotFound where none is live."""

        async def unit(tx: Transaction) -> None:
            await parking.hold(tx.connection)
            row = await _registered(tx.connection, tenant, provider, client_id)
            if not is_live(await sealed.fields(tx.connection, "client", row.id), "previous"):
                raise NotFound
            await sealed.drop(tx.connection, "client", row.id, _fields("previous"))
            await store.edit(tx.connection, row.id, {"generation": row.generation + 1, **_NO_PREVIOUS})
            tx.record(Event(actor, "client.changed", "previous_dropped", tenant, provider))

        await self._writer.submit(unit, alone=True)

    async def _change(self, tx: Transaction, row: AnyRow, client: Client) -> None:
        """Have *client* in the place of the secret in *row*, and take it as right until it proves otherwise."""
        accepted = {"state": "active", "rejected_at": None, "retry_not_before": None}
        values = await sealed.load(tx.connection, "client", row.id)
        before = opened(self._keyring, row, values, "current")
        if row.generation and before == client:
            await store.edit(tx.connection, row.id, accepted)
            return
        generation = row.generation + 1
        changed = {"generation": generation, "settings": json.dumps(_settings(client))}
        if row.generation == 0 or before is None or _secrets(before) != _secrets(client):
            changed |= {"secret_since": datetime.now(UTC), "previous_first": False}
            if before is not None and any(_secrets(before).values()):
                changed |= {"previous_settings": row.settings, "previous_since": row.secret_since}
                await self._seal(tx, row, generation, before, "previous")
        await self._seal(tx, row, generation, client, "current")
        await store.edit(tx.connection, row.id, {**accepted, **changed})

    async def _seal(self, tx: Transaction, row: AnyRow, generation: int, client: Client, slot: Slot) -> None:
        """Store the secrets of *client* in *slot*, in the place of what is there."""
        place = Place(row.tenant_id, row.provider, "client", row.id)
        kept = {field_of(name, slot): secret for name, secret in _secrets(client).items()}
        await sealed.drop(tx.connection, "client", row.id, _fields(slot))
        await sealed.put(
            tx.connection, "client", row.id, generation, seal_all(self._keyring, place, generation, kept)
        )


async def _made_current(tx: AsyncConnection, tenant: str, provider: str, client_id: str) -> AnyRow:
    place = {"tenant_id": tenant, "provider": provider, "client_id": client_id}
    return await store.make_current(tx, {"id": secrets.token_hex(16), **place}, datetime.now(UTC))


async def _registered(tx: AsyncConnection, tenant: str, provider: str, client_id: str | None) -> AnyRow:
    """Return the registration of *client_id*, or the current one. Raises NotFound."""
    row = await (
        store.current(tx, tenant, provider)
        if client_id is None
        else store.registered(tx, tenant, provider, client_id)
    )
    if row is None:
        raise NotFound
    return row


def _held(fields: frozenset[str], slot: Slot, since: datetime | None, settings: str) -> Held:
    there = {name: field_of(name, slot) in fields for name in SECRETS}
    return Held(**there, since=since, settings=json.loads(settings))


_NO_PREVIOUS = {"previous_settings": None, "previous_since": None, "previous_first": False}


def _secrets(client: Client) -> dict[str, Any]:
    return {name: getattr(client, name) for name in SECRETS}


def _settings(client: Client) -> dict[str, Any]:
    found = {name: getattr(client, name) for name in SETTINGS}
    return {name: value for name, value in found.items() if value not in {None, False}}


def _fields(slot: Slot) -> list[str]:
    return [field_of(name, slot) for name in SECRETS]


def check(client: Client, provider: Provider) -> None:
    """Raise Invalid where *client* could not authenticate at *provider* as it says."""
    _check_own(client)
    _check_at(client, provider)


def _check_at(client: Client, provider: Provider) -> None:
    _check_default(client, provider.token_endpoint_auth_method)
    _check_settings(client, {one.name for one in provider.client_settings})


def _check_own(client: Client) -> None:
    """Raise Invalid where *client* lacks what its settings take, or cannot sign. Nothing of a key is repeated."""
    method = client.token_endpoint_auth_method
    needed = None if method is None else _NEEDS.get(method)
    if needed is not None:
        _require(client, needed)
    if client.private_key is None:
        if client.key_id or client.algorithm:
            raise Invalid("These settings are for a private_key.", code="credentials_missing", field="private_key")
        return
    try:
        signer(client.private_key, key_id=client.key_id, algorithm=client.algorithm)
    except Unreadable as error:
        problem = error.code
    else:
        return
    # Raised out here, where no other exception is around whose text could hold a piece of the key.
    detail = "Nothing can be signed with this private key."
    raise Invalid(detail, code="invalid_private_key", field="private_key", reason=problem)


def _check_default(client: Client, method: ClientAuthMethod) -> None:
    """Raise Invalid where *client* leaves *method* to its provider and lacks the secret that this takes.

    Who signs finds out that a key is missing before anything is sent; a missing secret is sent as an empty one.
    """
    if client.token_endpoint_auth_method is None and _NEEDS.get(method) == "client_secret":
        _require(client, "client_secret")


def _check_settings(client: Client, known: Collection[str]) -> None:
    """Raise Invalid where *client* has a setting that its provider would not look at."""
    for name in OF_ONE_PROVIDER:
        if getattr(client, name) and name not in known:
            raise Invalid("Clients of this provider have no such setting.", code="unknown_field", field=name)


def _require(client: Client, field: str) -> None:
    if not getattr(client, field):
        raise Invalid(f"This way to authenticate takes a {field}.", code="credentials_missing", field=field)
