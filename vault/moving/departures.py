"""What is stored, as records in the clear."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from integrations.contract import Kind, Secret
from vault.clients.registration import Stored, registration
from vault.connection import Connection
from vault.errors import CannotOpen
from vault.http.views.clients import ClientSettings
from vault.keyring import Keyring
from vault.moving.facts import USUAL, edited, fields_of, told_of
from vault.moving.records import ClientRecord, ConnectionRecord, ProviderRecord, TenantRecord
from vault.sealing import Place, open_one, opened_fields
from vault.store.schema import AnyRow
from vault.tenants import ROOT


def provider_record(provider: str, definition: str) -> ProviderRecord:
    return ProviderRecord(provider=provider, definition=msgspec.json.decode(definition))


def tenant_records(rows: Sequence[Mapping[str, Any]]) -> list[TenantRecord]:
    """Return records of all tenants in *rows*, each after the one above it."""
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in rows:
        children.setdefault(row["parent_id"], []).append(row)
    found, above = list[TenantRecord](), list[str | None]([None])
    while above:
        below = children.get(above.pop(), [])
        found += [_tenant(row) for row in below]
        above += [row["id"] for row in below]
    return found


def _tenant(row: Mapping[str, Any]) -> TenantRecord:
    return TenantRecord(
        tenant=row["id"],
        parent=None if row["parent_id"] in (None, ROOT) else row["parent_id"],
        name=row["name"],
        inherit=row["inherit"],
        return_urls=row["return_urls"],
    )


def client_record(keyring: Keyring, row: AnyRow, values: Stored) -> ClientRecord:
    """Return the registration in *row*, with the secret that worked last. Raises CannotOpen."""
    client = registration(keyring, row, values).likeliest
    if client is None:
        raise CannotOpen
    settings = ClientSettings(**{name: getattr(client, name) for name in ClientSettings.__struct_fields__})
    return ClientRecord(
        tenant=row.tenant_id,
        provider=row.provider,
        client_id=row.client_id,
        client_secret=_text(client.client_secret),
        private_key=_text(client.private_key),
        settings=None if settings == ClientSettings() else settings,
    )


def connection_record(keyring: Keyring, kind: Kind, found: Connection, values: Stored) -> ConnectionRecord:
    """Return *found*, which is of that *kind*, with what is sealed of it. Raises CannotOpen."""
    return ConnectionRecord(
        tenant=found.tenant,
        provider=found.provider,
        name=found.name,
        kind=found.kind,
        client_id=found.client_id,
        **_secrets(keyring, kind, found, values),
        **edited(found),
        **fields_of(told_of(found)),
    )


def empty_record(found: Connection) -> ConnectionRecord | None:
    """Return what people edited of *found*, which holds nothing; None where that is nothing either."""
    changed = edited(found)
    if changed == USUAL:
        return None
    return ConnectionRecord(tenant=found.tenant, provider=found.provider, name=found.name, **changed)


def _secrets(keyring: Keyring, kind: Kind, found: Connection, values: Stored) -> dict[str, Any]:
    """Return what was entered, or else the tokens that are kept."""
    place = Place(found.tenant, found.provider, "connection", found.id)
    if kind.how == "enter" and kind.of_tokens:
        return {
            "credentials": {
                "access_token": _text(open_one(keyring, place, "access_token", values["access_token"]))
            }
        }
    if kind.how == "enter":
        fields = opened_fields(keyring, place, values["credentials"]) if "credentials" in values else {}
        return {"credentials": {name: _text(value) for name, value in fields.items()}}
    tokens = [name for name in ("access_token", "refresh_token") if name in values]
    ends = found.state.access_expires_at
    opened = {name: _text(open_one(keyring, place, name, values[name])) for name in tokens}
    return {**opened, "expires_at": None if ends is None else ends.isoformat()}


def _text(secret: Secret | None) -> str | None:
    return secret.reveal() if secret else None
