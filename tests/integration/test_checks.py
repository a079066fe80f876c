"""Credentials that nothing renews are tried now and then, by one replica, and not again once they are refused."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import age
from tests.integration.test_api import refused
from tests.person import Asking, change, rows_of
from tests.rig import Rig
from tests.vendors.resend import FakeResend, refusal
from vault.store.rejections import PACE

KEY = "re_canary_0123456789"
DAY = timedelta(days=1)


@pytest.fixture(name="resend")
async def _resend() -> AsyncIterator[FakeResend]:
    async with FakeResend("acme.example") as fake:
        fake.keys[KEY] = "full_access"
        yield fake


@pytest.fixture(name="mail")
async def _mail(replicas: Replicas, resend: FakeResend) -> Asking:
    mail = Asking(await replicas(endpoints={"resend": resend.endpoints}), "mail", provider="resend")
    stored = await mail.rig.api.put(mail.path, json={"credentials": {"api_key": KEY}})
    assert stored.status_code == 201, stored.text
    resend.ledger.clear()
    return mail


async def checked(*rigs: Rig) -> None:
    """Have replicas look for what is due, all at once, and wait until it was tried."""
    await asyncio.gather(*(rig.vault.checks.tick() for rig in rigs))
    await asyncio.gather(*(rig.vault.checks.finished() for rig in rigs))


async def test_a_key_is_tried_once_a_day_by_whichever_replica(
    replicas: Replicas, mail: Asking, resend: FakeResend
) -> None:
    """Nobody asks before that; two that look at once ask once; and it is due again a day later."""
    other = await replicas(endpoints={"resend": resend.endpoints})
    await checked(mail.rig, other)
    assert resend.ledger == []

    for asked in (1, 2, 3):
        await age(mail.rig, DAY * 1.25, "next_check_at")
        await checked(mail.rig, other)
        assert len(resend.ledger) == asked
    shown = await mail.shown()
    assert shown["status"] == "verified"
    checked_at, next_check_at = (datetime.fromisoformat(shown[name]) for name in ("checked_at", "next_check_at"))
    assert DAY * 0.79 < next_check_at - checked_at < DAY * 1.21


@on_sqlite
async def test_a_key_that_was_deleted_is_found_out_and_left_alone(mail: Asking, resend: FakeResend) -> None:
    """Whoever wants it is told from then on, and no program tries it again by itself."""
    del resend.keys[KEY]
    await age(mail.rig, DAY * 1.25, "next_check_at")
    await checked(mail.rig)

    refused(await mail.token(), 409, "credentials_rejected")
    assert "next_check_at" not in await mail.shown()
    await age(mail.rig, DAY * 30)
    await checked(mail.rig)
    assert len(resend.ledger) == 1


@on_sqlite
async def test_a_key_that_works_again_is_tried_again(mail: Asking, resend: FakeResend) -> None:
    """Once somebody has found out that it does, it is looked after as before."""
    sort = resend.keys.pop(KEY)
    await age(mail.rig, DAY * 1.25, "next_check_at")
    await checked(mail.rig)
    resend.keys[KEY] = sort

    shown = (await mail.rig.api.post(f"{mail.path}/verify")).json()
    assert (shown["status"], shown["next_check_at"] > shown["checked_at"]) == ("verified", True)
    resend.ledger.clear()
    await checked(mail.rig)
    assert resend.ledger == []
    await age(mail.rig, DAY * 1.25, "next_check_at")
    await checked(mail.rig)
    assert len(resend.ledger) == 1


@on_sqlite
async def test_a_provider_in_trouble_takes_nothing_away(mail: Asking, resend: FakeResend) -> None:
    """The key is handed out all the same; it is degraded until a later try goes well."""
    resend.instead(refusal(500, "internal_server_error"))
    await age(mail.rig, DAY * 1.25, "next_check_at")
    await checked(mail.rig)
    shown = await mail.shown()
    assert (shown["status"], shown["reason"], shown["next_action"]) == ("degraded", "probe_unknown", "wait")
    assert (await mail.token()).status_code == 200

    await age(mail.rig, DAY * 1.25, "next_check_at")
    await checked(mail.rig)
    assert (await mail.shown())["status"] == "verified"


@on_sqlite
async def test_a_verification_counts_as_a_try(mail: Asking, resend: FakeResend) -> None:
    """Whoever asked by hand need not be followed by a program a moment later."""
    await age(mail.rig, DAY * 1.25, "next_check_at")
    shown = (await mail.rig.api.post(f"{mail.path}/verify")).json()
    await checked(mail.rig)

    assert len(resend.ledger) == 1
    assert shown["next_check_at"] == (await mail.shown())["next_check_at"]


@on_sqlite
@pytest.mark.parametrize(
    "spoilt", ["UPDATE connections SET kind = 'gone'", "UPDATE sealed_values SET ciphertext = zeroblob(40)"]
)
async def test_what_cannot_be_tried_keeps_none_of_the_others_waiting(
    mail: Asking, resend: FakeResend, caplog: pytest.LogCaptureFixture, spoilt: str
) -> None:
    """Its provider, defined anew, has lost its kind; or it does not open: it is looked at once, then later."""
    assert await change(mail.rig, spoilt) >= 1
    for number in range(5):  # more than are tried at once
        stored = await mail.rig.api.put(f"{mail.path}-{number}", json={"credentials": {"api_key": KEY}})
        assert stored.status_code == 201, stored.text
    resend.ledger.clear()
    assert await change(mail.rig, "UPDATE token_states SET next_check_at = 1") == 6

    await checked(mail.rig)
    await checked(mail.rig)

    assert len(resend.ledger) == 5
    assert [line.message for line in caplog.records if line.name == "vault.checks"] == ["a check came to nothing"]


@on_sqlite
async def test_what_is_switched_off_or_deleted_is_not_tried(mail: Asking, resend: FakeResend) -> None:
    """A kill switch holds for the program's own curiosity, too."""
    await mail.rig.api.patch(mail.path, json={"enabled": False})
    await age(mail.rig, DAY * 2, "next_check_at")
    await checked(mail.rig)
    assert resend.ledger == []

    await mail.rig.api.patch(mail.path, json={"enabled": True})
    await mail.rig.api.delete(mail.path)
    await age(mail.rig, DAY * 2, "next_check_at")
    await checked(mail.rig)
    assert resend.ledger == []


