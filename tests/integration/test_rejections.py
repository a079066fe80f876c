"""Callers report that a token was refused downstream: one refresh a generation, and what is learned from it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import update

from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import age, audited, eventually, row_of
from tests.integration.test_api import bearing, refused
from tests.provider.orders import Grant
from tests.rig import PROVIDER, TENANT, Rig
from vault.lessons import QUIET
from vault.store.schema import token_states
from vault.store.writer import Transaction
from vault.timing import SOONEST

READERS = 32
SOURCE = {"tenant": TENANT, "provider": PROVIDER, "name": "c"}


async def report(rig: Rig, generation: int, *, name: str = "c", **query: Any) -> httpx.Response:
    """Report that the token of *generation* was refused."""
    return await rig.api.post(path(name), json={"generation": generation}, params=query)


def path(name: str = "c", tenant: str = TENANT) -> str:
    return f"/v1/connections/{tenant}/{PROVIDER}/{name}/rejections"


async def exchanges(rig: Rig, grant: Grant) -> int:
    ledger = await rig.provider.ledger()
    assert ledger.replays() == []
    return len(ledger.exchanges(grant.family))


# ---- one refresh a generation


async def check_a_crowd(rigs: list[Rig]) -> None:
    """Let READERS report one fresh generation at once on each of *rigs*, and those who come after them too."""
    rig = rigs[0]
    _, grant = await rig.a_connection("c")
    await rig.provider.fault(latency=0.1)
    answers = await asyncio.gather(*(report(each, 1, wait=25) for each in rigs for _ in range(READERS)))
    late = await asyncio.gather(*(report(each, 1, wait=25) for each in rigs for _ in range(4)))

    assert {answer.status_code for answer in [*answers, *late]} == {200}, answers[0].text
    assert {answer.json()["generation"] for answer in [*answers, *late]} == {2}
    assert len({answer.json()["access_token"] for answer in [*answers, *late]}) == 1
    assert await exchanges(rig, grant) == 1
    told = Counter(row["outcome"] for row in await audited(rig, "token.rejected"))
    assert told["ok"] == 1
    assert told.total() == len(rigs) * (READERS + 4)
    assert len(await audited(rig, "token.handed_out")) == len(rigs) * (READERS + 4)


@on_sqlite
async def test_a_crowd_of_reports_in_one_process_causes_one_exchange(replicas: Replicas) -> None:
    """However many report the same generation at once or later, its tokens are exchanged once."""
    await check_a_crowd([await replicas()])


@on_postgres
async def test_a_crowd_of_reports_on_two_replicas_causes_one_exchange(replicas: Replicas) -> None:
    """Two replicas that both remember the refused token have it exchanged once between them."""
    await check_a_crowd([await replicas(), await replicas()])


async def test_a_report_of_a_former_generation_causes_nothing(rig: Rig) -> None:
    """It gets the current token, and is written down."""
    _, grant = await rig.a_connection("c", expires_in=0)
    current = (await rig.token("c")).json()
    before = await row_of(rig, "c")

    answer = await report(rig, 1)

    assert answer.status_code == 200
    assert answer.json()["access_token"] == current["access_token"]
    assert answer.json()["source"] == SOURCE
    assert await exchanges(rig, grant) == 1
    after = await row_of(rig, "c")
    assert (after.rejected_generation, after.next_refresh_at) == (None, before.next_refresh_at)
    (row,) = await audited(rig, "token.rejected")
    assert (row["outcome"], row["generation"]) == ("outdated", 1)
    assert row["actor"] == f"caller:{rig.api.headers['Authorization'].split('_')[1]}"


@on_postgres
async def test_a_replica_that_remembers_the_refused_token_gives_the_newer_one(replicas: Replicas) -> None:
    """Memory may serve a token for another moment, but never to whoever says that it is refused."""
    first, second = await replicas(), await replicas()
    await first.a_connection("c")
    assert (await second.token("c")).json()["generation"] == 1
    assert (await report(first, 1)).json()["generation"] == 2

    stale = await report(second, 1)

    assert stale.json()["generation"] == 2


@on_postgres
async def test_a_generation_that_only_another_replica_knows_is_none_of_the_future(replicas: Replicas) -> None:
    """What is remembered decides neither which generation is current nor which has not been yet."""
    first, second = await replicas(), await replicas()
    await first.a_connection("c")
    assert (await second.token("c")).json()["generation"] == 1
    assert (await report(first, 1)).json()["generation"] == 2

    newest = await report(second, 2, wait=0)

    assert (newest.status_code, newest.json()["generation"]) == (200, 2)


async def test_a_report_joins_a_refresh_under_way(rig: Rig) -> None:
    """The sweep has just begun on these tokens: the report waits for it, and adds none of its own."""
    _, grant = await rig.a_connection("c")
    await age(rig, timedelta(hours=1), "next_refresh_at")
    await rig.provider.hold()
    await rig.vault.sweeper.tick()
    await rig.provider.wait_for_held()

    reporting = asyncio.create_task(report(rig, 1, wait=25))
    await eventually(lambda: audited(rig, "token.rejected"))
    await rig.provider.release()

    assert (await reporting).json()["generation"] == 2
    assert await exchanges(rig, grant) == 1


@on_postgres
async def test_a_report_waits_for_a_refresh_of_another_replica(replicas: Replicas) -> None:
    """The lease is elsewhere: the report watches the row until the generation moves."""
    first, second = await replicas(), await replicas()
    _, grant = await first.a_connection("c")
    await first.provider.hold()
    holder = asyncio.create_task(report(first, 1, wait=25))
    await first.provider.wait_for_held()

    watcher = asyncio.create_task(report(second, 1, wait=25))
    await eventually(lambda: told(second, 2))
    await first.provider.release()

    assert [(await each).json()["generation"] for each in (holder, watcher)] == [2, 2]
    assert await exchanges(first, grant) == 1


async def told(rig: Rig, number: int) -> bool:
    return len(await audited(rig, "token.rejected")) == number


async def test_who_does_not_wait_has_the_refresh_begun(rig: Rig) -> None:
    """With `wait=0` the refused token comes back at once, and the next report finds the new one."""
    _, grant = await rig.a_connection("c")
    await rig.provider.hold()

    at_once = await report(rig, 1, wait=0)
    await rig.provider.wait_for_held()
    await rig.provider.release()
    await rig.vault.refresher.settled()
    later = await report(rig, 1, wait=0)

    assert [answer.json()["generation"] for answer in (at_once, later)] == [1, 2]
    assert await exchanges(rig, grant) == 1


async def test_a_refresh_that_failed_is_the_sweeps_and_not_the_next_reporters(rig: Rig) -> None:
    """The refused token comes back while it lives; whoever reports it again has nothing sent, backoff or not."""
    _, grant = await rig.a_connection("c")
    await rig.provider.fault(status=503)

    failed = await report(rig, 1)
    again = await report(rig, 1)
    await age(rig, timedelta(minutes=30), "retry_not_before", "next_refresh_at")
    after_the_backoff = await report(rig, 1, wait=0)
    await rig.vault.refresher.settled()

    for answer in (failed, again, after_the_backoff):
        assert (answer.status_code, answer.json()["generation"]) == (200, 1)
        assert answer.json()["status"] == "degraded"
    assert (await rig.provider.ledger()).token_requests == 1
    await rig.vault.sweeper.once()
    assert (await report(rig, 1)).json()["generation"] == 2
    assert await exchanges(rig, grant) == 1


@on_postgres
async def test_the_sweep_refreshes_what_the_first_reporter_could_not(replicas: Replicas) -> None:
    """The process that took the report ends before it refreshes: to the sweep the tokens are due."""
    ending, other = await replicas(), await replicas()
    _, grant = await ending.a_connection("c")
    ending.vault.refresher.stop_claiming()

    assert (await report(ending, 1, wait=0)).json()["generation"] == 1
    assert (await report(other, 1, wait=0)).json()["generation"] == 1
    assert await exchanges(other, grant) == 0
    await other.vault.sweeper.once()

    assert (await report(other, 1)).json()["generation"] == 2
    assert await exchanges(other, grant) == 1


async def test_who_rejects_whatever_comes_is_served_at_a_pace(rig: Rig) -> None:
    """A caller whose trouble is not the token cannot hammer the provider with one generation after the other."""
    _, grant = await rig.a_connection("c")
    first = await report(rig, 1)
    second = await report(rig, 2, wait=0)
    await rig.vault.refresher.settled()
    await rig.vault.sweeper.once()

    assert [answer.json()["generation"] for answer in (first, second)] == [2, 2]
    assert await exchanges(rig, grant) == 1
    await age(rig, SOONEST, "next_refresh_at")
    await rig.vault.sweeper.once()
    assert await exchanges(rig, grant) == 2


async def test_the_pace_is_waited_out_by_who_has_the_time(rig: Rig) -> None:
    """The second rejection in a row is answered with new tokens too, a moment later."""
    _, grant = await rig.a_connection("c")

    answers = [await report(rig, generation) for generation in (1, 2)]

    assert [answer.json()["generation"] for answer in answers] == [2, 3]
    assert await exchanges(rig, grant) == 2


# ---- what cannot be renewed, and what is refused


@on_sqlite
async def test_what_cannot_be_renewed_is_answered_as_it_is(rig: Rig) -> None:
    """A token without a refresh token comes back with its status, the report is written, nothing is asked."""
    minted = await rig.provider.mint()
    body = {"credentials": {"access_token": minted.access_token}, "verify": False}
    assert (await rig.api.put(path().removesuffix("/rejections"), json=body)).status_code == 201

    answers = [await report(rig, 1, wait=25) for _ in range(2)]

    assert {answer.json()["access_token"] for answer in answers} == {minted.access_token}
    assert {answer.json()["status"] for answer in answers} == {"configured"}
    row = await row_of(rig, "c")
    assert (row.rejected_generation, row.next_refresh_at) == (1, None)
    assert [each["outcome"] for each in await audited(rig, "token.rejected")] == ["ok", "repeated"]
    assert (await rig.provider.ledger()).token_requests == 0


@on_sqlite
async def test_a_report_finds_out_that_the_grant_is_dead(rig: Rig) -> None:
    """The provider refuses the refresh too: that is proof enough, and nothing is asked for the next report."""
    _, grant = await rig.a_connection("c")
    await rig.provider.revoke_family(grant.family)

    answers = [await report(rig, 1) for _ in range(2)]

    for answer in answers:
        assert refused(answer, 409, "reconnect_required")["connect_url"]
    assert (await rig.provider.ledger()).token_requests == 1


@on_sqlite
async def test_a_report_is_refused_like_a_request_for_the_token(rig: Rig) -> None:
    """Disabled, foreign, missing and unconnected alike."""
    await rig.a_connection("c")
    await rig.a_connection("off")
    await rig.api.put(path("off").removesuffix("/rejections"), json={"enabled": False})
    await rig.api.post(path("waiting").replace("rejections", "authorize"), json={})
    named = await rig.key("tokens:read", tenant=TENANT, names=["c"])

    refused(await report(rig, 1, name="off"), 409, "disabled")
    refused(await report(rig, 1, name="waiting"), 409, "not_connected")
    refused(await report(rig, 1, name="missing"), 409, "not_connected")
    refused(await rig.api.post(path("c").replace(PROVIDER, "nobody"), json={"generation": 1}), 404, "not_found")
    body = {"generation": 1}
    refused(await rig.api.post(path("off"), json=body, headers=bearing(named)), 404, "not_found")
    refused(await rig.api.post(path(tenant="nowhere"), json=body, headers=bearing(named)), 404, "not_found")
    reader = await rig.key("connections:read")
    refused(await rig.api.post(path(), json=body, headers=bearing(reader)), 403, "insufficient_scope")
    assert await audited(rig, "token.rejected") == []


WRONG: list[tuple[int, str, Any]] = [
    (422, "unknown_generation", {"generation": 2}),
    (422, "unknown_generation", {"generation": 2**63 - 1}),
    (422, "wrong_source", {"generation": 1, "source": {**SOURCE, "name": "d"}}),
    (422, "wrong_source", {"generation": 1, "source": {**SOURCE, "tenant": "elsewhere"}}),
    (422, "wrong_source", {"generation": 1, "source": {**SOURCE, "provider": "other"}}),
    *(
        (400, "invalid_request", body)
        for body in [
            {},
            {"generation": 0},
            {"generation": -1},
            {"generation": 2**63},
            {"generation": "one"},
            {"generation": 1.5},
            {"generation": None},
            {"generation": 1, "source": f"{TENANT}/{PROVIDER}/c"},
            {"generation": 1, "source": {}},
            {"generation": 1, "source": {"tenant": TENANT, "provider": PROVIDER}},
            {"generation": 1, "source": {**SOURCE, "canary-": "canary-"}},
            {"generation": 1, "canary-": 1},
        ]
    ),
]


@on_sqlite
async def test_a_report_that_makes_no_sense_is_refused_and_changes_nothing(rig: Rig, store: Store) -> None:
    """A generation that never was, another connection's token, and wrong shapes: a problem with a code."""
    await rig.a_connection("c")
    before = await row_of(rig, "c")

    for status, code, body in WRONG:
        refused(await rig.api.post(path(), json=body), status, code)
    for wait in ("26", "-1", "x"):
        refused(await rig.api.post(path(), json={"generation": 1}, params={"wait": wait}), 400, "invalid_request")

    assert await row_of(rig, "c") == before
    assert await audited(rig, "token.rejected") == []
    good = await rig.api.post(path(), json={"generation": 1, "source": SOURCE})
    assert (good.status_code, good.json()["generation"]) == (200, 2)


