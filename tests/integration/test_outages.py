"""Providers that are away, slow, angry or mad: what lives is served, what is dead is said, nothing is hammered."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from integrations.contract import Client, Secret
from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import (
    adopt_many,
    age,
    an_aged_connection,
    audited,
    count_by_status,
    now_of,
    row_of,
    stored_pair,
)
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, TENANT, Rig
from vault.connections import Change
from vault.store.writer import Transaction

GATES = ("retry_not_before", "next_refresh_at", "retake_after")
A_WHILE = timedelta(minutes=10)
PROMPT = 5.0  # seconds in which a call ends that waits for nobody; the next try is further away
SLACK = 2.0  # seconds: a failure is dated by our clock from before the claim, so never early
IMPATIENT = 0.5  # seconds for a provider call that is going to take for ever


class Door:
    """The way to the provider: closed, connections are refused."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@pytest.fixture(name="door")
async def _door(provider: FakeProvider) -> AsyncIterator[Door]:
    door = Door(provider.port)
    await door.open()
    yield door
    await door.close()


REFUSED: dict[str, Any] = {}
OUTAGES: dict[str, tuple[dict[str, Any], str]] = {
    "connection refused": (REFUSED, "transient"),
    "500": ({"status": 500}, "transient"),
    "503 and a page": ({"status": 503, "body": "<html>We'll be back</html>"}, "transient"),
    "408": ({"status": 408}, "transient"),
    "an unknown 4xx": ({"status": 418, "body": "teapot"}, "transient"),
    "a proxy's 403": ({"status": 403, "body": "<html>Forbidden</html>"}, "transient"),
    "a redirect": ({"redirect": "http://127.0.0.1:1/"}, "transient"),
    "server_error": ({"status": 400, "body": {"error": "server_error"}}, "transient"),
    "502": ({"status": 502}, "outcome_unknown"),
    "504": ({"status": 504}, "outcome_unknown"),
    "reset": ({"reset": "before"}, "outcome_unknown"),
    "hangs": ({"hang": "before"}, "outcome_unknown"),
    "200 and a page": ({"status": 200, "body": "<html>Welcome to the captive portal</html>"}, "outcome_unknown"),
}


async def begin(rig: Rig, door: Door, fault: dict[str, Any]) -> None:
    if fault is REFUSED:
        await door.close()
    else:
        await rig.provider.fault(times=None, **fault)


async def end(rig: Rig, door: Door, fault: dict[str, Any]) -> None:
    if fault is REFUSED:
        await door.open()
    else:
        await rig.provider.clear_faults()


async def requests(rig: Rig) -> int:
    return (await rig.provider.counts()).get("token_requests", 0)


@on_sqlite
@pytest.mark.parametrize("outage", OUTAGES)
async def test_an_outage_passes(replicas: Replicas, door: Door, outage: str) -> None:
    """What lives is served with its true expiry, what is dead is a 503 with Retry-After; it mends by itself."""
    fault, reason = OUTAGES[outage]
    endpoint = f"http://127.0.0.1:{door.port}/token"
    timeout = IMPATIENT if outage == "hangs" else 5.0
    rig = await replicas({"token_endpoint": endpoint}, provider_timeout=timeout)
    living = await an_aged_connection(rig, "living", left=20)
    await rig.a_connection("dead", expires_in=0)
    await begin(rig, door, fault)

    began = time.monotonic()
    served = await rig.token("living")
    assert time.monotonic() - began < PROMPT
    refused = await rig.token("dead", wait=2)
    asked = await requests(rig)

    assert served.status_code == 200
    body = served.json()
    assert (body["access_token"], body["status"]) == (living.access_token, "degraded")
    assert 15 <= body["expires_in"] <= 20
    assert (refused.status_code, refused.json()["code"]) == (503, "provider_unavailable")
    assert refused.json()["reason"] == reason
    assert int(refused.headers["Retry-After"]) >= 1
    state = (await rig.look("dead")).state
    assert (state.status, state.reason, state.next_action) == ("degraded", reason, "wait")
    await check_nobody_comes_early(rig, asked)

    await end(rig, door, fault)
    rig = await replicas()
    await age(rig, A_WHILE, *GATES)
    await rig.vault.sweeper.once()
    for name in ("living", "dead"):
        state = (await rig.look(name)).state
        assert (state.status, state.reason, state.failures) == ("verified", None, 0)
        answer = await rig.token(name)
        assert (await rig.provider.ledger()).is_alive_access(answer.json()["access_token"])
    assert (await rig.provider.ledger()).replays() == []


