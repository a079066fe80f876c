"""Rotations and trunks over the HTTP API: ordered, on a schedule, taken over, refused; and killed for real."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select, update

from tests import killable
from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import age, eventually
from tests.integration.moving import exported
from tests.integration.test_api import refused
from tests.killable import Order, Step
from tests.processes import started
from tests.provider.wire import Answer
from tests.rig import TENANT, Rig
from tests.vendors.twilio import Asked, Twilio
from tests.vendors.twilio_accounts import Account
from tests.vendors.twilio_trunking import Trunking
from vault.errors import Conflict
from vault.memory import GATES
from vault.store.moments import clock
from vault.store.schema import sealed_values, token_states, works
from vault.store.writer import Transaction


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
    """Let leases lapse, what is to be done become due, and tries be forgotten."""
    await age(rig, by, "lease_expires_at", "due_at", "tried_at")


async def tick(rig: Rig) -> None:
    """Do what is due, and wait for it."""
    await rig.vault.works.tick()
    await rig.vault.works.settled()


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
async def test_a_former_key_that_is_entered_again_is_not_deleted_while_it_is_in_use(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """Its deletion failed, and somebody went back to it: the rotation goes on to another one first."""
    account = twilio.an_account()
    key = account.a_key()
    own = {"api_key_sid": key.sid, "api_key_secret": key.secret}
    await entered(rig, account, "api_key", credentials=own)
    twilio.refuse("no_key", 503, b"")
    refused(await order(rig), 503, "provider_unavailable")
    assert (await entered(rig, account, "api_key", credentials=own)).status_code == 200

    await pass_time(rig)
    await tick(rig)

    served = await given(rig)
    assert served["api_key_secret"] == account.keys[served["api_key_sid"]].secret
    assert (key.sid in account.keys, await line(rig)) == (False, None)


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
async def test_what_is_pending_is_shown_to_nobody(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
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
    assert (twilio.count("secondary"), trunking.over, await line(rig)) == (1, [], None)


async def cut_off_amid_its_promotion(rig: Rig, twilio: Twilio) -> None:
    """Rotate a token whose promotion nobody hears of."""
    promote = twilio.handlers["promote"]

    def cut_off(asked: Asked) -> Answer:
        twilio.refuse("account", 503, b"")  # nor can anybody tell what has come of it
        return promote(asked)

    twilio.handlers["promote"] = cut_off
    twilio.lose("promote")
    refused(await order(rig), 503, "provider_unavailable")
    twilio.handlers["promote"] = promote


@on_sqlite
async def test_a_token_that_is_found_dead_after_its_successor_was_promoted_heals_by_itself(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """Until the rotation goes on it is called refused; then the promoted one is served, and nobody had to act."""
    account = twilio.an_account()
    former = account.auth_token
    await entered(rig, account)
    await cut_off_amid_its_promotion(rig, twilio)
    assert (await given(rig))["auth_token"] == former != account.auth_token

    shown = (await rig.api.post(f"{path()}/verify")).json()
    assert (shown["status"], shown["last_error_code"]) == ("failed", "20003")
    refused(await rig.api.get(f"{path()}/token"), 409, "credentials_rejected")

    await pass_time(rig)
    await tick(rig)
    assert (await given(rig))["auth_token"] == account.auth_token
    assert (await rig.api.get(path())).json()["status"] == "verified"


async def test_what_is_entered_amid_a_promotion_loses_no_token(
    rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """The token before is entered once more as it is being replaced: it is dead, and the next tick finds out."""
    account = twilio.an_account()
    former = account.auth_token
    await entered(rig, account)
    await cut_off_amid_its_promotion(rig, twilio)
    assert account.auth_token != former

    again = {"account_sid": account.sid, "auth_token": former}
    put = await rig.api.put(path(), json={"kind": "auth_token", "credentials": again, "verify": False})
    assert put.status_code == 200, put.text
    await pass_time(rig)
    await tick(rig)

    assert (await given(rig))["auth_token"] == account.auth_token


async def test_two_replicas_never_work_on_one_connection(
    replicas: Replicas, rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """However many order it, and tick: one does it, and the others are told so or find it done."""
    account = twilio.an_account()
    await entered(rig, account)
    other = await replicas(endpoints={"twilio": twilio.endpoints})

    answers = await asyncio.gather(order(rig), order(other), tick(rig), order(other))

    done = [answer.status_code for answer in answers if answer is not None]
    assert set(done) <= {200, 503}
    assert twilio.count("secondary") == twilio.count("promote") == done.count(200)
    assert (await given(rig))["auth_token"] == account.auth_token
    assert await kept(rig) == {"credentials"}


async def test_nobody_takes_over_before_the_lease_has_lapsed(rig: Rig, twilio: Twilio, trunking: Trunking) -> None:
    """Whoever has it may be slow only; afterwards it is gone on with, from what was kept."""
    account = twilio.an_account()
    await entered(rig, account)
    twilio.refuse("promote", 503, b"")
    refused(await order(rig), 503, "provider_unavailable")

    async def held(tx: Transaction) -> None:
        later = clock() + 60_000
        await tx.execute(update(token_states).values(lease_holder="somebody", lease_expires_at=later))

    await rig.vault.writer.submit(held)
    await pass_time(rig, timedelta(seconds=30))
    await tick(rig)
    refused(await order(rig), 503, "work_in_progress")
    assert twilio.count("promote") == 1

    await pass_time(rig)
    await tick(rig)
    assert twilio.count("promote") == 2
    assert (await given(rig))["auth_token"] == account.auth_token


async def test_a_holder_that_was_taken_over_from_keeps_nothing(
    rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """It overslept, and what it has is not what is stored any more: it stops where it is."""
    account = twilio.an_account()
    await entered(rig, account)
    create = twilio.handlers["secondary"]

    async def taken(tx: Transaction) -> None:
        await tx.execute(update(token_states).values(lease_fence=token_states.c.lease_fence + 1))

    loop = asyncio.get_running_loop()

    def meanwhile(asked: Asked) -> Answer:
        submitted.append(loop.create_task(rig.vault.writer.submit(taken)))
        return create(asked)

    submitted = list[asyncio.Task[None]]()
    twilio.handlers["secondary"] = meanwhile

    refused(await order(rig), 409, "superseded")

    twilio.handlers["secondary"] = create
    assert twilio.count("promote") == 0
    assert (await given(rig))["auth_token"] == account.auth_token
    await pass_time(rig)
    await tick(rig)
    assert (await given(rig))["auth_token"] == account.auth_token
    assert account.secondary is None


@on_postgres
async def test_an_edit_that_was_tried_before_a_rotation_is_not_stored_after_it(
    replicas: Replicas, store: Store, rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """Its token was good when it was tried, and is over by now: the promoted one stays."""
    account = twilio.an_account()
    await entered(rig, account)
    other = await replicas(endpoints={"twilio": twilio.endpoints})
    look, loop = twilio.handlers["account"], asyncio.get_running_loop()
    holding = list[asyncio.Task[None]]()

    for method in ("PUT", "PATCH"):
        former, tried, done = account.auth_token, asyncio.Event(), asyncio.Event()

        async def held(tx: Transaction, tried: asyncio.Event = tried, done: asyncio.Event = done) -> None:
            tried.set()
            await done.wait()

        def trying(asked: Asked, held: Any = held) -> Answer:
            twilio.handlers["account"] = look
            holding.append(loop.create_task(rig.vault.writer.submit(held, alone=True)))
            return look(asked)

        twilio.handlers["account"] = trying
        own = {"account_sid": account.sid, "auth_token": former}
        editing = asyncio.create_task(rig.api.request(method, path(), json={"credentials": own}))
        await tried.wait()
        rotated = await order(other)
        done.set()
        await asyncio.gather(*holding)

        assert rotated.status_code == 200
        refused(await editing, 412, "precondition_failed")
        assert (await given(other))["auth_token"] == account.auth_token != former


@on_sqlite
async def test_rotation_on_a_schedule(rig: Rig, store: Store, twilio: Twilio, trunking: Trunking) -> None:
    """As often as the settings say, by whoever ticks; another period counts from now, and null ends it."""
    account = twilio.an_account()
    await entered(rig, account, settings={"rotate_every_days": 90})
    former = account.auth_token
    await pass_time(rig, timedelta(days=89))
    await tick(rig)
    assert account.auth_token == former

    for _ in range(2):
        former = account.auth_token
        await pass_time(rig, timedelta(days=1 if not trunking.over else 90))
        await tick(rig)
        assert account.auth_token != former
        assert (await given(rig))["auth_token"] == account.auth_token
    await tick(rig)
    assert len(trunking.over) == 2

    await rig.api.patch(path(), json={"settings": {"rotate_every_days": 200}})
    await pass_time(rig, timedelta(days=199))
    await tick(rig)
    assert len(trunking.over) == 2
    await rig.api.patch(path(), json={"settings": {"rotate_every_days": None}})
    assert await line(rig) is None


@on_sqlite
async def test_what_cannot_be_rotated_now_keeps_nobody_waiting(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """What holds nothing yet, or does not open, is due for longer: the others have their turn all the same."""
    daily = {"kind": "auth_token", "settings": {"rotate_every_days": 1}}
    spoilt = update(sealed_values).where(_ours).values(ciphertext=bytes(40))
    for name in "abcdefghi":
        account = twilio.an_account()
        own = {"account_sid": account.sid, "auth_token": account.auth_token}
        filled = {} if name in "abcd" else {"credentials": own}
        assert (await rig.api.put(path(name), json={**daily, **filled})).status_code == 201
        if name in "efgh":
            async with rig.vault.database.transaction() as tx:
                await tx.execute(spoilt)
    former = account.auth_token
    await pass_time(rig, timedelta(days=2))

    await tick(rig)
    await tick(rig)

    assert account.auth_token != former


@on_sqlite
async def test_what_is_rotated_here_is_not_exported_meanwhile(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """Two vaults would end each other's token; and of a rotation that is unfinished, half would stay behind."""
    await entered(rig, twilio.an_account(), settings={"rotate_every_days": 90})
    with pytest.raises(Conflict) as stopped:
        await exported(rig)
    assert stopped.value.code == "not_paused"
    twilio.refuse("promote", 503, b"")
    refused(await order(rig), 503)

    await rig.api.post(f"/v1/tenants/{TENANT}/pause")
    _, report = await exported(rig)

    assert report.remarks == [(f"{TENANT}/twilio/c", "uncertain")]


