"""The way of a path: the places where its token may come from, all as they were at one moment."""

from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, exists, literal, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Connection
from vault.keyring import Sealed
from vault.store import sealed
from vault.store.changes import Stale, vacancy
from vault.store.connections import COLUMNS, connection_of
from vault.store.schema import clients, connections, provider_states, tenants, token_states

_t, _c = tenants.c, connections.c
_above = (
    select(_t.id, _t.parent_id, _t.inherit, _t.paused_at, literal(0).label("distance"), true().label("open"))
    .where(_t.id == bindparam("tenant"))
    .cte("above", recursive=True)
)
_above = _above.union_all(
    select(
        _t.id,
        _t.parent_id,
        _t.inherit,
        _t.paused_at,
        _above.c.distance + 1,
        and_(_above.c.open, _above.c.inherit),
    ).where(_t.id == _above.c.parent_id)
)
_any = _above.alias("any_above")
_there = and_(
    _c.tenant_id == _above.c.id,
    _c.provider == bindparam("at_provider"),
    _c.name == bindparam("at_name"),
    _c.deleted_at.is_(None),
)
_stops: Select[Any] = (
    select(
        _above.c.id.label("stop"),
        # A kill switch stops all below it, also where nothing is inherited from.
        exists().where(_any.c.paused_at.is_not(None)).label("tenant_paused"),
        *COLUMNS,
    )
    .select_from(_above)
    .outerjoin(connections, _there)
    .outerjoin(token_states, token_states.c.connection_id == _c.id)
    .outerjoin(clients, clients.c.id == _c.client)
    .outerjoin(provider_states, provider_states.c.provider == _c.provider)
    .where(_above.c.open)
    .order_by(_above.c.distance)
)
_WAY, _ = sealed.beside(_stops, _c.id, "connection", "access_token")


class Stop(NamedTuple):
    """One place on a way, and what is there: maybe nothing."""

    connection: Connection | None
    token: tuple[Sealed, int] | None  # its access token
    change: Stale  # what is written down when something else comes to be there


class Way(NamedTuple):
    """The places of a path, its own first; and whether a kill switch of its tenant or one above is on."""

    stops: list[Stop]
    tenant_paused: bool


async def find(tx: AsyncConnection, tenant: str, provider: str, name: str) -> Way:
    """Return the way of a path. It has no stops where there is no such tenant."""
    where = {"tenant": tenant, "at_provider": provider, "at_name": name}
    rows = (await tx.execute(_WAY, where)).all()
    stops = []
    for row in rows:
        connection = None if row.id is None else connection_of(row)
        change = vacancy(row.stop, provider, name) if connection is None else Stale("connection", connection.id)
        stops.append(Stop(connection, sealed.read(row, "connection", "access_token"), change))
    return Way(stops, bool(rows and rows[0].tenant_paused))
