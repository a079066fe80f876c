"""A registration as somebody read it, with the secret opened that it is used with first."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Client
from vault.errors import CannotOpen
from vault.keyring import Keyring, Sealed
from vault.sealing import Place, open_one
from vault.store import clients, sealed
from vault.store.clients import SECRETS, Slot, field_of
from vault.store.schema import AnyRow

Stored = Mapping[str, tuple[Sealed, int]]


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Which row it is, and which *generation* of its secrets.

    *likeliest* is the client with the secret that worked last, None where that does not open.
    """

    id: str
    tenant: str
    provider: str
    client_id: str
    generation: int
    likeliest: Client | None


def registration(keyring: Keyring, row: AnyRow, values: Stored) -> Registration:
    """Return the registration of a row of `clients` with its sealed *values* by field."""
    slot: Slot = "previous" if row.previous_first else "current"
    return Registration(
        id=row.id,
        tenant=row.tenant_id,
        provider=row.provider,
        client_id=row.client_id,
        generation=row.generation,
        likeliest=opened(keyring, row, values, slot),
    )


async def registered(tx: AsyncConnection, keyring: Keyring, client: str | None) -> Registration | None:
    """Return the registration of a row of `clients`, None where there is none of that id."""
    row = None if client is None else await clients.get(tx, client)
    return None if row is None else registration(keyring, row, await sealed.load(tx, "client", row.id))


def of_grant(keyring: Keyring, row: AnyRow) -> Registration | None:
    """Return the registration in a row of `connections.grants`, None where none takes part."""
    if row.client is None:
        return None
    slot: Slot = "previous" if row.client_previous_first else "current"
    place = Place(row.client_tenant, row.provider, "client", row.client)
    read = {field_of(name, slot): sealed.read(row, "client", name) for name in SECRETS}
    values = {field: value for field, value in read.items() if value is not None}
    return Registration(
        id=row.client,
        tenant=row.client_tenant,
        provider=row.provider,
        client_id=row.client_id,
        generation=row.client_generation,
        likeliest=_with(keyring, place, row.client_id, row.client_settings, values, slot),
    )


def opened(keyring: Keyring, row: AnyRow, values: Stored, slot: Slot) -> Client | None:
    """Return the client of a row of `clients` with the secret in *slot*; None where none is there, or opens."""
    if slot == "previous" and not is_live(values, slot):
        return None
    settings = row.settings if slot == "current" else row.previous_settings or "{}"
    place = Place(row.tenant_id, row.provider, "client", row.id)
    return _with(keyring, place, row.client_id, settings, values, slot)


def is_live(fields: Mapping[str, object] | frozenset[str], slot: Slot) -> bool:
    """Say whether *slot* holds a secret. Without one, the current client is a public one."""
    return any(field_of(name, slot) in fields for name in SECRETS)


def _with(
    keyring: Keyring, place: Place, client_id: str, settings: str, values: Stored, slot: Slot
) -> Client | None:
    """Return *client_id* with its *settings* and the secrets in *slot*, None where one of them does not open."""
    fields = {name: field_of(name, slot) for name in SECRETS if field_of(name, slot) in values}
    try:
        found: dict[str, Any] = {
            name: open_one(keyring, place, field, values[field]) for name, field in fields.items()
        }
    except CannotOpen:
        return None
    return Client(client_id, **found, **json.loads(settings))
