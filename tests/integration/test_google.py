"""Google over the HTTP API, against a Google that is stricter than the real one."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.credentials import Credentials
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import age
from tests.person import Asking, Person, change, parameters, rows_of
from tests.provider.client import FakeProvider
from tests.rig import TENANT, Rig

DAY = timedelta(days=1)
WEEK = 7 * 86_400  # seconds
EMAIL = "https://www.googleapis.com/auth/userinfo.email"
DRIVE = "https://www.googleapis.com/auth/drive.readonly"
ROBOT = "robot@project-1.iam.gserviceaccount.com"
KEY = RSAKey.generate_key(2048, {"kid": "key-1"})


@pytest.fixture(name="provider")
async def _provider(tmp_path: Path) -> AsyncIterator[FakeProvider]:
    known = ["openid", EMAIL, DRIVE, "read"]
    path = tmp_path / "google.jsonl"
    async with FakeProvider(path, fsync=False, dialect="google", rotation="never", scopes_supported=known) as fake:
        yield fake


@pytest.fixture(name="rig")
async def _rig(replicas: Replicas, provider: FakeProvider) -> Rig:
    rig = await replicas(endpoints={"google": provider.endpoints})
    await register(rig)
    return rig


async def register(rig: Rig, tenant: str = TENANT) -> None:
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    answer = await rig.api.put(f"/v1/clients/{tenant}/google", json=client)
    assert answer.status_code == 200, answer.text


def asking(rig: Rig, name: str = "c") -> Asking:
    return Asking(rig, name, provider="google")


async def connected(rig: Rig, name: str = "c", **body: Any) -> Asking:
    """Return a connection that a person has just connected."""
    made = asking(rig, name)
    page = await Person(rig).connect(await made.link(**body))
    assert page.status_code == 200, page.text
    return made


async def spend(rig: Rig, by: timedelta = timedelta(hours=1)) -> None:
    """Let time pass for tokens, here and at Google."""
    await age(rig, by, "access_expires_at", "next_refresh_at")


async def prompts(rig: Rig, link: str) -> bool:
    return parameters(await Person(rig).visit(link)).get("prompt") == "consent"


# ---- consent


async def test_a_google_account_from_the_link_to_the_end_and_back(rig: Rig, leaks: Leaks) -> None:
    """Connect, fetch, refresh, connect again without a refresh token, withdrawn at Google, failed, reconnected."""
    about, person = asking(rig), Person(rig)
    page = await person.connect(await about.link(scopes=["email", DRIVE]))
    assert page.status_code == 200, page.text

    first, shown = (await about.token()).json(), await about.shown()
    assert (shown["status"], shown["kind"], shown["renewal"]) == ("verified", "oauth2", "refresh_token")
    assert (shown["account"], shown["account_label"]) == ("account-1", "account-1@example.test")
    assert first["scopes"] == ["openid", EMAIL, DRIVE]

    await spend(rig)
    second = (await about.token()).json()
    assert (second["generation"], second["access_token"] != first["access_token"]) == (2, True)

    again = await about.link()
    assert not await prompts(rig, again)
    assert (await person.connect(again)).status_code == 200
    await spend(rig)
    third = await about.token()
    assert (third.status_code, (await about.shown())["renewal"]) == (200, "refresh_token")
    families = (await rig.provider.ledger()).families
    assert len((await rig.provider.ledger()).exchanges(families[0])) == 2  # the first consent's goes on

    await rig.provider.revoke_family(families[0])
    await spend(rig)
    refused = await about.token()
    assert (refused.status_code, refused.json()["code"]) == (409, "reconnect_required")
    shown = await about.shown()
    assert (shown["status"], shown["reason"]) == ("failed", "grant_rejected")
    assert shown["last_error_code"] == "expired_or_revoked"
    assert "connect again" in shown["advice"]

    link = refused.json()["connect_url"]
    assert await prompts(rig, link)
    assert (await person.connect(link)).status_code == 200
    assert (await about.token()).status_code == 200
    assert (await about.shown())["status"] == "verified"
    leaks.check(json.dumps(await about.shown()))


@on_sqlite
async def test_consent_is_prompted_where_the_stored_refresh_token_is_no_good_for_what_is_asked(rig: Rig) -> None:
    """More scopes, another account and a dead grant need a new one; the same again does not."""
    about = await connected(rig, scopes=["email"])

    assert not await prompts(rig, await about.link())
    assert not await prompts(rig, await about.link(scopes=[]))
    assert await prompts(rig, await about.link(scopes=["email", DRIVE]))
    assert await prompts(rig, await about.link(replace_account=True))
    assert await prompts(rig, await asking(rig, "another").link())


@on_sqlite
async def test_a_consent_that_gives_access_for_an_hour_only_is_not_stored(rig: Rig) -> None:
    """Offline access was asked for: without a refresh token the visit fails, and the link works the next time."""
    about, person = asking(rig), Person(rig)
    link = await about.link()
    await rig.provider.configure(issue_refresh_token=False)

    page = await person.connect(link)

    assert page.status_code == 400
    assert "no_refresh_token" in page.text
    assert "follow the link again" in page.text
    assert (await about.shown())["status"] == "unconfigured"
    assert (await rig.provider.counts()).get("revoke_requests", 0) == 0  # that would end other connections too
    await rig.provider.configure(issue_refresh_token=True)
    assert (await person.connect(link)).status_code == 200
    assert (await about.shown())["status"] == "verified"


@on_sqlite
async def test_a_refresh_token_that_dies_amid_a_visit_is_asked_for_anew(rig: Rig) -> None:
    """Held when the person set out and dead when they came back: this visit fails, the next one prompts."""
    about = await connected(rig)
    link, person = await about.link(), Person(rig)
    back = await person.go(link)
    await change(rig, "UPDATE token_states SET status = 'failed', reason = 'grant_rejected'")

    page = await person.open(back)

    assert "no_refresh_token" in page.text
    assert (await about.shown())["generation"] == 1
    assert await prompts(rig, link)
    assert (await person.connect(link)).status_code == 200


@on_sqlite
async def test_a_refresh_under_way_costs_no_consent(rig: Rig) -> None:
    """Google's refresh tokens are good many times: one that is out is kept, and nothing is revoked for it."""
    about, person = await connected(rig), Person(rig)
    back = await person.go(await about.link())
    await spend(rig)
    await rig.provider.hold()
    reading = asyncio.create_task(about.token())
    await rig.provider.wait_for_held()

    page = await person.open(back)

    assert page.status_code == 200, page.text
    await rig.provider.release()
    assert (await reading).status_code == 200
    await rig.vault.refresher.settled()
    assert (await rig.provider.counts()).get("revoke_requests", 0) == 0
    await spend(rig)
    assert (await about.token()).status_code == 200
    assert (await about.shown())["renewal"] == "refresh_token"


