"""Connections over HTTP: looking, listing, importing, switching off, disconnecting."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.test_api import always, bearing, refused
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant
from tests.rig import PROVIDER, TENANT, Rig
from vault.callers import OPERATOR
from vault.store import connections

PATH = f"/v1/connections/{TENANT}/{PROVIDER}"


async def put(rig: Rig, name: str, **body: Any) -> httpx.Response:
    return await rig.api.put(f"{PATH}/{name}", json=body)


def held(grant: Grant, **more: Any) -> dict[str, Any]:
    """Return the credentials of *grant*, as somebody would enter them."""
    return {"access_token": grant.access_token, "refresh_token": grant.refresh_token, **more}


async def count(rig: Rig, table: str) -> int:
    async with rig.vault.database.read() as tx:
        return int(await tx.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def later(**ahead: int) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat(timespec="seconds")


# ---- looking


@on_sqlite
async def test_a_connection_is_shown_with_its_health_and_no_secret(rig: Rig, leaks: Leaks) -> None:
    """Status, what would help, times; and nothing is opened for it."""
    await rig.a_connection("c", expires_in=3600)
    await rig.vault.refresher.refresh(await rig.look("c"), "operator")

    answer = await rig.api.get(f"{PATH}/c")

    always(answer)
    leaks.check(answer.text)
    body = answer.json()
    assert answer.status_code == 200
    assert (body["tenant"], body["provider"], body["name"]) == (TENANT, PROVIDER, "c")
    assert (body["status"], body["next_action"], body["enabled"]) == ("verified", "none", True)
    assert (body["renewal"], body["kind"], body["generation"]) == ("refresh_token", "oauth2", 2)
    assert body["scopes"] == ["read"]
    assert "reason" not in body
    for moment in ("created_at", "expires_at", "refreshed_at", "verified_at", "next_refresh_at"):
        assert body[moment].endswith("Z")
        assert "." not in body[moment]


@on_sqlite
async def test_a_failing_connection_says_since_when_why_and_what_helps(rig: Rig) -> None:
    """What a person or a program needs to decide what to do."""
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.revoke_family(grant.family)
    problem = refused(await rig.token("c"), 409, "reconnect_required")

    body = (await rig.api.get(f"{PATH}/c")).json()

    assert problem["reason"] == "grant_rejected"
    assert problem["connect_url"].startswith("http://127.0.0.1:8000/connect/")
    assert (body["status"], body["reason"], body["next_action"]) == ("failed", "grant_rejected", "reconnect")
    assert body["last_error_code"] == "invalid_grant"
    assert body["failing_since"].endswith("Z")


@on_sqlite
async def test_a_token_is_asked_for_with_the_life_and_the_patience_one_wants(rig: Rig) -> None:
    """min_ttl beyond what is left renews first, once; within it, the stored token is the answer."""
    _, grant = await rig.a_connection("c", expires_in=1000)
    async with rig.vault.database.transaction() as tx:  # of a token that had an hour
        await tx.execute(text("UPDATE token_states SET issued_lifetime = 3600"))

    assert (await rig.token("c", min_ttl=900)).json()["access_token"] == grant.access_token
    renewed = (await rig.token("c", min_ttl=1700, wait=25)).json()

    assert renewed["access_token"] != grant.access_token
    assert renewed["generation"] == 2
    assert renewed["token_type"] == "Bearer"
    assert renewed["scopes"] == ["read"]
    assert (await rig.provider.ledger()).token_requests == 1


# ---- listing


async def many(rig: Rig) -> list[str]:
    """Make connections of three tenants, two providers and five names; return their paths in order."""
    fields = {
        "authorization_endpoint": rig.provider.authorization_endpoint,
        "token_endpoint": rig.provider.token_endpoint,
    }
    await rig.vault.providers.define("zeta", fields, "operator")
    paths = []
    for tenant in ("acme", "acme-eu", "globex"):
        parent = "acme" if tenant == "acme-eu" else "platform"
        await rig.vault.tenants.put(OPERATOR, tenant, parent=parent, name=tenant, return_urls=[])
        for provider in (PROVIDER, "zeta"):
            for name in ("a", "b", "c.1", "c~2", "d"):
                path = f"{tenant}/{provider}/{name}"
                body = {
                    "credentials": {"access_token": "canary-at", "expires_at": later(hours=1)},
                    "verify": False,
                }
                assert (await rig.api.put(f"/v1/connections/{path}", json=body)).status_code == 201
                paths.append(path)
    return paths


async def listed(rig: Rig, key: str | None = None, **query: Any) -> list[list[str]]:
    """Return the paths on each page, following `next` to the end."""
    pages, cursor = [], None
    headers = {} if key is None else bearing(key)
    while True:
        asked = {**query, **({} if cursor is None else {"cursor": cursor})}
        answer = await rig.api.get("/v1/connections", params=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        always(answer)
        body = answer.json()
        pages.append([f"{one['tenant']}/{one['provider']}/{one['name']}" for one in body["items"]])
        cursor = body.get("next")
        if cursor is None:
            return pages


async def test_a_list_is_paged_filtered_and_limited_to_what_the_key_may_see(rig: Rig) -> None:
    """Pages of any size show every path once, in the same order; filters and the key's limits combine."""
    paths = await many(rig)

    whole = [path for page in await listed(rig, limit=200) for path in page]
    assert sorted(whole) == sorted(paths)
    for limit in (1, 7, 15, 29, 30):
        pages = await listed(rig, limit=limit)
        assert [path for page in pages for path in page] == whole
        assert all(len(page) == limit for page in pages[:-1])

    async def flat(key: str | None = None, **query: Any) -> list[str]:
        return [path for page in await listed(rig, key, limit=4, **query) for path in page]

    under_acme = [path for path in whole if path.startswith("acme")]
    assert await flat(tenant="acme") == under_acme
    assert await flat(tenant="acme-eu") == [path for path in whole if path.startswith("acme-eu/")]
    assert await flat(provider="zeta") == [path for path in whole if "/zeta/" in path]
    assert await flat(tenant="acme", provider="zeta") == [path for path in under_acme if "/zeta/" in path]
    assert await flat(provider="unknown") == []
    tenant_key = await rig.key("connections:read", tenant="acme")
    assert await flat(tenant_key) == under_acme
    narrow = await rig.key("connections:read", tenant="acme", providers=["zeta"], names=["a", "d"])
    assert await flat(narrow) == [path for path in under_acme if "/zeta/" in path and path[-1] in "ad"]
    assert await flat(narrow, provider=PROVIDER) == []
    for tenant in ("globex", "nowhere"):
        asked = {"tenant": tenant}
        refused(await rig.api.get("/v1/connections", params=asked, headers=bearing(tenant_key)), 404, "not_found")


