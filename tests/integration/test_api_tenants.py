"""The tree of tenants, the registrations that hang on it, and API keys as they are listed and withdrawn."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import Leaks
from tests.integration.conftest import Store, on_sqlite
from tests.integration.test_api import always, bearing, refused
from tests.rig import PROVIDER, TENANT, Rig

CLIENT = f"/v1/clients/{TENANT}/{PROVIDER}"


async def put(
    rig: Rig, tenant: str, parent: str = "platform", key: str | None = None, **more: Any
) -> httpx.Response:
    headers = {} if key is None else bearing(key)
    body = {"name": tenant, "parent": parent, **more}
    return await rig.api.put(f"/v1/tenants/{tenant}", json=body, headers=headers)


async def parents(rig: Rig) -> dict[str, str | None]:
    async with rig.vault.database.read() as tx:
        return {row.id: row.parent_id for row in await tx.execute(text("SELECT id, parent_id FROM tenants"))}


async def test_a_tenant_is_made_shown_changed_and_deleted(rig: Rig) -> None:
    """201 for a new one, 200 for a change, 204 for the end of it, 404 from then on."""
    urls = ["https://app.example/done?x=1", "http://127.0.0.1:3000/", "http://localhost/x", "http://[::1]:1/"]

    made = await put(rig, "globex", return_urls=urls)
    changed = await put(rig, "globex", return_urls=[], name="Globex GmbH \u00e9\u4e2d")
    shown = await rig.api.get("/v1/tenants/globex")
    gone = await rig.api.delete("/v1/tenants/globex")

    assert (made.status_code, made.json()) == (
        201,
        {"id": "globex", "name": "globex", "inherit": True, "return_urls": urls, "parent": "platform"},
    )
    assert changed.status_code == 200
    assert shown.json() == {
        "id": "globex",
        "name": "Globex GmbH \u00e9\u4e2d",
        "inherit": True,
        "return_urls": [],
        "parent": "platform",
    }
    assert (gone.status_code, gone.content) == (204, b"")
    always(gone)
    refused(await rig.api.get("/v1/tenants/globex"), 404, "not_found")
    refused(await rig.api.delete("/v1/tenants/globex"), 404, "not_found")


@on_sqlite
async def test_tenants_are_called_what_people_call_them(rig: Rig, store: Store) -> None:
    """E-mail addresses and mixed case are fine, and case counts."""
    for tenant in ("A", "0", "a" * 128, "a.b_c~d@e-f", "person@example.test", "ACME"):
        assert (await put(rig, tenant)).status_code == 201
        assert (await rig.api.get(f"/v1/tenants/{tenant}")).json()["id"] == tenant


async def test_the_tree_has_one_root_and_no_cycles(rig: Rig) -> None:
    """Nobody stands under themselves, the root under nobody, and none under what is not there."""
    for tenant, parent in [("a", "platform"), ("b", "a"), ("c", "b")]:
        await put(rig, tenant, parent)

    refused(await put(rig, "a", "a"), 409, "tenant_cycle")
    refused(await put(rig, "a", "b"), 409, "tenant_cycle")
    refused(await put(rig, "a", "c"), 409, "tenant_cycle")
    refused(await put(rig, "d", "d"), 404, "not_found")
    refused(await put(rig, "d", "nowhere"), 404, "not_found")
    refused(await put(rig, "platform", "a"), 409, "tenant_is_root")
    refused(await rig.api.delete("/v1/tenants/platform"), 409, "tenant_is_root")
    assert (await put(rig, "platform", name="Ours")).json() == {
        "id": "platform",
        "name": "Ours",
        "inherit": True,
        "return_urls": [],
    }
    assert await parents(rig) == {"platform": None, "a": "platform", "b": "a", "c": "b", TENANT: "platform"}
    assert (await put(rig, "c", "platform")).status_code == 200
    assert (await put(rig, "a", "c")).status_code == 200
    assert await parents(rig) == {"platform": None, "a": "c", "b": "a", "c": "platform", TENANT: "platform"}


async def test_who_has_a_tenant_moves_what_is_below_it_and_not_itself(rig: Rig) -> None:
    """A tenant's key builds its own subtree; it cannot leave it, take in others, or move its own root."""
    await put(rig, "globex")
    await put(rig, "globex-eu", "globex")
    key = await rig.key("tenants:write", tenant=TENANT)

    assert (await put(rig, "acme-eu", TENANT, key)).status_code == 201
    assert (await put(rig, "acme-us", "acme-eu", key)).status_code == 201
    assert (await put(rig, "acme-us", TENANT, key)).status_code == 200
    for tenant, parent in [
        ("acme-xx", "platform"),
        ("acme-xx", "globex"),
        ("acme-us", "globex"),
        ("acme-us", "platform"),
        ("globex", TENANT),
        ("globex-eu", TENANT),
        (TENANT, "platform"),
        (TENANT, "globex"),
        ("platform", "platform"),
        ("acme-xx", "nowhere"),
    ]:
        refused(await put(rig, tenant, parent, key), 404, "not_found")
    refused(await rig.api.delete(f"/v1/tenants/{TENANT}", headers=bearing(key)), 404, "not_found")
    refused(await rig.api.delete("/v1/tenants/globex-eu", headers=bearing(key)), 404, "not_found")
    assert (await rig.api.delete("/v1/tenants/acme-us", headers=bearing(key))).status_code == 204
    assert await parents(rig) == {
        "platform": None,
        TENANT: "platform",
        "acme-eu": TENANT,
        "globex": "platform",
        "globex-eu": "globex",
    }