async def check_nobody_comes_early(rig: Rig, asked: int) -> None:
    """Readers and sweeps that come before the time do not reach the provider."""
    answers = await asyncio.gather(*(rig.token(name, wait=1) for name in ("living", "dead") for _ in range(10)))
    await rig.vault.sweeper.once()
    assert [answer.status_code for answer in answers] == [200] * 10 + [503] * 10
    assert await requests(rig) == asked


@on_sqlite
async def test_a_reader_waits_for_a_retry_that_comes_in_time(replicas: Replicas) -> None:
    """With nothing living to hand out, a reader whose patience covers the backoff gets the retry's token."""
    rig = await replicas()
    await rig.a_connection("dead", expires_in=0)
    await rig.provider.fault(status=503, headers={"Retry-After": "1"})

    answer = await rig.token("dead", wait=10)

    assert (answer.status_code, answer.json()["status"]) == (200, "verified")
    ledger = await rig.provider.ledger()
    first, second = (one["arrived_at"] for one in ledger.requests("token"))
    assert second - first >= 1


GARBAGE: dict[str, dict[str, Any]] = {
    "nothing": {"answer_body": ""},
    "null": {"answer_body": "null"},
    "a list": {"answer_body": []},
    "half of an object": {"answer_body": '{"access_token": "canary-'},
    "not UTF-8": {"answer_body": b"\xff\xfe\x00{"},
    "nested deep": {"answer_body": "[" * 100_000},
    "no access_token": {"drop": ["access_token"]},
    "an empty access_token": {"patch": {"access_token": ""}},
    "a number for a token": {"patch": {"access_token": 5}},
    "a token beyond measure": {"patch": {"access_token": "canary-" + "x" * 70_000}},
    "half of a character in a token": {"patch": {"access_token": "canary-\ud800"}},
    "a huge body": {"huge_body": 300_000},
    "a gzip bomb": {"gzip_bomb": 20_000_000},
    "a slow body": {"slow_body": 0.05},
    "no HTTP": {"answer_raw": b"\x00\x01\x02 canary \r\n\r\n"},
    "an endless header": {"answer_headers": {"X-Long": "x" * 70_000}},
    "cut amid the head": {"close_after_bytes": 10},
    "cut amid the body": {"close_after_bytes": 180},
    "reset amid the body": {"reset_after_bytes": 180},
    "hung up after the work": {"reset": "after"},
}


