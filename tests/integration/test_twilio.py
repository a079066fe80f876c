"""Twilio over the HTTP API, and its own library with what it got there, against a Twilio that is stricter."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from twilio.base.exceptions import TwilioException
from twilio.credential.client_credential_provider import ClientCredentialProvider
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.jwt import JwtDecodeError
from twilio.jwt.access_token import AccessToken
from twilio.rest import Client

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import age
from tests.integration.test_api import bearing, refused
from tests.person import Asking, change, rows_of
from tests.rig import TENANT, Rig
from tests.vendors.twilio import Twilio
from tests.vendors.twilio_accounts import Account, App, Key
from vault.memory import STALE_AFTER
from vault.store.writer import Transaction

PATH = f"/v1/connections/{TENANT}/twilio/default"
NUMBER = "+14155550100"
VOICE = {"voice": {"incoming": {"allow": True}}}


@pytest.fixture(name="twilio")
async def _twilio() -> AsyncIterator[Twilio]:
    async with Twilio() as twilio:
        yield twilio
    assert twilio.misfits == []


@pytest.fixture(name="rig")
async def _rig(replicas: Replicas, twilio: Twilio) -> Rig:
    return await replicas(endpoints={"twilio": twilio.endpoints})


def by_token(account: Account, **more: Any) -> dict[str, Any]:
    return _body("auth_token", {"account_sid": account.sid, "auth_token": account.auth_token}, more)


def by_key(account: Account, key: Key, **more: Any) -> dict[str, Any]:
    named = {"account_sid": account.sid, "api_key_sid": key.sid, "api_key_secret": key.secret}
    return _body("api_key", named, more)


def by_app(account: Account, app: App, **more: Any) -> dict[str, Any]:
    named = {"account_sid": account.sid, "client_id": app.client_id, "client_secret": app.secrets[0]}
    return _body("oauth_app", named, more)


def _body(kind: str, fields: dict[str, str], more: dict[str, Any]) -> dict[str, Any]:
    number = {"phone_number": more.pop("phone_number")} if "phone_number" in more else {}
    return {"kind": kind, "credentials": {**fields, **number}, **more}


def default(rig: Rig) -> Asking:
    return Asking(rig, "default", provider="twilio")


async def entered(rig: Rig, body: dict[str, Any], path: str = PATH) -> dict[str, Any]:
    """Return the connection that comes of *body*."""
    answer = await rig.api.put(path, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def client_token(rig: Rig, path: str = PATH, **body: Any) -> httpx.Response:
    return await rig.api.post(f"{path}/client-tokens", json={"grants": VOICE, **body})


# ---- entered, proven, handed out, failed, corrected


async def test_an_auth_token_from_its_entry_to_its_end_and_back(rig: Rig, twilio: Twilio, leaks: Leaks) -> None:
    """Entered, verified, fetched, promoted away at Twilio, failed, corrected, and deleted."""
    account, about = twilio.an_account(numbers=[NUMBER]), default(rig)

    shown = await entered(rig, by_token(account, phone_number=NUMBER))
    leaks.check(json.dumps(shown))
    assert (shown["status"], shown["renewal"], shown["account"]) == ("verified", "none", account.sid)
    assert (shown["account_label"], shown["credentials"]["account_sid"]) == ("Acme", account.sid)
    assert shown["credentials"]["auth_token"].startswith("••••")
    assert shown["next_check_at"]

    handed = (await about.token()).json()
    assert handed["credentials"] == {
        "account_sid": account.sid,
        "auth_token": account.auth_token,
        "phone_number": NUMBER,
    }
    basic = httpx.BasicAuth(account.sid, account.auth_token)._auth_header
    assert handed["authorization"] == basic
    assert not handed.keys() & {"expires_at", "expires_in", "access_token"}

    account.auth_token = "canary-promoted"
    verified = (await rig.api.post(f"{PATH}/verify")).json()
    assert (verified["verdict"], verified["status"], verified["reason"]) == (
        "invalid",
        "failed",
        "credentials_rejected",
    )
    assert (verified["last_error_code"], verified["next_action"]) == ("20003", "fix_credentials")
    assert "Auth Token" in verified["advice"]
    assert refused(await about.token(), 409, "credentials_rejected")["reason"] == "20003"

    corrected = await rig.api.patch(PATH, json={"credentials": {"auth_token": "canary-promoted"}})
    assert (corrected.status_code, corrected.json()["status"]) == (200, "verified"), corrected.text
    assert (await about.token()).json()["credentials"]["auth_token"] == "canary-promoted"
    deleted = await rig.api.delete(PATH, params={"revoke": "true"})
    assert (deleted.status_code, deleted.json()["revoked"]) == (200, "not_supported")


@on_sqlite
async def test_both_sorts_of_keys_are_good(rig: Rig, twilio: Twilio) -> None:
    """To a Standard one the account is closed as if it were dead, so something else is asked for."""
    account = twilio.an_account()
    for asked, key in enumerate((account.a_key("Main"), account.a_key("Standard"))):
        shown = await entered(rig, by_key(account, key), PATH.replace("default", key.sort))

        handed = (await Asking(rig, key.sort, provider="twilio").token()).json()
        assert (shown["status"], shown.get("lacks")) == ("verified", None)
        assert handed["authorization"] == httpx.BasicAuth(key.sid, key.secret)._auth_header
        assert twilio.count("messages") == asked


@on_sqlite
async def test_a_restricted_key_is_good_for_less(rig: Rig, twilio: Twilio) -> None:
    """It is stored and handed out, with what it lacks, and signs nothing."""
    account = twilio.an_account(numbers=[NUMBER])
    key = account.a_key("Restricted", "numbers")

    shown = await entered(rig, by_key(account, key, phone_number="+14155550199"))

    assert (shown["status"], shown["lacks"]) == ("verified", ["client_tokens", "send_from"])
    assert "phone number" in shown["advice"]
    assert (await default(rig).token()).status_code == 200
    problem = refused(await client_token(rig), 409, "no_client_tokens")
    assert problem["reason"] == "phone_number_missing"


@on_sqlite
async def test_what_twilio_refuses_is_not_stored(rig: Rig, twilio: Twilio, leaks: Leaks) -> None:
    """422 with what to do, and nothing is there."""
    account, other, over = twilio.an_account(), twilio.an_account(), twilio.an_account(status="suspended")
    dead, app = account.a_key(), account.an_app()
    entries = {
        "20003": [by_token(account), by_key(account, dead)],
        "invalid_client": [by_app(account, app)],
        "account_not_found": [by_key(other, account.a_key("Main"))],
        "account_suspended": [by_token(over)],
    }
    account.auth_token = dead.secret = app.secrets[0] = "canary-another"

    for reason, body in ((reason, body) for reason, bodies in entries.items() for body in bodies):
        path = PATH.replace("default", f"{reason}-{body['kind']}")
        answer = await rig.api.put(path, json=body)
        leaks.check(answer.text)
        problem = refused(answer, 422, "credentials_rejected")
        assert problem["reason"] == reason
        assert problem["advice"]
        assert (await rig.api.get(path)).status_code == 404


@on_sqlite
async def test_what_twilio_cannot_say_now_is_stored_and_found_out_later(rig: Rig, twilio: Twilio) -> None:
    """Configured with the reason; handed out all the same; verified when Twilio is back."""
    account = twilio.an_account()
    twilio.refuse("account", 503, {"code": 20503, "message": "canary-message", "status": 503})

    shown = await entered(rig, by_token(account))

    assert (shown["status"], shown["reason"], shown["last_error_code"]) == ("configured", "probe_unknown", "20503")
    assert (await default(rig).token()).status_code == 200
    assert (await rig.api.post(f"{PATH}/verify")).json()["status"] == "verified"


@on_sqlite
async def test_a_suspended_account_comes_back(rig: Rig, twilio: Twilio) -> None:
    """A check finds it suspended; a later one, active again."""
    account = twilio.an_account()
    await entered(rig, by_token(account))

    account.status = "suspended"
    failed = (await rig.api.post(f"{PATH}/verify")).json()
    assert (failed["status"], failed["reason"]) == ("failed", "account_suspended")
    assert refused(await default(rig).token(), 409, "credentials_rejected")["reason"] == "account_suspended"
    account.status = "active"
    back = (await rig.api.post(f"{PATH}/verify")).json()

    assert (back["status"], back["verdict"]) == ("verified", "valid")


async def test_an_apps_token_is_minted_again_and_again(rig: Rig, twilio: Twilio, leaks: Leaks) -> None:
    """Proven by its first token; renewed with nothing but itself; condemned alone, and corrected."""
    account, about = twilio.an_account(), default(rig)
    app = account.an_app()

    shown = await entered(rig, by_app(account, app))
    first = (await about.token()).json()
    leaks.check(json.dumps(shown))
    assert (shown["status"], shown["renewal"], shown["generation"]) == ("verified", "client_credentials", 1)
    assert first["access_token"] in app.tokens
    assert 3500 < first["expires_in"] <= 3600
    assert "credentials" not in first

    await age(rig, timedelta(hours=2))
    second = (await about.token()).json()
    assert (second["generation"], second["access_token"] in app.tokens) == (2, True)
    assert (await rig.api.post(f"{PATH}/verify")).json()["verdict"] == "valid"

    app.secrets = ["canary-rotated-out"]
    await age(rig, timedelta(hours=2))
    problem = refused(await about.token(), 409, "credentials_rejected")
    assert problem["reason"] == "invalid_client"
    failed = await about.shown()
    assert (failed["status"], failed["reason"]) == ("failed", "credentials_rejected")
    corrected = await rig.api.patch(PATH, json={"credentials": {"client_secret": "canary-rotated-out"}})
    assert (corrected.status_code, corrected.json()["status"]) == (200, "verified"), corrected.text
    assert (await about.token()).json()["access_token"] in app.tokens


@on_sqlite
async def test_an_absurd_lifetime_is_the_tokens_own(rig: Rig, twilio: Twilio) -> None:
    """The example of Twilio's description would live for 45,000 years; the token itself says an hour."""
    twilio.expires_in, twilio.tokens_are_jwts = 1438315200000, True
    account = twilio.an_account()
    await entered(rig, by_app(account, account.an_app()))

    assert 3500 < (await default(rig).token()).json()["expires_in"] <= 3600


