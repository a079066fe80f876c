"""Readers that hang up, servers that end, tokens that live shortly, grants that are replaced in full flight."""

import asyncio
import glob
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text

from jobs.metronome import Metronome
from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import (
    age,
    an_aged_connection,
    audited,
    eventually,
    row_of,
    stored_pair,
)
from tests.processes import VaultProcess, started, token_path
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant
from tests.rig import Rig
from vault.store.database import Database
from vault.store.writer import Transaction


async def renewed(rig: Rig, name: str, generation: int = 2) -> bool:
    return (await rig.look(name)).state.generation >= generation


async def check_last_is_stored(rig: Rig, name: str, grant: Grant, exchanges: int = 1) -> None:
    """The vault holds what the provider issued last, after so many exchanges and no replay."""
    ledger = await rig.provider.ledger()
    assert (await stored_pair(rig, name)).refresh_token == ledger.last_refresh_token(grant.family)
    assert len(ledger.exchanges(grant.family)) == exchanges
    assert ledger.replays() == []


# ---- readers that hang up


async def test_the_exchange_outlives_the_readers_that_asked_for_it(replicas: Replicas) -> None:
    """All readers are cancelled while the provider answers: what it answers is stored nevertheless."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold()
    readers = [asyncio.create_task(rig.token("c", wait=20)) for _ in range(8)]
    await rig.provider.wait_for_held()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert all(reader.cancelled() for reader in readers)

    await rig.provider.release()
    await eventually(lambda: renewed(rig, "c"))

    await check_last_is_stored(rig, "c", grant)


async def test_an_impatient_reader_is_answered_and_the_exchange_goes_on(replicas: Replicas) -> None:
    """A reader whose wait is over gets a 503; the next one finds the token that it had asked for."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold()

    first = await rig.token("c", wait=1)
    assert (first.status_code, first.json()["code"]) == (503, "refresh_in_progress")
    assert first.headers["Retry-After"] == "1"
    await rig.provider.release()
    second = await rig.token("c", wait=20)

    assert second.status_code == 200
    await check_last_is_stored(rig, "c", grant)


@on_sqlite
async def test_readers_whose_sockets_are_cut_lose_no_token(
    replicas: Replicas, store: Store, tmp_path: Path
) -> None:
    """Sockets of a real server are reset mid-refresh, all of them: the new token is stored and served."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    key = await rig.key("tokens:read")
    await rig.provider.hold()
    async with started("serve", store.url, tmp_path) as server, server.api(key) as api:
        sockets = [asking(server, key, "c") for _ in range(8)]
        await rig.provider.wait_for_held()
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
        await rig.provider.release()
        await eventually(lambda: renewed(rig, "c"))
        answer = await api.get(token_path("c"))
        assert await server.terminate() == 0

    assert answer.status_code == 200
    assert answer.json()["generation"] == 2
    await check_last_is_stored(rig, "c", grant)


def asking(server: VaultProcess, key: str, name: str) -> socket.socket:
    """Return a socket on which a token was asked for."""
    address = urlsplit(server.address)
    made = socket.create_connection((address.hostname, address.port))
    request = f"GET {token_path(name)}?wait=25 HTTP/1.1\r\nHost: {address.netloc}\r\n"
    made.sendall(f"{request}Authorization: Bearer {key}\r\n\r\n".encode())
    return made


# ---- servers that end


async def test_sigterm_lets_a_refresh_end_first(replicas: Replicas, store: Store, tmp_path: Path) -> None:
    """Told to end while the provider answers, a server stores and hands out the token, then exits with 0."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    _, later = await rig.a_connection("later", expires_in=3600)
    key = await rig.key("tokens:read")
    await rig.provider.hold()
    async with started("serve", store.url, tmp_path) as server, server.api(key) as api:
        reader = asyncio.create_task(api.get(token_path("c"), params={"wait": 20}))
        await rig.provider.wait_for_held()
        server.send(signal.SIGTERM)
        await eventually(lambda: refuses_connections(server))
        await age(rig, timedelta(hours=2), name="later")
        assert server.process.exitcode is None
        await rig.provider.release()
        answer = await reader
        assert await server.ended() == 0

    assert answer.status_code == 200
    assert answer.json()["access_token"] == (await stored_pair(rig, "c")).access_token
    await check_last_is_stored(rig, "c", grant)
    row = await row_of(rig, "c")
    assert (row.lease_holder, row.inflight_generation) == (None, None)
    assert (await rig.provider.ledger()).exchanges(later.family) == []
    assert [record for record in server.records() if record["level"] in {"error", "critical"}] == []
    if store.on_sqlite:
        # A journal with something in it would say that it ended within a transaction.
        journals = glob.glob(f"{store.url.removeprefix('sqlite+aiosqlite:///')}-journal")
        assert [os.stat(journal).st_size for journal in journals] in ([], [0])


