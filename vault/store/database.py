"""One database, SQLite or PostgreSQL: how it is opened, and when a task may not talk to anybody else."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from sqlite3 import SQLITE_ERROR
from typing import IO, Any, TypeVar

from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from vault.errors import StorageUnavailable
from vault.store.express import Express, PostgresExpress, SqliteExpress

T = TypeVar("T")
# Rollback journal, not WAL: versions of SQLite before 3.51.3 can lose commits with WAL. EXTRA also
# syncs the directory, so that a commit survives a power cut. secure_delete overwrites what is freed.
_SQLITE_PRAGMAS = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = TRUNCATE",
    "PRAGMA synchronous = EXTRA",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA trusted_schema = OFF",
)
# synchronous_commit is set even though it is the default: a role whose default is off would lose tokens.
_POSTGRES_OPTIONS = (
    "-c synchronous_commit=on -c statement_timeout=10000 -c lock_timeout=5000"
    " -c idle_in_transaction_session_timeout=10000 -c timezone=UTC"
)
_POSTGRES_CONNECTION = {"options": _POSTGRES_OPTIONS, "connect_timeout": 5, "application_name": "tokenvault"}
# Whoever finds all of them busy waits for one, which costs far less than opening another.
READERS = 10
_CONTENTION = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
_MIGRATION_LOCK = 0x746F6B656E  # "token", as PostgreSQL's advisory lock wants a number

_in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)


class InUse(Exception):
    """Another `serve` or `worker` runs on this SQLite file."""


def in_transaction() -> bool:
    """Say whether this task has the database open, and so must not call a provider."""
    return _in_transaction.get()


class Database:
    """Engines for reading and for writing. Only `Writer` and commands write.

    A database that is opened *read_only* refuses every write, whoever tries.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = _read_only(make_url(url)) if read_only else make_url(url)
        self.on_sqlite = self.url.get_backend_name() == "sqlite"
        if self.on_sqlite:
            self._writing, self._reading = _sqlite_engine(self.url, immediate=True), _sqlite_engine(self.url)
        else:
            # Pools of their own: however many read, the writer never waits for a connection.
            self._writing = _postgres_engine(self.url, size=2)
            self._reading = _postgres_engine(self.url, size=READERS).execution_options(
                isolation_level="AUTOCOMMIT"
            )
            if read_only:
                for engine in (self._writing, self._reading):
                    event.listen(engine.sync_engine, "connect", _forbid_writes)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection on which every statement sees what is committed. Raises StorageUnavailable."""
        with storage_errors(), _marked():
            async with self._reading.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Give one transaction, committed at the end of the block. Raises StorageUnavailable."""
        with storage_errors(), _marked():
            async with self._writing.begin() as connection:
                yield connection

    def at_once(self, look: Callable[[Connection], T]) -> T:
        """Return what *look* reads on a connection of its own, while this whole process waits for it.

        For what is asked hardly ever, where nothing can be awaited. Raises StorageUnavailable.
        """
        url = self.url.set(drivername="sqlite") if self.on_sqlite else self.url
        options = {} if self.on_sqlite else _POSTGRES_CONNECTION
        engine = create_engine(url, hide_parameters=True, poolclass=NullPool, connect_args=options)
        with storage_errors(), engine.connect() as connection:
            return look(connection)

    def express(self, table: str, columns: Sequence[str]) -> Express:
        """Return a way of its own into *table*, opened when it is first taken."""
        if self.on_sqlite:
            return SqliteExpress(str(self.url.database), _SQLITE_PRAGMAS, table, columns)
        conninfo = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return PostgresExpress(conninfo, _POSTGRES_CONNECTION, table, columns)

    @asynccontextmanager
    async def migration_lock(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that alone, of all replicas, may change tables and create keys.

        Raises StorageUnavailable.
        """
        with storage_errors():
            async with self._exclusive() as connection:
                yield connection

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[AsyncConnection]:
        async with self._writing.connect() as connection:
            if self.on_sqlite:
                yield connection
                return
            await connection.execute(text("SET lock_timeout = 0; SET statement_timeout = 0"))
            await connection.execute(text("SELECT pg_advisory_lock(:n)"), {"n": _MIGRATION_LOCK})
            await connection.commit()
            try:
                yield connection
            finally:
                await connection.rollback()
                await connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": _MIGRATION_LOCK})
                await connection.commit()
                await connection.invalidate()  # its settings are not those of the pool

    async def close(self) -> None:
        await self._writing.dispose()
        await self._reading.dispose()


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn a database that is away, full, locked or read-only into StorageUnavailable.

    A broken constraint is not that: it passes through for the use case to name.
    """
    try:
        yield
    except DBAPIError as error:
        if _is_outage(error):
            contended = getattr(error.orig, "sqlstate", None) in _CONTENTION
            raise StorageUnavailable(contended=contended) from error
        raise
    except (OSError, PoolExhausted) as error:
        raise StorageUnavailable from error


def _is_outage(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        # Busy, locked, read-only, I/O, full: yes. SQLITE_ERROR is a statement that is wrong.
        return isinstance(error, OperationalError) and code & 0xFF != SQLITE_ERROR
    return error.connection_invalidated or type(error).__name__ in {
        "OperationalError",
        "InterfaceError",
        "InternalError",
    }


@contextmanager
def _marked() -> Iterator[None]:
    token = _in_transaction.set(True)
    try:
        yield
    finally:
        _in_transaction.reset(token)


def _sqlite_engine(url: URL, *, immediate: bool = False) -> AsyncEngine:
    engine = create_async_engine(
        url,
        hide_parameters=True,
        connect_args={"isolation_level": None},
        pool_reset_on_return=None,  # `_reset` below does it
        pool_size=1 if immediate else READERS,
        max_overflow=0,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in _SQLITE_PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "reset")
    def _reset(connection: Any, _entry: ConnectionPoolEntry, _state: Any) -> None:
        # Only after a commit that failed is there anything left to roll back; else it is a thread hop for nothing.
        if connection.driver_connection.in_transaction:
            connection.rollback()

    if immediate:

        @event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: Any) -> None:
            # A transaction that starts as a reader can be refused when it turns into a writer.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: URL, *, size: int) -> AsyncEngine:
    return create_async_engine(
        url,
        hide_parameters=True,
        pool_size=size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args=_POSTGRES_CONNECTION,
    )


def _read_only(url: URL) -> URL:
    """Return the *url* of a SQLite file so that it is opened for reading only; any other as it is."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return url
    file = Path(url.database).absolute().as_uri().replace("file://", "file:", 1)
    return url.set(database=file, query={"mode": "ro", "uri": "true"})


def _forbid_writes(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # Of the session only: what this role finds by default can still be asked for.
    cursor = connection.cursor()
    cursor.execute("SET default_transaction_read_only = on")
    cursor.close()
    connection.commit()


def prepare_file(url: str) -> None:
    """Make the folder and the file of a SQLite *url*, for their owner's eyes only."""
    path = sqlite_path(url)
    if path is None:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite *url*, None for any other database."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


class FileLock:
    """One `serve` or `worker` a SQLite file. The kernel frees the lock however the holder ends."""

    def __init__(self, url: str) -> None:
        self._path = sqlite_path(url)
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock. Raises InUse where another process has it."""
        if self._path is None:
            return
        descriptor = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            raise InUse from None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