# ---- tokens for apps


async def test_an_app_gets_a_token_that_twilios_library_takes(rig: Rig, twilio: Twilio, leaks: Leaks) -> None:
    """Signed with the key's secret, written down, and made anew for each request."""
    account = twilio.an_account()
    key = account.a_key()
    await entered(rig, by_key(account, key))

    answer = await client_token(rig, ttl=600, identity="ada")

    said = answer.json()
    leaks.check(answer.text)
    read = AccessToken.from_jwt(said["token"], key.secret)
    assert (answer.status_code, said["expires_in"], said["source"]["tenant"]) == (201, 600, TENANT)
    assert read.payload["exp"] == datetime.fromisoformat(said["expires_at"]).timestamp()
    assert read.payload["grants"] == {**VOICE, "identity": "ada"}
    assert (read.issuer, read.subject) == (key.sid, account.sid)
    (row,) = await rows_of(
        rig, "SELECT outcome, detail FROM audit_events WHERE action = 'client_token.handed_out'"
    )
    assert (row.outcome, json.loads(row.detail)) == ("ok", {"grants": ["voice"], "ttl": 600})
    with pytest.raises(JwtDecodeError):
        AccessToken.from_jwt(said["token"], "canary-another-secret-of-32-chars")


@on_sqlite
async def test_what_signs_nothing_says_so(rig: Rig, twilio: Twilio) -> None:
    """An Auth Token and an app have no such ability; nor has what was never connected."""
    account = twilio.an_account()
    await entered(rig, by_token(account))
    app = PATH.replace("default", "app")
    await entered(rig, by_app(account, account.an_app()), app)

    refused(await client_token(rig), 409, "no_client_tokens")
    refused(await client_token(rig, app), 409, "no_client_tokens")
    refused(await client_token(rig, PATH.replace("default", "none")), 409, "not_connected")