async def refuses_connections(server: VaultProcess) -> bool:
    address = urlsplit(server.address)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return True
    writer.close()
    return False


async def test_sigterm_lets_a_sweep_end_first(replicas: Replicas, store: Store, tmp_path: Path) -> None:
    """A worker told to end mid-sweep stores what it has sent, and begins nothing more of what is due."""
    rig = await replicas()
    for number in range(6):
        await rig.a_connection(f"c{number}", expires_in=0)
    await rig.provider.hold(times=2)
    settings: dict[str, Any] = {"sweep_interval_seconds": 0.2, "provider_concurrency": 2}
    async with started("worker", store.url, tmp_path, **settings) as worker:
        await rig.provider.wait_for_held(2, timeout=30)
        worker.send(signal.SIGTERM)
        await eventually(lambda: has_taken_the_signal(worker), within=5)
        await rig.provider.release()
        assert await worker.ended() == 0

    ledger = await rig.provider.ledger()
    assert (len(ledger.exchanges()), ledger.replays()) == (2, [])
    found = [await rig.look(f"c{number}") for number in range(6)]
    assert [one.state.status for one in found].count("verified") == 2
    assert all(one.state.lease_expires_at is None for one in found)


@on_postgres
async def test_a_start_that_waits_for_another_can_be_ended(store: Store, tmp_path: Path) -> None:
    """While one replica has the tables to itself, another that waits for it ends at SIGTERM, at once and well."""
    database = Database(store.url)
    try:
        async with database.migration_lock(), started("worker", store.url, tmp_path) as worker:

            async def waits() -> bool:
                waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                async with database.read() as tx:
                    return bool((await tx.execute(waiting)).scalar_one())

            await eventually(waits, within=30)
            assert await asyncio.wait_for(worker.terminate(), 5) == 0
            assert "Traceback" not in worker.output
    finally:
        await database.close()


async def has_taken_the_signal(worker: VaultProcess) -> bool:
    """Whether no signal is pending."""
    pending = [line for line in status_of(worker.pid) if line.startswith(("SigPnd", "ShdPnd"))]
    return all(int(line.split()[1], 16) == 0 for line in pending)


def status_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


async def test_draining_starts_nothing_that_only_waited_for_a_place(replicas: Replicas) -> None:
    """Readers that queue for a provider's places are sent away when the server ends, not exchanged one by one."""
    rig = await replicas(provider_concurrency=1)
    _, first = await rig.a_connection("first", expires_in=0)
    await rig.a_connection("second", expires_in=0)
    await rig.provider.hold(times=None)
    readers = [asyncio.create_task(rig.token("first", wait=5))]
    await rig.provider.wait_for_held()
    readers.append(asyncio.create_task(rig.token("second", wait=1)))
    second = (await rig.look("second")).id
    await eventually(lambda: _true(rig.vault.refresher.is_refreshing(second)))

    rig.vault.refresher.stop_claiming()
    await rig.provider.clear_faults()
    answers = await asyncio.gather(*readers)
    await rig.vault.drain()

    assert [answer.status_code for answer in answers] == [200, 503]
    ledger = await rig.provider.ledger()
    assert (ledger.token_requests, len(ledger.exchanges(first.family))) == (1, 1)


async def _true(value: bool) -> bool:
    return value