@on_sqlite
async def test_another_account_by_mistake_ends_nobodys_grant(rig: Rig) -> None:
    """At Google, revoking one token ends all that the account granted to the project: it is dropped instead."""
    about, other = await connected(rig), asking(rig, "other")
    await rig.provider.consent(subject="account-2")
    assert (await Person(rig).connect(await other.link())).status_code == 200
    link = await about.link(replace_account=False)
    await rig.provider.consent(subject="account-2")

    assert "account_mismatch" in (await Person(rig).connect(link)).text

    assert (await rig.provider.counts()).get("revoke_requests", 0) == 0
    await spend(rig)
    assert (await other.token()).status_code == 200
    assert (await about.token()).status_code == 200


@on_sqlite
async def test_scopes_that_a_person_unticks_are_missing_and_said(rig: Rig) -> None:
    """Google's boxes can be unticked one by one: what is left is granted, shown, and probed as limited."""
    about, link = asking(rig), await asking(rig).link(scopes=["email", DRIVE])
    await rig.provider.consent(scopes=["openid", EMAIL])
    assert (await Person(rig).connect(link)).status_code == 200

    shown = await about.shown()
    assert (shown["status"], shown["scopes"], shown["missing_scopes"]) == ("verified", ["openid", EMAIL], [DRIVE])
    assert (await rig.api.post(f"{about.path}/verify")).json()["verdict"] == "limited"


