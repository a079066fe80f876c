"""What a record and a connection have in common: what people edit, and what is told of tokens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.contract import Account
from vault.connection import Connection
from vault.entering.told import Told
from vault.moving.records import ConnectionRecord

# What people edit, as it is where nobody has.
USUAL: Mapping[str, Any] = {"metadata": {}, "settings": {}, "enabled": True, "prefer": "own", "shared": False}


def edited(either: Connection | ConnectionRecord) -> dict[str, Any]:
    return {name: getattr(either, name) for name in USUAL}


def told_by(record: ConnectionRecord) -> Told:
    return Told(
        scopes=record.scopes or None,  # no scope at all is what nobody was told of
        asked_scopes=record.asked_scopes or None,
        account=None if record.account is None else Account(record.account, record.account_label),
        granted_at=_as_stored(record.granted_at),
        refresh_expires_at=_as_stored(record.refresh_expires_at),
    )


def _as_stored(moment: datetime | None) -> datetime | None:
    """Return *moment* without what is not kept of it: less than a millisecond."""
    return None if moment is None else moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def told_of(connection: Connection) -> Told:
    account = connection.account
    return Told(
        scopes=connection.scopes or None,
        asked_scopes=connection.asked_scopes or None,
        account=None if account is None else Account(account, connection.account_label),
        granted_at=connection.state.granted_at,
        refresh_expires_at=connection.state.refresh_expires_at,
    )


def adds_nothing(told: Told, known: Told) -> bool:
    """Say whether all that is *told* is *known*."""
    return all(value in (None, getattr(known, name)) for name, value in vars(told).items())


def fields_of(told: Told) -> dict[str, Any]:
    """Return *told* as fields of a record."""
    said = vars(told) | ({} if told.account is None else _fields_of(told.account))
    return {name: value for name, value in said.items() if value is not None}


def _fields_of(account: Account) -> dict[str, str | None]:
    return {"account": account.subject, "account_label": account.label}
