"""Voicenter over the HTTP API, against a Voicenter that is stricter than the real one."""

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
from tests.vendors.voicenter import FakeVoicenter, call_log, refusal

CODE, EMAIL, PIN = "canary-0123456789-code", "ann@acme.example", "canary-pin"
stacks = pytest.mark.parametrize("stack", ["old", "new"])


@pytest.fixture(name="voicenter")
async def _voicenter() -> AsyncIterator[FakeVoicenter]:
    async with FakeVoicenter() as fake:
        fake.codes.add(CODE)
        fake.users[EMAIL] = PIN
        fake.login_tokens.add("canary-login-token")
        yield fake


@pytest.fixture(name="phones")
async def _phones(replicas: Replicas, voicenter: FakeVoicenter) -> Asking:
    return Asking(await replicas(endpoints={"voicenter": voicenter.endpoints}), "phones", provider="voicenter")


async def enter(phones: Asking, kind: str, **credentials: str) -> httpx.Response:
    return await phones.rig.api.put(phones.path, json={"kind": kind, "credentials": credentials})


async def logged_in(phones: Asking, stack: str) -> dict[str, Any]:
    """Return a connection by e-mail address and password."""
    stored = await enter(phones, "login_user", email=EMAIL, pin=PIN, stack=stack)
    assert (stored.status_code, stored.json()["status"]) == (201, "verified"), stored.text
    return dict(stored.json())


async def verify(phones: Asking) -> dict[str, Any]:
    return dict((await phones.rig.api.post(f"{phones.path}/verify")).json())


async def run_out(phones: Asking) -> None:
    """Let the tokens run out."""
    await age(phones.rig, timedelta(hours=1), "access_expires_at", "next_refresh_at")


# ---- what never changes


async def test_a_code_from_its_entry_to_its_end_and_back(
    phones: Asking, voicenter: FakeVoicenter, leaks: Leaks
) -> None:
    """Enter, verify, fetch, replaced at Voicenter, corrected, disconnected."""
    stored = await enter(phones, "code", code=CODE)
    assert (stored.status_code, stored.json()["status"]) == (201, "verified"), stored.text
    leaks.check(stored.text)
    assert (await verify(phones))["verdict"] == "valid"
    handed = (await phones.token()).json()
    assert handed["credentials"] == {"code": CODE}
    assert "authorization" not in handed

    voicenter.codes = {"canary-another-code"}
    assert (await verify(phones))["verdict"] == "invalid"
    problem = refused(await phones.token(), 409, "credentials_rejected")
    assert problem["reason"] == "code_rejected"

    corrected = await phones.rig.api.patch(phones.path, json={"credentials": {"code": "canary-another-code"}})
    assert (corrected.status_code, corrected.json()["status"]) == (200, "verified"), corrected.text
    assert (await phones.token()).json()["credentials"] == {"code": "canary-another-code"}
    ended = await phones.rig.api.delete(phones.path, params={"revoke": True})
    assert ended.json()["revoked"] == "not_supported"


@on_sqlite
async def test_a_wrong_code_is_not_stored(phones: Asking, leaks: Leaks) -> None:
    """The answer says what to do, and nothing of the code."""
    answer = await enter(phones, "code", code="canary-wrong")

    problem = refused(answer, 422, "credentials_rejected")
    assert (problem["reason"], "back office" in problem["advice"]) == ("code_rejected", True)
    leaks.check(answer.text)


@on_sqlite
async def test_an_address_that_is_not_authorised_condemns_no_code(
    phones: Asking, voicenter: FakeVoicenter
) -> None:
    """It is stored and served; whoever looks is told where the vault's address has to be."""
    voicenter.here = False
    stored = (await enter(phones, "code", code=CODE)).json()
    assert (stored["status"], stored["reason"]) == ("configured", "probe_unknown")
    assert stored["last_error_code"] == "ip_not_authorized"
    assert "Authorized IPs" in stored["advice"]
    assert (await phones.token()).status_code == 200

    voicenter.here = True
    assert (await verify(phones))["status"] == "verified"
    voicenter.here = False
    shown = await verify(phones)
    assert (shown["verdict"], shown["status"], shown["next_action"]) == ("unknown", "degraded", "wait")
    assert (await phones.token()).status_code == 200


@on_sqlite
async def test_a_throttled_look_says_nothing(phones: Asking, voicenter: FakeVoicenter) -> None:
    """Thirty a minute are shared with every other program of the organisation."""
    await enter(phones, "code", code=CODE)
    voicenter.instead(call_log(1, 403))

    shown = await verify(phones)

    assert (shown["verdict"], shown["last_error_code"]) == ("unknown", "call_log_throttled")
    assert (await phones.token()).status_code == 200


@on_sqlite
async def test_a_static_token_is_served_as_it_was_entered(phones: Asking, voicenter: FakeVoicenter) -> None:
    """Nothing at Voicenter tells whether it works, so nothing is asked, and it is never called verified."""
    stored = (await enter(phones, "bearer_token", token="canary-static")).json()

    for shown in (stored, await verify(phones)):
        assert (shown["status"], shown["last_error_code"]) == ("configured", "cannot_be_tried")
    handed = (await phones.token()).json()
    assert (handed["credentials"], handed["authorization"]) == ({"token": "canary-static"}, "Bearer canary-static")
    assert voicenter.ledger == []


# ---- logins


