"""A token is withheld where it is proven not to work, and nowhere else: by whom, until when, and in every replica.

Here of a token that is got with something else; one that is all there is stands in `test_whatsapp.py`.
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import httpx
import pytest
from sqlalchemy import select

from tests.integration.conftest import Replicas, on_postgres, on_sqlite
from tests.integration.judge import age, audited, eventually, queued, row_of
from tests.integration.test_api import refused
from tests.integration.test_memory import heard
from tests.rig import PROVIDER, TENANT, Rig
from vault.connection import Reason
from vault.memory import STALE_AFTER
from vault.store.changes import Stale
from vault.store.connections import note_probe, page
from vault.store.moments import EPOCH
from vault.store.schema import tenants
from vault.store.writer import Transaction

PATH = f"/v1/connections/{TENANT}/{PROVIDER}/c"
YEAR = timedelta(days=365)
SOON = EPOCH + 90 * YEAR
OVER: dict[str, Any] = {"status": 400, "body": {"error": "invalid_grant"}}


async def report(rig: Rig, generation: int = 1, **query: Any) -> httpx.Response:
    return await rig.api.post(f"{PATH}/rejections", json={"generation": generation}, params=query)


async def verify(rig: Rig) -> dict[str, Any]:
    return dict((await rig.api.post(f"{PATH}/verify")).json())


async def asked(rig: Rig) -> int:
    """Return how often the provider was asked about an access token."""
    return (await rig.provider.counts()).get("userinfo_requests", 0)


async def over(rig: Rig) -> None:
    """Have a connection whose grant is over, while its access token still lives."""
    await rig.a_connection("c")
    await rig.provider.fault(**OVER)
    assert (await rig.api.post(f"{PATH}/refresh")).json()["status"] == "failed"


# ---- a grant that is over


@on_sqlite
async def test_a_token_may_outlive_its_grant(rig: Rig) -> None:
    """That the refresh token is refused proves nothing of the access token: it is served to its end."""
    await over(rig)

    for _ in range(2):  # the second time from memory
        served = await rig.token("c")
        assert (served.status_code, served.json()["status"]) == (200, "failed")
        await heard(rig)


async def test_what_its_provider_and_its_user_refuse_is_withheld(rig: Rig) -> None:
    """Whoever of them says so first: the grant is over, and the token was reported."""
    await over(rig)
    assert (await rig.token("c")).status_code == 200
    await heard(rig)

    problem = refused(await report(rig), 409, "reconnect_required")

    assert (problem["reason"], problem["connect_url"][:4]) == ("grant_rejected", "http")
    refused(await rig.token("c"), 409, "reconnect_required")
    assert (await rig.api.get(PATH)).json()["status"] == "failed"


@on_sqlite
async def test_a_report_that_leads_to_the_end_of_the_grant_is_enough(rig: Rig) -> None:
    """The refresh that it causes is refused for good: nobody gets that token again, from memory neither."""
    await rig.a_connection("c")
    await rig.token("c")
    await heard(rig)
    await rig.provider.fault(**OVER)

    refused(await report(rig), 409, "reconnect_required")

    refused(await rig.token("c"), 409, "reconnect_required")
    assert await asked(rig) == 0


@on_sqlite
async def test_a_report_of_a_former_token_says_nothing_of_this_one(rig: Rig) -> None:
    """Only what was handed out and refused is in question."""
    await rig.a_connection("c")
    await report(rig)
    await rig.provider.fault(**OVER)
    assert (await rig.api.post(f"{PATH}/refresh")).json()["status"] == "failed"

    assert (await report(rig)).json()["generation"] == 2
    assert (await rig.token("c")).status_code == 200


@on_postgres
@pytest.mark.parametrize("over_before", [True, False])
async def test_no_replica_serves_what_another_one_found_dead(replicas: Replicas, *, over_before: bool) -> None:
    """The other one remembers it, and hears of it as of a kill switch: of the report, or of what came of that."""
    first, second = await replicas(), await replicas()
    if over_before:
        await over(first)
    else:
        await first.a_connection("c")
        await first.provider.fault(**OVER)
    await heard(second)
    assert (await second.token("c")).status_code == 200

    refused(await report(first), 409, "reconnect_required")

    async def withheld() -> bool:
        return (await second.token("c")).status_code == 409

    await eventually(withheld, within=2)
    assert [await withheld() for _ in range(5)] == [True] * 5


@on_sqlite
async def test_what_is_proven_dead_during_the_record_does_not_leave(rig: Rig) -> None:
    """It was found while the audit record of a hand-out waited for the database: by then others were refused."""
    connection, _ = await rig.a_connection("c")
    await rig.token("c")
    await heard(rig)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def find_dead(tx: Transaction) -> None:
        begun.set()
        await go_on.wait()
        dead = {"status": "failed", "reason": "grant_rejected", "rejected_generation": 1}
        await note_probe(tx.connection, connection.id, 1, dead)
        tx.outdate(Stale("connection", connection.id))

    finding = asyncio.create_task(rig.vault.writer.submit(find_dead, alone=True))
    await begun.wait()
    asking = asyncio.create_task(rig.token("c"))
    await eventually(queued(rig, 2))  # the watch is one of them
    await asyncio.sleep(STALE_AFTER)
    go_on.set()
    await finding

    refused(await asking, 409, "reconnect_required")


@on_sqlite
async def test_what_is_dead_is_served_again_once_that_is_put_right(rig: Rig) -> None:
    """The provider takes the token after all, or another grant takes its place."""
    await over(rig)
    refused(await report(rig), 409, "reconnect_required")

    assert (await verify(rig))["verdict"] == "valid"
    assert (await rig.token("c")).json()["status"] == "failed"

    refused(await report(rig), 409, "reconnect_required")
    await rig.adopt(await rig.provider.mint(), "c", expires_in=3600)
    assert (await rig.token("c")).status_code == 200


@on_sqlite
async def test_who_needs_somebody_now_is_listed(rig: Rig) -> None:
    """What is dead will not work until its stated end, and is listed with what has ended already."""
    await over(rig)

    async def listed() -> int:
        answer = await rig.api.get("/v1/connections", params={"tenant": TENANT, "expiring_within": 60})
        return len(answer.json()["items"])

    assert await listed() == 0
    await report(rig)
    assert await listed() == 1


# ---- a renewal that fails for a reason that may pass


@on_sqlite
async def test_a_report_alone_is_no_proof(rig: Rig) -> None:
    """The renewal fails; the provider, asked once, takes the token: everybody is still served."""
    await rig.a_connection("c")
    await rig.provider.fault(status=503, times=None)

    answers = [await report(rig), await rig.token("c")]
    await age(rig, timedelta(hours=1), "retry_not_before", "next_refresh_at")
    await rig.vault.sweeper.once()

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["generation"] for answer in answers} == {1}
    assert (await rig.provider.counts())["token_requests"] == 2
    assert await asked(rig) == 1
    assert [event["outcome"] for event in await audited(rig, "connection.verified")] == ["valid"]


@on_sqlite
async def test_a_report_that_the_provider_has_refuted_proves_nothing_later(rig: Rig) -> None:
    """The token was found to work after it was reported: that its grant ends then does not take it away."""
    await rig.a_connection("c")
    await rig.provider.fault(status=503)
    assert (await report(rig)).status_code == 200
    assert await asked(rig) == 1

    await rig.provider.fault(**OVER)
    await age(rig, timedelta(hours=1), "retry_not_before", "next_refresh_at")
    await rig.vault.sweeper.once()

    served = await rig.token("c")
    assert (served.status_code, served.json()["status"]) == (200, "failed")
    refused(await report(rig), 409, "reconnect_required")


@on_sqlite
async def test_a_provider_that_cannot_tell_takes_nothing_away(rig: Rig) -> None:
    """It is away altogether: what it does not say proves nothing, and it is not asked again."""
    await rig.a_connection("c")
    await rig.provider.fault(status=503, times=None)
    await rig.provider.fault("userinfo", status=503, times=None)

    assert [(await report(rig)).status_code, (await report(rig)).status_code] == [200, 200]
    assert await asked(rig) == 1


@on_sqlite
async def test_what_the_provider_calls_dead_is_withheld_until_there_is_another(rig: Rig) -> None:
    """The renewal failed, and the token is refused where it is asked about: waiting helps, and is said to."""
    _, grant = await rig.a_connection("c")
    await rig.provider.kill_access(grant.access_token)
    await rig.provider.fault(status=503)

    refused(await report(rig), 503, "provider_unavailable")

    refused(await rig.token("c", wait=0), 503, "provider_unavailable")
    await age(rig, timedelta(hours=1), "retry_not_before", "next_refresh_at")
    await rig.vault.sweeper.once()
    assert (await rig.token("c")).json()["generation"] == 2


@on_sqlite
async def test_a_provider_that_throttles_is_not_asked(rig: Rig) -> None:
    """What it wants is less: the token is served, and nothing else is sent."""
    await rig.a_connection("c")
    await rig.provider.fault(status=429)

    assert (await report(rig)).status_code == 200
    assert await asked(rig) == 0
    assert (await row_of(rig, "c")).checked_at is None


@on_sqlite
async def test_a_failure_that_nobody_reported_asks_nothing(rig: Rig) -> None:
    """The token lives as far as anybody knows."""
    await rig.a_connection("c")
    await rig.provider.fault(status=503)

    await rig.api.post(f"{PATH}/refresh")

    assert await asked(rig) == 0


# ---- what nothing renews


@on_sqlite
@pytest.mark.parametrize("dead", [True, False])
async def test_what_cannot_be_renewed_is_asked_about(rig: Rig, *, dead: bool) -> None:
    """A report of an access token alone has it tried, once: refused it is withheld, and good it is proven."""
    grant = await rig.provider.mint()
    body = {"credentials": {"access_token": grant.access_token}, "verify": False}
    assert (await rig.api.put(PATH, json=body)).status_code == 201
    if dead:
        await rig.provider.kill_access(grant.access_token)

    assert [(await report(rig)).status_code for _ in range(2)] == [200, 200]
    for _ in range(2):
        await rig.vault.checks.tick()
        await rig.vault.checks.finished()

    assert await asked(rig) == 1
    if dead:
        refused(await rig.token("c"), 409, "reconnect_required")
    else:
        assert (await rig.token("c")).json()["status"] == "verified"


@on_sqlite
async def test_a_wrong_report_does_not_hide_a_right_one(rig: Rig) -> None:
    """What was found to work is tried anew once it is reported anew, a minute later at the soonest."""
    grant = await rig.provider.mint()
    body = {"credentials": {"access_token": grant.access_token}}
    assert (await rig.api.put(PATH, json=body)).status_code == 201

    async def checked() -> int:
        before = await asked(rig)
        await rig.vault.checks.tick()
        await rig.vault.checks.finished()
        return await asked(rig) - before

    await report(rig)
    assert await checked() == 0  # it was tried a moment ago
    await age(rig, timedelta(minutes=1), "next_check_at")
    assert await checked() == 1
    await rig.provider.kill_access(grant.access_token)
    assert (await report(rig)).status_code == 200
    await age(rig, timedelta(minutes=1), "next_check_at")
    assert await checked() == 1

    refused(await rig.token("c"), 409, "reconnect_required")


# ---- a person asks


@on_sqlite
async def test_a_verification_that_finds_it_dead_ends_it(rig: Rig) -> None:
    """It cannot be renewed now, and is refused: nobody gets it, and another one is got as soon as that goes."""
    _, grant = await rig.a_connection("c")
    await rig.token("c")
    await rig.provider.kill_access(grant.access_token)
    await rig.provider.fault(status=503)

    shown = await verify(rig)

    assert (shown["verdict"], shown["status"]) == ("invalid", "degraded")
    refused(await rig.token("c", wait=0), 503, "provider_unavailable")
    await age(rig, timedelta(hours=1), "retry_not_before", "next_refresh_at")
    assert (await rig.token("c")).json()["generation"] == 2


@on_sqlite
async def test_a_verification_finds_that_it_ended_with_its_grant(rig: Rig) -> None:
    """The grant is over, and now the token as well: a person is needed, and told so."""
    await over(rig)
    await rig.provider.kill_access((await rig.token("c")).json()["access_token"])

    assert (await verify(rig))["verdict"] == "invalid"

    refused(await rig.token("c"), 409, "reconnect_required")


# ---- the database judges alike


def _states() -> Iterator[dict[str, Any]]:
    """Give statuses with their reasons, of each sort of renewal, reported or not, ended or not."""
    told = [("verified", None), ("degraded", "transient"), *(("failed", reason) for reason in get_args(Reason))]
    for renewal, (status, reason), rejected, ended in product(
        ("refresh_token", "self_exchange", "none"), told, (None, 1), (False, True)
    ):
        yield {
            "renewal": renewal,
            "status": status,
            "reason": reason,
            "rejected_generation": rejected,
            "access_expires_at": EPOCH if ended else SOON + YEAR,
        }


async def test_the_database_judges_as_a_connection_does(rig: Rig) -> None:
    """Of every state: it lists by status, and by when somebody is needed, what the token route says of it."""
    connection, _ = await rig.a_connection("c")
    everywhere = select(tenants.c.id)

    async def unit(tx: Transaction) -> None:
        for told in _states():
            await note_probe(tx.connection, connection.id, 1, told)
            state = (await page(tx.connection, everywhere, {}, None, 1))[0].state
            needed = state.proven_dead or (told["access_expires_at"] == EPOCH and state.status == "failed")
            by_status = await page(tx.connection, everywhere, {"status": [state.status]}, None, 1)
            by_end = await page(tx.connection, everywhere, {"expiring_before": SOON}, None, 1)
            assert (len(by_status), len(by_end)) == (1, int(needed)), told

    await rig.vault.writer.submit(unit)
