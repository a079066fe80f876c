"""Tables and keys: made once by one replica, refused where they cannot be used, and never made anew over data."""

import ast
import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, func, inspect, select, text

from integrations.contract import Secret
from tests.integration.conftest import Store, unlocked
from tests.rig import PROVIDER, SECRET, TENANT, Rig
from vault.errors import StorageUnavailable
from vault.keyring import Context, Keyring
from vault.store import migrate
from vault.store.database import Database, FileLock, InUse, prepare_file, sqlite_path
from vault.store.schema import metadata
from vault.unlock import CannotStart, open_keyring, open_vault

ROOT = Path(__file__).parents[2]
REVISIONS = [
    each.revision for each in ScriptDirectory.from_config(migrate.config()).walk_revisions()
]  # newest first
Opening = Callable[[Database, Secret], Awaitable[Keyring]]
PLACE = Context("t", "p", "connection", "c", "access_token", 1)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def changed(url: str, change: Callable[[Connection], Any]) -> None:
    """Run *change* as a migration runs: on the one connection that may."""
    async with opened(url) as database, database.migration_lock() as tx:
        await tx.run_sync(change)
        await tx.commit()


async def executed(url: str, *statements: str) -> None:
    async with opened(url) as database, database.transaction() as tx:
        for statement in statements:
            await tx.execute(text(statement))


async def seen(url: str, look: Callable[[Connection], Any]) -> Any:
    async with opened(url) as database, database.read() as tx:
        return await tx.run_sync(look)


async def upgraded(url: str) -> None:
    async with opened(url) as database, database.migration_lock() as tx:
        await migrate.upgrade(tx)
        await tx.commit()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def counts(connection: Connection) -> dict[str, int]:
    """Return how many rows each table has, those that are none of ours too."""
    found = MetaData()
    found.reflect(connection)
    return {
        name: connection.scalar(select(func.count()).select_from(table)) or 0
        for name, table in found.tables.items()
    }


# --- up and down -----------------------------------------------------------------------------------------


async def test_an_empty_database_gets_all_tables(database_url: str) -> None:
    """From nothing, the migrations make our tables and the root of the tenants, and no other row."""
    await upgraded(database_url)

    assert await seen(database_url, tables) == set(metadata.tables)
    found = await seen(database_url, counts)
    assert {name: count for name, count in found.items() if count} == {"tenants": 1, "alembic_version": 1}
    assert await seen(database_url, root) == ("platform", None)


def root(connection: Connection) -> tuple[Any, ...]:
    return tuple(connection.execute(text("SELECT id, parent_id FROM tenants")).one())


async def test_migrating_what_is_up_to_date_changes_nothing(store: Store) -> None:
    """A second start finds everything there."""
    before = await seen(store.url, shape), await seen(store.url, counts)

    await upgraded(store.url)

    assert (await seen(store.url, shape), await seen(store.url, counts)) == before


async def test_nothing_is_missing_from_the_migrations(store: Store) -> None:
    """`alembic check` finds nothing in the code's tables that no migration makes."""
    await changed(store.url, lambda connection: command.check(migrate.config(connection)))


def shape(connection: Connection) -> dict[str, Any]:
    """Return what the database itself knows of our tables, CHECKs and partial indexes included."""
    looking = inspect(connection)
    return {
        name: {
            "columns": sorted(map(plainly, looking.get_columns(name)), key=repr),
            "key": plainly(looking.get_pk_constraint(name)),
            "foreign": sorted(map(plainly, looking.get_foreign_keys(name)), key=repr),
            "unique": sorted(map(plainly, looking.get_unique_constraints(name)), key=repr),
            "checks": sorted(map(plainly, looking.get_check_constraints(name)), key=repr),
            "indexes": sorted(map(plainly, looking.get_indexes(name)), key=repr),
        }
        for name in tables(connection)
    }


def plainly(described: Any) -> dict[str, str]:
    """Return a description as texts that can be compared; parentheses around a default mean nothing."""
    options = described.get("dialect_options", {})
    flat = {key: value for key, value in {**described, **options}.items() if key != "dialect_options"}
    return {key: str(value).strip("()") if key == "default" else str(value) for key, value in flat.items()}


