"""A provider takes so many calls at once and a minute, of all and of each client: nobody renews beyond that."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import eventually, row_of
from tests.integration.test_api import refused
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, Rig
from vault.callers import OPERATOR

OTHERS = "others"


async def due_connections(rig: Rig, count: int) -> list[str]:
    """Return the names of *count* connections that have something to renew."""
    names = [f"c{number}" for number in range(count)]
    for name in names:
        await rig.a_connection(name, expires_in=0)
    return names


async def of_another_client(rig: Rig, name: str) -> None:
    """Make a due connection that was got with another tenant's registration."""
    await rig.vault.tenants.put(OPERATOR, OTHERS, parent="platform", name="Others", return_urls=[])
    await rig.register(rig.provider.client_secret, OTHERS)
    grant = await rig.provider.mint()
    put = await rig.api.put(
        f"/v1/connections/{OTHERS}/{PROVIDER}/{name}",
        json={
            "credentials": {
                "access_token": grant.access_token,
                "refresh_token": grant.refresh_token,
                "expires_at": "2020-01-01T00:00:00Z",
            }
        },
    )
    assert put.status_code == 201, put.text


async def lies_still(rig: Rig, held: int) -> None:
    """Return once *held* calls are under way, and everybody else had the time to make one more."""
    await rig.provider.wait_for_held(held)
    await rig.vault.sweeper.tick()
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert (await rig.provider.counts())["token_requests"] == held


async def test_a_provider_is_asked_so_many_times_at_once(replicas: Replicas) -> None:
    """By the sweep and by readers together; as the places are left, all have their turn."""
    rig = await replicas({"concurrency": 2})
    names = await due_connections(rig, 5)
    await rig.provider.hold(times=None)

    await rig.vault.sweeper.tick()
    readers = [asyncio.create_task(rig.token(name, wait=20)) for name in names]
    await lies_still(rig, 2)
    await rig.provider.clear_faults()

    assert {answer.status_code for answer in await asyncio.gather(*readers)} == {200}
    await rig.vault.sweeper.finished()
    assert (await rig.provider.ledger()).token_requests == 5


@on_sqlite
@pytest.mark.parametrize("who", ["sweep", "readers"])
async def test_a_provider_is_asked_so_many_times_a_minute(replicas: Replicas, who: str) -> None:
    """Evenly apart, so that five calls at a tenth of a second take four tenths."""
    rig = await replicas({"requests_per_minute": 600})
    names = await due_connections(rig, 5)
    began = time.monotonic()

    if who == "sweep":
        await rig.vault.sweeper.once()
    else:
        assert {one.status_code for one in await asyncio.gather(*map(rig.token, names))} == {200}

    assert time.monotonic() - began >= 0.4
    assert (await rig.provider.ledger()).token_requests == 5


@on_sqlite
async def test_a_reader_waits_for_its_turn_as_long_as_it_would_wait_for_a_token(replicas: Replicas) -> None:
    """Then it is told when to come back. No lease waits in the queue, nor does the end of the process."""
    rig = await replicas({"requests_per_minute": 2}, provider_timeout=1.0)
    await due_connections(rig, 3)
    assert (await rig.token("c0")).status_code == 200

    by_hand = asyncio.create_task(rig.api.post(f"/v1/connections/acme/{PROVIDER}/c2/refresh"))
    answers = await asyncio.gather(rig.token("c1", wait=1), rig.token("c2", wait=1))

    for answer in answers:
        refused(answer, 503, "refresh_in_progress")
    assert 50 <= max(int(answer.headers["Retry-After"]) for answer in answers) <= 60
    assert (await asyncio.wait_for(by_hand, 10)).json()["generation"] == 1
    assert [(await row_of(rig, name)).lease_holder for name in ("c1", "c2")] == [None, None]
    await asyncio.wait_for(rig.vault.drain(), 10)
    assert (await rig.provider.ledger()).token_requests == 1


