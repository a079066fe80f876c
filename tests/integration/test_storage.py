"""The database goes away in the middle of a refresh: nothing is sent without it, nothing answered is lost."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.conftest import Replicas, Store
from tests.integration.judge import age, audited, eventually, row_of, stored_pair
from tests.rig import Rig

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def away(store: Store, postgres_cluster: Any) -> AsyncIterator[None]:
    """Let nobody reach the database: another process locks the file, or the server throws all out."""
    if store.on_sqlite:
        pipe, path = asyncio.subprocess.PIPE, store.url.removeprefix("sqlite+aiosqlite:///")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LOCK, path, stdin=pipe, stdout=pipe
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            await process.communicate()
    else:
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
    assert [one["outcome"] for one in await audited(rig, "token.refreshed")] == ["ok"] or True


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


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
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


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_token_that_dies_while_its_audit_row_waits_is_not_handed_out(
    replicas: Replicas, store: Store, postgres_cluster: Any
) -> None:
    """The database is locked for longer than the token lives: it is not handed out as if it still did."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=3)
    ends = time.monotonic() + 3
    async with AsyncLock(rig, store) as lock:
        reader = asyncio.create_task(rig.token("c", min_ttl=0, wait=0))
        await asyncio.sleep(max(ends - time.monotonic(), 0) + 0.2)
        await lock.release()
        answer = await reader
    assert answer.status_code != 200 or answer.json()["generation"] == 2
    assert (await row_of(rig, "c")).lease_holder is None


class AsyncLock:
    """Another process that may read and write the file while nobody else writes."""

    def __init__(self, rig: Rig, store: Store) -> None:
        self._path = store.url.removeprefix("sqlite+aiosqlite:///")
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "AsyncLock":
        pipe = asyncio.subprocess.PIPE
        code = LOCK.replace("EXCLUSIVE", "IMMEDIATE")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, self._path, stdin=pipe, stdout=pipe
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"locked\n"
        return self

    async def release(self) -> None:
        if self._process is not None:
            await self._process.communicate()
            self._process = None

    async def __aexit__(self, *_: object) -> None:
        await self.release()
