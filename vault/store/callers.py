"""Callers and the digests of their keys."""

import json
from typing import Any

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store import tenants
from vault.store.schema import AnyRow, callers

_c = callers.c
_BY_ID = select(callers).where(_c.id == bindparam("caller"))
_LISTS = ("scopes", "providers", "names")


async def find(tx: AsyncConnection, caller: str) -> dict[str, Any] | None:
    """Return the columns of *caller*, None where there is none."""
    row = (await tx.execute(_BY_ID, {"caller": caller})).one_or_none()
    return None if row is None else _columns(row)


async def add(tx: AsyncConnection, values: dict[str, Any]) -> None:
    packed = {name: json.dumps(values[name]) for name in _LISTS if values.get(name) is not None}
    await tx.execute(insert(callers), {**values, **packed})


async def page(tx: AsyncConnection, within: str, after: str | None, limit: int) -> list[dict[str, Any]]:
    """Return up to *limit* callers of the tenants under *within*, in the order of their ids."""
    statement = select(callers).where(_c.tenant_id.in_(tenants.below(within))).order_by(_c.id).limit(limit)
    if after is not None:
        statement = statement.where(_c.id > after)
    return [_columns(row) for row in await tx.execute(statement)]


async def remove(tx: AsyncConnection, caller: str) -> None:
    await tx.execute(delete(callers).where(_c.id == caller))


async def remove_named(tx: AsyncConnection, name: str) -> list[str]:
    """Delete every caller called *name*; return their ids."""
    return list((await tx.execute(delete(callers).where(_c.name == name).returning(_c.id))).scalars())


def _columns(row: AnyRow) -> dict[str, Any]:
    found = dict(row._mapping)
    return {**found, **{name: json.loads(found[name]) for name in _LISTS if found[name] is not None}}