async def test_a_cursor_shows_nothing_that_the_key_does_not(rig: Rig) -> None:
    """A cursor is a place, not a right: another's cursor lists one's own."""
    paths = await many(rig)
    key = await rig.key("connections:read", tenant="globex")
    first = base64.urlsafe_b64encode(json.dumps(paths[0].split("/")).encode()).decode()

    answer = await rig.api.get("/v1/connections", params={"cursor": first}, headers=bearing(key))

    assert {one["tenant"] for one in answer.json()["items"]} == {"globex"}


async def ends_in_a_day(rig: Rig, name: str, renewal: str) -> None:
    """Have the refresh token of *name* end a day from now; *renewal* is what renews the connection."""
    connection = await rig.look(name)
    values = {"refresh_expires_at": connection.read_at + timedelta(days=1), "renewal": renewal}
    async with rig.vault.database.transaction() as tx:
        await connections.edit_state(tx, connection.id, values)


async def test_a_list_is_filtered_by_health_and_by_what_is_left(rig: Rig) -> None:
    """Status, and expiring_within: who needs somebody by then. What is renewed by itself does not."""
    await rig.a_connection("renewed", expires_in=100)
    await rig.a_connection("for-a-day", expires_in=100)
    await rig.a_connection("entered", expires_in=100)
    bare = await rig.provider.mint()
    credentials = {"access_token": bare.access_token, "expires_at": later(hours=1)}
    await put(rig, "bare", credentials=credentials, verify=False)
    _, grant = await rig.a_connection("dead", expires_in=0)
    await rig.provider.revoke_family(grant.family)
    await rig.token("dead")
    await rig.api.post(f"{PATH}/waiting/authorize", json={})
    await ends_in_a_day(rig, "for-a-day", "refresh_token")
    await ends_in_a_day(rig, "entered", "client_credentials")

    async def names(**query: Any) -> set[str]:
        return {path.rpartition("/")[2] for page in await listed(rig, **query) for path in page}

    assert await names(status="failed") == {"dead"}
    assert await names(status="configured") == {"renewed", "for-a-day", "entered", "bare"}
    assert await names(status="unconfigured") == {"waiting"}
    assert await names(status="verified") == set()
    assert await names(expiring_within=0) == {"dead"}
    assert await names(expiring_within=600) == {"dead"}
    assert await names(expiring_within=7200) == {"dead", "bare"}
    assert await names(expiring_within=90_000) == {"dead", "bare", "for-a-day"}
    assert await names(expiring_within=90_000, status="configured") == {"bare", "for-a-day"}


