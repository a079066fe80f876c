"""Records of the audit, in a transaction of their own, by the shortest way that each driver has.

Nearly all that a busy vault writes is this: a record for each token that it hands out. SQLAlchemy's
way through a transaction, which everything else takes, costs more CPU than all the rest of handing
out. So these rows go straight to the driver: on SQLite in one visit to a thread of its own, on
PostgreSQL as one COPY, which is a transaction by itself.
"""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import psycopg

from vault.errors import StorageUnavailable

Row = tuple[Any, ...]
# Many rows a statement: each statement lets go of the interpreter and has to wait until it gets it back.
_CHUNKS = (64, 32, 16, 8, 4, 2, 1)


class Express(Protocol):
    """A connection that does nothing but append rows to one table. One caller at a time."""

    async def append(self, rows: Sequence[Row]) -> None:
        """Store *rows*, all or none. Raises StorageUnavailable; then nobody knows which."""
        ...

    async def close(self) -> None: ...


class SqliteExpress:
    def __init__(self, path: str, pragmas: Sequence[str], table: str, columns: Sequence[str]) -> None:
        self._path = path
        self._pragmas = pragmas
        places = f"({', '.join('?' * len(columns))})"
        self._inserts = {
            size: f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([places] * size)}"  # noqa: S608
            for size in _CHUNKS
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
            connection.execute("BEGIN IMMEDIATE")
            for chunk in _chunks(rows):
                connection.execute(self._inserts[len(chunk)], [value for row in chunk for value in row])
            connection.execute("COMMIT")
        except BaseException:
            self._close()  # with whatever is left of the transaction
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


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Give *rows* in as few pieces as there are statements for."""
    begin = 0
    for size in _CHUNKS:
        while len(rows) - begin >= size:
            yield rows[begin : begin + size]
            begin += size


class PostgresExpress:
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
