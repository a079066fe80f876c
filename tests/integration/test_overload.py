"""Too many callers, or too eager ones: refused at once, and nobody else feels it."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import adopt_many, an_aged_connection, audited, eventually
from tests.integration.test_memory import heard
from tests.integration.test_outages import another_provider, requests
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, TENANT, Rig
from vault.limits import MOST_WAITING_A_CONNECTION
from vault.store.changes import Stale
from vault.store.writer import Transaction

AT_ONCE = 2.0  # seconds; whoever waits does so for 10
TICK = 5.0  # seconds


async def crowd(rig: Rig, names: list[str]) -> list["asyncio.Task[int]"]:
    """Let a caller wait for each of *names*; return their answers to come when all of them do."""

    async def ask(name: str) -> int:
        return (await rig.token(name, wait=10)).status_code

    async def all_wait() -> bool:
        return rig.vault.tokens._renewal._room._waiting.total() == len(names)

    callers = [asyncio.create_task(ask(name)) for name in names]
    await eventually(all_wait)
    return callers


async def test_who_finds_no_place_to_wait_is_told_at_once(replicas: Replicas) -> None:
    """The caller after the last place gets 503 overloaded at once; who needs no wait does not notice."""
    rig = await replicas(waiting_readers=5)
    living = await an_aged_connection(rig, "living", left=20)
    await rig.a_connection("fresh")
    for name in ("slow", "other"):
        await rig.a_connection(name, expires_in=0)
    await rig.provider.hold(times=None)
    waiting = await crowd(rig, ["slow"] * 5)

    began = time.monotonic()
    refused = await rig.token("other")
    fresh, alive, impatient = await rig.token("fresh"), await rig.token("living"), await rig.token("slow", wait=0)
    took = time.monotonic() - began
    await rig.provider.clear_faults()

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    assert fresh.status_code == 200
    assert (alive.status_code, alive.json()["access_token"]) == (200, living.access_token)
    assert impatient.json()["code"] == "refresh_in_progress"
    assert took < AT_ONCE
    assert set(await asyncio.gather(*waiting)) == {200}
    assert (await rig.token("other")).status_code == 200


@on_sqlite
async def test_one_connection_does_not_take_all_places(replicas: Replicas) -> None:
    """A hundred callers wait for one connection, the next is refused, and another connection has its own."""
    rig = await replicas()
    for name in ("popular", "other"):
        await rig.a_connection(name, expires_in=0)
    await rig.provider.hold()
    waiting = await crowd(rig, ["popular"] * MOST_WAITING_A_CONNECTION)

    refused, other = await rig.token("popular"), await rig.token("other")
    await rig.provider.release()

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert other.status_code == 200
    assert set(await asyncio.gather(*waiting)) == {200}


@on_sqlite
async def test_a_hanging_provider_delays_no_other(replicas: Replicas, tmp_path: Path) -> None:
    """All its places hang and callers wait for it: another is swept within the tick, and its callers served."""
    rig = await replicas(provider_timeout=30.0, provider_concurrency=4)
    names = await adopt_many(rig, await rig.provider.mint_many(20))
    await rig.provider.hold(times=None, when="before")
    await rig.vault.sweeper.tick()
    await rig.provider.wait_for_held(4)
    waiting = await crowd(rig, names)
    async with FakeProvider(tmp_path / "other.jsonl", fsync=False) as other:
        await another_provider(rig, other)
        began = time.monotonic()
        await rig.vault.sweeper.tick()
        await other.wait_for("delivered", 1, timeout=TICK)
        swept = time.monotonic() - began
        answer = await rig.api.get(f"/v1/connections/{TENANT}/other-id/c/token")
        served = time.monotonic() - began

    assert answer.status_code == 200
    assert swept < TICK
    assert served < TICK
    assert await requests(rig) == 4
    await rig.provider.clear_faults()
    assert set(await asyncio.gather(*waiting)) == {200}
    await rig.vault.sweeper.finished()


@on_sqlite
async def test_a_caller_that_asks_too_often_is_told_to_slow_down(replicas: Replicas) -> None:
    """Beyond its burst a key gets 429 with Retry-After, no record of it is kept, and another key goes on."""
    rig = await replicas(caller_rate=1)
    await rig.a_connection("c")
    eager, calm = await rig.key("tokens:read"), await rig.key("tokens:read")

    async def ask(key: str) -> tuple[int, str | None]:
        path = f"/v1/connections/{TENANT}/acme-id/c/token"
        answer = await rig.api.get(path, headers={"Authorization": f"Bearer {key}"})
        return answer.status_code, answer.headers.get("Retry-After")

    answers = [await ask(eager) for _ in range(30)]

    assert answers[:2] == [(200, None)] * 2
    assert answers.count((429, "1")) >= 20
    assert await ask(calm) == (200, None)
    assert len(await audited(rig, "token.handed_out")) == len([one for one in answers if one[0] == 200]) + 1
    assert await audited(rig, "caller.denied") == []


@on_sqlite
async def test_a_request_is_counted_once_however_it_is_refused(replicas: Replicas) -> None:
    """What is begun the short way and refused the ordinary way is one request of the caller's two."""
    rig = await replicas(caller_rate=1)
    connection, _ = await rig.a_connection("c")

    async def damage(tx: Transaction) -> None:
        broken = text("UPDATE sealed_values SET iv = salt WHERE owner_id = :id AND field = 'access_token'")
        await tx.execute(broken, {"id": connection.id})
        tx.outdate(Stale("connection", connection.id))

    async def ask(key: str, path: str) -> tuple[int, str]:
        answer = await rig.api.get(path, headers={"Authorization": f"Bearer {key}"})
        return answer.status_code, answer.json()["code"]

    await rig.token("c")  # has the tenant remembered
    await rig.vault.writer.submit(damage)
    path, key = (TENANT, PROVIDER, "c"), await rig.key("tokens:read")
    await rig.vault.tokens._sources.read(path)  # has it remembered before anybody knows that it is damaged
    await heard(rig)
    assert rig.vault.tokens._recalled(path, timedelta(0)) is not None
    assert (await ask(key, "/v1/connections"))[0] == 403  # the first of two; the key is remembered, too

    assert await ask(key, f"/v1/connections/{'/'.join(path)}/token") == (409, "operator_required")


@on_sqlite
@pytest.mark.parametrize("key", ["tv_nonsense", "tv_aaaaaaaaaaaa_" + "0" * 64 + "_00000000"])
async def test_a_bad_key_is_not_told_to_slow_down(replicas: Replicas, key: str) -> None:
    """Only who is known has a bucket: a stranger cannot empty another's."""
    rig = await replicas(caller_rate=1)

    answers = [await rig.api.get("/v1/connections", headers={"Authorization": f"Bearer {key}"}) for _ in range(5)]

    assert {answer.status_code for answer in answers} == {401}