async def test_a_status_filter_finds_what_is_shown_with_that_status(rig: Rig) -> None:
    """A token that nothing renews is shown as failed once it has ended; the filter agrees."""
    credentials = {"access_token": "canary-at", "expires_at": later(hours=-1)}
    await put(rig, "c", credentials=credentials, verify=False)
    assert (await rig.api.get(f"{PATH}/c")).json()["status"] == "failed"

    assert (await rig.api.get("/v1/connections?status=failed")).json()["items"]
    assert not (await rig.api.get("/v1/connections?status=configured")).json()["items"]


# ---- importing


@on_sqlite
async def test_an_imported_token_that_the_provider_knows_is_verified(rig: Rig, leaks: Leaks) -> None:
    """It is asked about first, which spends nothing; then it is served, and renewed when its time comes."""
    grant = await rig.provider.mint()

    answer = await put(rig, "c", credentials=held(grant, expires_at=later(hours=1)), metadata={"crm": "17"})

    assert answer.status_code == 201, answer.text
    leaks.check(answer.text)
    body = answer.json()
    assert (body["status"], body["next_action"], body["metadata"]) == ("verified", "none", {"crm": "17"})
    counts = await rig.provider.counts()
    assert (counts.get("userinfo_requests"), counts.get("token_requests", 0)) == (1, 0)
    assert (await rig.token("c")).json()["access_token"] == grant.access_token
    await rig.vault.refresher.refresh(await rig.look("c"), "operator")
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1


@on_sqlite
async def test_an_imported_token_that_the_provider_refuses_is_not_stored(rig: Rig, leaks: Leaks) -> None:
    """422, and nothing is there that was not there before; an older grant stays as it is."""
    grant, dead = await rig.provider.mint(), await rig.provider.mint()
    await rig.provider.kill_access(dead.access_token)
    before = await count(rig, "sealed_values"), await count(rig, "connections")

    problem = await put(rig, "c", credentials=held(dead))

    leaks.check(problem.text)
    refused(problem, 422, "credentials_rejected")
    refused(await rig.api.get(f"{PATH}/c"), 404, "not_found")
    assert (await count(rig, "sealed_values"), await count(rig, "connections")) == before
    assert (await put(rig, "c", credentials=held(grant))).status_code == 201
    refused(await put(rig, "c", credentials=held(dead), enabled=False, metadata={"a": 1}), 422)
    kept = (await rig.api.get(f"{PATH}/c")).json()
    assert (kept["generation"], kept["enabled"], kept["metadata"]) == (1, True, {})
    assert (await rig.token("c")).json()["access_token"] == grant.access_token
    assert (await rig.provider.counts()).get("token_requests", 0) == 0


NO_VERDICT: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 429, "headers": {"Retry-After": "60"}},
    {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
    {"status": 404},
    {"reset": "before"},
    {"reset": "after"},
]


