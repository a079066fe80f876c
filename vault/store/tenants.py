"""The tree of tenants. `platform` is its root and always there."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store import clients
from vault.store.schema import AnyRow, connections, tenants

ROOT = "platform"
_t = tenants.c

_above = select(_t.id, _t.parent_id).where(_t.id == bindparam("tenant")).cte("above", recursive=True)
_above = _above.union_all(select(_t.id, _t.parent_id).where(_t.id == _above.c.parent_id))
_ANCESTORS = select(_above.c.id)

# Everybody who changes the shape of the tree takes the root first, so that two moves cannot make a cycle.
_HOLD_TREE = select(_t.id).where(_t.id == ROOT).with_for_update()


def below(tenant: str) -> Select[Any]:
    """Return a select of the ids of *tenant* and all under it."""
    start = select(_t.id).where(_t.id == tenant).cte("below", recursive=True)
    return select(start.union_all(select(_t.id).where(_t.parent_id == start.c.id)).c.id)


async def ancestors(tx: AsyncConnection, tenant: str) -> list[str]:
    """Return *tenant* and its ancestors; nothing where it does not exist."""
    return list((await tx.execute(_ANCESTORS, {"tenant": tenant})).scalars())


async def find(tx: AsyncConnection, tenant: str) -> dict[str, Any] | None:
    """Return the columns of *tenant*, None where it does not exist."""
    row = (await tx.execute(select(tenants).where(_t.id == tenant))).one_or_none()
    return None if row is None else _columns(row)


async def everyone(tx: AsyncConnection) -> list[dict[str, Any]]:
    """Return the columns of all tenants, by their ids."""
    return [_columns(row) for row in await tx.execute(select(tenants).order_by(_t.id))]


async def page(
    tx: AsyncConnection, within: str, parent: str | None, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """Return up to *limit* tenants of *within* and below, of *parent*'s own children if given, by their ids."""
    statement = select(tenants).where(_t.id.in_(below(within))).order_by(_t.id).limit(limit)
    if parent is not None:
        statement = statement.where(_t.parent_id == parent)
    if after is not None:
        statement = statement.where(_t.id > after)
    return [_columns(row) for row in await tx.execute(statement)]


async def hold_tree(tx: AsyncConnection) -> None:
    """Let nobody else change the tree in this transaction."""
    await tx.execute(_HOLD_TREE)


async def put(tx: AsyncConnection, tenant: str, columns: dict[str, Any], now: datetime) -> bool:
    """Store what people edit of *tenant*. Returns whether it is new."""
    values = {**columns, "return_urls": json.dumps(columns["return_urls"])}
    changed = await tx.execute(update(tenants).where(_t.id == tenant).values(values))
    if changed.rowcount:
        return False
    await tx.execute(insert(tenants).values(id=tenant, created_at=now, **values))
    return True


async def remove(tx: AsyncConnection, tenant: str) -> None:
    """Delete *tenant*; whatever still hangs on it violates a constraint.

    Tombstones and registrations that were only kept for former grants do not count: a holder that
    comes back late finds nothing, and knows what that means.
    """
    await tx.execute(
        delete(connections).where(connections.c.tenant_id == tenant, connections.c.deleted_at.is_not(None))
    )
    await clients.prune(tx, tenant)
    await tx.execute(delete(tenants).where(_t.id == tenant))


def _columns(row: AnyRow) -> dict[str, Any]:
    return {**row._mapping, "return_urls": json.loads(row.return_urls)}
