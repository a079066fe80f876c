"""Taking a tenant and all below away: its callers, then its connections, then the tree from its leaves up."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Connection
from vault.store import connections as living
from vault.store import devices, tickets
from vault.store.schema import callers, clients, connections, sealed_values, tenants
from vault.store.tenants import below

MOST_CALLERS = 500  # a transaction
MOST_LEAVES = 100

_t, _c = tenants.c, connections.c
_child = tenants.alias("child")
_has_child = exists().where(_child.c.parent_id == _t.id)
_has_connection = exists().where(_c.tenant_id == _t.id, _c.deleted_at.is_(None))


class Key(NamedTuple):
    """A caller, and whose it was."""

    caller: str
    tenant: str


class Felled(NamedTuple):
    """Tenants that are gone, and what went with them."""

    tenants: Sequence[str]
    clients: Sequence[tuple[str, str]]  # tenant and provider of each registration
    callers: Sequence[Key]


async def is_leaned_on(tx: AsyncConnection, tenant: str) -> bool:
    """Say whether a connection from elsewhere was got with a registration of *tenant* or below."""
    tree = below(tenant)
    registered = select(clients.c.id).where(clients.c.tenant_id.in_(tree))
    outside = and_(_c.tenant_id.not_in(tree), _c.deleted_at.is_(None))
    return await tx.scalar(select(_c.id).where(_c.client.in_(registered), outside).limit(1)) is not None


async def paused_clients(tx: AsyncConnection, tenant: str) -> list[tuple[str, str]]:
    """Return the registrations of *tenant* and below that are paused, as tenant and provider."""
    of = select(clients.c.tenant_id, clients.c.provider).where(clients.c.tenant_id.in_(below(tenant)))
    return [tuple(row) for row in await tx.execute(of.where(clients.c.paused_at.is_not(None)).distinct())]


async def withdraw(tx: AsyncConnection, tenant: str) -> list[Key]:
    """Delete up to MOST_CALLERS callers of *tenant* and below; return them."""
    chosen = select(callers.c.id).where(callers.c.tenant_id.in_(below(tenant))).limit(MOST_CALLERS)
    return await _withdrawn(tx, callers.c.id.in_(chosen))


def within(tenant: str) -> ColumnElement[bool]:
    """Pick the connections of *tenant* and below, and their tombstones."""
    return _c.tenant_id.in_(below(tenant))


async def some(tx: AsyncConnection, tenant: str, most: int) -> list[Connection]:
    """Return up to *most* connections of *tenant* and below."""
    return await living.page(tx, below(tenant), {}, None, most)


async def fell(tx: AsyncConnection, tenant: str) -> Felled:
    """Delete up to MOST_LEAVES tenants of *tenant* and below on which no tenant and no connection hangs.

    Registrations go with them, and tombstones: a holder that comes back late finds nothing, and knows
    what that means. Whoever calls holds the tree.
    """
    free = select(_t.id).where(_t.id.in_(below(tenant)), ~_has_child, ~_has_connection).limit(MOST_LEAVES)
    leaves = (await tx.execute(free)).scalars().all()
    if not leaves:
        return Felled((), (), ())
    registered = clients.c.tenant_id.in_(leaves)
    of_theirs = select(clients.c.id).where(registered)
    buried = and_(_c.deleted_at.is_not(None), or_(_c.tenant_id.in_(leaves), _c.client.in_(of_theirs)))
    await tx.execute(delete(connections).where(buried))
    gone = (await tx.execute(select(clients).where(registered))).all()
    ids = [row.id for row in gone]
    await tickets.forget_visits(tx, ids)
    await devices.forget_with(tx, ids)
    of_client = (sealed_values.c.owner_kind == "client", sealed_values.c.owner_id.in_(ids))
    await tx.execute(delete(sealed_values).where(*of_client))
    await tx.execute(delete(clients).where(clients.c.id.in_(ids)))
    keys = await _withdrawn(tx, callers.c.tenant_id.in_(leaves))
    await tx.execute(delete(tenants).where(_t.id.in_(leaves)))
    return Felled(leaves, [(row.tenant_id, row.provider) for row in gone], keys)


async def _withdrawn(tx: AsyncConnection, which: ColumnElement[bool]) -> list[Key]:
    gone = await tx.execute(delete(callers).where(which).returning(callers.c.id, callers.c.tenant_id))
    return [Key(*row) for row in gone]