@on_sqlite
async def test_a_schedule_that_makes_no_sense_is_refused(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """Not a whole number of days, and a kind that cannot be rotated; nothing is stored then."""
    account = twilio.an_account()
    for wrong in (0, 3651, 1.5, "90", True, [1]):
        answer = await entered(rig, account, settings={"rotate_every_days": wrong})
        assert refused(answer, 422, "invalid_setting")["field"] == "rotate_every_days", wrong
    refused(await rig.api.get(path()), 404)
    trunk = await entered(
        rig, account, "sip_trunk", credentials={"friendly_name": "Office"}, settings={"rotate_every_days": 90}
    )
    refused(trunk, 422, "invalid_setting")
    assert trunking.trunks == []


# ---- the trunk


def trunk(rig: Rig, account: Account, **more: Any) -> Any:
    return entered(rig, account, "sip_trunk", **{"credentials": {"friendly_name": "Office"}, **more})


async def test_a_trunk_is_set_up_as_it_is_entered(
    rig: Rig, twilio: Twilio, trunking: Trunking, leaks: Leaks
) -> None:
    """What is handed out gets through; once more, and by repair, nothing is made again."""
    account = twilio.an_account()

    stored = await trunk(rig, account)

    assert (stored.status_code, stored.json()["status"]) == (201, "verified"), stored.text
    served = await given(rig)
    assert set(served) == {"username", "password", "termination_uri"}
    assert trunking.takes(served["termination_uri"], served["username"], served["password"])
    assert served["password"] not in stored.text
    leaks.check(stored.text)
    assert stored.json().get("lacks", []) == []
    assert (await order(rig, "repair")).status_code == 200
    assert (await trunk(rig, account)).status_code == 200
    assert (len(trunking.trunks), len(trunking.lists), await given(rig)) == (1, 1, served)


@on_sqlite
async def test_nothing_is_made_with_credentials_that_are_no_good(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """They are refused before: wrong, incomplete, or not to be tried; until it is made, nothing is handed out."""
    account = twilio.an_account()
    wrong = {"auth_token": "canary-wrong", "friendly_name": "Office"}
    refused(await trunk(rig, account, credentials=wrong), 422, "credentials_rejected")
    problem = refused(await trunk(rig, account, credentials={}), 422, "credentials_rejected")
    assert problem["reason"] == "friendly_name_or_domain_name_missing"
    assert (await trunk(rig, account, verify=False)).status_code == 201
    assert (trunking.trunks, trunking.lists, await line(rig)) == ([], {}, None)
    refused(await rig.api.get(f"{path()}/token"), 409, "not_connected")

    assert (await order(rig, "repair")).status_code == 200
    assert (await given(rig)).keys() == {"username", "password", "termination_uri"}
    assert len(trunking.trunks) == 1


async def test_a_set_up_that_is_cut_off_is_finished_by_itself(
    rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """Each of its calls is answered to nobody once: it is stored as it is, and there is one trunk in the end."""
    for number, call in enumerate(("new_trunk", "new_list", "new_login", "attach")):
        account = twilio.an_account()
        own = {"account_sid": account.sid, "auth_token": account.auth_token, "friendly_name": f"Office {number}"}
        where = path(f"c{number}")
        twilio.lose(call)

        stored = await rig.api.put(where, json={"kind": "sip_trunk", "credentials": own})

        assert stored.status_code == 201, stored.text
        if call == "new_trunk":
            assert stored.json()["status"] == "verified"  # it is found at once
        else:
            assert (stored.json()["status"], stored.json()["reason"]) == ("degraded", "probe_unknown")
            await pass_time(rig)
            await tick(rig)
        served = (await rig.api.get(f"{where}/token")).json()["credentials"]
        assert trunking.takes(served["termination_uri"], served["username"], served["password"]), call
        assert (await rig.api.get(where)).json()["status"] == "verified"
    assert (len(trunking.trunks), len(trunking.lists)) == (4, 4)


@on_sqlite
async def test_what_is_entered_untried_ends_a_set_up_and_a_repair_finishes_it(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """Cut at each call: no tick goes on with it; then there is one trunk, with the password that Twilio has."""
    account = twilio.an_account()
    own = {"account_sid": account.sid, "auth_token": account.auth_token}
    for number, call in enumerate(("new_trunk", "new_list", "new_login", "attach"), 1):
        entry = {"kind": "sip_trunk", "credentials": {**own, "friendly_name": f"Office {number}"}}
        where = path(f"c{number}")
        if call == "new_trunk":
            twilio.refuse(call, 503, b"")  # were its answer lost, it would be found at once
        else:
            twilio.lose(call)
        stored = await rig.api.put(where, json=entry)
        assert stored.json()["status"] == "degraded", (call, stored.text)
        passwords = {login for one in trunking.lists.values() for login in one.logins.values()}

        again = await rig.api.put(where, json={**entry, "verify": False})

        assert (again.status_code, again.json()["status"], again.json()["reason"]) == (
            200,
            "configured",
            "unverified",
        )
        asked = len(twilio.ledger)
        await pass_time(rig)
        await tick(rig)
        assert (len(twilio.ledger), await line(rig)) == (asked, None), call
        refused(await rig.api.get(f"{where}/token"), 409, "not_connected")
        shown = (await rig.api.post(f"{where}/verify")).json()
        assert shown["last_error_code"] == ("trunk_missing" if call == "new_trunk" else "password_unknown")

        assert (await rig.api.post(f"{where}/repair")).status_code == 200
        served = (await rig.api.get(f"{where}/token")).json()["credentials"]
        assert trunking.takes(served["termination_uri"], served["username"], served["password"]), call
        assert passwords <= {login for one in trunking.lists.values() for login in one.logins.values()}, call
        assert (len(trunking.trunks), len(trunking.lists)) == (number, number), call


@on_postgres
async def test_what_is_due_no_more_is_not_begun(
    replicas: Replicas, store: Store, rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """It was, when a tick looked; before that one's turn, credentials were entered elsewhere that end it."""
    account = twilio.an_account()
    twilio.refuse("new_trunk", 503, b"")
    await trunk(rig, account)
    other = await replicas(endpoints={"twilio": twilio.endpoints})
    await pass_time(rig)
    entered_elsewhere = asyncio.Event()

    async def held(tx: Transaction) -> None:
        await entered_elsewhere.wait()

    holding = asyncio.create_task(rig.vault.writer.submit(held, alone=True))
    await rig.vault.works.tick()
    put = await trunk(other, account, verify=False)
    entered_elsewhere.set()
    await holding
    await rig.vault.works.settled()

    assert (put.status_code, trunking.trunks, await line(rig)) == (200, [], None)
    assert (await order(rig, "repair")).status_code == 200


@on_sqlite
async def test_a_trunk_that_is_there_lacks_its_password_until_it_is_repaired(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """Its username and address are served; repair sets another password, or a person enters it."""
    account = twilio.an_account()
    logins = trunking.a_list("theirs", pbx="canary-Theirs-12345")
    trunking.a_trunk("Office", "office.pstn.twilio.com", logins)

    stored = (await trunk(rig, account)).json()

    assert (stored["status"], stored["lacks"], stored["last_error_code"]) == (
        "verified",
        ["call"],
        "password_unknown",
    )
    assert stored["advice"]
    assert await given(rig) == {"username": "pbx", "termination_uri": "office.pstn.twilio.com"}
    patched = await rig.api.patch(path(), json={"credentials": {"password": "canary-Theirs-12345"}})
    assert patched.json().get("lacks", []) == []
    assert (await given(rig))["password"] == "canary-Theirs-12345"


@on_sqlite
async def test_repair_makes_a_password_what_it_is_here(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """A new one where it is unknown; the stored one, where somebody has changed it at Twilio."""
    account = twilio.an_account()
    logins = trunking.a_list("theirs", pbx="canary-Theirs-12345")
    trunking.a_trunk("Office", "office.pstn.twilio.com", logins)
    await trunk(rig, account)

    assert (await order(rig, "repair")).status_code == 200
    served = await given(rig)
    assert trunking.takes("office.pstn.twilio.com", "pbx", served["password"])

    for login in logins.logins:
        logins.logins[login] = ("pbx", "canary-Changed-12345")
    assert (await order(rig, "repair")).status_code == 200
    assert await given(rig) == served
    assert trunking.takes("office.pstn.twilio.com", "pbx", served["password"])


@on_sqlite
async def test_orders_count_as_tries(rig: Rig, store: Store, twilio: Twilio, trunking: Trunking) -> None:
    """Each asks Twilio with the same credentials: of the sixth within a minute it hears nothing."""
    await trunk(rig, twilio.an_account())
    for _ in range(4):
        assert (await order(rig, "repair")).status_code == 200
    asked = len(twilio.ledger)

    assert (await order(rig, "repair")).status_code == 429

    assert len(twilio.ledger) == asked


# ---- the end of a process


@on_sqlite
async def test_a_replica_that_ends_finishes_what_it_has_begun(
    replicas: Replicas, store: Store, rig: Rig, twilio: Twilio, trunking: Trunking
) -> None:
    """Whoever ordered it may be gone: draining waits for it, and begins nothing more."""
    account = twilio.an_account()
    await entered(rig, account)
    former, begun, create = account.auth_token, asyncio.Event(), twilio.handlers["secondary"]

    def noted(asked: Asked) -> Answer:
        begun.set()
        return create(asked)

    twilio.handlers["secondary"] = noted
    ordered = asyncio.create_task(order(rig))
    await begun.wait()
    ordered.cancel()

    await rig.vault.works.drain()

    assert account.auth_token != former
    assert (await given(rig))["auth_token"] == account.auth_token
    refused(await order(rig), 503, "work_in_progress")


async def killed(rig: Rig, store: Store, step: Step, nth: int, ability: str, body: Any = None) -> None:
    """Have a process of its own do *ability* until it is killed, and let its lease lapse."""
    order = Order(
        url=store.url,
        keyring=store.keyring,
        key=await rig.key(),
        path=f"{path()}/{ability}" if body is None else path(),
        method="POST" if body is None else "PUT",
        body=body,
        step=step,
        nth=nth,
        settings={"endpoints": rig.vault.settings.endpoints},
    )
    with killable.started(order) as child:
        assert await child.ended() == -signal.SIGKILL, (step, nth)
    await pass_time(rig)


ROTATION: tuple[tuple[Step, int], ...] = (
    ("turn.committed", 1),
    ("send", 1),
    *((step, nth) for nth in (1, 2, 3) for step in cast("tuple[Step, ...]", ("keep.commit", "keep.committed"))),
    ("send", 3),
)

SET_UP: tuple[tuple[Step, int], ...] = (
    ("turn.execute", 1),
    ("keep.committed", 1),
    ("send", 4),
    ("keep.commit", 2),
    ("keep.commit", 3),
)


@on_sqlite
async def test_no_token_is_lost_however_a_rotating_process_is_killed(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """kill -9 at each keeping, and before calls: the next tick ends it, with the token in force in our hands."""
    account = twilio.an_account()
    await entered(rig, account)
    for step, nth in ROTATION:
        former = account.auth_token
        await killed(rig, store, step, nth, "rotate")

        await tick(rig)

        assert (await given(rig))["auth_token"] == account.auth_token != former, (step, nth)
        assert (await kept(rig), await line(rig), account.secondary) == ({"credentials"}, None, None), (step, nth)


@on_sqlite
async def test_no_second_trunk_however_a_process_is_killed_that_sets_one_up(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking
) -> None:
    """kill -9 as it is entered: it is stored, and the next tick finishes it; or nothing was made of it."""
    account = twilio.an_account()
    own = {"account_sid": account.sid, "auth_token": account.auth_token, "friendly_name": "Office"}
    body = {"kind": "sip_trunk", "credentials": own}
    for number, (step, nth) in enumerate(SET_UP, 1):
        body["credentials"] = {**own, "friendly_name": f"Office {number}"}
        await killed(rig, store, step, nth, "set_up", body)

        await tick(rig)

        served = await given(rig)
        assert trunking.takes(served["termination_uri"], served["username"], served["password"]), (step, nth)
        assert (len(trunking.trunks), len(trunking.lists)) == (number, number), (step, nth)


@on_sqlite
async def test_a_worker_goes_on_by_itself_where_a_server_was_killed(
    rig: Rig, store: Store, twilio: Twilio, trunking: Trunking, tmp_path: Path
) -> None:
    """Nobody asks for it: its ticks find what is due. SIGTERM ends it in peace."""
    account = twilio.an_account()
    await entered(rig, account)
    former = account.auth_token
    await killed(rig, store, "keep.committed", 2, "rotate")
    moved: dict[str, Any] = {f"twilio_{name}": url for name, url in twilio.endpoints.items()}

    async def ended() -> bool:
        return await line(rig) is None

    async with started("worker", store.url, tmp_path, sweep_interval_seconds=0.2, **moved) as worker:
        await eventually(ended)
        assert await worker.terminate() == 0

    assert account.auth_token != former
    rig.vault.memory.forget([GATES])
    assert (await given(rig))["auth_token"] == account.auth_token