@on_sqlite
async def test_what_twilio_would_not_take_is_not_signed(rig: Rig, twilio: Twilio) -> None:
    """422 with the reason, and nothing is written down as handed out."""
    account = twilio.an_account()
    await entered(rig, by_key(account, account.a_key()))
    wrong: dict[str, dict[str, Any]] = {
        "unknown_grant": {"grants": {"vioce": {}}},
        "no_grants": {"grants": {}},
        "grant_malformed": {"grants": {"voice": []}},
        "grants_too_large": {"grants": {"voice": {"outgoing": "x" * 5000}}},
        "ttl_too_long": {"ttl": 86_401},
    }

    for reason, body in wrong.items():
        problem = refused(await client_token(rig, **body), 422, "invalid_client_token")
        assert problem["reason"] == reason

    assert await rows_of(rig, "SELECT 1 FROM audit_events WHERE action = 'client_token.handed_out'") == []


@on_sqlite
async def test_a_token_for_an_app_is_inherited_and_ends_with_the_switches(rig: Rig, twilio: Twilio) -> None:
    """Signed with what the parent shares, as the token route would serve it; and nobody's while it is off."""
    account = twilio.an_account()
    await entered(rig, by_key(account, account.a_key(), shared=True))
    child = {"parent": TENANT, "name": "Child"}
    assert (await rig.api.put("/v1/tenants/child", json=child)).status_code == 201
    path = PATH.replace(TENANT, "child")

    given = await client_token(rig, path)
    assert (given.status_code, given.json()["source"]["tenant"]) == (201, TENANT)
    (row,) = await rows_of(rig, "SELECT tenant, detail FROM audit_events WHERE action = 'client_token.handed_out'")
    assert (row.tenant, json.loads(row.detail)["source"]) == ("child", TENANT)
    reader = {"Authorization": f"Bearer {await rig.key('connections:read')}"}
    refused(await rig.api.post(f"{path}/client-tokens", json={"grants": VOICE}, headers=reader), 403)
    elsewhere = {"Authorization": f"Bearer {await rig.key('tokens:read', tenant=TENANT, names=['other'])}"}
    refused(await rig.api.post(f"{path}/client-tokens", json={"grants": VOICE}, headers=elsewhere), 404)

    await rig.api.post(f"/v1/tenants/{TENANT}/pause")
    assert refused(await client_token(rig, path), 409, "disabled")["paused"] == "tenant"
    await rig.api.post(f"/v1/tenants/{TENANT}/resume")
    await rig.api.patch(PATH, json={"enabled": False})
    refused(await client_token(rig), 409, "disabled")


