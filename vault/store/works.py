"""Works at a provider: whose turn it is to do one, what is due, and that only whoever has the turn keeps anything.

The lease is that of the connection (`leases.py`), without an intent: no token is spent, and whoever takes over
from a holder that is gone looks first what that has done.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, String, and_, bindparam, delete, exists, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store import gates
from vault.store.leases import UNPARKED, Terms
from vault.store.moments import clock
from vault.store.schema import connections, token_states, works
from vault.store.settle import RELEASE

_s, _c, _w = token_states.c, connections.c, works.c
_now = clock()
_attempt = bindparam("attempt", type_=String)
_from = bindparam("from_generation", type_=BigInteger())
_in_use = exists().where(_c.id == _s.connection_id, _c.enabled, _c.deleted_at.is_(None))
# After a commit whose answer was lost, the same claim comes again.
_free = or_(_s.lease_expires_at.is_(None), _s.lease_expires_at <= _now, _s.attempt_id == _attempt)

CLAIM = (
    update(token_states)
    .where(
        _s.connection_id == bindparam("connection"),
        _s.status != "unconfigured",
        _free,
        _in_use,
        UNPARKED,
        gates.PROVIDER_IS_FREE,
    )
    .values(
        lease_holder=bindparam("holder"),
        lease_expires_at=_now + bindparam("lease_ms"),
        lease_fence=_s.lease_fence + 1,
        attempt_id=_attempt,
    )
    .returning(_s.generation, _s.lease_fence, _s.lease_expires_at)
)

# The same keeping once more finds itself: nobody else raises the generation while the fence stands.
KEEP = (
    update(token_states)
    .where(
        _s.connection_id == bindparam("connection"),
        _s.generation.in_((_from, _from + 1)),
        _s.lease_fence == bindparam("fence"),
    )
    .values(generation=_from + 1)
)

_DUE = (
    select(_w.connection_id, _w.ability)
    .join(connections, _c.id == _w.connection_id)
    .join(token_states, _s.connection_id == _w.connection_id)
    .where(_w.due_at <= _now, _c.enabled, _c.deleted_at.is_(None), UNPARKED, gates.PROVIDER_IS_FREE)
    .where(_s.status != "unconfigured")
    .where(or_(_s.lease_expires_at.is_(None), _s.lease_expires_at <= _now))
    .order_by(_w.due_at)
    .limit(bindparam("most"))
)


def _upsert(insert: Any) -> Any:
    row = insert(works).values(
        connection_id=bindparam("connection"),
        ability=bindparam("ability"),
        due_at=_now + bindparam("later_ms", type_=BigInteger()),
        begun=bindparam("begun"),
    )
    return row, {"ability": row.excluded.ability, "due_at": row.excluded.due_at}


def _statements(insert: Any) -> dict[str, Any]:
    row, replaced = _upsert(insert)
    begun = {**replaced, "begun": row.excluded.begun}
    return {
        "begin": row.on_conflict_do_update(index_elements=["connection_id"], set_=begun),
        "schedule": row.on_conflict_do_update(
            index_elements=["connection_id"], set_=replaced, where=works.c.begun.is_(False)
        ),
    }


_WRITE = {"postgresql": _statements(postgresql.insert), "sqlite": _statements(sqlite.insert)}
_AGAIN = (
    update(works)
    .where(_w.connection_id == bindparam("connection"))
    .values(due_at=_now + bindparam("later_ms", type_=BigInteger()), failures=_w.failures + 1)
)
_LINE = select(_w.ability, _w.due_at, _w.failures, _w.begun).where(_w.connection_id == bindparam("connection"))


@dataclass
class Turn:
    """The right to do one work with a connection. *generation* is that of what was kept last.

    *resumed* says that it was begun before, *failures* how often in a row it has come to nothing.
    """

    connection: str
    generation: int
    fence: int
    resumed: bool
    failures: int


async def claim(
    tx: AsyncConnection, terms: Terms, connection: str, ability: str, attempt: str, *, ordered: bool
) -> Turn | None:
    """Take the lease of *connection* for a work, which is written down; None where it cannot be had now.

    Nor where nobody has *ordered* it, and it is not due any more: it was, when somebody looked what is.
    """
    parameters = terms.parameters(attempt)
    parameters.pop("patience_ms")
    row = (await tx.execute(CLAIM, {"connection": connection, **parameters})).one_or_none()
    if row is None:
        return None
    line = (await tx.execute(_LINE, {"connection": connection})).one_or_none()
    resumed, failures = (line.begun, line.failures) if line is not None else (False, 0)
    turn = Turn(connection, row.generation, row.lease_fence, resumed, failures)
    # By the end of the turn: the same claim once more finds that it has put off the line itself.
    due = line is not None and line.ability == ability and line.due_at <= row.lease_expires_at
    if not ordered and not due:
        await release(tx, turn)
        return None
    await begin(tx, connection, ability, terms.lease)
    return turn


async def begin(tx: AsyncConnection, connection: str, ability: str, turn: timedelta = timedelta(0)) -> None:
    """Have *ability* done by the next one that finds it due, which is when the *turn* that begins is over."""
    row = {"connection": connection, "ability": ability, "later_ms": _milliseconds(turn), "begun": True}
    await tx.execute(_WRITE[tx.dialect.name]["begin"], row)


async def keep(tx: AsyncConnection, turn: Turn) -> bool:
    """Begin the next generation for what *turn* keeps. Returns whether it is still that one's to do so."""
    parameters = {"connection": turn.connection, "from_generation": turn.generation, "fence": turn.fence}
    return (await tx.execute(KEEP, parameters)).rowcount == 1


async def release(tx: AsyncConnection, turn: Turn) -> bool:
    """Give the lease back. Returns whether it was still that one's."""
    mine = await tx.execute(RELEASE, {"connection": turn.connection, "fence": turn.fence})
    return mine.rowcount == 1


async def due(tx: AsyncConnection, most: int) -> list[tuple[str, str]]:
    """Return up to *most* works that are due and nobody is at: connection and ability."""
    return [(row.connection_id, row.ability) for row in await tx.execute(_DUE, {"most": most})]


async def schedule(tx: AsyncConnection, connection: str, ability: str, every: timedelta) -> None:
    """Have *ability* done in that time, in the place of what was to be; what is begun already stays as it is."""
    row = {"connection": connection, "ability": ability, "later_ms": _milliseconds(every), "begun": False}
    await tx.execute(_WRITE[tx.dialect.name]["schedule"], row)


async def unschedule(tx: AsyncConnection, connection: str) -> None:
    """Have nothing done that is not begun."""
    await tx.execute(delete(works).where(and_(_w.connection_id == connection, _w.begun.is_(False))))


async def again(tx: AsyncConnection, connection: str, later: timedelta) -> None:
    """Have it done after *later* once more, which came to nothing."""
    await tx.execute(_AGAIN, {"connection": connection, "later_ms": _milliseconds(later)})


async def end(tx: AsyncConnection, connection: str) -> None:
    """Strike the work off."""
    await tx.execute(delete(works).where(_w.connection_id == connection))


def _milliseconds(time: timedelta) -> int:
    return time // timedelta(milliseconds=1)
