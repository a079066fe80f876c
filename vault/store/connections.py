"""Reading and writing connections: what people edit, with the state beside it that the machine writes."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    insert,
    literal,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import LIVING, REFUSED, WITH_ITS_TOKEN, Connection, TokenState
from vault.store import devices, labels, parking, sealed, tenants, tickets
from vault.store.clients import SECRETS, field_of, of_likeliest
from vault.store.moments import Moment, clock
from vault.store.parking import Scope
from vault.store.schema import (
    AnyRow,
    clients,
    connections,
    orphaned_tokens,
    provider_states,
    providers,
    token_states,
)

_c, _s = connections.c, token_states.c
_STATE = tuple(field.name for field in fields(TokenState))
# What `connection_of` reads.
READ: Select[Any] = (
    select(
        connections,
        *(token_states.c[name].label(f"state_{name}") for name in _STATE),
        clients.c.client_id,
        (clients.c.state == "rejected").label("client_rejected"),
        clients.c.retry_not_before.label("client_held_until"),
        clients.c.paused_at.is_not(None).label("client_paused"),
        provider_states.c.retry_not_before.label("provider_held_until"),
        provider_states.c.paused_at.is_not(None).label("provider_paused"),
        type_coerce(clock(), Moment).label("read_at"),
    )
    .join_from(connections, token_states, token_states.c.connection_id == connections.c.id)
    .outerjoin(clients, clients.c.id == connections.c.client)
    .outerjoin(provider_states, provider_states.c.provider == connections.c.provider)
    .where(_c.deleted_at.is_(None))
)
_AT_PATH = READ.where(
    _c.tenant_id == bindparam("tenant"),
    _c.provider == bindparam("at_provider"),
    _c.name == bindparam("at_name"),
)
_BY_ID = READ.where(_c.id == bindparam("connection"))

_HOLD = select(_s.connection_id).where(_s.connection_id == bindparam("connection")).with_for_update()

# What a refresh needs beside its turn: what it renews with, the client if it has one, the provider.
_grant = (
    select(
        connections.c.id.label("connection"),
        connections.c.tenant_id.label("tenant"),
        connections.c.provider,
        connections.c.name,
        connections.c.kind,
        connections.c.account,
        connections.c.scopes,
        clients.c.id.label("client"),
        (clients.c.state == "rejected").label("client_rejected"),
        clients.c.tenant_id.label("client_tenant"),
        clients.c.client_id,
        clients.c.generation.label("client_generation"),
        clients.c.previous_first.label("client_previous_first"),
        of_likeliest(clients.c.settings, clients.c.previous_settings).label("client_settings"),
        providers.c.definition,
    )
    .outerjoin_from(connections, clients, clients.c.id == connections.c.client)
    .outerjoin(providers, providers.c.id == connections.c.provider)
    .where(connections.c.id.in_(bindparam("wanted", expanding=True)), connections.c.deleted_at.is_(None))
)
_GRANTS, _ = sealed.beside(_grant, _c.id, "connection", "refresh_token")
_GRANTS, _ = sealed.beside(_GRANTS, _c.id, "connection", "credentials")
# Of its live secrets the one that is tried first; the other one is looked for where that is refused.
for _name in SECRETS:
    _GRANTS, _ = sealed.beside(
        _GRANTS, clients.c.id, "client", _name, of_likeliest(_name, field_of(_name, "previous"))
    )

# As TokenState.judged says it: what nothing can renew then fails when its token ends.
JUDGED_STATUS = case(
    (
        and_(
            _s.renewal.in_(WITH_ITS_TOKEN),
            _s.status != "unconfigured",
            _s.access_expires_at < clock() + LIVING // timedelta(milliseconds=1),
        ),
        "failed",
    ),
    else_=_s.status,
)
# As TokenState.proven_dead says it.
_proven_dead = and_(
    _s.status == "failed",
    _s.reason.in_(REFUSED),
    or_(_s.renewal.in_(WITH_ITS_TOKEN), _s.rejected_generation == _s.generation),
)
# When a person is needed, as far as that is known beforehand. What nothing renews, or not any more, works
# until its token ends, as does what renews itself; and until that ends which only a person renews.
_works_until = case(
    (_proven_dead, clock()),
    (and_(_s.renewal == "self_exchange", _s.refresh_expires_at < _s.access_expires_at), _s.refresh_expires_at),
    (or_(_s.renewal.in_(WITH_ITS_TOKEN), _s.status == "failed"), _s.access_expires_at),
    (_s.renewal == "refresh_token", _s.refresh_expires_at),
)
_INSERT = insert(connections)
_INSERT_STATE = insert(token_states)
TOMBSTONE = update(connections).where(_c.id == bindparam("connection")).values(deleted_at=clock()).returning(_c.id)
_ORPHANS_OF_NOBODY = select(orphaned_tokens.c.attempt_id).where(
    ~exists().where(connections.c.id == orphaned_tokens.c.connection_id)
)


async def find(tx: AsyncConnection, tenant: str, provider: str, name: str) -> Connection | None:
    """Return the connection at a path, None where there is none."""
    row = (await tx.execute(_AT_PATH, _path(tenant, provider, name))).one_or_none()
    return None if row is None else connection_of(row)


async def get(tx: AsyncConnection, connection: str) -> Connection | None:
    """Return the connection with that id, None where it is deleted."""
    row = (await tx.execute(_BY_ID, {"connection": connection})).one_or_none()
    return None if row is None else connection_of(row)


async def hold(tx: AsyncConnection, connection: str) -> Connection | None:
    """Return the connection with that id, and let no other replica claim or settle it in this transaction."""
    await tx.execute(_HOLD, {"connection": connection})
    return await get(tx, connection)


async def grants(tx: AsyncConnection, wanted: Sequence[str]) -> dict[str, AnyRow]:
    """Return what a refresh of each of the *wanted* connections needs; those that are deleted are left out."""
    return {row.connection: row for row in await tx.execute(_GRANTS, {"wanted": list(wanted)})} if wanted else {}


async def page(
    tx: AsyncConnection, within: Select[Any], filters: dict[str, Any], after: list[str] | None, limit: int
) -> list[Connection]:
    """Return up to *limit* connections of the tenants *within*, in the order of their paths."""
    key = (_c.tenant_id, _c.provider, _c.name)
    statement = READ.where(_c.tenant_id.in_(within)).order_by(*key).limit(limit)
    if after:
        statement = statement.where(tuple_(*key) > tuple_(*(literal(part) for part in after)))
    for condition in _conditions(tx, filters):
        statement = statement.where(condition)
    return [connection_of(row) for row in await tx.execute(statement)]


async def begin(
    tx: AsyncConnection, path: tuple[str, str, str], kind: str, client: str | None = None
) -> Connection:
    """Store a connection at *path* that holds nothing yet, and return it. A taken path violates a constraint."""
    tenant, provider, name = path
    identity = secrets.token_hex(16)
    row = {
        "id": identity,
        "tenant_id": tenant,
        "provider": provider,
        "name": name,
        "kind": kind,
        "client": client,
        "created_at": await database_time(tx),
    }
    await add(tx, row)
    made = await get(tx, identity)
    assert made is not None
    return made


async def add(tx: AsyncConnection, row: dict[str, Any], *, renewal: str = "none") -> None:
    """Store a new connection that holds nothing yet. A taken path violates a constraint."""
    await parking.stand_still(tx)
    await tx.execute(_INSERT, {"enabled": True, "scopes": "[]", "metadata": "{}", **row})
    state = {
        "connection_id": row["id"],
        "provider": row["provider"],
        "client": row["client"],
        "status": "unconfigured",
        "reason": "empty",
        "generation": 0,
        "granted_generation": 0,
        "renewal": renewal,
    }
    await tx.execute(_INSERT_STATE, state)
    await parking.park(tx, Scope("connection", row["id"]))


async def edit(tx: AsyncConnection, connection: str, values: dict[str, Any]) -> None:
    """Change what people edit."""
    await tx.execute(update(connections).where(_c.id == connection).values(values))


async def edit_state(tx: AsyncConnection, connection: str, values: dict[str, Any]) -> None:
    """Change the state of a connection that holds nothing, or whose exchange this same transaction supersedes."""
    await tx.execute(update(token_states).where(_s.connection_id == connection).values(values))


async def edit_scopes(tx: AsyncConnection, connection: str, scopes: tuple[str, ...]) -> None:
    """Write down what was really granted."""
    await edit(tx, connection, {"scopes": json.dumps(scopes)})


async def mark_undecryptable(tx: AsyncConnection, connection: str, generation: int) -> None:
    """Say that the values of *generation* do not open. They are kept: a key may come back."""
    lost = {"status": "failed", "reason": "undecryptable", "next_refresh_at": None}
    about = (_s.connection_id == connection, _s.generation == generation)
    await tx.execute(update(token_states).where(*about).values(lost))


async def note_probe(tx: AsyncConnection, connection: str, generation: int, values: dict[str, Any]) -> None:
    """Write down what a probe said of the tokens of *generation*; nothing where they moved on."""
    about = (_s.connection_id == connection, _s.generation == generation)
    await tx.execute(update(token_states).where(*about).values(values))


async def bury(tx: AsyncConnection, connection: str) -> None:
    """Leave a tombstone: the name is free, the secrets are gone, and a late holder finds out."""
    await tx.execute(TOMBSTONE, {"connection": connection})
    await _forget(tx, select(_c.id).where(_c.id == connection))


async def _forget(tx: AsyncConnection, which: Select[Any]) -> None:
    await sealed.forget_all(tx, "connection", which)
    await tickets.forget(tx, which)
    await devices.forget(tx, which)


async def buried_before(tx: AsyncConnection, age: timedelta) -> ColumnElement[bool]:
    """Pick the tombstones that are older than *age*."""
    return _c.deleted_at < await database_time(tx) - age


async def purge(tx: AsyncConnection, lease: timedelta) -> int:
    """Drop the tombstones that no lease can point to any more, and what was set aside of their tokens.

    One stays while its grant is being revoked: somebody has to say what came of that.

    Those would never open again: what they are sealed to went with the connection. What another replica
    had sealed for one of them while it was buried goes, too: nobody else would ever find it.
    """
    buried = select(_c.id).where(await buried_before(tx, lease))
    await _forget(tx, buried)
    ended = delete(connections).where(_c.id.in_(buried), _c.revoking.is_(False))
    purged = int((await tx.execute(ended)).rowcount)
    for orphan in (await tx.execute(_ORPHANS_OF_NOBODY)).scalars().all():
        await sealed.forget(tx, "orphan", orphan)
        await tx.execute(delete(orphaned_tokens).where(orphaned_tokens.c.attempt_id == orphan))
    return purged


async def database_time(tx: AsyncConnection) -> datetime:
    """Return the time by the clock that judges leases."""
    return (await tx.execute(select(type_coerce(clock(), Moment)))).scalar_one()


async def uses_provider(tx: AsyncConnection, provider: str) -> bool:
    """Say whether any connection stands at *provider*."""
    return (
        await tx.scalar(select(_c.id).where(_c.provider == provider, _c.deleted_at.is_(None)).limit(1)) is not None
    )


async def account(tx: AsyncConnection, connection: str) -> str | None:
    """Return whose account stands behind *connection*, which may be deleted; None where that is unknown."""
    found: str | None = await tx.scalar(select(_c.account).where(_c.id == connection))
    return found


async def another_lives(
    tx: AsyncConnection,
    providers: Sequence[str],
    account: str | None,
    *,
    client_id: str | None,
    doomed: str | None,
) -> bool:
    """Say whether any connection lives on what *account* has granted at *providers*, or to *client_id* there.

    Where one account of two is unknown, they may be the same. Those of the tenant *doomed* and below are
    left out, as are those whose grant is over.
    """
    living = (
        select(_c.id)
        .join(token_states, _s.connection_id == _c.id)
        .outerjoin(clients, clients.c.id == _c.client)
        .where(_c.provider.in_(providers), _c.deleted_at.is_(None))
        .where(true() if account is None else or_(_c.account == account, _c.account.is_(None)))
        .where(_s.status != "unconfigured", _s.reason.is_distinct_from("grant_rejected"))
        .limit(1)
    )
    if client_id is not None:
        living = living.where(clients.c.client_id == client_id)
    if doomed is not None:
        living = living.where(_c.tenant_id.not_in(tenants.below(doomed)))
    return await tx.scalar(living) is not None


def connection_of(row: AnyRow) -> Connection:
    """Return the connection in a row of these selects."""
    found = row._mapping
    return Connection(
        id=found["id"],
        tenant=found["tenant_id"],
        provider=found["provider"],
        name=found["name"],
        kind=found["kind"],
        client=found["client"],
        client_id=found["client_id"],
        account=found["account"],
        account_label=found["account_label"],
        scopes=tuple(json.loads(found["scopes"])),
        asked_scopes=tuple(json.loads(found["asked_scopes"])),
        metadata=json.loads(found["metadata"]),
        settings=json.loads(found["settings"]),
        enabled=found["enabled"],
        prefer=found["prefer"],
        shared=found["shared"],
        created_at=found["created_at"],
        shown=None if found["shown"] is None else json.loads(found["shown"]),
        changed_by=found["changed_by"],
        changed_at=found["changed_at"],
        state=_state_of(row).judged(found["read_at"]),
        client_rejected=bool(found["client_rejected"]),
        client_held_until=found["client_held_until"],
        client_paused=bool(found["client_paused"]),
        provider_held_until=found["provider_held_until"],
        provider_paused=bool(found["provider_paused"]),
        read_at=found["read_at"],
    )


def _state_of(row: AnyRow) -> TokenState:
    columns = {name: row._mapping[f"state_{name}"] for name in _STATE}
    return TokenState(**{**columns, "lacks": tuple(json.loads(columns["lacks"] or "[]"))})


def _conditions(tx: AsyncConnection, filters: dict[str, Any]) -> list[Any]:
    columns = {"provider": _c.provider, "status": JUDGED_STATUS, "name": _c.name}
    found = [columns[name].in_(value) for name, value in filters.items() if name in columns]
    if "expiring_before" in filters:
        found.append(_works_until < filters["expiring_before"])
    found += [labels.says(tx, _c.metadata, *pair) for pair in filters.get("metadata", {}).items()]
    return found


def _path(tenant: str, provider: str, name: str) -> dict[str, str]:
    return {"tenant": tenant, "at_provider": provider, "at_name": name}
