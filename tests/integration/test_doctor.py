"""The doctor: a healthy vault is called healthy, each planted fault is found, and nothing is written."""

import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, make_url, text, update

from integrations.contract import Secret
from tests import rig as rigs
from tests.conftest import Leaks
from tests.integration.conftest import Store, on_postgres, on_sqlite
from tests.integration.judge import age, now_of
from tests.integration.turning import promoted, resealed, retired
from tests.rig import PROVIDER, TENANT, Rig
from vault.cli.doctor import examine
from vault.cli.findings import Finding, healthy, of_file, of_postgresql
from vault.errors import StorageUnavailable
from vault.store.database import Database, prepare_file, sqlite_path
from vault.store.schema import (
    clients,
    orphaned_tokens,
    provider_states,
    sealed_values,
    tenants,
    token_states,
)
from vault.store.writer import Transaction


def private(store: Store) -> None:
    """Give a copied SQLite file the permissions that the vault gives its own."""
    path = sqlite_path(store.url)
    if path is not None:
        path.chmod(0o600)


def worse_than_ok(found: list[Finding]) -> dict[str, str]:
    """Return the level of each check that is not fine, but for two that this machine and its tests decide."""
    passed_by = {"durability", "disk"}  # the tests' PostgreSQL does without fsync
    return {one.check: one.level for one in found if one.level != "ok" and one.check not in passed_by}


def content(store: Store) -> bytes | None:
    path = sqlite_path(store.url)
    return None if path is None else path.read_bytes()


async def change(rig: Rig, *statements: Any) -> None:
    async def unit(tx: Transaction) -> None:
        for statement in statements:
            await tx.execute(statement)

    await rig.vault.writer.submit(unit)


async def administer(store: Store, *statements: str) -> None:
    """Run *statements* on the database as its owner."""
    database = Database(store.url)
    try:
        async with database.transaction() as tx:
            for statement in statements:
                await tx.execute(text(statement))
    finally:
        await database.close()


async def test_a_healthy_vault_is_called_healthy(rig: Rig, store: Store, leaks: Leaks) -> None:
    """Beside a running server every check is fine, but for the one setting that tests need."""
    private(store)
    await rig.a_connection("c")
    before = content(store)
    found = await examine(rigs.settings(store.url))

    assert worse_than_ok(found) == {"local providers": "warning"}
    assert {"migrations", "keyring", "sealed values", "clock", "audit"} <= {finding.check for finding in found}
    assert any(re.search(r"A value that key \w+ sealed opens", finding.says) for finding in found)
    leaks.check("\n".join(f"{finding} {finding.facts()}" for finding in found))
    assert content(store) == before


@on_sqlite
async def test_a_retired_key_is_no_finding(rig: Rig, store: Store) -> None:
    """After a rotation only the key that is left is looked at: nothing it sealed is missing."""
    private(store)
    await rig.a_connection("c")
    key = await promoted(rig)
    await resealed(rig)
    await retired(rig)

    found = await examine(rigs.settings(store.url))

    assert worse_than_ok(found) == {"local providers": "warning"}
    assert [one.says for one in found if one.check == "sealed values"] == [
        f"A value that key {key:08x} sealed opens."
    ]


async def test_what_needs_somebody_is_found(rig: Rig, store: Store) -> None:
    """Each state that an operator has to know of has its line, with what would help."""
    private(store)
    ids = {
        name: (await rig.a_connection(name))[0].id for name in ("late", "lapsed", "refused", "wrong", "spoiled")
    }
    now, of = await now_of(rig), token_states.c.connection_id
    held = {"lease_holder": "x", "inflight_generation": token_states.c.generation}
    await change(
        rig,
        update(token_states)
        .where(of == ids["lapsed"])
        .values(lease_expires_at=now - timedelta(seconds=5), retake_after=now, **held),
        update(token_states).where(of == ids["refused"]).values(status="failed", reason="grant_rejected"),
        update(token_states).where(of == ids["wrong"]).values(status="failed", reason="credentials_rejected"),
        update(token_states).where(of == ids["spoiled"]).values(status="failed", reason="undecryptable"),
        update(sealed_values).values(ciphertext=bytes(32)),
        insert(provider_states).values(provider=PROVIDER, breaker="open"),
        update(clients).values(state="rejected"),
        update(tenants).where(tenants.c.id == TENANT).values(paused_at=now),
        insert(orphaned_tokens).values(attempt_id="x", connection_id="x", generation=2, seen_at=now),
    )
    await age(rig, timedelta(hours=2), "next_refresh_at", name="late")
    found = await examine(rigs.settings(store.url, allow_local_providers=False))

    assert worse_than_ok(found) == {
        "sealed values": "problem",
        "sweep": "problem",
        "connections": "problem",
        "breakers": "warning",
        "clients": "warning",
        "pauses": "warning",
        "leases": "warning",
        "orphaned tokens": "warning",
    }
    said = {finding.says: finding for finding in found if finding.check == "connections"}
    assert said["1 failed: grant_rejected."].level == "warning"
    assert said["1 failed: undecryptable."].level == "problem"
    assert "enter them anew" in (said["1 failed: credentials_rejected."].do or "")
    assert all(finding.do for finding in found if finding.level != "ok")
    assert not healthy(found)