@on_sqlite
async def test_an_imported_token_that_nobody_can_judge_is_stored_as_unproven(rig: Rig, store: Store) -> None:
    """The provider cannot say: the token is kept, served, and shown as never proven."""
    for number, fault in enumerate(NO_VERDICT, start=1):
        grant = await rig.provider.mint()
        await rig.provider.fault("userinfo", **fault)

        answer = await put(rig, f"c{number}", credentials=held(grant))

        body = answer.json()
        assert answer.status_code == 201, answer.text
        assert (body["status"], body["reason"], body["next_action"]) == ("configured", "probe_unknown", "verify")
        assert (await rig.token(f"c{number}")).json()["access_token"] == grant.access_token
        counts = await rig.provider.counts()
        assert (counts["userinfo_requests"], counts.get("token_requests", 0)) == (number, 0)


@on_sqlite
async def test_what_is_not_to_be_verified_or_cannot_be_is_stored_unasked(
    replicas: Replicas, provider: FakeProvider, store: Store
) -> None:
    """`verify: false`, a refresh token alone, no probe: nothing is sent, least of all a refresh."""
    rig = await replicas({"userinfo_endpoint": None})
    grant = await provider.mint()

    told = (await put(rig, "a", credentials=held(grant), verify=False)).json()
    bare = (await put(rig, "b", credentials=held(grant))).json()
    alone = (await put(rig, "c", credentials={"refresh_token": grant.refresh_token})).json()

    assert (told["status"], told["reason"]) == ("configured", "unverified")
    assert (bare["status"], bare["reason"]) == ("configured", "probe_unknown")
    assert (alone["status"], alone["renewal"]) == ("configured", "refresh_token")
    counts = await provider.counts()
    assert (counts.get("userinfo_requests", 0), counts.get("token_requests", 0)) == (0, 0)
    assert (await rig.token("c")).json()["status"] == "verified"  # the first to ask spends it, once
    assert (await provider.counts())["token_requests"] == 1


@on_sqlite
async def test_an_imported_token_that_has_ended_is_renewed_at_once(rig: Rig) -> None:
    """The refresh token beside it is what counts, so the provider is not asked about what is over by now."""
    grant = await rig.provider.mint()
    await rig.provider.kill_access(grant.access_token)

    answer = await put(rig, "c", credentials=held(grant, expires_at=later(hours=-1)))

    assert answer.status_code == 201, answer.text
    assert (answer.json()["status"], answer.json()["reason"]) == ("configured", "probe_unknown")
    await rig.vault.sweeper.once()
    assert (await rig.look("c")).state.status == "verified"
    assert (await rig.token("c")).json()["access_token"] != grant.access_token
    counts = await rig.provider.counts()
    assert (counts.get("userinfo_requests", 0), counts["token_requests"]) == (0, 1)


@on_sqlite
@pytest.mark.parametrize("hours", [-1, 1000])
async def test_what_the_try_of_a_refresh_token_gives_has_an_end_of_its_own(
    replicas: Replicas, provider: FakeProvider, store: Store, hours: int
) -> None:
    """The `expires_at` that was sent is that of an access token which is none of these any more."""
    rig = await replicas({"rotation": "never"})
    grant = await provider.mint()
    only = {"refresh_token": grant.refresh_token, "expires_at": later(hours=hours)}

    shown = (await put(rig, "c", credentials=only)).json()

    assert shown["status"] == "verified"
    assert 3500 < (await rig.token("c")).json()["expires_in"] <= 3600
    assert (await provider.counts())["token_requests"] == 1


@on_sqlite
async def test_an_imported_token_that_has_ended_and_that_nothing_renews_is_refused(rig: Rig, store: Store) -> None:
    """Without a refresh token the ended one is all there is: the provider is asked, and it is not stored."""
    grant = await rig.provider.mint()
    await rig.provider.kill_access(grant.access_token)
    alone = {"access_token": grant.access_token, "expires_at": later(hours=-1)}

    refused(await put(rig, "c", credentials=alone), 422, "credentials_rejected")

    refused(await rig.api.get(f"{PATH}/c"), 404, "not_found")


