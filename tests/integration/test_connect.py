"""Connecting an account, from the link that a program asks for to the token that it gets."""

import asyncio
import base64
import contextlib
import hashlib
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.person import Asking, Person, change, parameters, rows_of
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, TENANT, Rig
from vault.authorize import STATE_LIFETIME
from vault.sealing import Place, open_one
from vault.store import sealed
from vault.store.database import sqlite_path

RETURN_URL = "https://app.example.test/connected?from=vault"


async def register(rig: Rig, client_id: str, secret: str, tenant: str = TENANT) -> None:
    """Make a registration the current one of *tenant*."""
    body = {"client_id": client_id, "client_secret": secret}
    answer = await rig.api.put(f"/v1/clients/{tenant}/{PROVIDER}", json=body)
    assert answer.status_code == 200, answer.text


async def make_tenant(rig: Rig, tenant: str, parent: str = "platform", *return_urls: str) -> None:
    body = {"name": tenant, "parent": parent, "return_urls": list(return_urls)}
    answer = await rig.api.put(f"/v1/tenants/{tenant}", json=body)
    assert answer.status_code in {200, 201}, answer.text


# ---- the whole way


async def test_a_person_connects_and_the_program_gets_the_token(rig: Rig, leaks: Leaks) -> None:
    """From the link over the provider and back: what was issued is served, told, audited, and the link used up."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link(scopes=["openid", "read"])
    assert (await asking.shown())["reason"] == "awaiting_consent"

    page = await person.connect(link)

    ledger = await rig.provider.ledger()
    (issued,) = ledger.of("issued")
    token = await asking.token()
    assert page.status_code == 200
    assert "<h1>Connected</h1>" in page.text
    leaks.check(page.text)
    assert token.json()["access_token"] == issued["access_token"]
    assert token.json()["scopes"] == ["openid", "read"]
    shown = await asking.shown()
    assert (shown["status"], shown["next_action"], shown["generation"]) == ("verified", "none", 1)
    assert (shown["account"], shown["account_label"]) == ("account-1", "account-1@example.test")
    assert shown["renewal"] == "refresh_token"
    assert ledger.token_requests == 1
    caller = (await asking.audit())[0][0]
    assert caller.startswith("caller:")
    assert await asking.audit() == [
        (caller, "connection.authorized", "ok", None),
        ("person", "connection.connected", "ok", 1),
        (caller, "token.handed_out", "ok", 1),
    ]
    assert (await person.open(link)).status_code == 410


@on_sqlite
async def test_the_provider_is_asked_as_the_standards_say(rig: Rig) -> None:
    """The visit answers 302 with a code flow, PKCE by S256, a fresh state and nonce, and our own redirect_uri."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link(scopes=["openid", "read"])

    first, second = await person.visit(link), await person.visit(link)

    asked = parameters(first)
    assert first.startswith(rig.provider.authorization_endpoint + "?")
    assert asked["response_type"] == "code"
    assert asked["client_id"] == rig.provider.client_id
    assert asked["redirect_uri"] == f"http://127.0.0.1:8000/oauth/callback/{PROVIDER}"
    assert asked["scope"] == "openid read"
    assert asked["code_challenge_method"] == "S256"
    assert "prompt" not in asked
    assert len(base64.urlsafe_b64decode(asked["state"] + "=")) == 32
    for fresh in ("state", "nonce", "code_challenge"):
        assert asked[fresh] != parameters(second)[fresh]
    assert "code_verifier" not in asked


async def test_the_verifier_is_sealed_and_is_the_one_that_was_announced(rig: Rig) -> None:
    """At rest the PKCE verifier is a sealed value, and its S256 is the challenge in the address."""
    asking, person = Asking(rig), Person(rig)
    asked = parameters(await person.visit(await asking.link()))

    owner = rig.vault.keyring.mac("state", asked["state"]).hex()
    async with rig.vault.database.read() as tx:
        values = await sealed.load(tx, "authorization", owner)
    place = Place(TENANT, PROVIDER, "authorization", owner)
    verifier = open_one(rig.vault.keyring, place, "code_verifier", values["code_verifier"])

    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]


