"""Morning over the HTTP API, against a Morning that is stricter than the real one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import age
from tests.integration.test_api import refused
from tests.person import Asking
from tests.vendors.morning import FakeMorning, Key, resource_error

ID, SECRET = "11111111-2222-3333-4444-555555555555", "canary-secret"


@pytest.fixture(name="morning")
async def _morning() -> AsyncIterator[FakeMorning]:
    async with FakeMorning() as fake:
        fake.keys[ID] = Key(SECRET)
        yield fake


@pytest.fixture(name="books")
async def _books(replicas: Replicas, morning: FakeMorning) -> Asking:
    return Asking(await replicas(endpoints={"morning": morning.endpoints}), "books", provider="morning")


async def enter(books: Asking, **changed: str) -> httpx.Response:
    entered = {"client_id": ID, "client_secret": SECRET, **changed}
    return await books.rig.api.put(books.path, json={"kind": "api_key", "credentials": entered})


async def verify(books: Asking) -> dict[str, Any]:
    return dict((await books.rig.api.post(f"{books.path}/verify")).json())


async def run_out(books: Asking, by: timedelta = timedelta(hours=1)) -> None:
    """Let the tokens run out."""
    await age(books.rig, by, "access_expires_at", "next_refresh_at")


async def test_a_key_from_its_entry_to_its_end_and_back(books: Asking, morning: FakeMorning, leaks: Leaks) -> None:
    """Enter, verify, fetch, renew, deleted at Morning, corrected, disconnected."""
    stored = await enter(books)
    assert (stored.status_code, stored.json()["status"]) == (201, "verified"), stored.text
    assert (stored.json()["account"], stored.json()["account_label"]) == ("business-1", "Ann's Bakery")
    leaks.check(stored.text)

    first = (await books.token()).json()
    assert first["access_token"] == "canary-jwt-1"
    assert 3500 < first["expires_in"] <= 3600
    assert (await verify(books))["verdict"] == "valid"
    assert morning.minted() == 1  # neither a read nor a probe costs another token

    morning.unit = "ms"
    await run_out(books)
    second = (await books.token()).json()
    assert (second["access_token"], second["generation"]) == ("canary-jwt-2", first["generation"] + 1)
    assert 3500 < second["expires_in"] <= 3600

    del morning.keys[ID]
    await run_out(books)
    problem = refused(await books.token(), 409, "credentials_rejected")
    assert problem["reason"] == "key_details_wrong"
    shown = await books.shown()
    assert (shown["status"], shown["next_action"]) == ("failed", "fix_credentials")
    assert "Developer tools" in shown["advice"]

    morning.keys[ID] = Key("canary-other-secret")
    corrected = await books.rig.api.patch(
        books.path, json={"credentials": {"client_secret": "canary-other-secret"}}
    )
    assert (corrected.status_code, corrected.json()["status"]) == (200, "verified"), corrected.text
    assert (await books.token()).status_code == 200

    ended = await books.rig.api.delete(books.path, params={"revoke": True})
    assert ended.json()["revoked"] == "not_supported"


@on_sqlite
async def test_a_wrong_secret_is_the_tenants_own_matter(books: Asking, morning: FakeMorning, leaks: Leaks) -> None:
    """422 and nothing stored for the one; another tenant's connection goes on, for no client is to blame."""
    await enter(books)
    wrong = Asking(books.rig, "wrong", provider="morning")

    answer = await enter(wrong, client_secret="canary-wrong")

    problem = refused(answer, 422, "credentials_rejected")
    assert (problem["reason"], "Developer tools" in problem["advice"]) == ("key_details_wrong", True)
    leaks.check(answer.text)
    refused(await books.rig.api.get(wrong.path), 404)
    await run_out(books)
    assert (await books.token()).status_code == 200


@on_sqlite
@pytest.mark.parametrize(
    ("state", "code", "advice"),
    [("pending", "key_inactive", "approval"), ("no_plan", "plan_without_api", "plan")],
)
async def test_why_a_known_key_gives_nothing_is_said(
    books: Asking, morning: FakeMorning, state: Any, code: str, advice: str
) -> None:
    """It waits for its approval, or the plan has no API: once put right, it is tried again as it is."""
    await enter(books)
    morning.keys[ID].state = state
    await run_out(books)

    assert refused(await books.token(), 409, "credentials_rejected")["reason"] == code
    assert advice in (await books.shown())["advice"]

    morning.keys[ID].state = "active"
    again = await books.rig.api.patch(books.path, json={"credentials": {}})
    assert (again.status_code, again.json()["status"]) == (200, "verified"), again.text