async def test_the_probe_tells_good_from_dead_and_from_somebody_elses(rig: Rig) -> None:
    """tokeninfo is asked by POST, and a token of another client is none of ours."""
    about = await connected(rig)
    verify = f"{about.path}/verify"

    assert (await rig.api.post(verify)).json()["verdict"] == "valid"
    await rig.provider.fault("tokeninfo", patch={"aud": "somebody", "azp": "somebody"}, times=2)
    assert (await rig.api.post(verify)).json()["verdict"] == "invalid"
    await rig.provider.fault("tokeninfo", status=503)
    assert (await rig.api.post(verify)).json()["verdict"] == "unknown"


async def imported(rig: Rig, name: str = "c") -> Asking:
    """Return a connection with a refresh token from elsewhere, of an account that has consented before."""
    await connected(rig, "before")
    grant = await rig.provider.mint(scope=f"openid {EMAIL} {DRIVE}")
    made = asking(rig, name)
    answer = await rig.api.put(made.path, json={"credentials": {"refresh_token": grant.refresh_token}})
    assert answer.status_code == 201, answer.text
    return made


@on_sqlite
async def test_an_import_can_be_connected_anew_while_its_refresh_token_is_good(rig: Rig) -> None:
    """Nobody knows whose it is, so it could not be kept: the visit asks for consent anew, and succeeds."""
    about = await imported(rig)
    assert (await about.token()).status_code == 200
    link = await about.link()

    assert await prompts(rig, link)
    page = await Person(rig).connect(link)

    assert page.status_code == 200, page.text
    shown = await about.shown()
    assert (shown["renewal"], shown["account"]) == ("refresh_token", "account-1")
    assert not await prompts(rig, await about.link(scopes=["email"]))


async def asks_for(rig: Rig, link: str) -> str | None:
    """Return the scopes that a person who follows *link* is asked for."""
    return parameters(await Person(rig).visit(link)).get("scope")


@on_sqlite
async def test_an_import_is_connected_anew_for_what_it_has(rig: Rig) -> None:
    """Nothing was asked for when it came: what turned out to be granted counts, in either link."""
    about, granted = await imported(rig), f"openid {EMAIL} {DRIVE}"
    assert (await about.token()).status_code == 200

    assert await asks_for(rig, await about.link()) == granted
    await change(rig, "UPDATE tickets SET expires_at = 1")  # or the refusal would tell that link again
    await rig.provider.revoke_family((await rig.provider.ledger()).families[-1])
    await spend(rig)
    link = (await about.token()).json()["connect_url"]
    assert await asks_for(rig, link) == granted
    assert (await Person(rig).connect(link)).status_code == 200
    assert (await about.token()).json()["scopes"] == granted.split()


@on_sqlite
async def test_a_dead_import_is_connected_anew_for_the_usual(rig: Rig) -> None:
    """It was never known what it had: the link of the refusal asks as for a new connection, and works."""
    about = asking(rig)
    await rig.api.put(about.path, json={"credentials": {"refresh_token": "1//dead"}, "verify": False})

    link = (await about.token()).json()["connect_url"]

    assert await asks_for(rig, link) == f"openid {EMAIL}"
    page = await Person(rig).connect(link)
    assert page.status_code == 200, page.text


# ---- why it is over


@on_sqlite
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": "invalid_grant", "error_subtype": "invalid_rapt"}, "invalid_rapt"),
        ({"error": "admin_policy_enforced"}, "admin_policy_enforced"),
        ({"error": "org_internal"}, "org_internal"),
        ({"error": "invalid_grant", "error_description": "Account has been deleted"}, "account_deleted"),
    ],
)
async def test_the_reason_that_people_are_told_is_googles(rig: Rig, body: dict[str, str], code: str) -> None:
    """A Workspace that wants a new sign-in is told apart from one that forbids, and from a withdrawal."""
    about = await connected(rig)
    await spend(rig)
    await rig.provider.fault(status=400, body=body)

    assert (await about.token()).json()["code"] == "reconnect_required"

    shown = await about.shown()
    assert (shown["status"], shown["last_error_code"]) == ("failed", code)
    assert shown["advice"]