async def test_a_tenant_with_anything_on_it_is_not_deleted(rig: Rig) -> None:
    """Children, connections, clients and callers each keep it; without them, it goes."""
    await put(rig, "globex")
    await put(rig, "globex-eu", "globex")
    refused(await rig.api.delete("/v1/tenants/globex"), 409, "tenant_not_empty")
    assert (await rig.api.delete("/v1/tenants/globex-eu")).status_code == 204
    made = await rig.api.post("/v1/callers", json={"name": "x", "scopes": ["tokens:read"], "tenant": "globex"})
    refused(await rig.api.delete("/v1/tenants/globex"), 409, "tenant_not_empty")
    await rig.api.delete(f"/v1/callers/{made.json()['id']}")
    await rig.api.put(f"/v1/clients/globex/{PROVIDER}", json={"client_id": "x", "client_secret": "canary-x"})
    refused(await rig.api.delete("/v1/tenants/globex"), 409, "tenant_not_empty")
    await rig.api.delete(f"/v1/clients/globex/{PROVIDER}")
    body = {"credentials": {"access_token": "canary-at"}, "verify": False}
    await rig.api.put(f"/v1/connections/globex/{PROVIDER}/c", json=body)
    refused(await rig.api.delete("/v1/tenants/globex"), 409, "tenant_not_empty")

    assert "globex" in await parents(rig)
    await rig.api.delete(f"/v1/connections/globex/{PROVIDER}/c")
    async with rig.vault.database.transaction() as tx:  # what housekeeping does once no lease can be out
        await tx.execute(text("DELETE FROM connections WHERE deleted_at IS NOT NULL"))
    assert (await rig.api.delete("/v1/tenants/globex")).status_code == 204


@pytest.mark.parametrize("left", ["client", "connection"])
@on_sqlite
async def test_a_tenant_on_which_nothing_is_to_be_seen_can_be_deleted(rig: Rig, store: Store, left: str) -> None:
    """Who has deleted all that the API shows can delete the tenant."""
    await put(rig, "globex")
    if left == "client":
        for client_id in ("first", "second"):
            await rig.api.put(f"/v1/clients/globex/{PROVIDER}", json={"client_id": client_id})
        await rig.api.delete(f"/v1/clients/globex/{PROVIDER}")
    else:
        body = {"credentials": {"access_token": "canary-at"}, "verify": False}
        await rig.api.put(f"/v1/connections/globex/{PROVIDER}/c", json=body)
        await rig.api.delete(f"/v1/connections/globex/{PROVIDER}/c")

    assert (await rig.api.delete("/v1/tenants/globex")).status_code == 204


LEADING_ASTRAY = [
    "http://app.example/",
    "https://app.example/#done",
    "https://app.example/#",
    "https://user@app.example/",
    "https://:pass@app.example/",
    "https://@app.example/",
    "https://app.example\\@evil.example/",
    "https://app.example:0/",
    "https://app.example:99999/",
    "https://app.example:x/",
    "https://[/",
    "https:///done",
    "https:app.example",
    "//app.example/",
    "/done",
    "app.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "ftp://app.example/",
    "http://127.0.0.1.app.example/",
    "http://localhost.app.example/",
    "http://0.0.0.0/",
    "https://\u0430pp.example/",
    "https://app.example/ x",
    " https://app.example/",
]


