"""What `tokenvault doctor` asks the database. Every statement reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.connections import JUDGED_STATUS
from vault.store.moments import clock
from vault.store.schema import (
    AnyRow,
    audit_streams,
    clients,
    connections,
    keyring,
    metadata,
    orphaned_tokens,
    sealed_values,
    token_states,
)

_s, _v = token_states.c, sealed_values.c
_WATCHED = ("fsync", "full_page_writes", "synchronous_commit", "default_transaction_read_only")
# reset_val is what a session of ours begins with, whatever this one has set.
_SETTINGS = text("SELECT name, reset_val FROM pg_settings WHERE name = ANY(:names)")
_POSTGRES = text("SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby")
_UNWRITABLE = text(
    "SELECT t.name FROM unnest(CAST(:names AS text[])) AS t (name) WHERE EXISTS ("
    " SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)"
    " WHERE has_table_privilege(to_regclass(t.name), p.privilege) IS NOT TRUE)"
)

_BY_REASON = (
    select(JUDGED_STATUS.label("status"), _s.reason, func.count().label("connections"))
    .join_from(token_states, connections, connections.c.id == _s.connection_id)
    .where(connections.c.deleted_at.is_(None), connections.c.enabled)
    .group_by(JUDGED_STATUS, _s.reason)
)
_LAPSED = select(func.count()).where(_s.lease_expires_at <= clock(), _s.inflight_generation.is_not(None))
_ORPHANS = select(func.count()).select_from(orphaned_tokens)
_STREAMS = select(func.count().label("streams"), func.max(audit_streams.c.head_at).label("newest"))

_KEYS = (
    select(keyring.c.key_id)
    .where(keyring.c.purpose == "values", keyring.c.state != "disabled")
    .order_by(keyring.c.key_id)
)
_OF_KEY = sealed_values.c.key_id == bindparam("key")
_OF_A_CONNECTION = (
    select(sealed_values, connections.c.tenant_id, connections.c.provider)
    .join(connections, connections.c.id == _v.owner_id)
    .where(_OF_KEY, _v.owner_kind == "connection")
    .limit(1)
)
_OF_A_CLIENT = (
    select(sealed_values, clients.c.tenant_id, clients.c.provider)
    .join(clients, clients.c.id == _v.owner_id)
    .where(_OF_KEY, _v.owner_kind == "client")
    .limit(1)
)


@dataclass(frozen=True, kw_only=True)
class State:
    """What is stored, counted."""

    by_reason: Mapping[tuple[str, str | None], int]  # connections that are switched on, by status and reason
    lapsed: int  # leases that ended with nobody knowing whether a token was sent
    orphans: int
    streams: int  # of the audit
    newest_head: datetime | None


async def sqlite(tx: AsyncConnection) -> dict[str, Any]:
    """Return the version, and what a connection of ours works with."""
    return {
        "version": await tx.scalar(text("SELECT sqlite_version()")),
        "journal_mode": await tx.scalar(text("PRAGMA journal_mode")),
        "synchronous": await tx.scalar(text("PRAGMA synchronous")),
    }


async def postgresql(tx: AsyncConnection) -> dict[str, Any]:
    """Return the version, whether this is a standby, and the settings that a commit's durability hangs on."""
    about = (await tx.execute(_POSTGRES)).one()._mapping
    settings = await tx.execute(_SETTINGS, {"names": list(_WATCHED)})
    return {**about, **{row.name: row.reset_val for row in settings}}


async def unwritable(tx: AsyncConnection) -> list[str]:
    """Return the tables that this role of PostgreSQL may not write to."""
    names = [table.name for table in metadata.sorted_tables]
    return sorted((await tx.execute(_UNWRITABLE, {"names": names})).scalars())


async def state(tx: AsyncConnection) -> State:
    """Return how things are."""
    found = await tx.execute(_BY_REASON)
    streams = (await tx.execute(_STREAMS)).one()
    return State(
        by_reason={(row.status, row.reason): row.connections for row in found},
        lapsed=(await tx.execute(_LAPSED)).scalar_one(),
        orphans=(await tx.execute(_ORPHANS)).scalar_one(),
        streams=streams.streams,
        newest_head=streams.newest,
    )


async def samples(tx: AsyncConnection) -> Iterable[tuple[int, AnyRow | None]]:
    """Return each key that seals values, with one value that it sealed, if there is any."""
    found = []
    for key in (await tx.execute(_KEYS)).scalars().all():
        row = (await tx.execute(_OF_A_CONNECTION, {"key": key})).one_or_none()
        found.append((key, row or (await tx.execute(_OF_A_CLIENT, {"key": key})).one_or_none()))
    return found