@on_sqlite
async def test_a_deleted_client_is_nobodys_grant(rig: Rig) -> None:
    """The registration is to be mended: the connection is not failed."""
    about = await connected(rig)
    await spend(rig)
    await rig.provider.fault(status=401, body={"error": "deleted_client"})

    assert (await about.token()).json()["code"] == "client_misconfigured"
    shown = await about.shown()
    assert (shown["status"], shown["last_error_code"]) == ("degraded", "deleted_client")


@on_sqlite
@pytest.mark.parametrize("told", [True, False])
async def test_the_week_of_an_app_in_testing_is_recognised(rig: Rig, *, told: bool) -> None:
    """A grant that dies on its seventh day says what to do about it, whether Google announced that or not."""
    await rig.provider.configure(grant_lifetime=WEEK, tells_grant_lifetime=told)
    about = await connected(rig)
    shown = await about.shown()
    assert ("refresh_expires_at" in shown) is told
    await rig.provider.configure(clock_ahead=WEEK + 60)
    await age(rig, 7 * DAY)
    await pass_grants(rig, 7 * DAY)

    assert (await about.token()).status_code == 409

    shown = await about.shown()
    assert (shown["status"], shown["last_error_code"]) == ("failed", "testing_app_expired")
    assert "Publish app" in shown["advice"]


@on_sqlite
@pytest.mark.parametrize("told", [True, False])
async def test_the_week_counts_from_the_consent_that_gave_the_refresh_token(rig: Rig, *, told: bool) -> None:
    """Agreeing again on the third day keeps the refresh token, and gives it no more time."""
    await rig.provider.configure(grant_lifetime=WEEK, tells_grant_lifetime=told)
    about = await connected(rig)
    await pass_grants(rig, 3 * DAY)
    before = await about.shown()
    assert (await Person(rig).connect(await about.link())).status_code == 200

    shown = await about.shown()
    assert shown["generation"] == 2
    for name in ("granted_at", "refresh_expires_at"):
        assert shown.get(name) == before.get(name)
    await rig.provider.configure(clock_ahead=WEEK + 60)
    await age(rig, 4 * DAY)
    await pass_grants(rig, 4 * DAY)
    assert (await about.token()).status_code == 409
    assert (await about.shown())["last_error_code"] == "testing_app_expired"


@on_sqlite
async def test_a_consent_with_a_refresh_token_of_its_own_begins_a_week_of_its_own(rig: Rig) -> None:
    """What was asked for anew counts from then on."""
    about = await connected(rig)
    await pass_grants(rig, 3 * DAY)
    before = (await about.shown())["granted_at"]

    assert (await Person(rig).connect(await about.link(scopes=["email", DRIVE]))).status_code == 200

    assert (await about.shown())["granted_at"] > before


async def pass_grants(rig: Rig, by: timedelta) -> None:
    """Let grants be older by so much."""
    await change(
        rig,
        "UPDATE token_states SET granted_at = granted_at - :ms, refresh_expires_at = refresh_expires_at - :ms",
        ms=by // timedelta(milliseconds=1),
    )


# ---- half a year of nobody asking


@on_sqlite
async def test_a_refresh_token_that_nobody_asks_for_is_used_at_least_monthly(rig: Rig) -> None:
    """The sweep renews what is due: over 400 days, in steps of 20, Google's six months never pass."""
    about = await connected(rig)
    for day in range(20, 401, 20):
        await rig.provider.configure(clock_ahead=day * 86_400)
        await age(rig, 20 * DAY)
        await rig.vault.sweeper.once()

    shown = await about.shown()
    assert (shown["status"], shown["generation"]) == ("verified", 21)


