"""The short way of audit records: as durable as the long one, and in nobody's way when it fails."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import audited
from tests.rig import Rig
from vault.audit import Event
from vault.errors import StorageUnavailable
from vault.store.database import Database, prepare_file, sqlite_path
from vault.store.express import PostgresExpress, SqliteExpress
from vault.store.schema import providers

COLUMNS = ("id", "definition")


def rows(*names: str) -> list[tuple[str, str]]:
    return [(name, "{}") for name in names]


async def stored(database: Database) -> list[str]:
    async with database.read() as tx:
        return sorted((await tx.execute(select(providers.c.id))).scalars())


async def test_rows_are_stored_all_or_none(store: Store) -> None:
    """Any number of rows is one transaction: where one cannot be stored, none is, and the next ones are."""
    database = Database(store.url)
    express = database.express("providers", COLUMNS)
    names = [f"p{number:03}" for number in range(75)]

    await express.append(rows(*names))
    with pytest.raises(StorageUnavailable):
        await express.append(rows("new", names[0]))
    await express.append(rows("z"))

    assert await stored(database) == [*names, "z"]
    await express.close()
    await express.close()
    await database.close()


@on_sqlite
async def test_a_half_opened_connection_is_not_kept(store: Store) -> None:
    """Locked out while it is opened, it is opened anew: never without what makes its commits durable."""
    database = Database(store.url)
    express = database.express("providers", COLUMNS)
    assert isinstance(express, SqliteExpress)
    path = sqlite_path(store.url)
    assert path is not None
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageUnavailable):
        await express.append(rows("locked out"))
    locker.execute("ROLLBACK")
    locker.close()

    await express.append(rows("p"))

    def pragma(name: str) -> Any:
        assert express._connection is not None
        return express._connection.execute(f"PRAGMA {name}").fetchone()[0]

    thread = express._thread
    assert thread is not None
    found = [thread.submit(pragma, name).result() for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["truncate", 3, 1]
    await express.close()
    await database.close()


@on_sqlite
async def test_whatever_fails_leaves_no_lock(store: Store, tmp_path: Path) -> None:
    """An error that is not the database's closes the transaction too: others can write at once."""
    database = Database(store.url)
    express = database.express("instance", ("single", "id"))
    with pytest.raises(OverflowError):
        await express.append([(2**70, "too large for any column")])

    async with asyncio.timeout(3), database.transaction() as tx:
        await tx.execute(text("UPDATE instance SET id = id"))
    await express.close()
    await database.close()


async def test_without_a_table_nothing_is_promised(tmp_path: Path) -> None:
    """What the database refuses is told as storage that is away."""
    url = f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    prepare_file(url)
    express = Database(url).express("providers", COLUMNS)
    with pytest.raises(StorageUnavailable):
        await express.append(rows("p"))
    await express.close()


@on_postgres
async def test_a_session_cut_while_it_idled_costs_no_answer(replicas: Replicas) -> None:
    """The record goes the ordinary way then, and whoever asked gets the token."""
    rig = await replicas()
    await rig.a_connection("c")
    await short_way_taken(rig)
    express = rig.vault.writer._express
    assert isinstance(express, PostgresExpress)
    assert express._connection is not None
    pid = express._connection.info.backend_pid
    async with rig.vault.database.read() as tx:
        await tx.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    rig.vault.memory.forget_all()

    answer = await rig.token("c")

    assert answer.status_code == 200
    assert len(await audited(rig, "token.handed_out")) == 1


async def short_way_taken(rig: Rig) -> None:
    """Have a record written alone, when the end of the stream is known: that opens the short way."""
    for _ in range(2):
        await rig.vault.writer.record(Event("operator", "caller.denied"))