async def test_a_sweep_that_is_a_little_late_is_a_warning(rig: Rig, store: Store) -> None:
    """Two minutes behind is not yet a reason to be woken."""
    private(store)
    connection, _ = await rig.a_connection("late")
    now = await now_of(rig)
    await change(
        rig,
        update(token_states)
        .where(token_states.c.connection_id == connection.id)
        .values(next_refresh_at=now - timedelta(seconds=120)),
    )
    found = await examine(rigs.settings(store.url, allow_local_providers=False))

    assert worse_than_ok(found) == {"sweep": "warning"}


@on_sqlite
async def test_another_secret_is_found(store: Store, leaks: Leaks) -> None:
    """The keyring does not open; neither secret is shown."""
    private(store)
    found = await examine(rigs.settings(store.url, encryption_secret=Secret("canary-other-" + "z" * 32)))

    assert worse_than_ok(found)["keyring"] == "problem"
    leaks.check(repr(found))


async def test_tables_that_are_not_there_are_found(database_url: str) -> None:
    """A database without tables is one problem with its remedy, and stays without."""
    prepare_file(database_url)
    for _ in range(2):
        found = await examine(rigs.settings(database_url, allow_local_providers=False))
        assert worse_than_ok(found) == {"migrations": "problem"}


@pytest.mark.parametrize("skew", [10, -60])
async def test_clocks_that_are_apart_are_found(store: Store, skew: int) -> None:
    """Over 2 s is a warning, over 30 s a problem, in either direction."""
    private(store)
    found = await examine(
        rigs.settings(store.url, allow_local_providers=False),
        wall=lambda: datetime.now(UTC) + timedelta(seconds=skew),
    )

    assert worse_than_ok(found) == {"clock": "warning" if skew == 10 else "problem"}


async def test_a_database_that_cannot_be_read_is_found(tmp_path: Path) -> None:
    """Nobody listens, or the file is no database: one line, no traceback, and no password in it."""
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database " * 1000)
    garbage.chmod(0o600)
    away = "postgresql+psycopg://somebody:canary-password@127.0.0.1:1/vault"
    for url in (away, f"sqlite+aiosqlite:///{garbage}"):
        found = await examine(rigs.settings(url, allow_local_providers=False))
        assert worse_than_ok(found) == {"database": "problem"}
        assert "canary" not in repr(found)


@on_sqlite
async def test_a_file_that_others_can_reach_is_found(store: Store) -> None:
    """Read by others is a warning, replaced by others a problem."""
    path = sqlite_path(store.url)
    assert path is not None
    path.chmod(0o644)
    readable = await examine(rigs.settings(store.url, allow_local_providers=False))
    path.parent.chmod(0o777)
    replaceable = await examine(rigs.settings(store.url, allow_local_providers=False))
    path.parent.chmod(0o700)

    assert worse_than_ok(readable) == {"file": "warning"}
    assert worse_than_ok(replaceable) == {"file": "problem"}


@on_sqlite
async def test_write_ahead_mode_is_found_and_left_alone(store: Store) -> None:
    """A file that something switched to WAL is not opened, for that would change it."""
    private(store)
    path = sqlite_path(store.url)
    assert path is not None
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    before = sorted(path.parent.iterdir()), path.read_bytes()
    found = await examine(rigs.settings(store.url, allow_local_providers=False))

    assert worse_than_ok(found) == {"database": "problem"}
    assert "migrations" not in {finding.check for finding in found}
    assert (sorted(path.parent.iterdir()), path.read_bytes()) == before


@pytest.fixture(name="reader")
async def _reader(store: Store) -> AsyncIterator[str]:
    """The URL by which a role that may only read reaches the database."""
    role = make_url(store.url).database
    await administer(
        store, f'CREATE ROLE "{role}" LOGIN', f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"'
    )
    yield make_url(store.url).set(username=role).render_as_string(hide_password=False)
    await administer(store, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@on_postgres
async def test_a_role_that_may_only_read_is_found(store: Store, reader: str) -> None:
    """The tables that it cannot write to are named."""
    found = await examine(rigs.settings(reader, allow_local_providers=False))

    assert worse_than_ok(found) == {"writing": "problem"}
    assert any("token_states" in finding.says for finding in found if finding.check == "writing")


@on_postgres
async def test_a_database_that_is_set_to_read_only_is_found(store: Store) -> None:
    """What a new session begins with counts, not what the doctor set for its own."""
    name = make_url(store.url).database
    await administer(store, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    found = await examine(rigs.settings(store.url, allow_local_providers=False))

    assert worse_than_ok(found) == {"writing": "problem"}


async def test_who_opens_a_database_for_reading_cannot_write(store: Store) -> None:
    """The database itself refuses, through either engine: the doctor could not write if it tried."""
    database = Database(store.url, read_only=True)
    try:
        for opened in (database.read, database.transaction):
            with pytest.raises(StorageUnavailable):
                async with opened() as tx:
                    await tx.execute(insert(provider_states).values(provider="x"))
    finally:
        await database.close()


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_lose_commits_is_found(setting: str) -> None:
    """Each setting that durability hangs on is looked at."""
    safe = {"version": "18", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}

    assert healthy(of_postgresql(safe))
    assert not healthy(of_postgresql({**safe, setting: "off"}))


def test_a_disk_that_is_nearly_full_is_found() -> None:
    """Under 1 GiB is a warning, under 100 MiB a problem."""
    levels = [of_file(0o600, 0o700, free)[-1].level for free in (2 << 30, 500 << 20, 50 << 20)]

    assert levels == ["ok", "warning", "problem"]