@on_sqlite
async def test_what_is_switched_off_for_half_a_year_is_dead_when_it_is_switched_on(rig: Rig) -> None:
    """A kill switch stops the keep-alive too: then a person has to connect again, and is told."""
    about = await connected(rig)
    await rig.api.put(about.path, json={"enabled": False})
    for day in range(20, 201, 20):
        await rig.provider.configure(clock_ahead=day * 86_400)
        await age(rig, 20 * DAY)
        await rig.vault.sweeper.once()
    assert (await rig.provider.ledger()).token_requests == 1
    await rig.api.put(about.path, json={"enabled": True})

    assert (await about.token()).json()["code"] == "reconnect_required"
    assert (await about.shown())["last_error_code"] == "expired_or_revoked"


# ---- the ID token


@on_sqlite
async def test_keys_are_fetched_once_and_again_for_a_name_that_is_new(rig: Rig) -> None:
    """As long as the answer says, and sooner where a token is signed with a key that is not among them."""
    await rig.provider.configure(jwks_max_age=3600)
    for name in ("one", "two", "three"):
        await connected(rig, name)
    assert (await rig.provider.counts())["jwks_requests"] == 1

    await rig.provider.configure(signing_key="fake-2")
    await connected(rig, "four")
    assert (await rig.provider.counts())["jwks_requests"] == 2


@on_sqlite
async def test_keys_that_may_not_be_kept_are_not(rig: Rig) -> None:
    """max-age=0 is taken at its word."""
    await rig.provider.configure(jwks_max_age=0)
    for name in ("one", "two"):
        await connected(rig, name)
    assert (await rig.provider.counts())["jwks_requests"] == 2


def forged(rig: Rig, **changed: Any) -> str:
    """Return an ID token that says the right things, signed by somebody who is not Google."""
    claims = {"iss": "https://accounts.google.com", "aud": rig.provider.client_id, "sub": "victim", **changed}
    header = {"alg": "RS256", "kid": "fake-1"}
    return jwt.encode(header, claims, KEY)


@on_sqlite
async def test_an_id_token_that_google_did_not_sign_connects_nothing(rig: Rig) -> None:
    """The signature is verified, by Google's keys and before anything that it covers is believed."""
    about, link = asking(rig), await asking(rig).link()
    await rig.provider.fault(patch={"id_token": forged(rig)})

    page = await Person(rig).connect(link)

    assert (page.status_code, "id_token_signature" in page.text) == (400, True)
    assert (await about.shown())["status"] == "unconfigured"


@on_sqlite
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 200, "body": "<html>"}, {"reset": "after"}])
async def test_where_the_keys_cannot_be_had_the_token_endpoint_vouches(rig: Rig, fault: dict[str, Any]) -> None:
    """OpenID Connect Core 3.1.3.7 item 6: a consent is not lost because Google's keys are away for a moment."""
    await rig.provider.fault("jwks", **fault)
    assert (await (await connected(rig)).shown())["account"] == "account-1"
    # The claims are judged nevertheless.
    await rig.provider.fault("jwks", **fault)
    link = await asking(rig, "other").link()
    await rig.provider.fault(patch={"id_token": forged(rig, aud="other")})
    assert "id_token_audience" in (await Person(rig).connect(link)).text


@on_sqlite
@pytest.mark.parametrize(("issuer", "good"), [("accounts.google.com", True), ("https://evil.example", False)])
async def test_google_calls_itself_by_two_names(rig: Rig, issuer: str, *, good: bool) -> None:
    """Both spellings of its issuer are documented, and no third one."""
    await rig.provider.configure(calls_itself=issuer, send_iss=False)
    page = await Person(rig).connect(await asking(rig).link())
    assert (page.status_code == 200, "id_token_issuer" in page.text) == (good, not good)


