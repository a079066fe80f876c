"""The way of a path: the places where its token may come from, all as they were at one moment."""

from typing import Any, NamedTuple

from sqlalchemy import Select, Text, and_, bindparam, cast, exists, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Connection
from vault.keyring import Sealed
from vault.store import sealed
from vault.store.changes import Stale, vacancy
from vault.store.connections import READ, connection_of
from vault.store.schema import AnyRow, connections, tenants

SERVED = ("access_token", "credentials")  # the first that is there
_t, _c = tenants.c, connections.c
_above = (
    select(
        _t.id,
        _t.parent_id,
        _t.inherit,
        _t.paused_at,
        cast(_t.id, Text).label("passed"),  # from the path's own tenant to here
        true().label("open"),  # whether what is shared here gets there
    )
    .where(_t.id == bindparam("tenant"))
    .cte("above", recursive=True)
)
_above = _above.union_all(
    select(
        _t.id,
        _t.parent_id,
        _t.inherit,
        _t.paused_at,
        _above.c.passed + "/" + _t.id,  # which is in no tenant's id
        and_(_above.c.open, _above.c.inherit),
    ).where(_t.id == _above.c.parent_id)
)
_every, _of_one = _above.alias("every_above"), _above.alias("above_one")
# A kill switch stops all below it, also where nothing is inherited from.
_paused = exists().where(_every.c.paused_at.is_not(None)).label("tenant_paused")


def _at(tenant: Any, table: Any) -> list[Any]:
    """Return the conditions that a row of *table* is the connection of *tenant* that is asked for."""
    return [
        table.c.tenant_id == tenant,
        table.c.provider == bindparam("at_provider"),
        table.c.name == bindparam("at_name"),
        table.c.deleted_at.is_(None),
    ]


def _with_values(found: Select[Any]) -> Select[Any]:
    for field in SERVED:
        found, _ = sealed.beside(found, _c.id, "connection", field)
    return found


def _place_by_place_on_postgresql() -> Select[Any]:
    there = _with_values(READ.where(*_at(_above.c.id, connections)))
    place = there.correlate(_above).limit(1).lateral("place")
    return select(place, _above.c.passed, _paused).join_from(_above, place, true()).where(_above.c.open)


def _place_by_place_on_sqlite() -> Select[Any]:
    one = connections.alias("one")
    there = select(one.c.id).where(*_at(_above.c.id, one)).scalar_subquery()
    passed = select(_of_one.c.passed).where(_of_one.c.id == _c.tenant_id).scalar_subquery()
    found = READ.where(_c.id.in_(select(there).where(_above.c.open)))
    return _with_values(found.add_columns(passed.label("passed"), _paused))


# Each place is looked up by itself, whatever the planner believes: of one provider and name there may be a
# connection at every tenant, and a plan that goes through all of them is a matter of stale statistics.
_WAY = {"postgresql": _place_by_place_on_postgresql(), "sqlite": _place_by_place_on_sqlite()}


class Stop(NamedTuple):
    """One place on a way, and what is there: maybe nothing."""

    connection: Connection | None
    field: str | None  # what of it is handed out: its access token, or what was entered where that is all it has
    value: tuple[Sealed, int] | None
    change: Stale  # what is written down when something else comes to be there


class Way(NamedTuple):
    """The places of a path, its own first; and whether a kill switch of its tenant or one above is on."""

    stops: list[Stop]
    tenant_paused: bool


def _served(row: AnyRow) -> tuple[str | None, tuple[Sealed, int] | None]:
    values = ((field, sealed.read(row, "connection", field)) for field in SERVED)
    return next(((field, value) for field, value in values if value), (None, None))


async def find(tx: AsyncConnection, tenant: str, provider: str, name: str) -> Way:
    """Return the way of a path, as far up as anything is there: it has no stops where nothing is."""
    where = {"tenant": tenant, "at_provider": provider, "at_name": name}
    rows = (await tx.execute(_WAY[tx.dialect.name], where)).all()
    if not rows:
        return Way([], tenant_paused=False)
    there = {row.tenant_id: row for row in rows}
    farthest = max((row.passed.split("/") for row in rows), key=len)
    stops = []
    for each in farthest:
        if each in there:
            connection = connection_of(there[each])
            field, value = _served(there[each])
            stops.append(Stop(connection, field, value, Stale("connection", connection.id)))
        else:
            stops.append(Stop(None, None, None, vacancy(each, provider, name)))
    return Way(stops, bool(rows[0].tenant_paused))
