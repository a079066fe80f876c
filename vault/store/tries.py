"""How often what is entered at a path was tried at its provider within a minute, by whichever replica.

A path has a few slots, and each is taken once a minute at most: found free and taken in one statement, so that of
two at once the second goes on to the next. No minute, whenever it begins, has more tries than there are slots.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Path
from vault.store.connections import database_time
from vault.store.moments import clock
from vault.store.schema import tries

MOST, WITHIN = 5, timedelta(minutes=1)  # tries a path
_t = tries.c
_minute = WITHIN // timedelta(milliseconds=1)
# Later than in a minute is from before the clock was set back; a little later is what came while this one waited.
_over = or_(_t.tried_at <= clock() - _minute, _t.tried_at > clock() + _minute)


def _taking(insert: Any) -> Any:
    row = insert(tries).values(path=bindparam("path"), slot=bindparam("slot"), tried_at=clock())
    now = {"tried_at": row.excluded.tried_at}
    return row.on_conflict_do_update(index_elements=["path", "slot"], set_=now, where=_over).returning(_t.slot)


_TAKE = {"postgresql": _taking(postgresql.insert), "sqlite": _taking(sqlite.insert)}
_FIRST = select(func.min(_t.tried_at)).where(_t.path == bindparam("path"))


async def take(tx: AsyncConnection, path: Path) -> timedelta | None:
    """Count a try at *path*; return None. Where there were MOST already: how long until the next may be."""
    name = "/".join(path)
    for slot in range(MOST):
        if await tx.scalar(_TAKE[tx.dialect.name], {"path": name, "slot": slot}) is not None:
            return None
    first: datetime = (await tx.execute(_FIRST, {"path": name})).scalar_one()
    return first + WITHIN - await database_time(tx)


async def prune(tx: AsyncConnection) -> None:
    """Forget the tries that count no more."""
    await tx.execute(delete(tries).where(_over))