@on_sqlite
async def test_a_discovered_provider_is_verified_alike(rig: Rig) -> None:
    """Whoever publishes a jwks_uri has its ID tokens verified."""
    issuer = rig.provider.issuer
    await rig.provider.configure(calls_itself=issuer)
    fields = {"issuer": issuer, "token_endpoint_auth_method": "client_secret_post"}
    more = {"authorization_parameters": {"access_type": "offline"}, "scopes": ["openid"]}
    assert (await rig.api.put("/v1/providers/found", json=fields | more)).status_code == 201
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    await rig.api.put(f"/v1/clients/{TENANT}/found", json=client)
    found = Asking(rig, provider="found")
    link = await found.link()
    await rig.provider.fault(patch={"id_token": forged(rig, iss=issuer)})

    assert "id_token_signature" in (await Person(rig).connect(link)).text
    assert (await Person(rig).connect(await found.link())).status_code == 200


# ---- service accounts


def key_file(key: RSAKey = KEY, **changed: Any) -> str:
    known = {
        "type": "service_account",
        "project_id": "project-1",
        "private_key_id": key.kid,
        "private_key": key.as_pem(private=True).decode(),
        "client_email": ROBOT,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps(known | changed, indent=2) + "\n"


async def enter(rig: Rig, **fields: str) -> Any:
    given = {"service_account_json": key_file(), "scope": DRIVE, **fields}
    return await rig.api.put(asking(rig).path, json={"kind": "service_account", "credentials": given})


@pytest.fixture(name="robot")
async def _robot(provider: FakeProvider) -> None:
    await provider.configure(service_accounts={ROBOT: KEY.as_dict(private=False)})


@pytest.mark.usefixtures("robot")
async def test_a_service_account_from_its_key_file_to_its_end(rig: Rig, leaks: Leaks) -> None:
    """Enter, fetch, expire, renew; its key is deleted: failed, told as credentials; another key: well."""
    about = asking(rig)
    made = await enter(rig)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["status"], shown["renewal"], shown["account_label"]) == ("verified", "jwt_bearer", ROBOT)
    assert shown["account"] == f"project-1/{ROBOT}"
    assert shown["scopes"] == [DRIVE]

    first = (await about.token()).json()
    await spend(rig)
    second = (await about.token()).json()
    assert (second["generation"], second["access_token"] != first["access_token"]) == (2, True)
    assert first["scopes"] == second["scopes"] == [DRIVE]
    assert (await rig.api.post(f"{about.path}/verify")).json()["verdict"] == "valid"

    other = RSAKey.generate_key(2048, {"kid": "key-2"})
    await rig.provider.configure(service_accounts={ROBOT: other.as_dict(private=False)})
    await spend(rig)
    refused = await about.token()
    assert (refused.status_code, refused.json()["code"]) == (409, "credentials_rejected")
    assert refused.json()["reason"] == "invalid_jwt_signature"
    assert "connect_url" not in refused.json()
    shown = await about.shown()
    assert (shown["status"], shown["reason"]) == ("failed", "credentials_rejected")
    assert (shown["next_action"], shown["last_error_code"]) == ("fix_credentials", "invalid_jwt_signature")

    assert (await enter(rig)).status_code == 422  # the old key is still dead
    assert (await enter(rig, service_account_json=key_file(other))).status_code == 200
    assert (await about.token()).status_code == 200
    leaks.check(json.dumps(await about.shown()))


@pytest.mark.usefixtures("robot")
async def test_one_field_of_a_service_account_is_changed_without_its_key_file(rig: Rig, leaks: Leaks) -> None:
    """What is not sent stays; all of it is tried together, and what would be refused changes nothing."""
    await rig.provider.configure(delegated=["ann@example.test"])
    await enter(rig)
    about = asking(rig)

    other = await rig.api.patch(about.path, json={"credentials": {"subject": "bob@example.test"}})
    changed = await rig.api.patch(about.path, json={"credentials": {"subject": "ann@example.test"}})
    back = await rig.api.patch(about.path, json={"credentials": {"subject": ""}})

    assert (other.status_code, other.json()["reason"]) == (422, "not_delegated")
    assert changed.status_code == 200, changed.text
    assert changed.json()["account_label"] == f"ann@example.test by {ROBOT}"
    assert back.json()["account_label"] == ROBOT
    assert (await about.token()).status_code == 200
    leaks.check(other.text + changed.text + back.text)