@on_sqlite
@pytest.mark.parametrize(
    ("knobs", "first"), [({"client_concurrency": 1}, 2), ({"client_requests_per_minute": 1}, 2), ({}, 5)]
)
async def test_of_each_client_so_much_is_taken_and_no_client_waits_for_another(
    replicas: Replicas, knobs: dict[str, Any], first: int
) -> None:
    """Four connections of one client are due before one of another; the sweep gives a turn to each of the two."""
    rig = await replicas(knobs)
    names = await due_connections(rig, 4)
    await of_another_client(rig, "x")
    await rig.provider.hold(times=None)

    await rig.vault.sweeper.tick()
    readers = [asyncio.create_task(rig.token(name, wait=0)) for name in names]
    await lies_still(rig, first)

    asked = {event["family"] for event in (await rig.provider.ledger()).of("request", endpoint="token")}
    assert len(asked) == first
    await asyncio.gather(*readers)
    await rig.provider.clear_faults()
    other = await eventually(lambda: _generation(rig), within=10)
    assert other == 2


async def _generation(rig: Rig) -> int:
    """Return the generation of the other client's connection, 0 as long as it is the first."""
    found = (await rig.vault.connections.get((OTHERS, PROVIDER, "x"))).state.generation
    return found if found > 1 else 0


async def test_the_sweep_renews_all_of_each_client(replicas: Replicas) -> None:
    """One at a time of each client, until nothing is due; what has no client is not forgotten."""
    rig = await replicas({"client_concurrency": 1})
    names = await due_connections(rig, 3)
    await of_another_client(rig, "x")

    await rig.vault.sweeper.once()

    assert {(await rig.look(name)).state.generation for name in names} == {2}
    assert await _generation(rig) == 2
    assert (await rig.provider.ledger()).token_requests == 4


async def test_a_claim_is_of_the_provider_as_it_is_then(replicas: Replicas, provider: FakeProvider) -> None:
    """Who stood in a queue while it was defined anew leaves a token that is sent once the time to be stored."""
    rig = await replicas({"concurrency": 1, "rotation": "never"})
    shown = (await rig.api.get(f"/v1/providers/{PROVIDER}")).json()["definition"]
    await due_connections(rig, 2)
    await provider.hold(times=2)
    readers = [asyncio.create_task(rig.token("c0"))]
    await provider.wait_for_held(1)
    former = await row_of(rig, "c0")
    assert former.retake_after == former.lease_expires_at
    readers.append(asyncio.create_task(rig.token("c1")))
    await lies_still(rig, 1)

    changed = await rig.api.put(f"/v1/providers/{PROVIDER}", json={**shown, "rotation": "strict"})
    assert changed.status_code == 200, changed.text
    await provider.release(1)
    await provider.wait_for_token_requests(2)

    row = await row_of(rig, "c1")
    assert row.retake_after - row.lease_expires_at == timedelta(seconds=rig.vault.settings.lease)
    await provider.clear_faults()
    assert {one.status_code for one in await asyncio.gather(*readers)} == {200}


@on_sqlite
async def test_limits_count_from_when_they_are_set(replicas: Replicas, provider: FakeProvider) -> None:
    """The next call already respects what was PUT."""
    rig = await replicas()
    shown = (await rig.api.get(f"/v1/providers/{PROVIDER}")).json()["definition"]
    await due_connections(rig, 3)
    await provider.hold(times=None)
    assert (await rig.token("c0", wait=0)).status_code == 503
    await provider.wait_for_held(1)

    changed = await rig.api.put(f"/v1/providers/{PROVIDER}", json={**shown, "concurrency": 1})

    assert changed.status_code == 200, changed.text
    await rig.token("c1", wait=0)
    await rig.token("c2", wait=0)
    await lies_still(rig, 2)
    await provider.clear_faults()
    await rig.vault.refresher.settled()
    assert (await provider.ledger()).token_requests == 3