@on_sqlite
async def test_an_import_that_could_not_be_used_is_refused(rig: Rig, store: Store) -> None:
    """No credentials, none in them, an unknown kind, provider or tenant, a refresh token without a client."""
    grant = await rig.provider.mint()
    await rig.vault.tenants.put(OPERATOR, "globex", parent="platform", name="G", return_urls=[])

    refused(await put(rig, "c", verify=False), 422, "credentials_missing")
    refused(await put(rig, "c", kind="oauth2"), 422, "credentials_missing")
    refused(await put(rig, "c", credentials={}), 422, "credentials_missing")
    refused(await put(rig, "c", credentials={"expires_at": later(hours=1)}), 422, "credentials_missing")
    refused(await put(rig, "c", kind="api_key", credentials=held(grant)), 422, "unknown_kind")
    body = {"credentials": held(grant)}
    refused(await rig.api.put("/v1/connections/acme/unknown/c", json=body), 404, "not_found")
    refused(await rig.api.put(f"/v1/connections/nowhere/{PROVIDER}/c", json=body), 404, "not_found")
    refused(await rig.api.put(f"/v1/connections/globex/{PROVIDER}/c", json=body), 409, "no_client")
    lent = {"credentials": {"access_token": grant.access_token}}
    assert (await rig.api.put(f"/v1/connections/globex/{PROVIDER}/c", json=lent)).status_code == 201
    assert await count(rig, "connections") == 1


@on_sqlite
async def test_a_token_without_a_successor_ends_with_its_time(rig: Rig, store: Store) -> None:
    """What nothing can renew is served while it lives, then a person is asked for."""
    await put(rig, "c", credentials={"access_token": "canary-at", "expires_at": later(hours=-1)}, verify=False)

    problem = refused(await rig.token("c"), 409, "reconnect_required")

    assert problem["reason"] == "expired"
    assert (await rig.provider.counts()).get("token_requests", 0) == 0


# ---- switching off


@on_sqlite
async def test_a_connection_that_is_switched_off_gives_no_token_and_keeps_it(rig: Rig) -> None:
    """`enabled: false` answers 409 until it is switched on; the grant is untouched."""
    _, grant = await rig.a_connection("c")

    assert (await put(rig, "c", enabled=False)).json()["enabled"] is False
    refused(await rig.token("c"), 409, "disabled")
    assert (await rig.api.get(f"{PATH}/c")).json()["status"] == "configured"
    assert (await put(rig, "c", enabled=True)).status_code == 200
    assert (await rig.token("c")).json()["access_token"] == grant.access_token


@on_sqlite
async def test_changing_one_field_leaves_the_others(rig: Rig) -> None:
    """What is not sent stays as it is, the tokens above all."""
    _, grant = await rig.a_connection("c")
    await put(rig, "c", metadata={"a": [1, {"b": None}], "é": "\u2028"})

    changed = (await put(rig, "c", enabled=False)).json()
    same = (await put(rig, "c")).json()

    assert changed["metadata"] == same["metadata"] == {"a": [1, {"b": None}], "é": "\u2028"}
    assert same["enabled"] is False
    assert same["generation"] == 1
    assert (await rig.provider.counts()).get("userinfo_requests", 0) == 0
    assert grant.access_token


# ---- asking a person


@on_sqlite
async def test_a_link_for_a_person_is_made_and_the_connection_waits(rig: Rig) -> None:
    """201 with a link and its end; the connection says that it waits for somebody."""
    answer = await rig.api.post(f"{PATH}/c/authorize", json={})

    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["connect_url"].startswith("http://127.0.0.1:8000/connect/")
    ends = datetime.fromisoformat(body["expires_at"])
    assert timedelta(days=6, hours=23) < ends - datetime.now(UTC) <= timedelta(days=7)
    waiting = (await rig.api.get(f"{PATH}/c")).json()
    assert (waiting["status"], waiting["reason"], waiting["next_action"]) == (
        "unconfigured",
        "awaiting_consent",
        "connect",
    )
    assert refused(await rig.token("c"), 409, "not_connected")["reason"] == "awaiting_consent"


