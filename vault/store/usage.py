"""Hand-outs a day, counted from the audit. How far a stream is counted moves in the transaction that counts.

A tenant may have been somebody else's before it was deleted and made again. Each figure says since when its
tenant was there, and how much of it is of those before.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    String,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.moments import EPOCH
from vault.store.schema import AnyRow, audit_events, audit_streams, tenants, usage_daily, usage_marks
from vault.store.sight import Sight

BATCH = 2_000  # records a transaction: some milliseconds of the writer's
DAY = 86_400_000  # milliseconds
KEY = ("day", "tenant", "provider", "name", "source")

_e, _s, _m, _u = audit_events.c, audit_streams.c, usage_marks.c, usage_daily.c
_its_end = (cast(_u.day, BigInteger) + 1) * DAY - 1  # of a day, in milliseconds
_its_moment = func.coalesce(type_coerce(_u.since, BigInteger), _its_end)
_its_own = _u.handed_out - _u.former
_this = bindparam("this_stream", type_=String)
_mark, _end = bindparam("mark", type_=BigInteger), bindparam("end", type_=BigInteger)

_uncounted = exists().where(_e.stream == _s.stream, _e.seq > func.coalesce(_m.seq, 0))
_BEHIND = (
    select(_s.stream)
    .outerjoin_from(audit_streams, usage_marks, _m.stream == _s.stream)
    .where(_uncounted)
    .order_by(_s.started_at, _s.stream)
)
_HOLD_MARK = select(_m.seq).where(_m.stream == _this).with_for_update()
_ahead = (
    select(_e.seq)
    .where(_e.stream == _this, _e.seq > _mark, or_(_end.is_(None), _e.seq <= _end))
    .order_by(_e.seq)
    .limit(BATCH)
    .subquery()
)
_REACH = select(func.max(_ahead.c.seq), func.count())
_day = (type_coerce(_e.at, BigInteger) // DAY).label("day")
# Found by the statement that finds the records: it sees no record of a tenant that it does not see made.
_nobodys = literal(EPOCH, tenants.c.created_at.type)  # where the tenant is gone: older than any to come
_since = func.coalesce(tenants.c.created_at, _nobodys).label("since")
_former = func.count(case((_e.at < tenants.c.created_at, 1))).label("former")
_HAND_OUTS = (
    select(_day, _e.tenant, _e.provider, _e.name, _e.detail, _since, func.count().label("handed_out"), _former)
    .outerjoin_from(audit_events, tenants, tenants.c.id == _e.tenant)
    .where(
        _e.stream == _this,
        _e.seq > _mark,
        _e.seq <= _end,
        _e.action == "token.handed_out",
        _e.tenant.is_not(None),
        _e.provider.is_not(None),
        _e.name.is_not(None),
    )
    .group_by(_day, _e.tenant, _e.provider, _e.name, _e.detail, tenants.c.created_at)
)
MOVE_MARK = update(usage_marks).where(_m.stream == _this).values(seq=_end)


def _added(insert: Any) -> Any:
    """Return what adds to a figure: of two tenants of one id, what the older one did becomes former.

    A figure that does not say whose it is was begun by a former version: it goes to the tenant that is there.
    """
    new = insert.excluded
    older, newer = new.since < _u.since, new.since > _u.since
    sums = {
        "handed_out": _u.handed_out + new.handed_out,
        "former": case(
            (older, _u.former + new.handed_out),
            (newer, _u.handed_out + new.former),
            else_=_u.former + new.former,
        ),
        "since": case((older, _u.since), else_=new.since),
    }
    return insert.on_conflict_do_update(index_elements=KEY, set_=sums)


def _begun(insert: Any) -> Any:
    return insert.values(seq=0).on_conflict_do_nothing()


_ADD = {"postgresql": _added(postgresql.insert(usage_daily)), "sqlite": _added(sqlite.insert(usage_daily))}
_BEGIN = {"postgresql": _begun(postgresql.insert(usage_marks)), "sqlite": _begun(sqlite.insert(usage_marks))}


async def behind(tx: AsyncConnection) -> Sequence[str]:
    """Return the streams of which something is not counted yet, the oldest first."""
    return (await tx.execute(_BEHIND)).scalars().all()


async def count(tx: AsyncConnection, stream: str, *, upto: int | None = None) -> bool:
    """Count a batch of *stream*, up to record *upto* at most. Returns whether there was anything to count.

    What is to be seen of a stream has no gaps that are filled later: it is written by one task, in order.
    """
    await tx.execute(_BEGIN[tx.dialect.name], {"stream": stream})
    mark = (await tx.execute(_HOLD_MARK, {"this_stream": stream})).scalar_one()  # whoever else counts it waits
    asked = {"this_stream": stream, "mark": mark}
    reached, seen = (await tx.execute(_REACH, {**asked, "end": upto})).one()
    if not seen:
        return False
    await add(tx, _summed((await tx.execute(_HAND_OUTS, {**asked, "end": reached})).all()))
    await tx.execute(MOVE_MARK, {"this_stream": stream, "end": reached})
    return True


async def add(tx: AsyncConnection, figures: Sequence[dict[str, Any]]) -> None:
    """Add *figures* to those that are there."""
    if figures:
        # In one order, so that two replicas with a stream each do not wait for each other.
        ordered = sorted(figures, key=lambda figure: [figure[name] for name in KEY])
        await tx.execute(_ADD[tx.dialect.name], ordered)


async def page(
    tx: AsyncConnection, sight: Sight, days: tuple[int, int], after: Sequence[Any] | None, limit: int
) -> Sequence[AnyRow]:
    """Return up to *limit* figures of the first to the last of *days*, in the order of KEY.

    Who sees the whole tree sees what all tenants of an id did, everybody else what the present one did.
    """
    key = [_u[name] for name in KEY]
    seen = _u.handed_out if sight.whole else _its_own
    figures = select(*key, seen.label("handed_out"))
    figures = figures.where(_u.day.between(*days), *sight.conditions(_u, _its_moment), seen > 0)
    if after is not None:
        figures = figures.where(_u.day >= after[0], tuple_(*key) > tuple_(*after))
    return (await tx.execute(figures.order_by(*key).limit(limit))).all()


def _summed(rows: Sequence[AnyRow]) -> list[dict[str, Any]]:
    """Return the figures that *rows* come to: details of several kinds may say one source."""
    figures = dict[tuple[Any, ...], dict[str, Any]]()
    for row in rows:
        key = (row.day, row.tenant, row.provider, row.name, _source(row))
        empty = {**dict(zip(KEY, key, strict=True)), "since": row.since, "handed_out": 0, "former": 0}
        figure = figures.setdefault(key, empty)
        figure["handed_out"] += row.handed_out
        figure["former"] += row.former
    return list(figures.values())


def _source(row: AnyRow) -> str:
    """Return whose connection the token came from: the record says so where that is not the path's own."""
    try:
        found = json.loads(row.detail).get("source")
    except (ValueError, AttributeError):  # only where somebody has altered it
        found = None
    return found if isinstance(found, str) else str(row.tenant)
