"""The benchmarks still run: set up as they are in earnest, and given next to nothing to do."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from benchmarks import claims, fetch, filling, keys, servers, start, sweep, transports
from benchmarks.claims import CLAIMED, Case
from benchmarks.load import BadLoad, knock
from benchmarks.provider import listening
from vault.app import serving
from vault.store.database import Database
from vault.store.schema import audit_events

DUE = 40


def test_a_fetch_is_measured_beside_a_hello_world(sqlite_url: str, tmp_path: Path) -> None:
    """The vault on granian and the hello-world on uvicorn answer a load, and what they cost is read."""
    keys = {"SQLite": asyncio.run(fetch.prepare(sqlite_url))}

    with servers.hello("uvicorn", tmp_path) as hello, servers.vault("granian", sqlite_url, tmp_path) as vault:
        with pytest.raises(BadLoad, match="401"):
            knock(vault.address, "nobody's", 0.1, 1)
        measured = {"hello": hello, "SQLite": vault}
        seen = fetch.in_turns(measured, keys, knock, seconds=0.2, warming=0.1, rounds=1)
        weights = start.weighed(vault, keys["SQLite"], knock, fetches=10, chunk=0.1)

    assert all(rounds[0].loaded.requests > 0 and rounds[0].rss > 10 for rounds in seen.values())
    assert weights[-1][0] >= 10
    assert weights[-1][1] > 10


def test_the_least_that_an_audited_answer_costs_is_measured(database_url: str, tmp_path: Path) -> None:
    """The bare handler answers each request of a load after its row is in the audit."""
    asyncio.run(fetch.prepare(database_url))
    with servers.least("uvicorn", database_url, tmp_path) as least:
        loaded = knock(least.address, "", 0.2, 4)

    assert 0 < loaded.requests <= asyncio.run(_rows_of_the_least(database_url))


async def _rows_of_the_least(database_url: str) -> int:
    database = Database(database_url)
    rows = select(func.count()).select_from(audit_events).where(audit_events.c.stream.startswith("least-"))
    async with database.read() as connection:
        counted = (await connection.execute(rows)).scalar_one()
    await database.close()
    return int(counted)


async def test_the_sweep_and_its_claims_are_measured(database_url: str) -> None:
    """A sweep refreshes all that was filled in; claims find theirs, and the client that is refused is rejected."""
    kind = "SQLite" if database_url.startswith("sqlite") else "PostgreSQL"
    endpoint = await listening(latency=0.001)
    address = f"http://127.0.0.1:{endpoint.sockets[0].getsockname()[1]}/token"
    async with endpoint, serving(filling.settings(database_url)) as vault, sweep.bare(address) as send:
        await sweep.repeat(send, DUE, concurrency=8)
        client = (await filling.furnish(vault, address)).client
        await filling.connect(vault, client, DUE)
        await filling.make_due(vault, client)
        await sweep.swept(vault)
        for name in (f"c{number}" for number in range(DUE)):
            found = await vault.connections.get((filling.TENANT, filling.PROVIDER, name))
            assert (found.state.status, found.state.generation) == ("verified", 2)

        await claims.put_rejected(kind, vault, 150, claims.by_product)
        claims.fill(kind, vault, client, "more", CLAIMED * 5, one_in=5)
        case = Case("a few", vault)
        await claims.in_turns([case], rounds=2)

    assert len(case.took) == len(case.took_for_nothing) == 2


async def test_transports_are_measured() -> None:
    """Each transport sends what is answered."""
    async with await listening(latency=0) as endpoint:
        address = f"http://127.0.0.1:{endpoint.sockets[0].getsockname()[1]}/token"
        seen = await transports.in_turns(address, seconds=0.1, rounds=1)

    assert all(rate > 0 for ((rate, _),) in seen.values())


async def test_rotating_keys_is_measured(database_url: str) -> None:
    """All values are sealed anew, and the former key is retired."""
    assert all(seconds > 0 for seconds in await keys.rotated(database_url, 100))