@on_sqlite
async def test_a_key_that_is_dead_signs_nothing(rig: Rig, twilio: Twilio) -> None:
    """What Twilio has refused is no better for an app."""
    account = twilio.an_account()
    key = account.a_key()
    await entered(rig, by_key(account, key))
    del account.keys[key.sid]
    await rig.api.post(f"{PATH}/verify")

    refused(await client_token(rig), 409, "credentials_rejected")


@on_sqlite
@pytest.mark.parametrize("code", ["credentials_rejected", "operator_required"])
async def test_whose_the_trouble_is_is_said_as_with_a_token(rig: Rig, twilio: Twilio, code: str) -> None:
    """A key for the child alone learns of what it inherits what a token's `source` has told it, and no more."""
    account = twilio.an_account()
    key = account.a_key()
    await entered(rig, by_key(account, key, shared=True))
    await rig.api.put("/v1/tenants/child", json={"parent": TENANT, "name": "Child"})
    child, reads = PATH.replace(TENANT, "child"), await rig.key("tokens:read", tenant="child")
    told = (await rig.api.get(f"{child}/token", headers=bearing(reads))).json()["source"]
    if code == "credentials_rejected":
        del account.keys[key.sid]
        await rig.api.post(f"{PATH}/verify")
    else:
        await change(rig, "UPDATE sealed_values SET iv = salt WHERE field = 'credentials'")

    for _ in range(2):  # what does not open is found out by the first
        signed = await rig.api.post(f"{child}/client-tokens", json={"grants": VOICE}, headers=bearing(reads))
        token = await rig.api.get(f"{child}/token", headers=bearing(reads))
        assert [refused(answer, 409, code)["source"] for answer in (signed, token)] == [told, told]
    assert told == {"tenant": TENANT, "provider": "twilio", "name": "default"}
    for answer in (await default(rig).token(), await client_token(rig)):
        assert "source" not in refused(answer, 409, code)