@on_sqlite
async def test_a_link_that_could_not_work_is_not_made(rig: Rig, store: Store) -> None:
    """No client, an unlisted return address, an unknown kind or provider."""
    await rig.vault.tenants.put(
        OPERATOR, "globex", parent="platform", name="G", return_urls=["https://g.example/x"]
    )

    async def ask(tenant: str = TENANT, provider: str = PROVIDER, **body: Any) -> httpx.Response:
        return await rig.api.post(f"/v1/connections/{tenant}/{provider}/c/authorize", json=body)

    refused(await ask("globex"), 409, "no_client")
    refused(await ask(provider="unknown"), 404, "not_found")
    refused(await ask(kind="api_key"), 422, "unknown_kind")
    await rig.register(rig.provider.client_secret, "globex")
    for nearly in (
        "https://g.example/x/",
        "https://g.example/X",
        "https://g.example/x?a",
        "https://evil.example/",
    ):
        refused(await ask("globex", return_url=nearly), 422, "invalid_return_url")
    assert (await ask("globex", return_url="https://g.example/x")).status_code == 201


# ---- disconnecting


async def test_a_disconnected_account_is_gone_at_once(rig: Rig) -> None:
    """No token, no row to be seen, no secret left; the provider was not asked to do anything."""
    _, grant = await rig.a_connection("c")
    before = await count(rig, "sealed_values")

    answer = await rig.api.delete(f"{PATH}/c")

    assert (answer.status_code, answer.json()) == (200, {"revoked": "not_asked"})
    refused(await rig.token("c"), 409, "not_connected")
    refused(await rig.api.get(f"{PATH}/c"), 404, "not_found")
    refused(await rig.api.delete(f"{PATH}/c"), 404, "not_found")
    assert await count(rig, "sealed_values") == before - 2
    ledger = await rig.provider.ledger()
    assert (ledger.requests("revoke"), ledger.is_alive_access(grant.access_token)) == ([], True)


async def test_a_grant_is_revoked_at_the_provider_where_that_is_asked_for(rig: Rig) -> None:
    """The provider ends the whole grant, and the answer says so because it is so."""
    _, grant = await rig.a_connection("c")

    answer = await rig.api.delete(f"{PATH}/c?revoke=true")

    assert answer.json() == {"revoked": "revoked"}
    assert grant.family in (await rig.provider.ledger()).revoked_families


@on_sqlite
async def test_a_revocation_that_failed_is_said_to_have_failed(rig: Rig, store: Store) -> None:
    """The connection is gone here all the same, and nobody is told that the grant is over."""
    faults: list[dict[str, Any]] = [
        {"status": 503},
        {"status": 400, "body": {"error": "unsupported_token_type"}},
        {"reset": "before"},
    ]
    for number, fault in enumerate(faults, start=1):
        _, grant = await rig.a_connection("c")
        await rig.provider.fault("revoke", **fault)

        answer = await rig.api.delete(f"{PATH}/c?revoke=true")

        assert answer.json() == {"revoked": "failed"}
        refused(await rig.token("c"), 409, "not_connected")
        ledger = await rig.provider.ledger()
        assert grant.family not in ledger.revoked_families
        assert len(ledger.requests("revoke")) == number


@on_sqlite
async def test_a_provider_that_cannot_revoke_is_said_to_be_one(replicas: Replicas, store: Store) -> None:
    """Nothing is claimed that could not have happened."""
    rig = await replicas({"revocation_endpoint": None})
    await rig.a_connection("c")

    assert (await rig.api.delete(f"{PATH}/c?revoke=true")).json() == {"revoked": "not_supported"}


@on_sqlite
async def test_a_name_can_be_used_again_after_disconnecting(rig: Rig, store: Store) -> None:
    """The next connection of that name is another one."""
    await rig.a_connection("c")
    await rig.api.delete(f"{PATH}/c")

    _, grant = await rig.a_connection("c")

    assert (await rig.token("c")).json()["access_token"] == grant.access_token
