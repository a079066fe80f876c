"""Moments, as they are stored, and the database's own clock.

They are whole milliseconds since 1970 UTC: arithmetic with the clock is then the same statement on SQLite
and PostgreSQL. Python sees aware datetimes.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """Return *moment* as it is stored."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as milliseconds since 1970 UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else milliseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(milliseconds=value)


class clock(FunctionElement[int]):
    """The database's own time in milliseconds: the one clock that judges leases."""

    type = BigInteger()
    inherit_cache = True
    name = "clock"


@compiles(clock, "postgresql")
def _clock_on_postgresql(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    # Not now(), which stands still for a whole transaction; nor clock_timestamp(), which no index can serve.
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000 AS BIGINT)"


@compiles(clock, "sqlite")
def _clock_on_sqlite(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
