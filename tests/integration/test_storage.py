"""The database goes away in the middle of a refresh: nothing is sent without it, nothing answered is lost."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import age, audited, eventually, row_of, stored_pair
from vault.store import connections

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN " + sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def locked(store: Store, how: Literal["EXCLUSIVE", "IMMEDIATE"]) -> AsyncIterator[None]:
    """Have another process lock the SQLite file: for all, or for writers."""
    pipe, path = asyncio.subprocess.PIPE, store.url.removeprefix("sqlite+aiosqlite:///")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOCK, path, how, stdin=pipe, stdout=pipe)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"locked\n"
        yield
    finally:
        await process.communicate(b"")


@asynccontextmanager
async def away(store: Store, postgres_cluster: Any) -> AsyncIterator[None]:
    """Let nobody reach the database: another process locks the file, or the server throws all out."""
    if store.on_sqlite:
        async with locked(store, "EXCLUSIVE"):
            yield
        return
    name = store.url.rpartition("/")[2]
    await asyncio.to_thread(postgres_cluster.seal, name)
    try:
        yield
    finally:
        await asyncio.to_thread(postgres_cluster.execute, "ALTER DATABASE {} ALLOW_CONNECTIONS true", name)


def terminate_all(postgres_cluster: Any, store: Store) -> int:
    with postgres_cluster.connect() as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [store.url.rpartition("/")[2]],
        )
        return len(ended.fetchall())


async def test_an_answer_waits_for_the_database_to_come_back(
    replicas: Replicas, store: Store, postgres_cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is away when the provider answers: the outcome is written when it is back, and handed out."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold()
    reader = asyncio.create_task(rig.token("c", wait=25))
    await rig.provider.wait_for_held()
    async with away(store, postgres_cluster):
        await rig.provider.release()
        await eventually(lambda: _said(caplog, "an outcome waits to be written"))

    await reader
    await rig.vault.refresher.settled()
    answer = await rig.token("c")

    assert answer.status_code == 200
    ledger = await rig.provider.ledger()
    assert (len(ledger.exchanges(grant.family)), ledger.replays()) == (1, [])
    assert (await stored_pair(rig, "c")).refresh_token == ledger.last_refresh_token(grant.family)
    assert [one["outcome"] for one in await audited(rig, "token.refreshed")] == ["stored"]


async def _said(caplog: pytest.LogCaptureFixture, message: str) -> bool:
    return any(record.getMessage() == message for record in caplog.records)


async def test_nothing_is_sent_while_the_database_is_away(
    replicas: Replicas, store: Store, postgres_cluster: Any
) -> None:
    """Without a claim there is no exchange: readers get 503 storage_unavailable, and it mends by itself."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    async with away(store, postgres_cluster):
        answer = await rig.token("c", wait=1)
        await rig.vault.sweeper.once()

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert "Retry-After" in answer.headers
    assert (await rig.provider.ledger()).token_requests == 0
    await rig.vault.sweeper.once()
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1
    assert (await rig.token("c")).status_code == 200


async def test_a_database_that_goes_away_before_sending_leaves_no_doubt(replicas: Replicas) -> None:
    """The grant cannot be read with its claim: nothing was claimed or sent, so the next try waits for no lease."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    failed = 0

    def away(_connection: Any, statement: Any, *_: Any) -> None:
        nonlocal failed
        if statement is connections._GRANTS:
            failed += 1
            raise OperationalError("", {}, Exception("the server closed the connection"))

    event.listen(Engine, "before_execute", away)
    try:
        await rig.vault.sweeper.once()
    finally:
        event.remove(Engine, "before_execute", away)
    row = await row_of(rig, "c")

    assert failed == 2  # a claim is tried once more
    assert (row.lease_holder, row.inflight_generation, row.uncertain) == (None, None, False)
    assert (await rig.provider.ledger()).token_requests == 0
    await rig.vault.sweeper.once()
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1


@on_postgres
async def test_cut_sessions_lose_no_token(replicas: Replicas, store: Store, postgres_cluster: Any) -> None:
    """Every session of the database is ended again and again while 40 connections are swept: nothing is lost."""
    rig = await replicas(provider_concurrency=4, lease=2.0, provider_timeout=1.5)
    grants = {f"c{n}": (await rig.a_connection(f"c{n}", expires_in=0))[1] for n in range(40)}
    await rig.provider.fault(times=None, latency=0.05)
    sweeping = True

    async def cut() -> int:
        ended = 0
        while sweeping:
            ended += await asyncio.to_thread(terminate_all, postgres_cluster, store)
            await asyncio.sleep(0.15)
        return ended

    cutting = asyncio.create_task(cut())
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        await rig.vault.sweeper.once()
        await asyncio.sleep(0.05)
    sweeping = False
    assert await cutting > 5
    await age(rig, timedelta(minutes=5))
    await rig.vault.sweeper.once()

    ledger = await rig.provider.ledger()
    assert ledger.replays() == []
    for name, grant in grants.items():
        assert (await rig.look(name)).state.status == "verified"
        pair = await stored_pair(rig, name)
        assert pair.refresh_token == ledger.last_refresh_token(grant.family)
        assert pair.generation == len(ledger.exchanges(grant.family)) + 1


@on_sqlite
async def test_a_token_that_dies_while_its_audit_row_waits_is_not_handed_out(
    replicas: Replicas, store: Store
) -> None:
    """The database is locked for longer than the token lives: it is not handed out as if it still did."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=3)
    async with locked(store, "IMMEDIATE"):
        reader = asyncio.create_task(rig.token("c", min_ttl=0, wait=5))
        await asyncio.sleep(3)  # by then it is dead
    answer = await reader

    # Refreshed by now, or refused: but not the token that has died.
    assert (answer.status_code, answer.json().get("generation")) in {(200, 2), (503, None)}
