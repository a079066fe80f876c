"""Registrations at providers, each a tenant's own."""

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store import sealed
from vault.store.schema import AnyRow, clients, connections, device_authorizations, pending_authorizations

_c = clients.c

_CURRENT = select(clients).where(
    _c.tenant_id == bindparam("tenant"), _c.provider == bindparam("of_provider"), _c.current
)

# Grants need the client that got them, and tombstones and ended visits point to theirs until they are pruned.
_IN_USE = or_(
    exists().where(connections.c.client == _c.id),
    exists().where(pending_authorizations.c.client == _c.id),
    exists().where(device_authorizations.c.client == _c.id),
)
_NEWEST = (
    select(clients)
    .where(_c.tenant_id == bindparam("tenant"), _c.provider == bindparam("of_provider"))
    .order_by(_c.current.desc(), _c.created_at.desc(), _c.id)
    .limit(1)
)


async def current(tx: AsyncConnection, tenant: str, provider: str) -> AnyRow | None:
    """Return the registration that *tenant* itself has at *provider*."""
    return (await tx.execute(_CURRENT, {"tenant": tenant, "of_provider": provider})).one_or_none()


async def newest(tx: AsyncConnection, tenant: str, provider: str) -> AnyRow | None:
    """Return *tenant*'s current registration at *provider*, else the newest that is retired."""
    found = await tx.execute(_NEWEST, {"tenant": tenant, "of_provider": provider})
    return found.one_or_none()


async def nearest(tx: AsyncConnection, ancestors: list[str], provider: str) -> AnyRow | None:
    """Return the current registration of the first of *ancestors* that has one."""
    found = await tx.execute(
        select(clients).where(_c.tenant_id.in_(ancestors), _c.provider == provider, _c.current)
    )
    return min(found, key=lambda row: ancestors.index(row.tenant_id), default=None)


async def get(tx: AsyncConnection, client: str) -> AnyRow | None:
    return (await tx.execute(select(clients).where(_c.id == client))).one_or_none()


async def put(tx: AsyncConnection, row: dict[str, Any], now: datetime) -> tuple[str, int]:
    """Make *row* the current registration of its tenant and provider; return its id and generation.

    The same client_id again is the same registration with another secret: it is taken as right
    until it proves otherwise. Another client_id leaves the former row for the grants it got, and
    is as paused as that: only resuming ends a kill switch.
    """
    place = (_c.tenant_id == row["tenant_id"], _c.provider == row["provider"])
    await tx.execute(update(clients).where(*place, _c.client_id != row["client_id"]).values(current=False))
    known = await tx.execute(
        update(clients)
        .where(*place, _c.client_id == row["client_id"])
        .values(
            current=True,
            state="active",
            rejected_at=None,
            retry_not_before=None,
            generation=_c.generation + 1,
        )
        .returning(_c.id, _c.generation)
    )
    found = known.one_or_none()
    if found is not None:
        return found.id, found.generation
    paused_at = await tx.scalar(select(func.min(_c.paused_at)).where(*place))
    fresh = {"current": True, "state": "active", "generation": 1, "created_at": now, "paused_at": paused_at}
    await tx.execute(insert(clients), {**row, **fresh})
    return row["id"], 1


async def remove(tx: AsyncConnection, client: str) -> bool:
    """Delete *client*, or retire it while grants or visits depend on it. Returns whether it is gone."""
    if await tx.scalar(select(_IN_USE).select_from(clients).where(_c.id == client)):
        await tx.execute(update(clients).where(_c.id == client).values(current=False))
        return False
    await _delete(tx, client)
    return True


async def prune(tx: AsyncConnection, tenant: str | None = None) -> None:
    """Delete the retired registrations, of all tenants or of *tenant*, on which nothing depends any more."""
    retired = select(_c.id).where(~_c.current, ~_IN_USE)
    if tenant is not None:
        retired = retired.where(_c.tenant_id == tenant)
    for client in (await tx.execute(retired)).scalars().all():
        await _delete(tx, client)


async def _delete(tx: AsyncConnection, client: str) -> None:
    await tx.execute(delete(clients).where(_c.id == client))
    await sealed.forget(tx, "client", client)
