"""Records of the audit, in a transaction of their own, by the shortest way that each driver has.

Nearly all that a busy vault writes is this: a record for each token that it hands out. SQLAlchemy's
way through a transaction, which everything else takes, costs more CPU than all the rest of handing
out. So these rows go straight to the driver: on SQLite in one visit to a thread of its own, on
PostgreSQL as one COPY, which is a transaction by itself.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import Any, Protocol

import psycopg

from vault.errors import StorageUnavailable

Row = tuple[Any, ...]
MOST = 256  # rows at a time
_SIZES = tuple(2**exponent for exponent in range(MOST.bit_length()))  # rows a statement has room for


class Express(Protocol):
    """A connection that does nothing but append rows to one table. One caller at a time."""

    plenty: int  # rows in a transaction, from which on its own price hardly counts

    async def append(self, rows: Sequence[Row]) -> None:
        """Store *rows*, MOST at most, all or none. Raises StorageUnavailable; then nobody knows which."""
        ...

    async def close(self) -> None: ...


class SqliteExpress:
    """One statement is a whole transaction, for each one lets go of the interpreter, and has to get it back.

    What is not there of a statement's rows is filled up with NULL, which it leaves out.
    """

    plenty = MOST  # a commit waits four times for the disk

    def __init__(self, path: str, pragmas: Sequence[str], table: str, columns: Sequence[str]) -> None:
        self._path = path
        self._pragmas = pragmas
        places, self._nothing = f"({', '.join('?' * len(columns))})", (None,) * len(columns)
        self._inserts = {
            size: f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - names of ours
            f" SELECT * FROM (VALUES {', '.join([places] * size)}) WHERE column1 IS NOT NULL"
            for size in _SIZES
        }
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def append(self, rows: Sequence[Row]) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, "express")
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._append, rows)
        except sqlite3.Error as error:
            raise StorageUnavailable from error

    async def close(self) -> None:
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown()
            self._thread = None

    def _append(self, rows: Sequence[Row]) -> None:
        connection = self._connection = self._connection or self._opened()
        try:
            size = next(size for size in _SIZES if size >= len(rows))
            filled = chain(*rows, *repeat(self._nothing, size - len(rows)))
            connection.execute(self._inserts[size], tuple(filled))
        except BaseException:
            self._close()
            raise

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            for pragma in self._pragmas:
                connection.execute(pragma)
        except BaseException:
            connection.close()  # without all of them it would be a less durable one
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class PostgresExpress:
    plenty = 24

    def __init__(self, conninfo: str, options: dict[str, Any], table: str, columns: Sequence[str]) -> None:
        self._conninfo = conninfo
        self._options = options
        self._copy = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def append(self, rows: Sequence[Row]) -> None:
        try:
            connection = self._connection or await self._opened()
            async with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
                for row in rows:
                    await copy.write_row(row)
        except (psycopg.Error, OSError) as error:
            await self.close()
            raise StorageUnavailable from error

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _opened(self) -> psycopg.AsyncConnection[Any]:
        self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, **self._options)
        return self._connection