@on_sqlite
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_mad_answer_kills_no_connection(
    replicas: Replicas, garbage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a provider answers, the old token goes on being served and the next good answer is taken."""
    timeout = IMPATIENT if garbage == "a slow body" else 5.0
    rig = await replicas({"rotation": "never"}, provider_timeout=timeout)
    await rig.provider.configure(rotation="never")
    grant = await an_aged_connection(rig, "c", left=20)
    await rig.provider.fault(**GARBAGE[garbage])

    answer = await rig.token("c")

    assert (answer.status_code, answer.json()["access_token"]) == (200, grant.access_token)
    state = (await rig.look("c")).state
    assert (state.status, state.reason, state.generation) == ("degraded", "outcome_unknown", 1)
    assert [record for record in caplog.records if record.exc_info] == []
    rig = await replicas()
    await age(rig, A_WHILE, *GATES)
    await rig.vault.sweeper.once()
    state = (await rig.look("c")).state
    assert (state.status, state.last_error_code) == ("verified", None)
    assert (await stored_pair(rig, "c")).refresh_token == grant.refresh_token


@on_sqlite
async def test_a_429_pauses_its_provider_and_no_other(
    replicas: Replicas, provider: FakeProvider, tmp_path: Path
) -> None:
    """After a 429 nobody asks that provider until Retry-After is over; others are asked as ever."""
    rig = await replicas()
    await rig.a_connection("first", expires_in=0)
    await rig.a_connection("second", expires_in=0)
    living = await an_aged_connection(rig, "living", left=20)
    async with FakeProvider(tmp_path / "other.jsonl", fsync=False) as other:
        await another_provider(rig, other)
        await provider.fault(status=429, headers={"Retry-After": "120"})
        refused = await rig.token("first", wait=1)
        await rig.vault.sweeper.once()
        second, third = await rig.token("second", wait=1), await rig.token("living", wait=1)
        elsewhere = await rig.api.get(f"/v1/connections/{TENANT}/other-id/c/token")

    assert (refused.status_code, refused.json()["code"]) == (503, "provider_unavailable")
    assert refused.json()["reason"] == "rate_limited"
    assert (second.status_code, second.json()["code"]) == (503, "provider_unavailable")
    assert 100 <= int(second.headers["Retry-After"]) <= 121
    assert (third.status_code, third.json()["access_token"]) == (200, living.access_token)
    assert elsewhere.status_code == 200
    assert (await provider.ledger()).token_requests == 1
    # A connection that was never asked about is not to blame.
    assert (await rig.look("second")).state.status == "configured"

    await age(rig, timedelta(seconds=121), *GATES)
    await rig.vault.sweeper.once()
    assert await count_by_status(rig) == {"verified": 4}


async def another_provider(rig: Rig, other: FakeProvider) -> None:
    """Define `other-id`, with an expired connection `c`."""
    fields = {"authorization_endpoint": other.authorization_endpoint, "token_endpoint": other.token_endpoint}
    await rig.vault.providers.define("other-id", fields, "operator")
    client = Client(other.client_id, Secret(other.client_secret))
    await rig.vault.clients.put(TENANT, "other-id", client, "operator")
    grant = await other.mint()
    credentials = {
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "expires_at": (await now_of(rig)).isoformat(),
    }
    change = Change(credentials=credentials, verify=False)
    await rig.vault.connections.put("operator", (TENANT, "other-id", "c"), [TENANT, "platform"], change)


@on_sqlite
async def test_a_provider_that_hangs_holds_up_no_other(replicas: Replicas, tmp_path: Path) -> None:
    """With every place at one provider taken by calls that hang, another provider is swept and read as ever."""
    rig = await replicas(provider_timeout=30.0, provider_concurrency=4)
    await adopt_many(rig, await rig.provider.mint_many(20))
    await rig.provider.hold(times=None, when="before")
    async with FakeProvider(tmp_path / "other.jsonl", fsync=False) as other:
        await another_provider(rig, other)
        await rig.vault.sweeper.tick()
        await rig.provider.wait_for_held(4)
        answer = await rig.api.get(f"/v1/connections/{TENANT}/other-id/c/token")
        assert answer.status_code == 200
        assert await requests(rig) == 4
    await rig.provider.clear_faults()
    await rig.vault.sweeper.finished()


@on_sqlite
@pytest.mark.parametrize(("asked_for", "waits"), [("0", 1), ("7", 7), ("999999", 6 * 3600), ("soon", None)])
async def test_retry_after_is_obeyed_within_reason(replicas: Replicas, asked_for: str, waits: int | None) -> None:
    """Retry-After counts from one second to six hours; a word that is no time leaves our own backoff."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    await rig.provider.fault(status=503, headers={"Retry-After": asked_for})

    await rig.vault.sweeper.once()

    row, now = await row_of(rig, "c"), await now_of(rig)
    left = (row.retry_not_before - now).total_seconds()
    assert (waits or 5) - SLACK <= left <= (waits or 15) + SLACK


@on_sqlite
async def test_backoff_of_what_nobody_asks_for(replicas: Replicas) -> None:
    """Dead and unasked for, tries are 10 s apart, then twice as long each time, at most half an hour."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    await rig.provider.fault(times=None, status=500)
    for n in range(1, 13):
        await rig.vault.sweeper.once()
        row, now = await row_of(rig, "c"), await now_of(rig)
        middle, left = 10 * 2 ** (n - 1), (row.retry_not_before - now).total_seconds()
        assert row.failures == n
        assert min(0.5 * middle, 1800) - SLACK <= left <= min(1.5 * middle, 1800) + SLACK
        assert row.next_refresh_at == row.retry_not_before
        await age(rig, timedelta(hours=1))
    assert await requests(rig) == 12


@on_sqlite
async def test_backoff_of_what_somebody_waits_for(replicas: Replicas) -> None:
    """While somebody asks, tries of a dead connection are at most 20 s apart, and a reader pulls them in."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    await rig.provider.fault(times=None, status=500)
    for _ in range(8):  # nobody asks: the backoff grows long
        await rig.vault.sweeper.once()
        await age(rig, timedelta(hours=1))
    await rig.vault.sweeper.once()
    assert (await row_of(rig, "c")).retry_not_before - await now_of(rig) > timedelta(minutes=5)
    asked = await requests(rig)

    refused = await rig.token("c", wait=0)

    assert refused.status_code == 503
    assert await requests(rig) == asked
    assert (await row_of(rig, "c")).retry_not_before - await now_of(rig) <= timedelta(seconds=20)
    await age(rig, timedelta(seconds=20), *GATES)
    await rig.vault.sweeper.once()
    assert await requests(rig) == asked + 1
    assert (await row_of(rig, "c")).retry_not_before - await now_of(rig) <= timedelta(seconds=20 + SLACK)


@on_sqlite
async def test_backoff_while_the_token_lives(replicas: Replicas) -> None:
    """Before expiry, tries are a third of the rest apart and do not count."""
    rig = await replicas()
    await an_aged_connection(rig, "c", left=600)
    await rig.provider.fault(times=None, status=500)
    for _ in range(6):
        await rig.vault.sweeper.once()
        row, now = await row_of(rig, "c"), await now_of(rig)
        third = max((row.access_expires_at - now).total_seconds() / 3, 5)
        assert (row.retry_not_before - now).total_seconds() == pytest.approx(third, abs=SLACK)
        assert row.failures == 0
        await age(rig, row.retry_not_before - now)
    assert await requests(rig) == 6


@on_sqlite
async def test_our_own_mistake_is_retried_slowly(replicas: Replicas, caplog: pytest.LogCaptureFixture) -> None:
    """A provider that calls our request wrong is an alarm and a slow retry, which no reader shortens."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    await rig.provider.fault(times=None, status=400, body={"error": "invalid_request"})
    for _ in range(12):
        await rig.vault.sweeper.once()
        await age(rig, timedelta(hours=7))
    await rig.vault.sweeper.once()

    before = (await row_of(rig, "c")).retry_not_before
    answer = await rig.token("c", wait=1)

    assert answer.status_code == 503
    assert (await row_of(rig, "c")).retry_not_before == before
    assert before - await now_of(rig) > timedelta(hours=5)
    assert await requests(rig) == 13
    assert [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (await rig.look("c")).state.status == "degraded"


async def test_a_dead_grant_is_asked_about_once(replicas: Replicas) -> None:
    """However often sweeps and readers come, a dead grant costs one call; a person is given one link."""
    rig = await replicas()
    grant = await an_aged_connection(rig, "c", left=20)
    await rig.provider.revoke_family(grant.family)

    living = await rig.token("c")
    assert (living.status_code, living.json()["status"]) == (200, "failed")
    assert living.json()["access_token"] == grant.access_token
    assert living.json()["expires_in"] <= 20

    await age(rig, timedelta(hours=1))
    dead = []
    for _ in range(5):
        await rig.vault.sweeper.once()
        dead += await asyncio.gather(*(rig.token("c", wait=1) for _ in range(4)))
        await age(rig, timedelta(hours=1))

    assert {(one.status_code, one.json()["code"], one.json()["reason"]) for one in dead} == {
        (409, "reconnect_required", "grant_rejected")
    }
    links = {one.json()["connect_url"] for one in dead}
    assert len(links) == 1
    assert links.pop().startswith("http://127.0.0.1:8000/connect/")
    assert await requests(rig) == 1


@pytest.mark.parametrize(("store", "count"), [("postgres", 300), ("sqlite", 100)], indirect=["store"])
async def test_a_wrong_client_secret_fails_no_connection(
    replicas: Replicas, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Hundreds of grants behind wrong secrets: one alarm, few calls, none failed; the right secret mends all."""
    rig = await replicas()
    names = await adopt_many(rig, await rig.provider.mint_many(count))
    living = await an_aged_connection(rig, "living", left=20)
    for wrong in ("canary-wrong-secret", "canary-wrong-secret-2"):
        await rig.register(wrong)

    await rig.vault.sweeper.once()
    served = await rig.token("living")
    answers = await asyncio.gather(*(rig.token(name, wait=1) for name in names[::7][:20]))
    for _ in range(3):  # one probe in five minutes
        await age(rig, timedelta(seconds=301), "retry_not_before")
        await rig.vault.sweeper.once()

    assert (served.status_code, served.json()["access_token"]) == (200, living.access_token)
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "client_misconfigured")}
    assert all(int(one.headers["Retry-After"]) > 200 for one in answers)
    # Each try is two calls, one for each of the secrets that could be the one.
    assert await requests(rig) <= 2 * (rig.vault.settings.provider_concurrency + 3)
    assert len(await audited(rig, "client.rejected")) == 1
    assert len([record for record in caplog.records if record.levelno == logging.CRITICAL]) == 1
    assert set(await count_by_status(rig)) == {"configured", "degraded"}

    before = await requests(rig)
    await rig.register(rig.provider.client_secret)
    await rig.vault.sweeper.once()

    assert await count_by_status(rig) == {"verified": count + 1}
    assert await requests(rig) == before + count + 1
    assert (await rig.provider.ledger()).replays() == []


