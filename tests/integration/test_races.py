"""Many readers, replicas and sweeps at once: the provider hears of each generation's token exactly once.

`ROUNDS=500 pytest tests/integration/test_races.py` runs longer.
"""

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import adopt_many, count_by_status, eventually
from tests.processes import started, token_path
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant
from tests.rig import Rig
from vault.store import leases, ways

ROUNDS = int(os.environ.get("ROUNDS", "25"))
READERS = 32
Ask = Callable[[str], Awaitable[httpx.Response]]


async def one_round(rig: Rig, number: int, asks: list[Ask]) -> Grant:
    """Let READERS ask at once for a new connection's expired token, in turn at each of *asks*."""
    # Answers come at once, or late enough for others to find the lease taken.
    if number % 3:
        await rig.provider.fault(latency=0.06 * (number % 3))
    name = f"round-{number}"
    _, grant = await rig.a_connection(name, expires_in=0)
    askers = itertools.islice(itertools.cycle(asks), READERS)
    answers = await asyncio.gather(*(ask(name) for ask in askers))
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    assert len({answer.json()["access_token"] for answer in answers}) == 1
    return grant


async def judge(provider: FakeProvider, grants: list[Grant]) -> None:
    ledger = await provider.ledger()
    assert ledger.replays() == []
    assert {len(ledger.exchanges(grant.family)) for grant in grants} == {1}
    assert ledger.token_requests == len(grants)


def reader_of(rig: Rig) -> Ask:
    return lambda name: rig.token(name, wait=25)


@on_sqlite
async def test_readers_of_one_process_cause_one_exchange_a_round(
    replicas: Replicas, provider: FakeProvider
) -> None:
    """In one process on SQLite, 32 readers and a sweep at once cause one exchange, round after round."""
    rig = await replicas()

    async def sweep_too(name: str) -> httpx.Response:
        await rig.vault.sweeper.tick()
        return await rig.token(name, wait=25)

    grants = [await one_round(rig, n, [reader_of(rig)] * 15 + [sweep_too]) for n in range(ROUNDS)]

    await judge(provider, grants)


async def test_readers_of_one_process_share_one_claim(replicas: Replicas) -> None:
    """In one process, all but the first reader wait for the first one's try: one claim is made."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    executed: Counter[int] = Counter()

    def count(_connection: Any, statement: Any, *_: Any) -> None:
        executed[id(statement)] += 1

    async def all_have_looked() -> bool:
        return sum(executed[id(way)] for way in ways._WAY.values()) >= READERS

    await rig.provider.hold()
    event.listen(Engine, "after_execute", count)
    try:
        readers = [asyncio.create_task(rig.token("c", wait=25)) for _ in range(READERS)]
        await eventually(all_have_looked)
        await rig.provider.wait_for_held()
        await rig.provider.release()
        answers = await asyncio.gather(*readers)
    finally:
        event.remove(Engine, "after_execute", count)

    assert {answer.status_code for answer in answers} == {200}
    assert executed[id(leases.CLAIM)] == 1
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1


@on_postgres
async def test_readers_of_two_replicas_cause_one_exchange_a_round(
    replicas: Replicas, provider: FakeProvider
) -> None:
    """On two replicas with engines of their own, 32 readers cause one exchange, round after round."""
    first, second = await replicas(), await replicas()

    async def sweep_too(name: str) -> httpx.Response:
        await second.vault.sweeper.tick()
        return await second.token(name, wait=25)

    asks = [reader_of(first), reader_of(second)] * 7 + [reader_of(first), sweep_too]
    grants = [await one_round(first, n, asks) for n in range(ROUNDS)]

    await judge(provider, grants)


@on_postgres
async def test_readers_of_two_server_processes_cause_one_exchange_a_round(
    replicas: Replicas, store: Store, provider: FakeProvider, tmp_path: Path
) -> None:
    """Two real servers that sweep too, 32 readers over sockets: one exchange, round after round."""
    rig = await replicas()
    key = await rig.key("tokens:read")
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"sweep_interval_seconds": 0.5}
        starting = (stack.enter_async_context(started("serve", store.url, tmp_path, **settings)) for _ in range(2))
        servers = [await each for each in starting]
        clients = [await stack.enter_async_context(server.api(key)) for server in servers]

        def asking(client: httpx.AsyncClient) -> Ask:
            return lambda name: client.get(token_path(name), params={"wait": 25})

        grants = [await one_round(rig, n, [asking(client) for client in clients]) for n in range(ROUNDS)]
        ends = [await server.terminate() for server in servers]

    await judge(provider, grants)
    assert ends == [0, 0]


@on_postgres
async def test_sweeps_of_three_replicas_share_what_is_due(replicas: Replicas, provider: FakeProvider) -> None:
    """Three replicas that sweep 100 due connections at once exchange each of them once."""
    rigs = [await replicas(provider_concurrency=8) for _ in range(3)]
    grants = await provider.mint_many(100)
    await adopt_many(rigs[0], grants)

    await asyncio.gather(*(rig.vault.sweeper.once() for rig in rigs))

    await judge(provider, grants)
    assert await count_by_status(rigs[0]) == {"verified": 100}


@on_postgres
async def test_sweeps_of_three_worker_processes_share_what_is_due(
    replicas: Replicas, store: Store, provider: FakeProvider, tmp_path: Path
) -> None:
    """Three real workers that start on 100 due connections exchange each of them once, and end when told."""
    rig = await replicas()
    grants = await provider.mint_many(100)
    await adopt_many(rig, grants)
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"sweep_interval_seconds": 0.2, "provider_concurrency": 8}
        workers = [
            await stack.enter_async_context(started("worker", store.url, tmp_path, **settings)) for _ in range(3)
        ]
        await provider.wait_for("delivered", 100, timeout=40)
        ends = [await worker.terminate() for worker in workers]

    await judge(provider, grants)
    assert await count_by_status(rig) == {"verified": 100}
    assert ends == [0, 0, 0]
