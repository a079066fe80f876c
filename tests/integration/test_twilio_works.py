"""Rotations and trunks over the HTTP API: ordered, on a schedule, taken over, refused; and killed for real."""

import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store
from tests.integration.judge import age
from tests.integration.test_api import refused
from tests.rig import TENANT, Rig
from tests.vendors.twilio import Twilio
from tests.vendors.twilio_accounts import Account
from tests.vendors.twilio_trunking import Trunking
from vault.store.schema import sealed_values, token_states, works
from vault.store.writer import Transaction

on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture(name="twilio")
async def _twilio() -> AsyncIterator[Twilio]:
    async with Twilio() as twilio:
        yield twilio
        assert twilio.misfits == []


@pytest.fixture(name="trunking")
def _trunking(twilio: Twilio) -> Trunking:
    return Trunking(twilio)


@pytest.fixture(name="rig")
async def _rig(replicas: Replicas, twilio: Twilio) -> Rig:
    return await replicas(endpoints={"twilio": twilio.endpoints})


def path(name: str = "c") -> str:
    return f"/v1/connections/{TENANT}/twilio/{name}"


async def entered(rig: Rig, account: Account, kind: str = "auth_token", **more: Any) -> httpx.Response:
    credentials = {"account_sid": account.sid, "auth_token": account.auth_token, **more.pop("credentials", {})}
    return await rig.api.put(path(), json={"kind": kind, "credentials": credentials, **more})


async def given(rig: Rig) -> dict[str, str]:
    answer = await rig.api.get(f"{path()}/token")
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()["credentials"]
    return found


async def order(rig: Rig, ability: str = "rotate") -> httpx.Response:
    return await rig.api.post(f"{path()}/{ability}")


async def kept(rig: Rig) -> set[str]:
    """Return what fields are stored sealed."""
    async with rig.vault.database.read() as tx:
        return set((await tx.execute(select(sealed_values.c.field).where(_ours))).scalars())


_ours = sealed_values.c.owner_kind == "connection"


async def line(rig: Rig) -> Any:
    """Return the line that says what is to be done, None where there is none."""
    async with rig.vault.database.read() as tx:
        return (await tx.execute(select(works))).one_or_none()