@on_sqlite
async def test_a_client_mended_at_the_provider_is_found_by_the_probe(replicas: Replicas) -> None:
    """Nobody told us that the secret is right again: the probe finds out, and the rest follows."""
    rig = await replicas()
    await adopt_many(rig, await rig.provider.mint_many(50))
    await rig.provider.configure(clients={rig.provider.client_id: "canary-another-secret"})
    await rig.vault.sweeper.once()
    await rig.provider.configure(clients={rig.provider.client_id: rig.provider.client_secret})

    await age(rig, timedelta(seconds=301), "retry_not_before")
    await rig.vault.sweeper.once()
    await rig.vault.sweeper.once()

    assert await count_by_status(rig) == {"verified": 50}
    assert len(await audited(rig, "client.recovered")) == 1


@on_sqlite
async def test_a_client_secret_that_does_not_open_fails_no_connection(
    replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    """One damaged client secret is the client's matter: entered anew, all its connections go on."""
    rig = await replicas()
    names = await adopt_many(rig, await rig.provider.mint_many(20))

    async def damage(tx: Transaction) -> None:
        await tx.execute(text("UPDATE sealed_values SET iv = salt WHERE owner_kind = 'client'"))

    await rig.vault.writer.submit(damage)
    await rig.vault.sweeper.once()
    answer = await rig.token(names[0], wait=1)

    assert (answer.status_code, answer.json()["code"]) == (503, "client_misconfigured")
    assert set(await count_by_status(rig)) <= {"configured", "degraded"}
    assert await requests(rig) == 0
    assert [record for record in caplog.records if record.levelno == logging.CRITICAL]

    await rig.register(rig.provider.client_secret)
    await rig.vault.sweeper.once()
    assert await count_by_status(rig) == {"verified": 20}


@on_sqlite
async def test_a_provider_that_is_gone_from_the_catalogue_stops_no_other(replicas: Replicas) -> None:
    """Due connections of a provider that this process does not know are no error of ours at every tick."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    _, grant = await rig.a_connection("stranger", expires_in=0)

    async def forget(tx: Transaction) -> None:
        of_stranger = "(SELECT id FROM connections WHERE name = 'stranger')"
        await tx.execute(text("UPDATE connections SET provider = 'sandbox' WHERE name = 'stranger'"))
        await tx.execute(text(f"UPDATE token_states SET provider = 'sandbox' WHERE connection_id = {of_stranger}"))

    await rig.vault.writer.submit(forget)
    await rig.vault.sweeper.once()

    assert (await rig.look("c")).state.status == "verified"
    assert (await rig.provider.ledger()).exchanges(grant.family) == []
    answer = await rig.api.get(f"/v1/connections/{TENANT}/sandbox/stranger/token")
    assert answer.status_code in {404, 503}
    assert PROVIDER != "sandbox"