@stacks
async def test_a_login_from_its_entry_to_its_end_and_back(
    phones: Asking, voicenter: FakeVoicenter, leaks: Leaks, stack: str
) -> None:
    """Enter, fetch, refresh, refresh refused, password changed, corrected, disconnected."""
    stored = await logged_in(phones, stack)
    assert (stored["account"], stored["account_label"]) == ("4711", EMAIL)
    assert stored["credentials"] == {"email": EMAIL, "pin": "••••", "stack": stack}
    first = (await phones.token()).json()
    assert 3400 < first["expires_in"] <= 3600

    await run_out(phones)
    second = (await phones.token()).json()
    assert (second["generation"], second["access_token"] != first["access_token"]) == (2, True)
    assert voicenter.paths()[-1] == {"old": "RefreshIdentityToken", "new": "RefreshToken"}[stack]

    voicenter.forget_sessions()
    await run_out(phones)
    assert (await phones.token()).json()["generation"] == 3
    assert voicenter.paths()[-1] == {"old": "User", "new": "Monitor"}[stack]

    voicenter.users[EMAIL] = "canary-changed"
    voicenter.forget_sessions()
    await run_out(phones)
    assert refused(await phones.token(), 409, "credentials_rejected")["reason"] == "login_refused"
    shown = await phones.shown()
    assert (shown["status"], shown["next_action"]) == ("failed", "fix_credentials")

    corrected = await phones.rig.api.patch(phones.path, json={"credentials": {"pin": "canary-changed"}})
    assert (corrected.status_code, corrected.json()["status"]) == (200, "verified"), corrected.text
    assert (await phones.token()).status_code == 200
    ended = await phones.rig.api.delete(phones.path, params={"revoke": True})
    assert ended.json()["revoked"] == "not_supported"
    leaks.check(str(await phones.audit()))


@on_sqlite
@stacks
async def test_a_login_by_token_is_renewed_alike(phones: Asking, voicenter: FakeVoicenter, stack: str) -> None:
    """The token stays, and what it gives is refreshed."""
    stored = await enter(phones, "login_token", token="canary-login-token", stack=stack)
    assert (stored.status_code, stored.json()["account"]) == (201, "4711"), stored.text

    await run_out(phones)
    assert (await phones.token()).json()["generation"] == 2
    assert voicenter.paths()[-1] == {"old": "RefreshIdentityToken", "new": "RefreshToken"}[stack]
    voicenter.forget_sessions()
    await run_out(phones)
    assert (await phones.token()).json()["generation"] == 3
    assert voicenter.paths()[-1] == {"old": "Token", "new": "Monitor"}[stack]


@on_sqlite
@stacks
async def test_a_refused_login_is_not_stored(phones: Asking, leaks: Leaks, stack: str) -> None:
    """The answer says what to do, and nothing of the password."""
    answer = await enter(phones, "login_user", email=EMAIL, pin="canary-wrong", stack=stack)

    assert refused(answer, 422, "credentials_rejected")["reason"] == "login_refused"
    leaks.check(answer.text)


@on_sqlite
async def test_settings_with_sip_passwords_leave_no_trace(
    phones: Asking, voicenter: FakeVoicenter, leaks: Leaks
) -> None:
    """They tell that a login works; a dead token is renewed before it is called so."""
    await logged_in(phones, "new")
    assert (await verify(phones))["verdict"] == "valid"
    voicenter.tokens.clear()

    shown = await verify(phones)

    assert (shown["verdict"], shown["generation"]) == ("valid", 2)
    assert voicenter.paths()[-3:] == ["GetSettings", "RefreshToken", "GetSettings"]
    leaks.check(str(shown) + str(await phones.audit()))


@on_sqlite
async def test_a_lost_refresh_costs_a_login(phones: Asking, voicenter: FakeVoicenter) -> None:
    """The refresh token was spent, and its successor never arrived: the password gives another one."""
    await logged_in(phones, "old")
    await age(phones.rig, timedelta(hours=1))
    voicenter.instead(None)

    lost = (await phones.rig.api.post(f"{phones.path}/refresh")).json()
    assert (lost["status"], lost["reason"]) == ("degraded", "outcome_unknown")
    await age(phones.rig, timedelta(minutes=1))

    assert (await phones.token()).json()["generation"] == 2
    assert voicenter.paths() == ["User", "RefreshIdentityToken", "RefreshIdentityToken", "User"]


@on_sqlite
async def test_a_broken_voicenter_is_not_logged_in_to(phones: Asking, voicenter: FakeVoicenter) -> None:
    """A login that fails may lock an account: only a refused refresh is reason for one."""
    await logged_in(phones, "old")
    voicenter.instead(refusal(500))

    await phones.rig.api.post(f"{phones.path}/refresh")

    assert voicenter.paths() == ["User", "RefreshIdentityToken"]
    assert (await phones.shown())["status"] == "degraded"
    assert (await phones.token()).status_code == 200


@on_sqlite
async def test_dates_without_a_zone_are_renewed_early(phones: Asking, voicenter: FakeVoicenter) -> None:
    """What may be three hours off is not promised to anybody."""
    voicenter.dates = "naive"
    await logged_in(phones, "old")

    assert (await phones.token()).json()["expires_in"] <= 600


@on_sqlite
async def test_a_login_that_says_nothing_of_its_end_is_renewed_in_a_quarter_of_an_hour(
    phones: Asking, voicenter: FakeVoicenter
) -> None:
    """A token that is no JWT, on the stack that has no dates."""
    voicenter.jwt = False
    await logged_in(phones, "new")

    assert 800 < (await phones.token()).json()["expires_in"] <= 900