async def pass_time(rig: Rig, by: timedelta = timedelta(minutes=5)) -> None:
    """Let leases lapse, and what is to be done become due."""
    await age(rig, by, "lease_expires_at")

    async def unit(tx: Transaction) -> None:
        await tx.execute(update(works).values(due_at=works.c.due_at - by // timedelta(milliseconds=1)))

    await rig.vault.writer.submit(unit)


async def tick(rig: Rig) -> None:
    """Do what is due, and wait for it."""
    await rig.vault.works.tick()
    await rig.vault.works.drain()
    rig.vault.works._draining = False


# ---- rotation


async def test_an_auth_token_is_rotated_and_handed_out(
    rig: Rig, twilio: Twilio, trunking: Trunking, leaks: Leaks
) -> None:
    """By one call; the audit tells it step by step, and what people edit has not changed."""
    account = twilio.an_account()
    former = account.auth_token
    tag = (await entered(rig, account)).headers["etag"]

    answer = await order(rig)

    assert answer.status_code == 200, answer.text
    assert account.auth_token != former
    assert (await given(rig))["auth_token"] == account.auth_token
    shown = await rig.api.get(path())
    assert (shown.json()["status"], shown.headers["etag"]) == ("verified", tag)
    assert (await kept(rig), await line(rig)) == ({"credentials"}, None)
    events = (await rig.api.get("/v1/audit", params={"tenant": TENANT})).json()["items"]
    actions = [event["action"] for event in events if event["action"].startswith("work.")]
    assert sorted(actions) == ["work.begun", "work.ended", "work.kept", "work.kept", "work.kept"]
    leaks.check(answer.text + shown.text + str(events))


@on_sqlite
async def test_an_api_key_is_rotated_with_the_auth_token_that_is_never_handed_out(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """The new key is served, the former one is gone; without the Auth Token it is said what is missing."""
    account = twilio.an_account()
    key = account.a_key()
    own = {"api_key_sid": key.sid, "api_key_secret": key.secret}
    assert (await entered(rig, account, "api_key", credentials=own)).status_code == 201

    assert (await order(rig)).status_code == 200

    served = await given(rig)
    assert served["api_key_secret"] == account.keys[served["api_key_sid"]].secret
    assert (list(account.keys), "auth_token" in served) == ([served["api_key_sid"]], False)
    shown = (await rig.api.get(path())).json()["credentials"]
    assert shown["api_key_sid"] == served["api_key_sid"]

    await rig.api.patch(path(), json={"credentials": {"auth_token": ""}})
    problem = refused(await order(rig), 409, "not_able")
    assert (problem["reason"], problem["lacks"]) == ("rotation_needs_auth_token", ["rotate"])
    assert problem["advice"]


@on_sqlite
async def test_what_cannot_be_rotated_says_so(rig: Rig, store: Store, twilio: Twilio, trunking: Trunking) -> None:
    """Another kind, nothing there, switched off, or a secondary token that is somebody else's."""
    account = twilio.an_account()
    refused(await order(rig), 404, "not_found")
    await entered(rig, account)
    refused(await order(rig, "repair"), 409, "not_able")
    account.secondary = "canary-theirs"
    problem = refused(await order(rig), 409, "not_able")
    assert (problem["reason"], problem["lacks"]) == ("secondary_exists", ["rotate"])
    assert await line(rig) is None
    await rig.api.patch(path(), json={"enabled": False})
    refused(await order(rig), 409, "disabled")


async def test_a_rotation_whose_answer_is_lost_ends_well_by_itself(
    rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """Of each call the answer is lost once: whoever ordered it is told, and the next tick goes on from there."""
    account = twilio.an_account()
    await entered(rig, account)
    for call in ("secondary", "promote", "account"):
        former = account.auth_token
        twilio.lose(call)
        answer = await order(rig)
        if answer.status_code != 200:
            problem = refused(answer, 503, "provider_unavailable")
            assert problem["retry_after"] > 0
            assert (await line(rig)).begun
            # What was entered before works until it is promoted; what is pending is handed out to nobody.
            await pass_time(rig)
            await tick(rig)
        assert account.auth_token != former, call
        assert (await given(rig))["auth_token"] == account.auth_token, call
        assert (await kept(rig), await line(rig), account.secondary) == ({"credentials"}, None, None), call


@on_sqlite
async def test_what_is_pending_is_shown_to_nobody(rig: Rig, store: Store, twilio: Twilio, trunking: Trunking) -> None:
    """While a rotation is unfinished, what was entered is served, and can be changed without losing the rest."""
    account = twilio.an_account()
    await entered(rig, account)
    twilio.refuse("promote", 503, b"")
    refused(await order(rig), 503, "provider_unavailable")
    assert await kept(rig) == {"credentials", "pending"}

    pending = account.secondary or ""
    assert pending
    for answer in (await rig.api.get(path()), await rig.api.get(f"{path()}/token")):
        assert answer.status_code == 200
        assert pending not in answer.text
        assert "secondary" not in answer.text
    changed = await rig.api.patch(path(), json={"credentials": {"edge": "dublin"}, "verify": False})
    assert changed.status_code == 200, changed.text
    assert await kept(rig) == {"credentials", "pending"}
    await rig.api.patch(path(), json={"credentials": {"edge": ""}})
    await pass_time(rig)
    await tick(rig)
    assert (await given(rig))["auth_token"] == pending == account.auth_token


@on_sqlite
async def test_other_credentials_end_what_was_pending(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """Of another account, or of another kind: there, what was kept is nothing."""
    account, other = twilio.an_account(), twilio.an_account()
    await entered(rig, account)
    twilio.refuse("promote", 503, b"")
    refused(await order(rig), 503)

    assert (await entered(rig, other)).status_code == 200
    assert await kept(rig) == {"credentials"}
    await pass_time(rig)
    await tick(rig)
    assert (await given(rig))["auth_token"] == other.auth_token
    assert other.secondary is None


async def test_what_is_entered_amid_a_promotion_loses_no_token(
    rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """The token before is entered once more as it is being replaced: it is dead, and the next tick finds out."""
    account = twilio.an_account()
    former = account.auth_token
    await entered(rig, account)
    promote = twilio.handlers["promote"]
    twilio.lose("promote")
    refused(await order(rig), 503, "provider_unavailable")
    assert account.auth_token != former
    del promote

    again = {"account_sid": account.sid, "auth_token": former}
    put = await rig.api.put(path(), json={"kind": "auth_token", "credentials": again, "verify": False})
    assert put.status_code == 200, put.text
    await pass_time(rig)
    await tick(rig)

    assert (await given(rig))["auth_token"] == account.auth_token


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_two_replicas_never_work_on_one_connection(
    replicas: Replicas, store: Store, rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """Whoever has the lease is alone, whoever is told to wait; a lapsed lease is taken over."""
    account = twilio.an_account()
    await entered(rig, account)
    other = await replicas(endpoints={"twilio": twilio.endpoints})
    asked = list[httpx.Response]()
    answers = twilio.handlers["promote"]

    async def unit(tx: Transaction) -> None:
        held = {"lease_holder": "somebody", "lease_expires_at": token_states.c.read_at if False else None}
        del held

    del unit, asked, answers, other