@on_sqlite
@pytest.mark.usefixtures("robot")
async def test_what_was_entered_is_tried_again_when_the_provider_has_been_put_right(rig: Rig) -> None:
    """Delegation is withdrawn and given back: a PATCH that changes no field has it well again."""
    await rig.provider.configure(delegated=["ann@example.test"])
    await enter(rig, subject="ann@example.test")
    about = asking(rig)
    await rig.provider.configure(delegated=[])
    await spend(rig)
    assert (await about.token()).json()["reason"] == "not_delegated"

    still = await rig.api.patch(about.path, json={"credentials": {}})
    await rig.provider.configure(delegated=["ann@example.test"])
    mended = await rig.api.patch(about.path, json={"credentials": {}})

    assert (still.status_code, still.json()["reason"]) == (422, "not_delegated")
    assert (mended.status_code, mended.json()["status"]) == (200, "verified")
    assert (await about.token()).status_code == 200


@on_sqlite
@pytest.mark.usefixtures("robot")
async def test_verifying_tries_what_was_refused_once_more(rig: Rig) -> None:
    """What was entered and has failed is asked about as if it were new: refused still, then well again."""
    await rig.provider.configure(delegated=["ann@example.test"])
    await enter(rig, subject="ann@example.test")
    about = asking(rig)
    await rig.provider.configure(delegated=[])
    await spend(rig)
    assert (await about.token()).json()["reason"] == "not_delegated"

    still = (await rig.api.post(f"{about.path}/verify")).json()
    await rig.provider.configure(delegated=["ann@example.test"])
    mended = (await rig.api.post(f"{about.path}/verify")).json()

    assert (still["verdict"], still["status"]) == ("invalid", "failed")
    assert (mended["verdict"], mended["status"]) == ("valid", "verified")
    assert (await about.token()).status_code == 200


@on_sqlite
async def test_a_refresh_token_alone_is_proven_where_that_costs_nothing(rig: Rig) -> None:
    """Google keeps it in force: what comes of it is stored, and one that is dead is not."""
    wrong = await rig.api.put(asking(rig).path, json={"credentials": {"refresh_token": "canary-unknown"}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "credentials_rejected")
    assert (await rig.api.get(asking(rig).path)).status_code == 404
    given = await rig.provider.mint()

    made = await rig.api.put(asking(rig).path, json={"credentials": {"refresh_token": given.refresh_token}})

    assert (made.status_code, made.json()["status"]) == (201, "verified"), made.text
    assert (await asking(rig).token()).json()["access_token"] != given.access_token


@on_sqlite
@pytest.mark.usefixtures("robot")
async def test_a_service_account_acts_for_whom_it_may(rig: Rig) -> None:
    """Without delegation it is refused before it is stored, with the reason; with it the user is the account."""
    refused = await enter(rig, subject="ann@example.test")
    assert (refused.status_code, refused.json()["code"]) == (422, "credentials_rejected")
    assert refused.json()["reason"] == "not_delegated"
    await rig.provider.configure(delegated=["ann@example.test"])

    made = await enter(rig, subject="ann@example.test")

    assert made.status_code == 201, made.text
    assert made.json()["account_label"] == f"ann@example.test by {ROBOT}"


@on_sqlite
@pytest.mark.usefixtures("robot")
@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"service_account_json": "canary-x"}, "credentials_rejected", "key_file_malformed"),
        (
            {"service_account_json": key_file(private_key="canary-x")},
            "credentials_rejected",
            "private_key_malformed",
        ),
        (
            {"service_account_json": key_file(token_uri="https://evil.example/canary-x")},
            "credentials_rejected",
            "token_uri_refused",
        ),
        (
            {"service_account_json": key_file(client_email="other@x")},
            "credentials_rejected",
            "service_account_not_found",
        ),
        ({"scope": "nonsense"}, "credentials_rejected", "invalid_scope"),
        ({"scope": "a  b"}, "invalid_field", None),
        ({"subject": "canary-x"}, "invalid_field", None),
    ],
)
async def test_what_cannot_be_a_service_account_is_not_stored(
    rig: Rig, leaks: Leaks, fields: dict[str, str], code: str, reason: str | None
) -> None:
    """A word says what is wrong, and nothing of the file is repeated."""
    answer = await enter(rig, **fields)

    assert (answer.status_code, answer.json()["code"], answer.json().get("reason")) == (422, code, reason)
    leaks.check(answer.text)
    assert await rows_of(rig, "SELECT id FROM connections") == []


