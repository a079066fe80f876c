"""Resend over the HTTP API, against a Resend that is stricter than the real one."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import eventually
from tests.integration.test_api import refused
from tests.person import Asking, change
from tests.rig import Rig
from tests.vendors.resend import DEAD, FakeResend, domain, refusal

KEY, ANOTHER = "re_canary_0123456789", "re_canary_9876543210"


@pytest.fixture(name="resend")
async def _resend() -> AsyncIterator[FakeResend]:
    async with FakeResend("acme.example") as fake:
        fake.keys[KEY] = "full_access"
        yield fake


@pytest.fixture(name="mail")
async def _mail(replicas: Replicas, resend: FakeResend) -> Asking:
    return Asking(await replicas(endpoints={"resend": resend.endpoints}), "mail", provider="resend")


async def enter(mail: Asking, key: str = KEY, **more: str) -> httpx.Response:
    body = {"kind": "api_key", "credentials": {"api_key": key, **more}}
    return await mail.rig.api.put(mail.path, json=body)


async def verify(mail: Asking) -> dict[str, object]:
    return dict((await mail.rig.api.post(f"{mail.path}/verify")).json())


async def test_a_key_from_its_entry_to_its_end_and_back(mail: Asking, resend: FakeResend, leaks: Leaks) -> None:
    """Enter, verify, fetch, deleted at Resend, corrected, disconnected."""
    stored = await enter(mail, from_email="hello@acme.example")
    assert (stored.status_code, stored.json()["status"]) == (201, "verified"), stored.text
    assert stored.json()["credentials"] == {"api_key": "••••6789", "from_email": "hello@acme.example"}
    leaks.check(stored.text.replace("••••6789", ""))
    assert (await verify(mail))["verdict"] == "valid"

    handed = (await mail.token()).json()
    assert handed["credentials"] == {"api_key": KEY, "from_email": "hello@acme.example"}
    assert handed["authorization"] == f"Bearer {KEY}"
    assert "expires_at" not in handed

    del resend.keys[KEY]
    assert (await verify(mail))["verdict"] == "invalid"
    problem = refused(await mail.token(), 409, "credentials_rejected")
    assert problem["reason"] == "invalid_api_key"
    assert "resend.com/api-keys" in problem["advice"]
    shown = await mail.shown()
    assert "expires_at" not in shown
    assert (shown["status"], shown["next_action"]) == ("failed", "fix_credentials")
    assert "resend.com/api-keys" in shown["advice"]

    resend.keys[ANOTHER] = "full_access"
    corrected = await mail.rig.api.patch(mail.path, json={"credentials": {"api_key": ANOTHER}})
    assert (corrected.status_code, corrected.json()["status"]) == (200, "verified"), corrected.text
    assert (await mail.token()).json()["credentials"]["from_email"] == "hello@acme.example"

    ended = await mail.rig.api.delete(mail.path, params={"revoke": True})
    assert ended.json()["revoked"] == "not_supported"
    refused(await mail.token(), 409, "not_connected")


@on_sqlite
@pytest.mark.parametrize("dead", DEAD)
async def test_a_key_that_is_refused_is_not_stored(
    mail: Asking, resend: FakeResend, leaks: Leaks, dead: tuple[int, str]
) -> None:
    """In whichever of its spellings; the answer says what to do, and nothing of the key."""
    resend.dead = dead

    answer = await enter(mail, ANOTHER)

    problem = refused(answer, 422, "credentials_rejected")
    assert (problem["reason"], "resend.com/api-keys" in problem["advice"]) == ("invalid_api_key", True)
    leaks.check(answer.text)
    refused(await mail.rig.api.get(mail.path), 404)


@on_sqlite
async def test_a_key_that_may_only_send_is_a_good_one(mail: Asking, resend: FakeResend) -> None:
    """Stored as verified, with what it lacks."""
    resend.keys[KEY] = "sending_access"

    stored = (await enter(mail)).json()

    assert (stored["status"], stored["lacks"], stored["last_error_code"]) == ("verified", ["read"], "sending_only")
    assert (await verify(mail))["verdict"] == "limited"
    assert (await mail.token()).status_code == 200


@on_sqlite
async def test_a_sender_whose_domain_is_not_ready_is_said(mail: Asking, resend: FakeResend) -> None:
    """The key is good; and once the domain is verified, so is all of it."""
    resend.domains = [domain(1, "acme.example", "pending")]
    stored = (await enter(mail, from_email="hello@acme.example")).json()
    assert (stored["status"], stored["lacks"]) == ("verified", ["send_from"])
    assert stored["last_error_code"] == "sender_domain_unverified"

    resend.domains = [domain(1, "acme.example")]
    assert (await verify(mail))["verdict"] == "valid"
    shown = await mail.shown()
    assert {"lacks", "last_error_code"}.isdisjoint(shown)


@on_sqlite
async def test_a_resend_that_cannot_tell_now_refuses_nothing(mail: Asking, resend: FakeResend) -> None:
    """Stored unproven, and served; a good key that cannot be tried now stays what it is, and is tried again."""
    resend.instead(refusal(429, "rate_limit_exceeded", retry_after="1"))
    stored = (await enter(mail)).json()
    assert (stored["status"], stored["reason"]) == ("configured", "probe_unknown")
    assert (await mail.token()).status_code == 200

    assert (await verify(mail))["status"] == "verified"
    resend.instead(None)
    shown = await verify(mail)
    assert (shown["verdict"], shown["status"], shown["next_action"]) == ("unknown", "degraded", "wait")
    assert (await mail.token()).status_code == 200


@on_sqlite
async def test_a_key_that_dies_is_found_out_within_a_day(mail: Asking, resend: FakeResend) -> None:
    """Nobody asks, and it is tried all the same; once it is over it is left alone."""
    await enter(mail)
    del resend.keys[KEY]
    await due(mail.rig)

    await mail.rig.vault.checks.tick()

    async def failed() -> bool:
        return bool((await mail.shown())["status"] == "failed")

    await eventually(failed)
    assert "next_check_at" not in await mail.shown()
    assert len(resend.ledger) == 2


async def due(rig: Rig) -> None:
    """Let the time come at which credentials are tried."""
    assert await change(rig, "UPDATE token_states SET next_check_at = 1") == 1
