"""The audit as it is asked for: newest first, some of it, a window at a time.

However little of the audit is wanted, one look goes through a window of it at most: on SQLite, whoever
writes waits until a look is over.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, and_, literal, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.schema import AnyRow, audit_events
from vault.store.sight import Sight

WINDOW = 5_000  # records: some milliseconds

_e = audit_events.c
_at = type_coerce(_e.at, BigInteger)
_PLACE = (_at, _e.stream, _e.seq)
_ORDER = tuple(column.desc() for column in _PLACE)


class Place(NamedTuple):
    """Where a record stands in the order in which they are read; *at* in milliseconds."""

    at: int
    stream: str
    seq: int


async def window(
    tx: AsyncConnection,
    sight: Sight,
    like: dict[str, str],
    span: tuple[int | None, int | None],
    after: Place | None,
    most: int,
) -> tuple[Sequence[AnyRow], Place | None]:
    """Return up to *most* records of the window that follows *after*, and where it ends; None at the end of all.

    *like* has the values of columns. *span* is since when, and until before when, in milliseconds.
    """
    within = [*_spanned(span), *([] if after is None else [_beyond(after)])]
    last = select(*_PLACE).where(*within).order_by(*_ORDER).offset(WINDOW - 1).limit(1)
    found = (await tx.execute(last)).one_or_none()
    end = None if found is None else Place(*found)
    if end is not None:
        within.append(_upto(end))
    wanted = [*sight.conditions(_e, _at), *(_e[name] == value for name, value in like.items())]
    records = select(audit_events).where(*within, *wanted).order_by(*_ORDER).limit(most)
    return (await tx.execute(records)).all(), end


def _spanned(span: tuple[int | None, int | None]) -> list[ColumnElement[bool]]:
    since, until = span
    return [
        *([] if since is None else [_at >= since]),
        *([] if until is None else [_at < until]),
    ]


def _beyond(place: Place) -> ColumnElement[bool]:
    # The first condition is what the index is searched with.
    return and_(_at <= place.at, tuple_(*_PLACE) < _literal(place))


def _upto(place: Place) -> ColumnElement[bool]:
    return and_(_at >= place.at, tuple_(*_PLACE) >= _literal(place))


def _literal(place: Place) -> Any:
    return tuple_(*(literal(part, column.type) for part, column in zip(place, _PLACE, strict=True)))