@on_sqlite
async def test_a_return_address_that_could_lead_astray_is_refused(rig: Rig, store: Store) -> None:
    """Browsers are sent there with the result: https, or this machine, and readable in one way only."""
    for url in LEADING_ASTRAY:
        answer = await put(rig, "globex", return_urls=["https://app.example/", url])
        assert answer.is_client_error, url
        refused(answer, 422, "invalid_url")
    assert "globex" not in await parents(rig)


# ---- clients


@on_sqlite
async def test_a_registration_is_shown_without_its_secret(rig: Rig, leaks: Leaks) -> None:
    """Not even in part, by whatever route."""
    answers = [
        await rig.api.put(CLIENT, json={"client_id": "client-1", "client_secret": "canary-cs"}),
        await rig.api.get(CLIENT),
    ]

    for answer in answers:
        leaks.check(answer.text)
        shown = answer.json()
        assert datetime.fromisoformat(shown["created_at"]) <= datetime.now(UTC)
        since = [datetime.fromisoformat(shown["secrets"][slot].pop("since")) for slot in ("previous", "current")]
        assert since == sorted(since)
        assert shown == {
            "tenant": TENANT,
            "provider": PROVIDER,
            "client_id": "client-1",
            "current": True,
            "state": "active",
            "created_at": shown["created_at"],
            "secrets": {
                "in_use": "current",
                "current": {"client_secret": True},
                "previous": {"client_secret": True},
            },
        }


@on_sqlite
async def test_the_same_client_with_another_secret_is_the_same_client(rig: Rig) -> None:
    """Wrong secrets stop its connections; the right one, put again, takes the client out of its pause."""
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.api.put(CLIENT, json={"client_id": "client-1", "client_secret": "canary-wrong"})
    assert (await rig.api.delete(f"{CLIENT}/secrets/previous")).status_code == 204

    refused(await rig.token("c"), 503, "client_misconfigured")
    rejected = (await rig.api.get(CLIENT)).json()
    again = await rig.api.put(CLIENT, json={"client_id": "client-1", "client_secret": rig.provider.client_secret})

    assert rejected["state"] == "rejected"
    assert rejected["rejected_at"].endswith("Z")
    assert again.json()["state"] == "active"
    assert (await rig.token("c")).status_code == 200
    ledger = await rig.provider.ledger()
    assert {event["client_id"] for event in ledger.exchanges(grant.family)} == {"client-1"}
    assert ledger.replays() == []


async def test_another_client_leaves_existing_grants_with_theirs(rig: Rig) -> None:
    """A refresh token belongs to the client that got it: new consents use the new one, old grants the old."""
    await rig.provider.configure(
        clients={"client-1": rig.provider.client_secret, "client-2": "canary-client-secret-2"}
    )
    _, old = await rig.a_connection("old", expires_in=0)

    await rig.api.put(CLIENT, json={"client_id": "client-2", "client_secret": "canary-client-secret-2"})
    new = await rig.provider.mint(client_id="client-2")
    await rig.adopt(new, "new", expires_in=0)

    assert (await rig.api.get(CLIENT)).json()["client_id"] == "client-2"
    assert (await rig.token("old")).status_code == 200
    assert (await rig.token("new")).status_code == 200
    ledger = await rig.provider.ledger()
    assert [event["client_id"] for event in ledger.exchanges(old.family)] == ["client-1"]
    assert [event["client_id"] for event in ledger.exchanges(new.family)] == ["client-2"]


@on_sqlite
async def test_a_removed_registration_serves_its_grants_and_no_new_ones(rig: Rig) -> None:
    """With grants it is retired, without it is gone; either way new consents have none."""
    await rig.a_connection("c", expires_in=0)

    gone = await rig.api.delete(CLIENT)

    assert gone.status_code == 204
    refused(await rig.api.get(CLIENT), 404, "not_found")
    refused(await rig.api.delete(CLIENT), 404, "not_found")
    refused(await rig.api.post(f"/v1/connections/{TENANT}/{PROVIDER}/d/authorize", json={}), 409, "no_client")
    assert (await rig.token("c")).status_code == 200


