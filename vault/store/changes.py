"""What replicas have to forget: written in the transaction that makes it so, read by all twice a second."""

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Literal, NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.moments import clock
from vault.store.schema import changes

_c = changes.c
_ADD = insert(changes).values(at=clock())
_SINCE = (
    select(_c.seq, _c.kind, _c.key)
    .where(or_(_c.seq > bindparam("after"), _c.seq.in_(bindparam("gaps", expanding=True))))
    .order_by(_c.seq)
)
_ALL = select(_c.seq, _c.kind, _c.key).order_by(_c.seq)
_PRUNE = delete(changes).where(_c.at < clock() - bindparam("age_ms"))


class Stale(NamedTuple):
    """Something that may be remembered and is not true any more.

    A `connection` by its id, or where one comes to be by its path (`vacancy`); a `caller` by its id;
    any `tenant` (key ""); or a `gate`: a kill switch or a client that concerns any number of
    connections (key "").
    """

    kind: Literal["connection", "caller", "tenant", "gate"]
    key: str = ""


def vacancy(tenant: str, provider: str, name: str) -> Stale:
    """Return what ends when a connection comes to be at a path where there was none."""
    return Stale("connection", f"{tenant}/{provider}/{name}")


async def add(tx: AsyncConnection, found: Iterable[Stale]) -> None:
    """Write *found* down, each once."""
    rows = [change._asdict() for change in dict.fromkeys(found)]
    if rows:
        await tx.execute(_ADD, rows)


async def since(tx: AsyncConnection, after: int | None, gaps: Collection[int]) -> list[tuple[int, Stale]]:
    """Return what has come after number *after* and into *gaps*; all that is kept where *after* is None."""
    if after is None:
        found = await tx.execute(_ALL)
    else:
        found = await tx.execute(_SINCE, {"after": after, "gaps": list(gaps)})
    return [(row.seq, Stale(row.kind, row.key)) for row in found]


async def prune(tx: AsyncConnection, age: timedelta) -> None:
    """Forget changes that every replica which is still relied on has seen."""
    await tx.execute(_PRUNE, {"age_ms": age // timedelta(milliseconds=1)})