@on_sqlite
async def test_a_second_process_on_a_sqlite_file_is_refused(
    replicas: Replicas, store: Store, tmp_path: Path
) -> None:
    """While one server has the file, another start ends with exit 1 and one sentence, and spends nothing."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    async with started("serve", store.url, tmp_path) as first:
        for command in ("serve", "worker"):
            settings: dict[str, Any] = {"sweep_interval_seconds": 0.2}
            async with started(command, store.url, tmp_path, expect_ready=False, **settings) as second:
                assert await second.ended() == 1
            refusal = "tokenvault: Another `tokenvault serve` or `worker` runs on this SQLite file.\n"
            assert second.output == refusal
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{first.address}/readyz")).status_code == 200
        assert await first.terminate() == 0
    assert (await rig.provider.ledger()).token_requests == 0


# ---- tokens that live shortly


@asynccontextmanager
async def ticking(*rigs: Rig) -> AsyncIterator[None]:
    """Sweep on each of *rigs* as a server does."""
    metronomes = [Metronome(rig.vault) for rig in rigs]
    for metronome in metronomes:
        metronome.start()
    try:
        yield
    finally:
        for metronome in metronomes:
            metronome.stop()


@on_postgres
async def test_tokens_that_live_six_seconds_are_never_served_dead(replicas: Replicas, store: Store) -> None:
    """Swept and read for 20 s: every token handed out works at the provider, each generation is asked for once."""
    rigs = [await replicas(sweep_interval=0.5) for _ in range(1 if store.on_sqlite else 2)]
    provider = rigs[0].provider
    await provider.configure(access_lifetime=6)
    grants = [(await rigs[0].a_connection(f"c{n}", expires_in=6))[1] for n in range(4)]
    ends_at = asyncio.get_running_loop().time() + 20
    refused: list[Any] = []
    served = 0

    async def use(rig: Rig, name: str) -> None:
        nonlocal served
        async with httpx.AsyncClient() as client:
            while asyncio.get_running_loop().time() < ends_at:
                answer = await rig.token(name, wait=10)
                assert answer.status_code == 200, answer.text
                authorization = answer.json()["authorization"]
                used = await client.get(provider.resource, headers={"Authorization": authorization})
                if used.status_code != 200:
                    refused.append(answer.json()["expires_in"])
                served += 1
                await asyncio.sleep(0.1)

    async with ticking(*rigs):
        await asyncio.gather(*(use(rig, f"c{n}") for rig in rigs for n in range(4)))
    for rig in rigs:
        await rig.vault.drain()

    assert refused == []
    assert served > 100
    ledger = await provider.ledger()
    assert ledger.replays() == []
    for number, grant in enumerate(grants):
        exchanges = len(ledger.exchanges(grant.family))
        # Due after half of its life and not before: 20 s are four to seven times 3 to 5 s.
        assert 3 <= exchanges <= 8
        assert (await stored_pair(rigs[0], f"c{number}")).generation == exchanges + 1


@on_sqlite
async def test_tokens_that_arrive_dead_are_not_asked_for_in_a_loop(replicas: Replicas) -> None:
    """With `expires_in: 0` sweeps and readers come back, but not faster than every two seconds."""
    rig = await replicas()
    await rig.provider.fault(times=None, patch={"expires_in": 0})
    await rig.a_connection("c", expires_in=0)
    began = asyncio.get_running_loop().time()

    answers = []
    for _ in range(10):
        await rig.vault.sweeper.once()
        answers += await asyncio.gather(*(rig.token("c", wait=0) for _ in range(4)))
        answers.append(await rig.token("c", wait=1))

    took = asyncio.get_running_loop().time() - began
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "provider_unavailable")}
    ledger = await rig.provider.ledger()
    assert 1 <= len(ledger.exchanges()) <= took / 2 + 2
    assert ledger.replays() == []


@on_sqlite
async def test_min_ttl_counts_up_to_half_of_a_life(replicas: Replicas) -> None:
    """A wish for more life renews in the second half of a token's life only, and once a generation."""
    rig = await replicas()
    await an_aged_connection(rig, "young", left=2000)
    await an_aged_connection(rig, "old", left=1600)

    young = await rig.token("young", min_ttl=100_000)
    enough = await rig.token("old", min_ttl=1500)
    old = await rig.token("old", min_ttl=100_000)
    again = await rig.token("old", min_ttl=100_000)

    assert [one.json()["generation"] for one in (young, enough, old, again)] == [1, 1, 2, 2]
    assert (await rig.provider.ledger()).token_requests == 1
    assert 3590 <= old.json()["expires_in"] <= 3600


@on_sqlite
async def test_a_provider_that_gives_less_than_was_asked_is_asked_once(replicas: Replicas) -> None:
    """Where the new token too lives shorter than wished, it is served, and not renewed for that again."""
    rig = await replicas()
    await rig.provider.configure(access_lifetime=30)
    await an_aged_connection(rig, "c", left=20)

    answers = [await rig.token("c", min_ttl=100_000) for _ in range(3)]

    assert [one.json()["generation"] for one in answers] == [2, 2, 2]
    assert (await rig.provider.ledger()).token_requests == 1


# ---- what answers leave out


@on_sqlite
@pytest.mark.parametrize(
    "answer",
    [
        {"drop": ["refresh_token"]},
        {"patch": {"refresh_token": None}},
        {"patch": {"refresh_token": ""}},
        {"patch": {"refresh_token": 5}},
        {"patch": {"refresh_token": "canary-\ud800"}},
    ],
    ids=["absent", "null", "empty", "a number", "half of a character"],
)
async def test_an_answer_without_a_refresh_token_keeps_the_old_one(
    replicas: Replicas, answer: dict[str, Any]
) -> None:
    """Nothing in place of a refresh token is no refresh token: the old one is kept, sealed anew, and works."""
    rig = await replicas({"rotation": "never"})
    await rig.provider.configure(rotation="never")
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.fault(**answer)

    assert (await rig.token("c")).status_code == 200

    pair = await stored_pair(rig, "c")
    assert (pair.generation, pair.refresh_token) == (2, grant.refresh_token)
    await age(rig, timedelta(hours=2))
    await rig.vault.sweeper.once()
    assert (await rig.look("c")).state.status == "verified"
    assert (await stored_pair(rig, "c")).generation == 3