@on_sqlite
async def test_a_key_that_does_not_open_is_the_operators_matter(rig: Rig, twilio: Twilio) -> None:
    """Nothing is signed, and the connection says why from then on."""
    account = twilio.an_account()
    await entered(rig, by_key(account, account.a_key()))
    await change(rig, "UPDATE sealed_values SET iv = salt WHERE field = 'credentials'")

    refused(await client_token(rig), 409, "operator_required")

    assert (await default(rig).shown())["reason"] == "undecryptable"
    refused(await client_token(rig), 409, "operator_required")


@on_sqlite
async def test_a_token_whose_record_took_long_does_not_leave(rig: Rig, twilio: Twilio) -> None:
    """Disabled while the audit record waits for the database, a connection has signed for nobody."""
    account = twilio.an_account()
    await entered(rig, by_key(account, account.a_key()))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def blocking(_tx: Transaction) -> None:
        begun.set()
        await go_on.wait()

    blocked = asyncio.create_task(rig.vault.writer.submit(blocking, alone=True))
    await begun.wait()
    disabling = asyncio.create_task(rig.api.patch(PATH, json={"enabled": False}))
    while not rig.vault.writer.queued:  # noqa: ASYNC110 - it is submitted before the record is
        await asyncio.sleep(0.01)
    asking = asyncio.create_task(client_token(rig))
    await asyncio.sleep(STALE_AFTER + 0.1)
    go_on.set()
    await blocked
    await disabling

    refused(await asking, 503, "storage_unavailable")
    refused(await client_token(rig), 409, "disabled")


# ---- Twilio's own library


class ToTheFake(TwilioHttpClient):
    """Twilio's own HTTP client, which goes to where each host is here."""

    def __init__(self, twilio: Twilio) -> None:
        super().__init__()
        self._urls = {name.removesuffix("_url"): url for name, url in twilio.endpoints.items()}

    def request(self, method: str, url: str, *asked: Any, **more: Any) -> Response:
        parts = urlsplit(url)
        here = urlsplit(self._urls[parts.netloc.partition(".")[0]])
        moved = parts._replace(scheme=here.scheme, netloc=here.netloc).geturl()
        return super().request(method, moved, *asked, **more)


class FromTheVault:
    """Where Twilio's library gets an app's tokens from, in place of Twilio's token endpoint."""

    def __init__(self, token: str) -> None:
        self._token = token

    def fetch_access_token(self) -> str:
        return self._token


@on_sqlite
async def test_twilios_library_works_with_what_the_vault_hands_out(rig: Rig, twilio: Twilio) -> None:
    """With an Auth Token, with a key, and not with one that Twilio does not know."""
    account = twilio.an_account(numbers=[NUMBER])
    key = account.a_key()
    for body in (by_token(account), by_key(account, key)):
        await rig.api.delete(PATH)
        await entered(rig, body)
        given = (await default(rig).token()).json()["credentials"]
        user = given.get("api_key_sid", given["account_sid"])
        secret = given.get("api_key_secret", given.get("auth_token"))

        client = Client(user, secret, account_sid=given["account_sid"], http_client=ToTheFake(twilio))

        found = await asyncio.to_thread(client.incoming_phone_numbers.list, phone_number=NUMBER, limit=5)
        assert [one.phone_number for one in found] == [NUMBER]
    del account.keys[key.sid]
    with pytest.raises(TwilioException, match="20003"):
        await asyncio.to_thread(client.messages.list, limit=1)


@on_sqlite
async def test_twilios_library_works_with_an_apps_token_from_the_vault(rig: Rig, twilio: Twilio) -> None:
    """It reads the token's own end, and finds it good."""
    twilio.tokens_are_jwts = True
    account = twilio.an_account(numbers=[NUMBER])
    app = account.an_app()
    await entered(rig, by_app(account, app))
    token = (await default(rig).token()).json()["access_token"]

    provided = ClientCredentialProvider(app.client_id, "not-given-to-it", FromTheVault(token))
    client = Client(account_sid=account.sid, credential_provider=provided, http_client=ToTheFake(twilio))

    found = await asyncio.to_thread(client.incoming_phone_numbers.list, limit=5)
    assert [one.phone_number for one in found] == [NUMBER]
    assert len(app.tokens) == 1
