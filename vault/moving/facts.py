"""What a record says of tokens that nobody enters: what they are good for, whose they are, when they end."""

import json
from typing import Any

from vault.connection import Connection
from vault.grants import held
from vault.moving.records import ConnectionRecord
from vault.store import connections
from vault.store.changes import Stale
from vault.store.writer import Transaction, Unit

_LISTS = ("scopes", "asked_scopes")
_OF_CONNECTION = (*_LISTS, "account", "account_label")
_OF_STATE = ("granted_at", "refresh_expires_at")

Facts = dict[str, Any]


def facts_of(record: ConnectionRecord) -> Facts:
    """Return what *record* says, by column."""
    said = {name: getattr(record, name) for name in (*_OF_CONNECTION, *_OF_STATE)}
    return {name: value for name, value in said.items() if value is not None}


def known_of(connection: Connection) -> Facts:
    """Return what is stored of *connection*, by column."""
    about = {name: getattr(connection, name) for name in _OF_CONNECTION}
    return about | {name: getattr(connection.state, name) for name in _OF_STATE}


def noting(stored: Connection, facts: Facts) -> Unit[None]:
    """Return a unit that writes *facts* of *stored* down, if what it holds still comes of the same grant."""
    columns = {name: facts[name] for name in _OF_CONNECTION if name in facts}
    columns |= {name: json.dumps(facts[name]) for name in _LISTS if name in facts}
    moments = {name: facts[name] for name in _OF_STATE if name in facts}

    async def unit(tx: Transaction) -> None:
        found = await held(tx, (stored.tenant, stored.provider, stored.name))
        if found is None or found.state.granted_generation != stored.state.granted_generation:
            return
        if columns:
            await connections.edit(tx.connection, found.id, columns)
        if moments:
            await connections.edit_state(tx.connection, found.id, moments)
        tx.outdate(Stale("connection", found.id))

    return unit