@on_sqlite
async def test_a_key_that_was_refused_downstream_is_tried_soon(mail: Asking, resend: FakeResend) -> None:
    """Who reports it does not renew what nothing renews: but it is not a day before somebody looks."""
    del resend.keys[KEY]
    report = await mail.rig.api.post(f"{mail.path}/rejections", json={"generation": 1})
    assert report.status_code == 200  # nothing else is known of it yet
    await age(mail.rig, PACE, "next_check_at")
    await checked(mail.rig)

    refused(await mail.token(), 409, "credentials_rejected")


# ---- how often anybody may have them tried


async def test_credentials_are_not_tried_more_than_five_times_a_minute(
    replicas: Replicas, mail: Asking, resend: FakeResend
) -> None:
    """By all replicas together, however many ask at once; what is refused is told when to come back."""
    other = await replicas(endpoints={"resend": resend.endpoints})

    answers = await asyncio.gather(
        *(rig.api.post(f"{mail.path}/verify") for rig in (mail.rig, other) for _ in range(4))
    )

    # One was its entry.
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 4
    waits = {int(answer.headers["Retry-After"]) for answer in answers if answer.status_code == 429}
    assert waits <= set(range(30, 61))
    assert len(resend.ledger) == 4


@on_sqlite
async def test_what_is_refused_and_stored_nowhere_counts_as_tried(mail: Asking, resend: FakeResend) -> None:
    """Whoever guesses at a path that holds nothing has five guesses a minute there; other paths have their own."""
    wrong = {"credentials": {"api_key": "re_canary_wrong"}}

    answers = [await mail.rig.api.put(f"{mail.path}-2", json=wrong) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [422] * 5 + [429]
    assert len(resend.ledger) == 5
    untried = {**wrong, "verify": False}
    assert (await mail.rig.api.put(f"{mail.path}-2", json=untried)).status_code == 201
    assert (await mail.rig.api.put(f"{mail.path}-3", json=wrong)).status_code == 422


@on_sqlite
async def test_each_try_counts_for_a_minute_of_its_own(mail: Asking, resend: FakeResend) -> None:
    """As many may be made anew as are a minute old, and no more; what counts no more is not kept."""
    for _ in range(4):
        assert (await mail.rig.api.post(f"{mail.path}/verify")).status_code == 200
    await change(mail.rig, "UPDATE tries SET tried_at = tried_at - 60000 WHERE slot IN (1, 4)")
    await change(mail.rig, "UPDATE tries SET tried_at = tried_at - 40000 WHERE slot = 2")

    answers = [await mail.rig.api.post(f"{mail.path}/verify") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) in range(1, 21)
    await change(mail.rig, "UPDATE tries SET tried_at = tried_at - 60000 WHERE slot IN (1, 4)")
    await mail.rig.vault.tidy()
    assert sorted(row.slot for row in await rows_of(mail.rig, "SELECT slot FROM tries")) == [0, 2, 3]


@on_sqlite
async def test_a_clock_that_is_set_back_locks_nobody_out(mail: Asking, resend: FakeResend) -> None:
    """What was tried "in an hour" counts no more, and is not kept; a little ahead are clocks of two statements."""
    for _ in range(4):
        assert (await mail.rig.api.post(f"{mail.path}/verify")).status_code == 200
    await change(mail.rig, "UPDATE tries SET tried_at = tried_at + 50000")
    refused(await mail.rig.api.post(f"{mail.path}/verify"), 429, "rate_limited")

    await change(mail.rig, "UPDATE tries SET tried_at = tried_at + 3600000")

    assert (await mail.rig.api.post(f"{mail.path}/verify")).status_code == 200
    await mail.rig.vault.tidy()
    assert [row.slot for row in await rows_of(mail.rig, "SELECT slot FROM tries")] == [0]