async def test_a_tenant_uses_the_nearest_registration_above_it(rig: Rig) -> None:
    """Its own before its parent's; shown is only its own."""
    await put(rig, "acme-eu", TENANT)
    grant = await rig.provider.mint()
    body = {
        "credentials": {"access_token": grant.access_token, "refresh_token": grant.refresh_token},
        "verify": False,
    }

    assert (await rig.api.put(f"/v1/connections/acme-eu/{PROVIDER}/c", json=body)).status_code == 201
    refused(await rig.api.get(f"/v1/clients/acme-eu/{PROVIDER}"), 404, "not_found")
    assert (await rig.api.post(f"/v1/connections/acme-eu/{PROVIDER}/d/authorize", json={})).status_code == 201


@on_sqlite
async def test_a_registration_needs_a_provider_and_a_tenant(rig: Rig, store: Store) -> None:
    """Neither is made up."""
    refused(await rig.api.put(f"/v1/clients/{TENANT}/unknown", json={"client_id": "x"}), 404, "not_found")
    refused(await rig.api.put(f"/v1/clients/nowhere/{PROVIDER}", json={"client_id": "x"}), 404, "not_found")
    public = {"client_id": "public", "settings": {"token_endpoint_auth_method": "none"}}
    assert (await rig.api.put(CLIENT, json=public)).json()["client_id"] == "public"


# ---- callers


@on_sqlite
async def test_a_key_is_shown_once_and_works_until_it_is_withdrawn(rig: Rig) -> None:
    """201 with the key; lists and details without it; 204, and from then on 401."""
    wanted = {
        "name": "billing",
        "scopes": ["tokens:read", "connections:read"],
        "tenant": TENANT,
        "providers": [PROVIDER],
        "names": ["c"],
        "expires_at": "2999-01-01T00:00:00+02:00",
    }

    made = await rig.api.post("/v1/callers", json=wanted)
    body = made.json()
    path = f"/v1/callers/{body['id']}"
    shown = await rig.api.get(path)

    assert made.status_code == 201
    assert body == {
        "id": body["id"],
        "key": body["key"],
        "name": "billing",
        "scopes": ["connections:read", "tokens:read"],
        "tenant": TENANT,
    }
    assert (await rig.api.get("/v1/providers", headers=bearing(body["key"]))).status_code == 200
    assert shown.json() == {
        "id": body["id"],
        **wanted,
        "expires_at": "2998-12-31T22:00:00Z",
        "created_at": shown.json()["created_at"],
    }
    assert (await rig.api.delete(path)).status_code == 204
    refused(await rig.api.get("/v1/providers", headers=bearing(body["key"])), 401)
    refused(await rig.api.get(path), 404, "not_found")
    refused(await rig.api.delete(path), 404, "not_found")


async def test_keys_are_listed_page_by_page_within_the_subtree(rig: Rig) -> None:
    """Each once, and never the key itself or another tenant's."""
    await put(rig, "globex")
    for tenant in (TENANT, "globex"):
        for _ in range(5):
            await rig.key("tokens:read", tenant=tenant)
    mine = await rig.key("callers:write", tenant=TENANT)
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await rig.api.get("/v1/callers", params=query, headers=bearing(mine))).json()
        found += page["items"]
        if "next" not in page:
            break
        query["cursor"] = page["next"]

    assert len(found) == len({one["id"] for one in found}) == 6
    assert {one["tenant"] for one in found} == {TENANT}
    assert not any("key" in one or "key_digest" in one for one in found)


@on_sqlite
async def test_a_key_that_makes_no_sense_is_not_made(rig: Rig, store: Store) -> None:
    """Unknown scopes, an end that has passed or lies beyond the calendar, a limit to nothing."""
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"scopes": ["tokens:write"]}, 422, "invalid_scope"),
        ({"scopes": []}, 400, "invalid_request"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "invalid_expiry"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, 422, "invalid_moment"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, 422, "invalid_moment"),
        ({"providers": []}, 400, "invalid_request"),
        ({"names": []}, 400, "invalid_request"),
        ({"tenant": "no such"}, 422, "invalid_name"),
    ]
    for wrong, status, code in cases:
        body = {"name": "x", "scopes": ["tokens:read"], **wrong}
        refused(await rig.api.post("/v1/callers", json=body), status, code)
    assert len((await rig.api.get("/v1/callers")).json()["items"]) == 1