@pytest.fixture(name="twins", params=["sqlite", "postgres"])
def _twins(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return an empty database and a migrated one of the same kind."""
    empty, migrated = (request.getfixturevalue(f"{request.param}_{name}") for name in ("url", "store"))
    # On SQLite both fixtures would be the same file.
    return empty.replace("vault.db", "empty.db"), migrated.url


async def test_the_migrations_make_what_the_code_describes(twins: tuple[str, str]) -> None:
    """Tables made by the migrations are those made from the code, in every constraint and index too."""
    described, migrated = twins
    await changed(described, metadata.create_all)

    assert await seen(described, shape) == await seen(migrated, shape)


async def test_down_and_up_again_with_data_in_it(rig: Rig, store: Store) -> None:
    """Each revision goes down over data to nothing at all, and up again to the same tables and the root."""
    await rig.a_connection("c", expires_in=0)
    await rig.token("c")
    await rig.vault.roll_up()
    await rig.api.post(f"/v1/connections/{TENANT}/{PROVIDER}/c/verify")
    before = await seen(store.url, shape)
    filled = await seen(store.url, counts)
    used = {"connections", "token_states", "sealed_values", "clients", "callers", "audit_events", "usage_daily"}
    assert used | {"tries"} <= {name for name, count in filled.items() if count}

    for _ in REVISIONS:
        await changed(store.url, lambda connection: command.downgrade(migrate.config(connection), "-1"))
    assert await seen(store.url, tables) == set()
    for revision in reversed(REVISIONS):
        await changed(store.url, step_to(revision))

    assert await seen(store.url, shape) == before
    assert await seen(store.url, root) == ("platform", None)
    async with opened(store.url) as database:
        keyring = await open_vault(database, Secret(SECRET))
    assert keyring.instance != store.keyring.instance


async def test_figures_of_usage_outlive_a_step_down_and_up(rig: Rig, store: Store) -> None:
    """A version without the columns that say whose they are has them too, and so has one that comes back."""
    await rig.a_connection("c")
    await rig.token("c")
    await rig.vault.roll_up()

    await changed(store.url, lambda connection: command.downgrade(migrate.config(connection), "0004"))
    assert await seen(store.url, figures) == [(TENANT, 1)]
    await changed(store.url, lambda connection: command.upgrade(migrate.config(connection), "0005"))

    assert await seen(store.url, figures) == [(TENANT, 1)]
    assert await seen(store.url, whose) == [(None, 0)]


def figures(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(text("SELECT tenant, handed_out FROM usage_daily"))]


def whose(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(text("SELECT since, former FROM usage_daily"))]


def step_to(revision: str) -> Callable[[Connection], None]:
    """Return what goes up to *revision*, down one, and up again."""

    def step(connection: Connection) -> None:
        command.upgrade(migrate.config(connection), revision)
        command.downgrade(migrate.config(connection), "-1")
        command.upgrade(migrate.config(connection), revision)

    return step


async def test_a_migration_that_fails_leaves_the_old_tables(database_url: str) -> None:
    """All or nothing: what was made before the failure is gone again."""
    await executed(database_url, "CREATE TABLE connections (id INTEGER)")  # in the way of the migration

    with pytest.raises(Exception, match="already exists"):
        await upgraded(database_url)

    assert await seen(database_url, tables) == {"connections"}


def test_migrations_import_nothing_of_ours() -> None:
    """A revision means the same for ever, whatever becomes of our code."""
    ours = {"vault", "integrations", "jobs", "migrations", "tests"}
    revisions = sorted((ROOT / "migrations" / "versions").glob("*.py"))

    assert len(revisions) == len(REVISIONS)
    assert {path.name: imported(path) & ours for path in revisions} == {path.name: set() for path in revisions}


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import is one of ours"
            found.add((node.module or "").partition(".")[0])
    return found


# --- which version ---------------------------------------------------------------------------------------


async def test_a_database_that_is_not_migrated_is_told(database_url: str) -> None:
    """Commands do not work on a database that was never set up, and do not set it up in passing."""
    prepare_file(database_url)
    async with opened(database_url) as database:
        async with database.read() as tx:
            assert await migrate.standing(tx) == "earlier"
        with pytest.raises(CannotStart, match="tokenvault migrate"):
            await open_keyring(database, Secret(SECRET))

    assert await seen(database_url, tables) == set()


async def test_a_database_newer_than_the_code_is_told(store: Store) -> None:
    """After a rollback of the code, the newer tables are neither used nor touched."""
    await executed(store.url, "UPDATE alembic_version SET version_num = '9999'")
    before = await seen(store.url, counts)
    async with opened(store.url) as database:
        async with database.read() as tx:
            assert await migrate.standing(tx) == "later"
        with pytest.raises(CannotStart, match="later version"):
            await open_keyring(database, Secret(SECRET))
        with pytest.raises(CannotStart):
            await open_vault(database, Secret(SECRET))

    assert await seen(store.url, counts) == before


@pytest.mark.parametrize(("revision", "status"), [("9999", 200), ("0001", 503), (None, 503)])
async def test_a_replica_stays_ready_while_a_later_version_migrates(
    rig: Rig, store: Store, revision: str | None, status: int
) -> None:
    """Old replicas serve until new ones have taken over; tables that they cannot use make them unready."""
    change = "DELETE FROM alembic_version" if revision is None else "UPDATE alembic_version SET version_num = :r"
    await executed(store.url, change.replace(":r", f"'{revision}'"))

    assert (await rig.api.get("/readyz")).status_code == status


async def test_a_database_that_is_up_to_date_opens_without_a_write(store: Store) -> None:
    """Commands get the keyring that the server made."""
    async with opened(store.url) as database:
        async with database.read() as tx:
            assert await migrate.standing(tx) == "current"
        assert same(await open_keyring(database, Secret(SECRET)), store.keyring)


def same(one: Keyring, other: Keyring) -> bool:
    """Say whether two keyrings open each other's values and make the same hashes."""
    opens = other.open(one.seal(Secret("canary-value"), PLACE), PLACE).reveal() == "canary-value"
    return opens and one.mac("test", "x") == other.mac("test", "x")


@pytest.mark.parametrize("opening", [open_vault, open_keyring])
async def test_a_database_that_is_away_is_told(opening: Opening) -> None:
    """A start without a database ends in a word about the database."""
    async with opened("postgresql+psycopg://127.0.0.1:1/vault") as database:
        with pytest.raises(StorageUnavailable):
            await opening(database, Secret(SECRET))


# --- at the same time ------------------------------------------------------------------------------------


async def test_two_tasks_that_set_up_one_database_get_one_keyring(postgres_url: str) -> None:
    """Of two replicas that start on an empty database, one makes tables and keys and the other finds them."""
    one, other = await asyncio.gather(unlocked(postgres_url), unlocked(postgres_url))

    assert same(one, other)
    assert (await seen(postgres_url, counts))["keyring"] == 2


async def test_two_processes_that_set_up_one_database_end_well(postgres_url: str) -> None:
    """The lock is the database's, so it holds between processes too."""
    environment = {**os.environ, "ENCRYPTION_SECRET": SECRET, "DATABASE_URL": postgres_url}
    migrating = (sys.executable, "-m", "vault", "migrate")
    started = [
        await asyncio.create_subprocess_exec(
            *migrating, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]

    said = [(await each.communicate())[0].decode() for each in started]
    assert [each.returncode for each in started] == [0, 0], said
    found = await seen(postgres_url, counts)
    assert (found["keyring"], found["instance"], found["alembic_version"]) == (2, 1, 1)
    async with opened(postgres_url) as database:
        await open_keyring(database, Secret(SECRET))


# --- keys that cannot be used ----------------------------------------------------------------------------


@contextmanager
def untouched(url: str) -> Iterator[None]:
    """Assert that the block leaves the database as it was: a SQLite file to the byte."""
    path = sqlite_path(url)
    if path is None:
        before = asyncio.run(seen(url, rows))
        yield
        assert asyncio.run(seen(url, rows)) == before
    else:
        content, beside = path.read_bytes(), sorted(path.parent.iterdir())
        yield
        assert path.read_bytes() == content
        assert sorted(path.parent.iterdir()) == beside


def rows(connection: Connection) -> dict[str, list[Any]]:
    found = MetaData()
    found.reflect(connection)
    return {name: sorted(map(repr, connection.execute(select(table)))) for name, table in found.tables.items()}


async def open_and_close(url: str, opening: Opening, secret: str = SECRET) -> None:
    async with opened(url) as database:
        await opening(database, Secret(secret))


@pytest.mark.parametrize("opening", [open_vault, open_keyring])
def test_a_wrong_secret_is_told_and_nothing_is_written(store: Store, opening: Opening) -> None:
    """With another ENCRYPTION_SECRET the vault does not start, and the database stays as it is."""
    with untouched(store.url), pytest.raises(CannotStart, match="ENCRYPTION_SECRET is not the one"):
        asyncio.run(open_and_close(store.url, opening, SECRET + "?"))


WEAK = '\'{"n": 1024, "p": 1, "r": 8}\''
DEAR = '\'{"n": 1073741824, "p": 1, "r": 8}\''
VALUE = (
    "INSERT INTO sealed_values"
    " SELECT 'connection', 'c', 'access_token', 1, 1, key_id, {x}, {x}, {x}, {x}"
    " FROM keyring WHERE purpose = 'values'"
)


@pytest.mark.parametrize("parameters", [WEAK, DEAR], ids=["weak", "dear"])
def test_stored_parameters_that_are_not_ours_are_refused(store: Store, parameters: str) -> None:
    """Whoever can write the database can neither make guessing the secret cheap nor a start expensive."""
    asyncio.run(executed(store.url, f"UPDATE keyring_wraps SET kdf_params = {parameters}"))

    with untouched(store.url), pytest.raises(CannotStart, match="key derivation"):
        asyncio.run(open_and_close(store.url, open_vault))


LOST = {
    "the wrapped keys": ("DELETE FROM keyring_wraps",),
    "all keys": ("DELETE FROM keyring_wraps", "DELETE FROM keyring"),
    "keys and name": ("DELETE FROM keyring_wraps", "DELETE FROM keyring", "DELETE FROM instance"),
    "the name": ("DELETE FROM instance",),
}


@pytest.mark.parametrize("what", LOST)
def test_no_new_keys_are_made_where_sealed_values_are_left(store: Store, what: str) -> None:
    """A keyring that is gone is a backup to be restored, not a reason to begin anew."""
    literal = "x'00'" if store.on_sqlite else r"'\x00'"
    asyncio.run(executed(store.url, VALUE.format(x=literal)))
    asyncio.run(torn_out(store, *LOST[what]))

    with untouched(store.url), pytest.raises(CannotStart, match="restore it from a backup"):
        asyncio.run(open_and_close(store.url, open_vault))


async def torn_out(store: Store, *statements: str) -> None:
    """Delete as no foreign key would have it."""
    path = sqlite_path(store.url)
    if path is None:
        await executed(store.url, "SET session_replication_role = replica", *statements)
    else:
        with sqlite3.connect(path) as connection:  # foreign keys are off unless asked for
            for statement in statements:
                connection.execute(statement)
        connection.close()


@pytest.mark.parametrize("purpose", ["mac", "values"])
def test_a_keyring_that_lacks_a_key_is_refused(store: Store, purpose: str) -> None:
    """Half a keyring is no keyring: hashes under no key at all could be made by anybody."""
    lost = f"key_id = (SELECT key_id FROM keyring WHERE purpose = '{purpose}')"
    asyncio.run(torn_out(store, f"DELETE FROM keyring_wraps WHERE {lost}"))

    with untouched(store.url), pytest.raises(CannotStart):
        asyncio.run(open_and_close(store.url, open_vault))


def test_a_keyring_without_a_key_to_seal_with_is_refused(store: Store) -> None:
    """Where no key is primary, that is said at the start and not by the first write."""
    asyncio.run(executed(store.url, "UPDATE keyring SET state = 'decrypt_only' WHERE purpose = 'values'"))

    with untouched(store.url), pytest.raises(CannotStart):
        asyncio.run(open_and_close(store.url, open_vault))


# --- the file --------------------------------------------------------------------------------------------


@pytest.fixture(name="umask", params=[0o000, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_folder_file_and_lock_are_for_their_owner_only(tmp_path: Path) -> None:
    """Whatever the umask, nobody else reads the database, its folder or its lock."""
    url = f"sqlite+aiosqlite:///{tmp_path}/data/vault.db"
    prepare_file(url)
    lock = FileLock(url)
    lock.acquire()
    asyncio.run(upgraded(url))
    lock.release()

    folder = tmp_path / "data"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {"vault.db", "vault.db.lock"} <= set(modes)  # and what SQLite makes beside them
    assert set(modes.values()) == {0o600}


def test_preparing_leaves_what_is_there(tmp_path: Path) -> None:
    """A database that exists keeps its content."""
    path = tmp_path / "vault.db"
    path.write_bytes(b"something")

    prepare_file(f"sqlite+aiosqlite:///{path}")

    assert path.read_bytes() == b"something"


def test_one_process_a_file(sqlite_url: str) -> None:
    """The second holder of a file's lock is refused until the first lets go, or dies."""
    one, other = FileLock(sqlite_url), FileLock(sqlite_url)
    one.acquire()

    with pytest.raises(InUse):
        other.acquire()
    one.release()
    other.acquire()
    other.release()


HOLDING = """
import sys
from vault.store.database import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
sys.stdin.read()
"""


def test_a_lock_ends_with_its_process(sqlite_url: str) -> None:
    """A holder that was killed leaves no lock behind."""
    lock = FileLock(sqlite_url)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, sqlite_url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(InUse):
            lock.acquire()
        holder.kill()
        holder.wait()
        lock.acquire()
    lock.release()


def test_other_databases_need_no_file_lock() -> None:
    """On PostgreSQL any number of replicas run."""
    one, other = (FileLock("postgresql+psycopg://localhost/vault") for _ in range(2))
    one.acquire()
    other.acquire()
    prepare_file("postgresql+psycopg://localhost/vault")
    other.release()
    one.release()
