"""A provider that fails as a whole: few calls reach it, nobody is blamed for it, and it all mends by itself."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import adopt_many, age, an_aged_connection, audited, count_by_status
from tests.integration.test_outages import another_provider, requests
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, TENANT, Rig
from vault.breaker import FEWEST
from vault.store.schema import provider_states

LONGEST = timedelta(minutes=12)  # beyond the longest pause and its jitter
PLACES = 16  # calls at a time of one replica


async def gate(rig: Rig) -> Any:
    async with rig.vault.database.read() as tx:
        return (await tx.execute(select(provider_states).where(provider_states.c.provider == PROVIDER))).one()


async def its_time_comes(rig: Rig) -> None:
    """Let the provider's pause run out, and no connection's backoff."""
    await age(rig, (await gate(rig)).retry_not_before - (await rig.look("living")).read_at, "retry_not_before")


@pytest.mark.parametrize(("store", "count"), [("postgres", 400), ("sqlite", 200)], indirect=["store"])
async def test_a_storm_is_over_before_it_begins(
    replicas: Replicas, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Hundreds of due connections and a provider that answers 500: few calls, and one at a time from then on."""
    rigs = [await replicas(provider_concurrency=PLACES)]
    if count == 400:
        rigs.append(await replicas(provider_concurrency=PLACES))
    rig = rigs[0]
    names = await adopt_many(rig, await rig.provider.mint_many(count))
    living = await an_aged_connection(rig, "living", left=20)
    await rig.provider.fault(times=None, status=500)

    for _ in range(3):
        await asyncio.gather(*(each.vault.sweeper.once() for each in rigs))
    stormed = await requests(rig)
    answers = await asyncio.gather(*(rigs[-1].token(name, wait=2) for name in names[-20:]))
    served = await rig.token("living")

    assert FEWEST <= stormed <= 2 * PLACES * len(rigs)
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "provider_unavailable")}
    assert all(10 <= int(one.headers["Retry-After"]) <= 72 for one in answers)
    assert (served.status_code, served.json()["access_token"]) == (200, living.access_token)
    assert await requests(rig) == stormed
    # Nobody else is to blame: only who was asked about in vain is degraded, and nobody failed.
    health = await count_by_status(rig)
    assert set(health) == {"configured", "degraded"}
    assert health["degraded"] <= stormed
    assert len(await audited(rig, "provider.breaker_opened")) == 1
    assert len([record for record in caplog.records if record.levelno == logging.CRITICAL]) == 1

    first = await gate(rig)
    for tries in (1, 2):  # still down: one call finds out, and the pause grows
        await age(rig, LONGEST, "retry_not_before")
        await asyncio.gather(*(each.vault.sweeper.once() for each in rigs))
        await asyncio.gather(*(rigs[-1].token(name, wait=0) for name in names[:20]))
        assert await requests(rig) == stormed + tries
    assert (await gate(rig)).trips == first.trips + 2
    assert len(await audited(rig, "provider.breaker_opened")) == 1

    await rig.provider.clear_faults()
    await age(rig, LONGEST, "retry_not_before", "next_refresh_at")
    for _ in range(3):  # the try, and then everybody
        await asyncio.gather(*(each.vault.sweeper.once() for each in rigs))

    assert await count_by_status(rig) == {"verified": count + 1}
    assert await requests(rig) == stormed + 2 + count + 1
    assert len(await audited(rig, "provider.breaker_closed")) == 1
    assert (await gate(rig)).breaker == "closed"
    ledger = await rig.provider.ledger()
    assert ledger.replays() == []


@on_sqlite
async def test_no_burst_follows_an_outage(replicas: Replicas) -> None:
    """Mended, a provider first sees one call alone, and then never more at a time than it has places."""
    rig = await replicas(provider_concurrency=4)
    await adopt_many(rig, await rig.provider.mint_many(60))
    await rig.provider.fault(times=None, status=500)
    await rig.vault.sweeper.once()
    await rig.provider.clear_faults()
    await age(rig, LONGEST, "retry_not_before", "next_refresh_at")
    before = await requests(rig)
    await rig.provider.hold(times=None, when="before")

    await rig.vault.sweeper.tick()
    await rig.provider.wait_for_held(1)
    askers = [asyncio.create_task(rig.token(f"many-{n}", wait=0)) for n in range(30, 60)]
    await asyncio.gather(*askers)
    assert await requests(rig) == before + 1
    await rig.provider.release()
    await rig.vault.sweeper.finished()
    await rig.vault.refresher.settled()
    await rig.vault.sweeper.tick()
    await rig.provider.wait_for_held(4)
    assert await requests(rig) == before + 1 + 4

    await rig.provider.clear_faults()
    await rig.vault.sweeper.finished()
    await rig.vault.refresher.settled()
    assert await count_by_status(rig) == {"verified": 60}


@on_sqlite
async def test_an_incident_concerns_its_provider_alone(replicas: Replicas, tmp_path: Path) -> None:
    """While one provider's breaker is open, another's connections are refreshed as ever."""
    rig = await replicas(provider_concurrency=PLACES)
    await adopt_many(rig, await rig.provider.mint_many(30))
    await rig.provider.fault(times=None, status=500)
    await rig.vault.sweeper.once()
    assert (await gate(rig)).breaker == "open"
    async with FakeProvider(tmp_path / "other.jsonl", fsync=False) as other:
        await another_provider(rig, other)
        await rig.vault.sweeper.once()
        answer = await rig.api.get(f"/v1/connections/{TENANT}/other-id/c/token", params={"wait": 0})

    assert answer.status_code == 200


@on_sqlite
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "body": {"error": "invalid_grant"}},
        {"status": 400, "body": {"error": "invalid_request"}},
    ],
    ids=["grants are dead", "our mistake"],
)
async def test_what_is_not_the_providers_fault_opens_nothing(replicas: Replicas, fault: dict[str, Any]) -> None:
    """Thirty dead grants, or thirty requests called wrong, are no incident: the thirty-first is asked about."""
    rig = await replicas(provider_concurrency=PLACES)
    await adopt_many(rig, await rig.provider.mint_many(30))
    await rig.provider.fault(times=None, **fault)

    await rig.vault.sweeper.once()

    assert await requests(rig) == 30
    assert await audited(rig, "provider.breaker_opened") == []


@on_sqlite
async def test_a_caller_finds_out_that_a_provider_works_again(replicas: Replicas) -> None:
    """Without any sweep, the first caller after the pause tries, is served, and opens the way for all."""
    rig = await replicas(provider_concurrency=PLACES)
    names = await adopt_many(rig, await rig.provider.mint_many(30))
    await rig.provider.fault(times=None, status=500)
    await rig.vault.sweeper.once()
    await rig.provider.clear_faults()
    await age(rig, LONGEST, "retry_not_before")

    first = await rig.token(names[-1])
    second = await rig.token(names[-2])

    assert (first.status_code, second.status_code) == (200, 200)
    assert (await gate(rig)).breaker == "closed"