async def report(books: Asking, generation: int) -> httpx.Response:
    return await books.rig.api.post(f"{books.path}/rejections", json={"generation": generation})


@on_sqlite
async def test_a_token_outlives_its_key_until_somebody_says_otherwise(books: Asking, morning: FakeMorning) -> None:
    """That the key is dead proves nothing of the token; that it is refused as well does, until put right."""
    await enter(books)
    morning.keys[ID].state = "no_plan"
    assert (await books.rig.api.post(f"{books.path}/refresh")).json()["status"] == "failed"
    assert (await books.token()).json()["status"] == "failed"

    problem = refused(await report(books, 1), 409, "credentials_rejected")

    assert (problem["reason"], "plan" in problem["advice"]) == ("plan_without_api", True)
    refused(await books.token(), 409, "credentials_rejected")
    morning.keys[ID].state = "active"
    assert (await verify(books))["verdict"] == "valid"
    assert (await books.token()).json()["access_token"] == "canary-jwt-2"


@on_sqlite
@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (resource_error(401, 401), 503, "provider_unavailable"),
        (resource_error(500, 500), 200, None),
        (None, 200, None),
    ],
)
async def test_of_a_report_that_cannot_be_renewed_morning_is_asked(
    books: Asking, morning: FakeMorning, said: Any, status: int, code: str | None
) -> None:
    """Once: what it calls dead is withheld, and what it takes, or cannot tell, is served."""
    await enter(books)
    looks = morning.looks()
    morning.instead(resource_error(500, 500), *([] if said is None else [said]))

    answers = [await report(books, 1), await report(books, 1)]

    assert [(answer.status_code, answer.json().get("code")) for answer in answers] == [(status, code)] * 2
    assert (morning.looks(), morning.minted()) == (looks + 1, 2)


@on_sqlite
async def test_a_debt_leaves_a_good_key_limited(books: Asking, morning: FakeMorning) -> None:
    """It is stored, with what it lacks."""
    morning.refusing = (403, 1015)

    stored = (await enter(books)).json()

    assert (stored["status"], stored["lacks"]) == ("verified", ["businesses"])
    morning.refusing = None
    assert (await verify(books))["verdict"] == "valid"
    assert "lacks" not in await books.shown()


@on_sqlite
async def test_a_refused_token_is_renewed_once(books: Asking, morning: FakeMorning) -> None:
    """The API says "log in again": one more token, and one more look."""
    await enter(books)
    morning.instead(resource_error(401, 401))

    assert (await verify(books))["verdict"] == "valid"

    assert morning.minted() == 2


@on_sqlite
async def test_a_broken_morning_changes_nothing(books: Asking, morning: FakeMorning) -> None:
    """A token that lives is served; when it is over, waiting helps, and then so does asking again."""
    await enter(books)
    morning.instead(resource_error(500, 500), resource_error(500, 500))
    assert (await verify(books))["verdict"] == "unknown"
    await books.rig.api.post(f"{books.path}/refresh")
    assert (await books.shown())["status"] == "degraded"
    assert (await books.token()).status_code == 200

    await age(books.rig, timedelta(hours=1))
    assert (await books.token()).status_code == 200
    assert (await books.shown())["status"] == "verified"


@on_sqlite
async def test_an_answer_that_is_lost_costs_another_token(books: Asking, morning: FakeMorning) -> None:
    """Nothing is spent by asking: it is asked for again."""
    await enter(books)
    await age(books.rig, timedelta(hours=1))
    morning.instead(None)

    lost = (await books.rig.api.post(f"{books.path}/refresh")).json()
    assert (lost["status"], lost["reason"]) == ("degraded", "outcome_unknown")
    await age(books.rig, timedelta(minutes=1))

    assert (await books.token()).json()["access_token"] == "canary-jwt-3"


@on_sqlite
async def test_the_former_endpoint_is_asked_where_an_operator_says_so(
    replicas: Replicas, morning: FakeMorning
) -> None:
    """It and no other, also after it has refused."""
    books = Asking(await replicas(endpoints={"morning": morning.legacy}), "books", provider="morning")

    refused(await enter(books, client_secret="canary-wrong"), 422, "credentials_rejected")
    assert len(morning.ledger) == 1
    assert (await enter(books)).json()["status"] == "verified"

    assert (await books.token()).json()["access_token"] == "canary-jwt-1"
    assert {request.path.partition("/api/v1/")[2] for request in morning.ledger} == {
        "account/token",
        "businesses/me",
    }