@on_sqlite
@pytest.mark.usefixtures("robot")
async def test_a_wrong_clock_is_nobodys_credentials(rig: Rig) -> None:
    """Ours is hours behind Google's: it says so, tries again later, and the key file stays good."""
    assert (await enter(rig)).status_code == 201
    await rig.provider.configure(clock_ahead=86_400)
    await spend(rig)

    assert (await rig.api.get(f"{asking(rig).path}/token", params={"wait": 1})).status_code == 503

    shown = await asking(rig).shown()
    assert (shown["status"], shown["last_error_code"]) == ("degraded", "clock_skew")
    assert "clock" in shown["advice"]


@on_sqlite
@pytest.mark.usefixtures("robot")
async def test_a_person_may_take_over_from_a_service_account(rig: Rig) -> None:
    """Consent at a path that held a key file makes it an account's, and the key file is gone."""
    assert (await enter(rig)).status_code == 201

    page = await Person(rig).connect(await asking(rig).link(kind="oauth2", replace_account=True))

    assert page.status_code == 200, page.text
    shown = await asking(rig).shown()
    assert (shown["kind"], shown["renewal"], shown["account"]) == ("oauth2", "refresh_token", "account-1")
    assert await rows_of(rig, "SELECT field FROM sealed_values WHERE field = 'credentials'") == []


# ---- the catalogue


async def test_the_catalogue_has_google_with_both_its_ways(rig: Rig) -> None:
    """Endpoints as they are in force, and a form for the key file."""
    entry = (await rig.api.get("/v1/providers/google")).json()

    assert entry["endpoints"] == rig.provider.endpoints
    assert [(kind["id"], kind["how"], kind["renewal"]) for kind in entry["kinds"]] == [
        ("oauth2", "consent", "refresh_token"),
        ("service_account", "enter", "jwt_bearer"),
    ]
    fields = {field["name"]: (field["secret"], field["required"]) for field in entry["kinds"][1]["fields"]}
    assert fields == {"service_account_json": (True, True), "scope": (False, True), "subject": (False, False)}


@on_sqlite
async def test_a_provider_that_became_built_in_is_the_built_in_one(rig: Rig) -> None:
    """Who had defined a `google` of their own finds one in the catalogue, and it is this one."""
    fields = {"authorization_endpoint": "https://old.example/a", "token_endpoint": "https://old.example/t"}
    await change(rig, "INSERT INTO providers (id, definition) VALUES ('google', :text)", text=json.dumps(fields))

    listed = (await rig.api.get("/v1/providers")).json()["items"]

    assert [one["endpoints"]["token_endpoint"] for one in listed if one["id"] == "google"] == [
        rig.provider.token_endpoint
    ]


# ---- Google's own library


@on_sqlite
async def test_googles_library_works_with_a_token_from_the_vault(rig: Rig) -> None:
    """It calls with it as with one of its own; and of one that was withdrawn it can make no other."""
    about = await connected(rig, scopes=["email"])
    given = (await about.token()).json()
    ends = datetime.fromisoformat(given["expires_at"]).replace(tzinfo=None)
    credentials = Credentials(token=given["access_token"], expiry=ends)
    session = AuthorizedSession(credentials)
    resource = rig.provider.endpoints["userinfo_endpoint"]

    answer = await asyncio.to_thread(session.get, resource)

    assert credentials.valid
    assert (answer.status_code, answer.json()["sub"]) == (200, "account-1")
    await rig.provider.revoke_family((await rig.provider.ledger()).families[0])
    with pytest.raises(RefreshError):
        await asyncio.to_thread(session.get, resource)
