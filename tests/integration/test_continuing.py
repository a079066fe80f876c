"""New tokens in the place of some: what of a grant goes on where they leave it out, and what never may."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import Leaks
from tests.integration.conftest import Store, on_sqlite
from tests.integration.judge import age, an_aged_connection, now_of
from tests.integration.test_api import refused
from tests.person import Asking, Person, change
from tests.rig import PROVIDER, TENANT, Rig

PATH = f"/v1/connections/{TENANT}/{PROVIDER}/c"
OF_GRANT = ("account", "account_label", "client_id", "scopes", "granted_at", "refresh_expires_at", "renewal")
HOUR = timedelta(hours=1)


async def patch(rig: Rig, *, verify: bool = True, **credentials: str) -> httpx.Response:
    return await rig.api.patch(PATH, json={"credentials": credentials, "verify": verify})


async def another(rig: Rig) -> str:
    """Return an access token that came from elsewhere."""
    return (await rig.provider.mint()).access_token


async def consented(rig: Rig) -> dict[str, Any]:
    """Connect by consent, yesterday and until tomorrow; return what is shown of it then."""
    asking = Asking(rig)
    await Person(rig).connect(await asking.link(scopes=["openid", "read"]))
    day = timedelta(days=1) // timedelta(milliseconds=1)
    moved = "granted_at = granted_at - :day, refresh_expires_at = granted_at + :day"
    await change(rig, f"UPDATE token_states SET {moved}", day=day)
    return await asking.shown()


async def test_an_access_token_alone_is_one_more_of_the_same_grant(rig: Rig, leaks: Leaks) -> None:
    """Whose it is, its client, scopes and times stay, whatever is registered since; and it is renewed with it."""
    before = await consented(rig)
    body = {"client_id": "another", "client_secret": "canary-another"}
    assert (await rig.api.put(f"/v1/clients/{TENANT}/{PROVIDER}", json=body)).status_code == 200
    token = await another(rig)

    answer = await patch(rig, access_token=token)

    leaks.check(answer.text)
    shown = answer.json()
    assert (answer.status_code, shown["status"], shown["generation"]) == (200, "verified", 2)
    assert {name: shown[name] for name in OF_GRANT} == {name: before[name] for name in OF_GRANT}
    assert (await rig.look("c")).asked_scopes == ("openid", "read")
    assert (await rig.token("c")).json()["access_token"] == token
    await age(rig, 2 * HOUR)
    assert (await rig.token("c")).json()["generation"] == 3
    ledger = await rig.provider.ledger()
    assert len(ledger.exchanges(ledger.families[0])) == 1


@on_sqlite
async def test_a_kept_refresh_token_is_used_before_it_ends(rig: Rig, store: Store) -> None:
    """However long the new access token lives: what renews it afterwards would be gone."""
    await consented(rig)
    late = (await now_of(rig) + timedelta(days=30)).isoformat()

    assert (await patch(rig, access_token=await another(rig), expires_at=late)).status_code == 200

    state = (await rig.look("c")).state
    assert state.next_refresh_at is not None
    assert state.refresh_expires_at is not None
    assert state.next_refresh_at < state.refresh_expires_at


@on_sqlite
async def test_who_wants_to_be_without_a_refresh_token_says_so(rig: Rig, store: Store) -> None:
    """By an empty one in a PATCH, or by PUT, which is taken at its word: nothing of the former grant is left."""
    for number in range(2):
        await consented(rig)
        alone: dict[str, Any] = {"access_token": await another(rig)}
        if number:
            answer = await rig.api.put(PATH, json={"credentials": alone})
        else:
            answer = await patch(rig, **alone, refresh_token="")
        assert (answer.status_code, answer.json()["renewal"]) == (200, "none")
        assert {"account", "granted_at", "refresh_expires_at"}.isdisjoint(answer.json())
    refused(await patch(rig, refresh_token=""), 422, "credentials_missing")


@on_sqlite
async def test_a_refresh_token_alone_is_used_at_once(rig: Rig, store: Store) -> None:
    """The former access token goes with its grant: the sweep, or the first who asks, gets one with the new."""
    await consented(rig)
    grant = await rig.provider.mint()

    shown = (await patch(rig, refresh_token=grant.refresh_token)).json()
    await rig.vault.sweeper.once()

    assert (shown["status"], shown["renewal"]) == ("configured", "refresh_token")
    assert {"account", "granted_at"}.isdisjoint(shown)
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1
    assert (await rig.token("c")).json()["generation"] == 3


async def test_a_refresh_under_way_leaves_nothing_to_keep(rig: Rig) -> None:
    """Until it is over, nobody knows which refresh token is good: 409, and none is lost nor sent twice."""
    grant = await an_aged_connection(rig, "c", left=0)
    token = await another(rig)
    await rig.provider.hold()
    reading = asyncio.create_task(rig.token("c"))
    await rig.provider.wait_for_held()

    refused(await patch(rig, access_token=token), 409, "refresh_token_uncertain")
    await rig.provider.release()
    assert (await reading).json()["generation"] == 2
    assert (await patch(rig, access_token=token)).json()["generation"] == 3

    await age(rig, 2 * HOUR)
    assert (await rig.token("c")).json()["generation"] == 4
    ledger = await rig.provider.ledger()
    assert (len(ledger.exchanges(grant.family)), ledger.replays()) == (2, [])


IN_FLIGHT = "inflight_generation = generation, retake_after = 1"


@on_sqlite
@pytest.mark.parametrize("sent", [IN_FLIGHT, "uncertain = true"])
async def test_what_may_be_spent_is_kept_only_where_nothing_spends_it(rig: Rig, store: Store, sent: str) -> None:
    """Sent and never answered, or by two: good for sure only where the provider does not rotate."""
    for rotation in ("grace", "strict", "unknown", "never"):
        await rig.setup(rotation=rotation)
        await rig.a_connection("c")
        await change(rig, f"UPDATE token_states SET {sent}")

        answer = await patch(rig, access_token="canary-at", verify=False)

        assert answer.status_code == (200 if rotation == "never" else 409), answer.text
        assert (await rig.look("c")).state.renewal == "refresh_token"


async def test_what_is_kept_is_what_there_is_when_it_is_stored(rig: Rig) -> None:
    """A refresh that ends during the try leaves its successor; one that has begun leaves nothing certain."""
    grant = await an_aged_connection(rig, "c", left=600)
    token = await another(rig)
    await rig.provider.hold("userinfo", times=2)
    patching = asyncio.create_task(patch(rig, access_token=token))
    await rig.provider.wait_for_held()
    await rig.vault.refresher.refresh(await rig.look("c"), "operator")
    await rig.provider.release()
    assert (await patching).json()["generation"] == 3

    patching = asyncio.create_task(patch(rig, access_token=token))
    await rig.provider.wait_for_held()
    await rig.provider.hold()
    refreshing = asyncio.create_task(rig.vault.refresher.refresh(await rig.look("c"), "operator"))
    await rig.provider.wait_for_held(2)
    await rig.provider.release(1)
    refused(await patching, 409, "refresh_token_uncertain")
    await rig.provider.release()

    assert await refreshing
    assert (await rig.look("c")).state.generation == 4
    ledger = await rig.provider.ledger()
    assert (len(ledger.exchanges(grant.family)), ledger.replays()) == (2, [])


async def test_an_access_token_goes_with_no_other_grant_than_was_seen(rig: Rig) -> None:
    """412 where other credentials came during the try: their refresh token is none of this one's."""
    await rig.a_connection("c")
    await rig.provider.hold("userinfo")
    patching = asyncio.create_task(patch(rig, access_token=await another(rig)))
    await rig.provider.wait_for_held()
    _, grant = await rig.a_connection("c")
    await rig.provider.release()

    refused(await patching, 412, "precondition_failed")
    assert (await rig.token("c")).json()["access_token"] == grant.access_token


@on_sqlite
async def test_a_dead_refresh_token_is_not_kept_and_a_lost_one_not_dropped(rig: Rig, store: Store) -> None:
    """What the provider has rejected is over; what does not open may come back with its key."""
    connection, _ = await rig.a_connection("c")
    failed = "UPDATE token_states SET status = 'failed', reason = :reason"
    await change(rig, failed, reason="undecryptable")
    assert (await patch(rig, access_token=await another(rig))).json()["renewal"] == "refresh_token"
    spoiled = "UPDATE sealed_values SET iv = salt WHERE owner_id = :id AND field = 'refresh_token'"
    await change(rig, spoiled, id=connection.id)

    refused(await patch(rig, access_token=await another(rig)), 409, "operator_required")
    async with rig.vault.database.read() as tx:
        kept = "SELECT count(*) FROM sealed_values WHERE owner_id = :id"
        assert await tx.scalar(text(kept), {"id": connection.id}) == 2
    await change(rig, failed, reason="grant_rejected")
    assert (await patch(rig, access_token=await another(rig))).json()["renewal"] == "none"