@on_sqlite
async def test_a_link_is_good_for_seven_days_and_a_visit_for_ten_minutes(rig: Rig) -> None:
    """The answer tells when the link ends, and a state ends ten minutes after it was minted."""
    asking, person = Asking(rig), Person(rig)
    answer = await asking.authorize()
    await person.visit(answer.json()["connect_url"])

    ends = datetime.fromisoformat(answer.json()["expires_at"])
    assert abs(ends - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    ((left,),) = await rows_of(
        rig,
        "SELECT p.expires_at - c.created_at FROM pending_authorizations p"
        " JOIN tickets t ON t.id = p.ticket_id JOIN connections c ON c.id = t.connection_id",
    )
    assert timedelta(0) <= timedelta(milliseconds=left) - STATE_LIFETIME < timedelta(minutes=1)


async def test_connecting_again_replaces_the_grant_in_place(rig: Rig) -> None:
    """Another consent raises the generation, and from then on only the new grant is served and refreshed."""
    asking, person = Asking(rig), Person(rig)
    await person.connect(await asking.link())
    first = (await asking.token()).json()

    assert (await person.connect(await asking.link())).status_code == 200

    second, ledger = (await asking.token()).json(), await rig.provider.ledger()
    assert second["generation"] == first["generation"] + 1
    assert second["access_token"] == ledger.of("issued")[-1]["access_token"]
    assert second["access_token"] != first["access_token"]
    ((count,),) = await rows_of(rig, "SELECT count(*) FROM connections")
    assert count == 1


@on_sqlite
async def test_a_rejected_grant_gets_well_by_the_link_in_the_refusal(rig: Rig) -> None:
    """The 409 of a dead grant carries a link, and following it is all that a person has to do."""
    asking, person = Asking(rig), Person(rig)
    await rig.provider.configure(access_lifetime=0)
    await person.connect(await asking.link())
    (issued,) = (await rig.provider.ledger()).of("issued")
    await rig.provider.revoke_family(issued["family"])
    await rig.provider.configure(access_lifetime=3600)

    refused, again = await asking.token(), await asking.token()
    assert (refused.status_code, refused.json()["code"]) == (409, "reconnect_required")
    assert (await asking.shown())["reason"] == "grant_rejected"
    assert again.json()["connect_url"] == refused.json()["connect_url"]
    assert (await person.connect(refused.json()["connect_url"])).status_code == 200

    well, shown = await asking.token(), await asking.shown()
    assert well.status_code == 200
    assert (await rig.provider.ledger()).is_alive_access(well.json()["access_token"])
    assert (shown["status"], shown["next_action"]) == ("verified", "none")
    assert "failing_since" not in shown
    assert "last_error_code" not in shown


async def test_a_visit_and_its_callback_may_reach_two_replicas(replicas: Replicas) -> None:
    """What one replica began another one finishes, and a third serves."""
    one, two, three = await replicas(), await replicas(), await replicas()
    person = Person(one)
    back = await person.go(await Asking(one).link())
    moved = Person(two)
    moved.cookies = person.cookies

    assert (await moved.open(back)).status_code == 200
    assert (await Asking(three).token()).status_code == 200


@on_sqlite
async def test_a_discovered_provider_is_connected_like_any_other(rig: Rig) -> None:
    """`{"issuer": …}` is all that is said of a provider whose metadata say the rest."""
    asking, person = Asking(rig, provider="found"), Person(rig)
    answer = await rig.api.put("/v1/providers/found", json={"issuer": rig.provider.issuer})
    assert answer.status_code == 201, answer.text
    secret = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    await rig.api.put(f"/v1/clients/{TENANT}/found", json=secret)

    link = await asking.link(scopes=["openid"])
    assert (await person.connect(link)).status_code == 200
    assert (await asking.shown())["account"] == "account-1"
    # It said that it names itself in its answers, so an answer without a name is not from it.
    link = await asking.link()
    await rig.provider.consent(iss="")
    assert "iss_missing" in (await person.connect(link)).text


# ---- scopes


@on_sqlite
async def test_scopes_are_the_ones_asked_for_or_the_providers_own(rig: Rig) -> None:
    """Without scopes the provider's default ones are asked for; with them, those and no others."""
    person = Person(rig)
    default = parameters(await person.visit(await Asking(rig, "default").link()))
    chosen = parameters(await person.visit(await Asking(rig, "chosen").link(scopes=["read", "write"])))

    assert default["scope"] == "openid offline_access"
    assert default["prompt"] == "consent"  # OpenID Connect Core 11: or there is no offline access
    assert chosen["scope"] == "read write"
    assert "prompt" not in chosen
    assert "nonce" not in chosen


@on_sqlite
async def test_fewer_scopes_than_asked_are_shown_and_change_no_status(rig: Rig) -> None:
    """A person who grants less is connected, and the answer says what there is."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link(scopes=["openid", "read", "write"])
    await rig.provider.consent(scopes=["openid", "read"])

    assert (await person.connect(link)).status_code == 200

    assert (await asking.token()).json()["scopes"] == ["openid", "read"]
    shown = await asking.shown()
    assert (shown["status"], shown["scopes"]) == ("verified", ["openid", "read"])


@on_sqlite
async def test_an_answer_without_scopes_means_those_that_were_asked_for(rig: Rig) -> None:
    """RFC 6749 5.1: a token answer names its scopes only where they differ."""
    asking, person = Asking(rig), Person(rig)
    await rig.provider.configure(send_scope=False)

    await person.connect(await asking.link(scopes=["openid", "write"]))

    assert (await asking.token()).json()["scopes"] == ["openid", "write"]


@on_sqlite
async def test_a_reconnect_asks_for_all_that_was_asked_for_before(rig: Rig) -> None:
    """Providers that leave offline_access and openid out of the granted scopes are still asked for them again."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link(scopes=["openid", "offline_access", "read"])
    await rig.provider.fault(patch={"scope": "read"})  # as Microsoft answers
    await person.connect(link)

    again = parameters(await person.visit(await asking.link()))

    assert again["scope"] == "openid offline_access read"


@on_sqlite
async def test_an_import_is_asked_for_what_it_has_and_for_access_that_lasts(rig: Rig) -> None:
    """What it got tells its scopes; the two that many providers leave out there are asked for too."""
    asking, grant = Asking(rig), await rig.provider.mint(scope="read")
    await rig.api.put(asking.path, json={"credentials": {"refresh_token": grant.refresh_token}})
    assert (await asking.token()).json()["scopes"] == ["read"]

    assert parameters(await Person(rig).visit(await asking.link()))["scope"] == "read openid offline_access"


@on_sqlite
async def test_what_a_client_has_for_itself_is_not_what_a_person_is_asked_for(rig: Rig) -> None:
    """Where a person takes over from a client's own access, the provider's usual scopes are asked for."""
    await rig.setup(grant_types=["authorization_code", "client_credentials"])
    asking = Asking(rig)
    entered = {"kind": "client_credentials", "credentials": {"scope": "read"}}
    assert (await rig.api.put(asking.path, json=entered)).json()["scopes"] == ["read"]

    assert parameters(await Person(rig).visit(await asking.link()))["scope"] == "openid offline_access"


@on_sqlite
async def test_a_second_consent_without_a_refresh_token_keeps_the_first_one(rig: Rig) -> None:
    """As Google answers a second consent: the connection goes on renewing with what it has."""
    asking, person = Asking(rig), Person(rig)
    await person.connect(await asking.link())
    await rig.provider.configure(issue_refresh_token=False)

    await rig.provider.configure(access_lifetime=0)
    await person.connect(await asking.link())
    assert (await asking.shown())["renewal"] == "refresh_token"
    await rig.provider.configure(access_lifetime=3600)

    assert (await asking.token()).status_code == 200
    ledger = await rig.provider.ledger()
    assert len(ledger.exchanges(ledger.families[0])) == 1


async def come_back_amid_a_refresh(rig: Rig, asking: Asking, person: Person, back: str) -> None:
    """Have *person* end a consent while a refresh of the former grant is out, and let that come to its end."""
    await rig.provider.hold()
    reading = asyncio.create_task(asking.token())
    await rig.provider.wait_for_held()
    assert (await person.open(back)).status_code == 200
    await rig.provider.release()
    await reading
    await rig.vault.refresher.settled()


async def test_a_second_consent_keeps_no_refresh_token_that_may_be_spent(rig: Rig) -> None:
    """What a refresh under way has sent already is never sent again, though the new grant came without one."""
    asking, person = Asking(rig), Person(rig)
    await rig.provider.configure(access_lifetime=0)
    await person.connect(await asking.link())
    await rig.provider.configure(issue_refresh_token=False)
    back = await person.go(await asking.link())
    await come_back_amid_a_refresh(rig, asking, person, back)
    await asking.token()

    ledger = await rig.provider.ledger()
    assert ledger.replays() == []
    # What that refresh brought is of the former grant: given back, not set aside for anybody.
    assert ledger.revoked_families == {ledger.families[0]}
    assert await rows_of(rig, "SELECT attempt_id FROM orphaned_tokens") == []


async def refreshes(rig: Rig, asking: Asking) -> None:
    """Hold that its refresh token is there, and works."""
    assert (await asking.shown())["renewal"] == "refresh_token"
    await change(rig, "UPDATE token_states SET access_expires_at = 1, next_refresh_at = 1")
    assert (await asking.token()).status_code == 200


@on_sqlite
async def test_a_consent_without_a_refresh_token_does_not_end_an_import(rig: Rig) -> None:
    """Whether it is the same account, nobody knows: it is refused and what is stored goes on, unless replaced."""
    asking, person = Asking(rig), Person(rig)
    grant = await rig.provider.mint()
    tokens = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
    assert (await rig.api.put(asking.path, json={"credentials": tokens})).status_code == 201
    await rig.provider.configure(issue_refresh_token=False)

    page = await person.connect(await asking.link())

    assert (page.status_code, "no_refresh_token" in page.text) == (400, True)
    assert (await asking.shown())["generation"] == 1
    assert (await rig.provider.ledger()).is_alive_access(grant.access_token)
    await refreshes(rig, asking)
    assert (await person.connect(await asking.link(replace_account=True))).status_code == 200
    assert (await asking.shown())["renewal"] == "none"


@on_sqlite
@pytest.mark.parametrize("replace_account", [False, True])
async def test_a_nameless_consent_keeps_nobodys_refresh_token(rig: Rig, *, replace_account: bool) -> None:
    """Without OpenID it may be anybody's: the stored refresh token is left alone or ended, never mixed with it."""
    asking, person, scopes = Asking(rig), Person(rig), ["read"]
    await person.connect(await asking.link(scopes=scopes))
    assert "account" not in await asking.shown()
    await rig.provider.configure(issue_refresh_token=False)
    await rig.provider.consent(subject="account-2")

    page = await person.connect(await asking.link(scopes=scopes, replace_account=replace_account))

    shown = await asking.shown()
    assert page.status_code == (200 if replace_account else 400)
    assert shown["renewal"] == ("none" if replace_account else "refresh_token")
    assert shown["generation"] == (2 if replace_account else 1)


@on_sqlite
async def test_a_nameless_consent_is_taken_where_the_refresh_token_is_dead(rig: Rig) -> None:
    """There is nothing left to lose then: access for an hour is better than none."""
    asking, person = Asking(rig), Person(rig)
    await person.connect(await asking.link(scopes=["read"]))
    await rig.provider.configure(issue_refresh_token=False)
    await change(rig, "UPDATE token_states SET status = 'failed', reason = 'grant_rejected'")

    assert (await person.connect(await asking.link())).status_code == 200
    assert (await asking.shown())["renewal"] == "none"


async def an_import(rig: Rig) -> Asking:
    """Return a connection with nothing but a refresh token from elsewhere, of account-1."""
    asking, grant = Asking(rig), await rig.provider.mint(scope="openid read", subject="account-1")
    answer = await rig.api.put(asking.path, json={"credentials": {"refresh_token": grant.refresh_token}})
    assert answer.status_code == 201
    return asking


async def test_an_import_learns_whose_it_is_from_its_refreshes(rig: Rig) -> None:
    """An ID token that comes with new tokens names the account: another one is not taken for it any more."""
    await rig.provider.configure(id_token_on_refresh=True)
    asking, person = await an_import(rig), Person(rig)
    assert "account" not in await asking.shown()

    assert (await asking.token()).status_code == 200

    shown = await asking.shown()
    assert (shown["account"], shown["account_label"]) == ("account-1", "account-1@example.test")
    link = await asking.link()
    await rig.provider.consent(subject="account-2")
    assert "account_mismatch" in (await person.connect(link)).text
    await rig.provider.consent(subject="account-1")
    assert (await person.connect(link)).status_code == 200


@on_sqlite
async def test_an_id_token_that_lies_teaches_nothing(rig: Rig) -> None:
    """The refresh has its tokens, which are served; whose they are stays unknown."""
    asking = await an_import(rig)
    await rig.provider.fault(patch={"id_token": "a.b.c"})

    assert (await asking.token()).status_code == 200

    shown = await asking.shown()
    assert (shown["status"], "account" in shown) == ("verified", False)


@on_sqlite
async def test_what_took_its_place_while_keys_were_fetched_is_not_renamed(
    replicas: Replicas, provider: FakeProvider
) -> None:
    """New tokens are stored before what they say is verified: another import that came by then stays nameless."""
    rig = await replicas({"jwks_uri": provider.endpoints["jwks_uri"]})
    await provider.configure(id_token_on_refresh=True)
    asking = await an_import(rig)
    await provider.hold("jwks")
    reading = asyncio.create_task(asking.token())
    await provider.wait_for_held()
    other = await provider.mint(scope="openid read", subject="account-2")
    body = {"credentials": {"access_token": other.access_token}, "verify": False}
    assert (await rig.api.put(asking.path, json=body)).status_code == 200
    await provider.release()
    await reading
    await rig.vault.refresher.settled()

    shown = await asking.shown()
    assert (shown["generation"], "account" in shown) == (3, False)


@on_sqlite
async def test_who_connects_amid_a_refresh_is_not_renamed_by_it(rig: Rig) -> None:
    """What the refresh of a former grant says of its account is nothing about the grant that took its place."""
    await rig.provider.configure(id_token_on_refresh=True)
    asking, person = await an_import(rig), Person(rig)
    await rig.provider.consent(subject="account-2")
    back = await person.go(await asking.link(scopes=["read"]))
    await come_back_amid_a_refresh(rig, asking, person, back)

    assert "account" not in await asking.shown()


# ---- who asks, and with which client


@on_sqlite
async def test_what_cannot_be_authorized_is_refused_with_its_reason(rig: Rig) -> None:
    """No such provider, tenant or kind, and no client: each has its own status and code."""
    await make_tenant(rig, "bare")
    unknown = await Asking(rig, provider="nobody").authorize()
    nowhere = await Asking(rig, tenant="nowhere").authorize()
    kind = await Asking(rig).authorize(kind="api_key")
    no_client = await Asking(rig, tenant="bare").authorize()

    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert (kind.status_code, kind.json()["code"]) == (422, "unknown_kind")
    assert (no_client.status_code, no_client.json()["code"]) == (409, "no_client")
    assert await rows_of(rig, "SELECT id FROM connections") == []
    assert await rows_of(rig, "SELECT id FROM tickets") == []


@on_sqlite
async def test_the_nearest_ancestors_client_is_used_and_a_tenants_own_wins(rig: Rig) -> None:
    """Going up from the tenant, the first registration counts, in the consent and in the exchange."""
    clients = {name: f"canary-secret-of-{name}" for name in ("top", "middle", "own")}
    await rig.provider.configure(clients=clients)
    await make_tenant(rig, "org")
    await make_tenant(rig, "team", "org")
    asking, person = Asking(rig, tenant="team"), Person(rig)
    used = []
    for tenant, client in (("platform", "top"), ("org", "middle"), ("team", "own")):
        await register(rig, client, clients[client], tenant)
        link = await asking.link()
        asked = await person.visit(link)
        used.append(parameters(asked)["client_id"])
        assert (await person.open(await person.consent(asked))).status_code == 200

    exchanges = (await rig.provider.ledger()).requests("token")
    assert used == ["top", "middle", "own"]
    assert [exchange["client_id"] for exchange in exchanges] == used


async def test_a_grant_keeps_the_client_that_got_it(rig: Rig) -> None:
    """Another registration is for new consents: what the old one got, the old one refreshes."""
    secrets = {"client-1": rig.provider.client_secret, "client-2": "canary-secret-2"}
    await rig.provider.configure(clients=secrets, access_lifetime=0)
    old, new, person = Asking(rig, "old"), Asking(rig, "new"), Person(rig)
    await person.connect(await old.link())
    halfway = await person.visit(await Asking(rig, "halfway").link())

    await register(rig, "client-2", secrets["client-2"])
    await person.connect(await new.link())
    assert (await person.open(await person.consent(halfway))).status_code == 200
    await rig.provider.configure(access_lifetime=3600)
    for name in ("old", "new", "halfway"):
        assert (await Asking(rig, name).token()).status_code == 200

    requests = (await rig.provider.ledger()).requests("token")
    clients_of = {
        kind: [one["client_id"] for one in requests if one["grant_type"] == kind]
        for kind in ("authorization_code", "refresh_token")
    }
    assert clients_of["authorization_code"] == ["client-1", "client-2", "client-1"]
    assert clients_of["refresh_token"] == ["client-1", "client-2", "client-1"]

    await rig.provider.configure(access_lifetime=0)
    await person.connect(await old.link())
    await rig.provider.configure(access_lifetime=3600)
    assert (await old.token()).status_code == 200
    again = (await rig.provider.ledger()).requests("token")[len(requests) :]
    assert [one["client_id"] for one in again] == ["client-2", "client-2"]


@on_sqlite
async def test_a_registration_that_is_gone_ends_the_visit_before_it_begins(rig: Rig) -> None:
    """A link outlives the client it was made with as a page that says so, and nothing is minted."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    await rig.api.delete(f"/v1/clients/{TENANT}/{PROVIDER}")

    assert (await person.open(link)).status_code == 410
    assert await rows_of(rig, "SELECT provider FROM pending_authorizations") == []


async def test_a_registration_can_be_removed_while_a_visit_is_under_way(rig: Rig) -> None:
    """Removing a client is never refused because somebody stands at the provider."""
    secrets = {"client-1": rig.provider.client_secret, "client-2": "canary-secret-2"}
    await rig.provider.configure(clients=secrets)
    person, link = Person(rig), await Asking(rig).link()
    await register(rig, "client-2", secrets["client-2"])
    await person.visit(link)

    assert (await rig.api.delete(f"/v1/clients/{TENANT}/{PROVIDER}")).status_code == 204


# ---- where the person ends up


@on_sqlite
async def test_the_result_goes_to_the_return_url(rig: Rig) -> None:
    """A listed address gets the browser back with 303, its own query untouched, and how it went."""
    listed = f"{RETURN_URL}&flag&path=%2Fa+b"
    await make_tenant(rig, TENANT, "platform", listed)
    asking, person = Asking(rig), Person(rig)

    done = await person.connect(await asking.link(return_url=listed))

    assert done.status_code == 303
    assert done.headers["Location"] == (
        f"{listed}&status=connected&tenant={TENANT}&provider={PROVIDER}&name=c&code=connected"
    )


@on_sqlite
async def test_an_error_goes_to_the_return_url_too(rig: Rig) -> None:
    """Where the person said no, or the exchange failed, the program is told that and no more."""
    await make_tenant(rig, TENANT, "platform", RETURN_URL)
    asking, person = Asking(rig), Person(rig)
    link = await asking.link(return_url=RETURN_URL)
    told = {"from": "vault", "status": "failed", "tenant": TENANT, "provider": PROVIDER, "name": "c"}

    await rig.provider.consent(error="access_denied", error_description="canary-of-the-provider")
    denied = await person.connect(link)
    await rig.provider.fault(status=503)
    failed = await person.connect(link)

    assert (denied.status_code, failed.status_code) == (303, 303)
    assert parameters(denied.headers["Location"]) == told | {"code": "access_denied"}
    assert parameters(failed.headers["Location"]) == told | {"code": "http_503"}


# ---- more than one browser, more than one tab


@on_sqlite
async def test_a_link_preview_does_not_use_the_link_up(rig: Rig) -> None:
    """Programs that look at links (chats, mail scanners) change nothing, before or amid the visit."""
    asking, person, preview = Asking(rig), Person(rig), Person(rig)
    link = await asking.link()

    await preview.open(link, "HEAD")
    await preview.visit(link)
    asked = await person.visit(link)
    await preview.open(link, "HEAD")
    await preview.visit(link)

    assert (await person.open(await person.consent(asked))).status_code == 200


@on_sqlite
async def test_of_two_tabs_the_second_to_come_back_is_told_that_it_is_done(rig: Rig) -> None:
    """Once a link has succeeded its other visits end with a page, and nothing is asked of the provider."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    one, two = await person.go(link), await person.go(link)

    first, second = await person.open(one), await person.open(two)

    assert (first.status_code, second.status_code) == (200, 410)
    assert "<h1>This link does not work any more</h1>" in second.text
    assert (await rig.provider.ledger()).token_requests == 1


@on_sqlite
async def test_two_tabs_are_independent_until_one_succeeds(rig: Rig) -> None:
    """A refusal in one tab leaves the other one's visit as it is."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    one, two = await person.visit(link), await person.visit(link)

    await rig.provider.consent(error="access_denied")
    refused = await person.open(await person.consent(one))
    done = await person.open(await person.consent(two))

    assert (refused.status_code, done.status_code) == (400, 200)


async def test_two_tabs_that_come_back_together_leave_one_working_grant(rig: Rig) -> None:
    """Both exchanges under way at once: whichever is written last is whole, and is what is served."""
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    backs = [await person.go(link), await person.go(link)]
    await rig.provider.hold(times=2)

    coming = [asyncio.create_task(person.open(back)) for back in backs]
    await rig.provider.wait_for_held(2)
    await rig.provider.release()
    pages = await asyncio.gather(*coming)

    assert [page.status_code for page in pages] == [200, 200]
    served, ledger = (await asking.token()).json(), await rig.provider.ledger()
    assert ledger.is_alive_access(served["access_token"])
    ((count,),) = await rows_of(
        rig, "SELECT count(DISTINCT generation) FROM sealed_values WHERE owner_kind = 'connection'"
    )
    assert count == 1


# ---- hang-ups and outages


async def test_a_browser_that_hangs_up_amid_the_exchange_loses_nothing(rig: Rig) -> None:
    """Once the code is sent, the grant is stored whoever is still there to see it, and before the vault closes."""
    asking, person = Asking(rig), Person(rig)
    back = await person.go(await asking.link())
    await rig.provider.hold()

    coming = asyncio.create_task(person.open(back))
    await rig.provider.wait_for_held()
    coming.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await coming
    assert (await asking.shown())["status"] == "unconfigured"
    await rig.provider.release()
    await rig.vault.drain()

    (issued,) = (await rig.provider.ledger()).of("issued")
    assert (await asking.token()).json()["access_token"] == issued["access_token"]


FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "503 with Retry-After": {"status": 503, "headers": {"Retry-After": "7200"}},
    "429": {"status": 429},
    "not found": {"status": 404, "body": "<h1>canary-page</h1>"},
    "a redirect": {"redirect": "/token?canary-elsewhere"},
    "a page": {"answer_body": "<html>canary-page</html>"},
    "an empty body": {"answer_body": ""},
    "a list": {"answer_body": ["canary-item"]},
    "bytes": {"answer_raw": b"\x00\xff\xfe\r\n\r\n"},
    "no access token": {"drop": ["access_token"]},
    "an empty access token": {"patch": {"access_token": ""}},
    "a null access token": {"patch": {"access_token": None}},
    "an access token that is a number": {"patch": {"access_token": 12345}},
    "tokens beside an error": {"patch": {"error": "server_error"}},
    "half an answer": {"close_after_bytes": 60},
    "far too much": {"huge_body": 300_000},
    "reset before": {"reset": "before"},
    "reset after": {"reset": "after"},
    "silence": {"hang": "before"},
    "invalid_grant": {"status": 400, "body": {"error": "invalid_grant", "error_description": "canary-text"}},
    "invalid_client": {"status": 401, "body": {"error": "invalid_client"}},
    "words of its own": {"status": 400, "body": {"error": "canary-word <script>"}},
}


@on_sqlite
async def test_a_failed_exchange_changes_nothing_and_the_link_goes_on_working(
    replicas: Replicas, leaks: Leaks
) -> None:
    """Whatever the token endpoint does: a page with our word for it, the old token served, the link still good."""
    rig = await replicas(provider_timeout=1.0)
    asking, person = Asking(rig), Person(rig)
    await person.connect(await asking.link())
    before, served = await asking.shown(), (await asking.token()).json()["access_token"]
    link = await asking.link()

    for number, (what, fault) in enumerate(FAULTS.items(), start=1):
        back = await person.go(link)
        await rig.provider.fault(**fault)
        page = await person.open(back)
        assert page.status_code == 400, what
        leaks.check(page.text)
        assert "<script" not in page.text, what
        assert await asking.shown() == before, what
        assert (await asking.token()).json()["access_token"] == served, what
        assert (await rig.provider.counts())["token_requests"] == 1 + number, what

    outcomes = [outcome for _, action, outcome, _ in await asking.audit() if action.endswith("connect_failed")]
    assert len(outcomes) == len(FAULTS)
    assert {"http_503", "http_429", "timeout", "invalid_grant", "invalid_client", "answer_too_long"} < set(
        outcomes
    )
    leaks.check(" ".join(outcomes))
    assert (await person.connect(link)).status_code == 200
    assert (await asking.token()).json()["access_token"] != served


@on_sqlite
async def test_a_grant_waits_for_a_database_that_takes_no_writes(
    rig: Rig, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A code is good once: what it brought is written as soon as that can be done."""
    asking, person = Asking(rig), Person(rig)
    back = await person.go(await asking.link())
    await rig.provider.hold()
    coming = asyncio.create_task(person.open(back))
    await rig.provider.wait_for_held()
    await change(rig, "PRAGMA busy_timeout = 20")  # of the one connection that writes

    path = sqlite_path(store.url)
    assert path is not None
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        await rig.provider.release()
        while not coming.done() and "waits to be written" not in caplog.text:
            await asyncio.wait({coming}, timeout=0.01)

    assert (await coming).status_code == 200
    assert (await asking.token()).status_code == 200


async def test_a_connection_deleted_amid_the_exchange_stays_deleted(rig: Rig) -> None:
    """What arrives for a connection that is gone is given back to the provider, not stored."""
    asking, person = Asking(rig), Person(rig)
    back = await person.go(await asking.link())
    await rig.provider.hold()
    coming = asyncio.create_task(person.open(back))
    await rig.provider.wait_for_held()
    await rig.api.delete(asking.path)
    await rig.provider.release()

    page = await coming

    ledger = await rig.provider.ledger()
    assert (page.status_code, "connection_deleted" in page.text) == (400, True)
    assert ledger.revoked_families == set(ledger.families)
    assert (await asking.token()).status_code == 409
    assert await rows_of(rig, "SELECT field FROM sealed_values WHERE owner_kind = 'connection'") == []


@on_sqlite
async def test_nothing_sealed_is_left_of_a_connection_that_was_deleted_amid_a_visit(rig: Rig) -> None:
    """Housekeeping clears away the verifier of a visit whose connection is gone."""
    asking, person = Asking(rig), Person(rig)
    await person.visit(await asking.link())
    await rig.api.delete(asking.path)
    await change(rig, "UPDATE connections SET deleted_at = 1")
    await change(rig, "UPDATE pending_authorizations SET expires_at = 1")

    await rig.vault.tidy()

    assert await rows_of(rig, "SELECT field FROM sealed_values WHERE owner_kind = 'authorization'") == []


# ---- cookies


@on_sqlite
@pytest.mark.parametrize(
    "public_url", ["http://127.0.0.1:8000", "http://localhost:8000", "https://vault.example.test"]
)
async def test_the_cookie_is_as_strict_as_the_address_allows(replicas: Replicas, public_url: str) -> None:
    """`__Host-` and Secure under https, a plain name on loopback; HttpOnly, Lax, without a domain always."""
    rig = await replicas(public_url=public_url)
    asking, person = Asking(rig), Person(rig)
    link = await asking.link()
    assert link.startswith(f"{public_url}/connect/")

    (cookie,) = (await person.open(link)).headers.get_list("set-cookie")

    pair, *attributes = [part.strip() for part in cookie.split(";")]
    name, _, value = pair.partition("=")
    secure = public_url.startswith("https")
    wanted = {"httponly", "samesite=lax", "path=/", "max-age=86400"}
    assert name == ("__Host-tv_browser" if secure else "tv_browser")
    assert len(base64.urlsafe_b64decode(value + "=")) == 32
    assert {attribute.lower() for attribute in attributes} == (wanted | {"secure"} if secure else wanted)
    asked = await person.visit(link)
    assert parameters(asked)["redirect_uri"] == f"{public_url}/oauth/callback/{PROVIDER}"
    assert (await person.open(await person.consent(asked))).status_code == 200


@on_sqlite
async def test_plain_http_beyond_this_machine_is_refused_with_the_reason(replicas: Replicas) -> None:
    """A cookie that could be read on the way binds nobody, so no visit begins."""
    rig = await replicas(public_url="http://vault.example.test")
    person = Person(rig)

    page = await person.open(await Asking(rig).link())

    assert page.status_code == 403
    assert "PUBLIC_URL must be https" in page.text
    assert "set-cookie" not in page.headers
    assert await rows_of(rig, "SELECT provider FROM pending_authorizations") == []


@on_sqlite
async def test_a_browser_keeps_one_cookie_for_all_its_visits(rig: Rig) -> None:
    """A later visit, of another link too, does not unbind an earlier one."""
    one, two, person = Asking(rig, "one"), Asking(rig, "two"), Person(rig)
    backs = [await person.go(await asking.link()) for asking in (one, two)]

    assert [(await person.open(back)).status_code for back in backs] == [200, 200]


NOT_OURS = ("", "x", "%FF%FE", "a%0Ab", '"', "\\012", "%C3%A9" * 43, "a" * 42, "a" * 9000, "; Domain=x")


@on_sqlite
async def test_a_cookie_that_is_not_ours_is_replaced(rig: Rig) -> None:
    """Whatever a browser sends under the cookie's name, it leaves with one that we made."""
    link = await Asking(rig).link()

    for sent in NOT_OURS:
        person = Person(rig)
        answer = await person.open(link, cookie=f"tv_browser={sent}")
        assert answer.status_code == 302, sent
        assert len(person.cookies["tv_browser"]) == 43, sent
        assert person.cookies["tv_browser"] != sent
    assert (await person.open(await person.consent(answer.headers["Location"]))).status_code == 200