# ---- real lifetimes


Live = Callable[[int], Awaitable[dict[str, Any]]]


def living(rig: Rig) -> Live:
    """Give a function that lets the current token live so many seconds, reports it dead, and returns the next."""

    async def live(seconds: int) -> dict[str, Any]:
        current = (await rig.token("c")).json()
        await age(rig, timedelta(seconds=seconds))
        await rig.provider.kill_access(current["access_token"])
        answer = await report(rig, current["generation"])
        assert answer.json()["generation"] == current["generation"] + 1
        found: dict[str, Any] = answer.json()
        return found

    return live


async def shown(rig: Rig) -> dict[str, Any]:
    answer: dict[str, Any] = (await rig.api.get(path().removesuffix("/rejections"))).json()
    return answer


async def test_a_real_lifetime_is_learned_and_tokens_are_renewed_before_it(rig: Rig) -> None:
    """Tokens of an hour that die after ten minutes: after two reports the sweep is there before the third."""
    _, grant = await rig.a_connection("c", expires_in=3600)
    live = living(rig)

    believed = await live(600)
    assert believed["expires_in"] > 3590
    assert "learned_lifetime" not in await shown(rig)
    known = await live(630)
    assert known["expires_in"] <= 540
    assert (await shown(rig))["learned_lifetime"] == 540
    assert await exchanges(rig, grant) == 2

    await age(rig, timedelta(seconds=530))
    await rig.vault.sweeper.once()
    third = await rig.token("c")

    assert await exchanges(rig, grant) == 3
    assert third.json()["generation"] == known["generation"] + 1
    assert 480 < third.json()["expires_in"] <= 540
    assert (await row_of(rig, "c")).issued_lifetime == 540


