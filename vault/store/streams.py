"""The audit as it is read back, and what retention takes from it.

Values come as the database has them, converted to nothing: what somebody put there must not keep
the reader from saying so.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Label,
    String,
    bindparam,
    cast,
    delete,
    exists,
    func,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import NullType

from vault.chain import Field, Position
from vault.store.database import Database
from vault.store.schema import AnyRow, audit_events, audit_streams
from vault.store.trail import COLUMNS

PAGE = 500  # records at a time: a few milliseconds
BEFORE_ALL = -(2**63)  # a number below that of any record


def _raw(column: Column[Any]) -> Label[Any]:
    return type_coerce(column, NullType()).label(column.name)


_e, _s = audit_events.c, audit_streams.c
_this = bindparam("this_stream", type_=String)
_RECORDS = (
    select(
        *[cast(_e.seq, BigInteger).label("seq") if name == "seq" else _raw(_e[name]) for name in COLUMNS],
        _raw(_e.mac),
    )
    .where(_e.stream == _this, _e.seq > bindparam("after"))
    .order_by(_e.seq)
    .limit(PAGE)
)
_STREAMS = (
    select(*[_raw(column) for column in audit_streams.columns])
    .where(_s.stream > bindparam("after"))
    .order_by(_s.stream)
    .limit(PAGE)
)
_STREAM = select(*[_raw(column) for column in audit_streams.columns]).where(_s.stream == _this)
# One look into the key's index a stream, however many records it has.
_NEXT_NAME = select(_e.stream).where(_e.stream > bindparam("after")).order_by(_e.stream).limit(1)
_LOOSE = select(
    func.count().filter(_e.mac.is_(None)).label("unchained"),
    func.min(_e.seq).filter(_e.mac.is_not(None)).label("chained"),
).where(_e.stream == _this)

_limit = bindparam("limit_ms", type_=BigInteger)
_at = type_coerce(_e.at, BigInteger)
_has_expired = exists().where(_e.stream == _s.stream, _e.seq == _s.base_seq + 1, _at < _limit)
_EXPIRED = select(_s.stream).where(_has_expired).order_by(_s.started_at, _s.stream)
_MOVE_BASE = (
    update(audit_streams)
    .where(_s.stream == _this, _s.base_seq == bindparam("from_seq"))  # once, whoever else is at it
    .values(base_seq=bindparam("seq"), base_mac=bindparam("mac"), base_signature=bindparam("signature"))
)
_REMOVE = delete(audit_events).where(_e.stream == _this, _e.seq <= bindparam("seq"))
_o = audit_events.alias("old").c
_OLD_UNCHAINED = (
    select(_o.stream, _o.seq)
    .where(type_coerce(_o.at, BigInteger) < _limit, _o.mac.is_(None), ~exists().where(_s.stream == _o.stream))
    .order_by(_o.at)
    .limit(bindparam("most"))
)
_REMOVE_UNCHAINED = delete(audit_events).where(tuple_(_e.stream, _e.seq).in_(_OLD_UNCHAINED))


@dataclass(frozen=True)
class Stream:
    """A row of `audit_streams`; moments in milliseconds since 1970."""

    stream: str
    started_at: int
    links: str
    base: Position
    base_signature: bytes
    head: Position
    head_at: int
    head_signature: bytes


async def every(database: Database) -> AsyncIterator[Stream]:
    """Give every stream, in the order of the names."""
    after = ""
    while True:
        async with database.read() as tx:
            page = (await tx.execute(_STREAMS, {"after": after})).all()
        for row in page:
            yield _stream(row)
        if len(page) < PAGE:
            return
        after = page[-1].stream


async def find(tx: AsyncConnection, stream: str) -> Stream | None:
    row = (await tx.execute(_STREAM, {"this_stream": stream})).one_or_none()
    return None if row is None else _stream(row)


async def records(database: Database, stream: str, after: int) -> AsyncIterator[Sequence[AnyRow]]:
    """Give the records of *stream* beyond number *after*, a page at a time, in their order."""
    while True:
        async with database.read() as tx:
            page = (await tx.execute(_RECORDS, {"this_stream": stream, "after": after})).all()
        yield page
        if len(page) < PAGE:
            return
        after = page[-1].seq


def fields(record: AnyRow) -> list[Field]:
    """Return what the chain covers of *record*, as it was read."""
    return list(record[: len(COLUMNS)])


async def next_name(tx: AsyncConnection, after: str) -> str | None:
    """Return the first name of a stream beyond *after* that any record bears."""
    name: str | None = (await tx.execute(_NEXT_NAME, {"after": after})).scalar_one_or_none()
    return name


async def loose(tx: AsyncConnection, stream: str) -> tuple[int, int | None]:
    """Return how many records of *stream* are from before the chain, and the first that is not."""
    row = (await tx.execute(_LOOSE, {"this_stream": stream})).one()
    return row.unchained, row.chained


async def expired(tx: AsyncConnection, limit: int) -> list[str]:
    """Return the streams whose first record is from before *limit*, the oldest stream first."""
    return list((await tx.execute(_EXPIRED, {"limit_ms": limit})).scalars())


async def remove(tx: AsyncConnection, stream: Stream, base: Position, signature: bytes) -> bool:
    """Take the records of *stream* up to *base*, which it then begins after.

    Returns whether it still began where *stream* says; nothing is taken otherwise.
    """
    values = {"from_seq": stream.base.seq, "seq": base.seq, "mac": base.mac, "signature": signature}
    moved = await tx.execute(_MOVE_BASE, {"this_stream": stream.stream, **values})
    if moved.rowcount:
        await tx.execute(_REMOVE, {"this_stream": stream.stream, "seq": base.seq})
    return bool(moved.rowcount)


async def remove_unchained(tx: AsyncConnection, limit: int, most: int) -> int:
    """Take up to *most* records from before there was a chain that are older than *limit*; return how many."""
    taken = await tx.execute(_REMOVE_UNCHAINED, {"limit_ms": limit, "most": most})
    return int(taken.rowcount)


def _stream(row: AnyRow) -> Stream:
    return Stream(
        row.stream,
        row.started_at,
        row.links,
        Position(row.base_seq, _binary(row.base_mac)),
        _binary(row.base_signature),
        Position(row.head_seq, _binary(row.head_mac)),
        row.head_at,
        _binary(row.head_signature),
    )


def _binary(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b""