# ---- grants that are replaced, and values that are damaged


async def revoked(provider: FakeProvider, grant: Grant) -> bool:
    return grant.family in (await provider.ledger()).revoked_families


async def test_a_grant_replaced_mid_refresh_is_ended_and_not_stored(replicas: Replicas) -> None:
    """While the old grant is out, another is imported: the late successor is revoked, the new grant untouched."""
    rig = await replicas()
    _, old = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold()
    reader = asyncio.create_task(rig.token("c", wait=20))
    await rig.provider.wait_for_held()
    new = await rig.provider.mint(subject="account-2")
    await rig.adopt(new, "c", expires_in=3600)
    await rig.provider.release()

    answer = await reader
    await eventually(lambda: revoked(rig.provider, old))

    assert (answer.status_code, answer.json()["access_token"]) == (200, new.access_token)
    pair = await stored_pair(rig, "c")
    assert (pair.access_token, pair.refresh_token) == (new.access_token, new.refresh_token)
    assert not await revoked(rig.provider, new)
    assert [one["outcome"] for one in await audited(rig, "token.refreshed")] == ["superseded"]
    await age(rig, timedelta(hours=2))
    await rig.vault.sweeper.once()
    assert (await rig.look("c")).state.status == "verified"
    assert len((await rig.provider.ledger()).exchanges(new.family)) == 1
    assert (await rig.provider.ledger()).replays() == []


async def test_a_rejection_of_a_replaced_grant_is_not_the_new_ones(replicas: Replicas) -> None:
    """The old grant turns out to be dead after a new one was imported: the new one is not called failed."""
    rig = await replicas()
    _, old = await rig.a_connection("c", expires_in=0)
    await rig.provider.revoke_family(old.family)
    await rig.provider.hold()
    reader = asyncio.create_task(rig.token("c", wait=20))
    await rig.provider.wait_for_held()
    new = await rig.provider.mint(subject="account-2")
    await rig.adopt(new, "c", expires_in=3600)
    await rig.provider.release()

    answer = await reader

    assert (answer.status_code, answer.json()["access_token"]) == (200, new.access_token)
    assert (await rig.look("c")).state.status == "configured"


async def test_a_connection_deleted_mid_refresh_stays_deleted(replicas: Replicas) -> None:
    """While its grant is out, a connection is deleted: the late successor is revoked, and nothing is kept."""
    rig = await replicas()
    connection, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold()
    reader = asyncio.create_task(rig.token("c", wait=20))
    await rig.provider.wait_for_held()
    deleted = await rig.api.delete(token_path("c").removesuffix("/token"))
    await rig.provider.release()

    answer = await reader
    await eventually(lambda: revoked(rig.provider, grant))

    assert (deleted.status_code, answer.status_code) == (200, 409)  # nobody has connected this any more
    async with rig.vault.database.read() as tx:
        kept = await tx.scalar(
            text("SELECT count(*) FROM sealed_values WHERE owner_id = :id"), {"id": connection.id}
        )
        orphans = await tx.scalar(text("SELECT count(*) FROM orphaned_tokens"))
    assert (kept, orphans) == (0, 0)
    _, again = await rig.a_connection("c", expires_in=0)  # the name is free
    assert (await rig.token("c")).status_code == 200
    assert len((await rig.provider.ledger()).exchanges(again.family)) == 1


@pytest.mark.parametrize("field", ["refresh_token", "access_token"])
async def test_a_damaged_value_stops_its_own_connection_only(replicas: Replicas, field: str) -> None:
    """One flipped value makes one connection the operator's matter; nothing is deleted, others go on."""
    rig = await replicas()
    left = 0 if field == "refresh_token" else 3600
    damaged, grant = await rig.a_connection("damaged", expires_in=left)
    _, other = await rig.a_connection("other", expires_in=left)

    async def damage(tx: Transaction) -> None:
        broken = text("UPDATE sealed_values SET iv = salt WHERE owner_id = :id AND field = :field")
        await tx.execute(broken, {"id": damaged.id, "field": field})

    await rig.vault.writer.submit(damage)
    answers = [await rig.token("damaged", wait=2) for _ in range(3)]
    await rig.vault.sweeper.once()
    well = await rig.token("other")

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(409, "operator_required")}
    state = (await rig.look("damaged")).state
    assert (state.status, state.reason, state.next_action) == ("failed", "undecryptable", "operator")
    assert well.status_code == 200
    assert len((await rig.provider.ledger()).exchanges(other.family)) == (1 if left == 0 else 0)
    assert (await rig.provider.ledger()).exchanges(grant.family) == []
    async with rig.vault.database.read() as tx:
        kept = await tx.scalar(text("SELECT count(*) FROM sealed_values WHERE owner_id = :id"), {"id": damaged.id})
    assert kept == 2