@on_sqlite
async def test_a_mistaken_caller_teaches_nothing(rig: Rig) -> None:
    """One report, reports at ages unlike each other, and reports of every second generation change nothing."""
    await rig.a_connection("c", expires_in=3600)
    live = living(rig)

    for seconds in (1500, 300, 900, 61, 2400):
        assert (await live(seconds))["expires_in"] > 3590
    for _ in range(3):
        await age(rig, timedelta(hours=1))
        await rig.vault.sweeper.once()
        assert (await live(600))["expires_in"] > 3590
    assert "learned_lifetime" not in await shown(rig)


async def test_what_was_learned_is_forgotten_with_the_grant(rig: Rig) -> None:
    """Connected anew, tokens live as long as they say, and former reports do not count."""
    await rig.a_connection("c")
    live = living(rig)
    await live(600)
    await live(600)
    assert (await shown(rig))["learned_lifetime"] == 540

    await rig.adopt(await rig.provider.mint(), "c", expires_in=3600)

    assert "learned_lifetime" not in await shown(rig)
    row = await row_of(rig, "c")
    assert (row.rejected_generation, row.rejected_age) == (None, None)
    assert row.issued_lifetime > 3590
    assert (await live(600))["expires_in"] > 3590


async def test_a_report_during_the_exchange_is_not_unlearned_by_it(rig: Rig) -> None:
    """The claim knew of no lesson; the report that came meanwhile did, and its word stands."""
    await rig.a_connection("c")
    await living(rig)(600)
    await age(rig, timedelta(seconds=600))
    await age(rig, timedelta(hours=1), "next_refresh_at")
    await rig.provider.hold()
    await rig.vault.sweeper.tick()
    await rig.provider.wait_for_held()

    reporting = asyncio.create_task(report(rig, 2, wait=25))
    await eventually(lambda: told(rig, 2))
    await rig.provider.release()

    assert (await reporting).json()["generation"] == 3
    assert (await shown(rig))["learned_lifetime"] == 540


async def test_what_was_learned_is_tested_again_after_many_quiet_generations(rig: Rig) -> None:
    """A lesson that nobody confirms is loosened by a quarter, and goes when the provider says no more."""
    await rig.a_connection("c")
    live = living(rig)
    await live(600)
    await live(600)

    await quiet_for(rig, QUIET - 1)
    assert (await renewed(rig))["learned_lifetime"] == 540
    await quiet_for(rig, QUIET)
    assert (await renewed(rig))["learned_lifetime"] == 675
    await rig.provider.configure(access_lifetime=600)
    assert "learned_lifetime" not in await renewed(rig)


async def quiet_for(rig: Rig, generations: int) -> None:
    """Make it so many generations, with the current one, since the last report."""

    async def unit(tx: Transaction) -> None:
        await tx.execute(update(token_states).values(rejected_generation=token_states.c.generation - generations))

    await rig.vault.writer.submit(unit)


async def renewed(rig: Rig) -> dict[str, Any]:
    await age(rig, timedelta(hours=1), "next_refresh_at")
    await rig.vault.sweeper.once()
    return await shown(rig)
