"""What people edit: only what is sent, only over what they saw, and found again by what they wrote on it."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import age, audited, eventually
from tests.integration.test_api import always, bearing, refused
from tests.rig import PROVIDER, TENANT, Rig
from vault.editing import LARGEST_NOTES
from vault.store import connections

CONNECTION = f"/v1/connections/{TENANT}/{PROVIDER}/c"
NEW = f"/v1/connections/{TENANT}/{PROVIDER}/new"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
CREDENTIALS: dict[str, Any] = {"credentials": {"access_token": "canary-at"}, "verify": False}


async def patch(rig: Rig, address: str = CONNECTION, match: str | None = None, **body: Any) -> httpx.Response:
    return await rig.api.patch(address, json=body, headers={} if match is None else {"If-Match": match})


async def etag(rig: Rig, address: str = CONNECTION) -> str:
    answer = await rig.api.get(address)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


# --- connections ------------------------------------------------------------------------------------------


async def test_a_patch_changes_what_it_names_and_no_more(rig: Rig, leaks: Leaks) -> None:
    """One field after the other; the grant is untouched, and nobody is asked about it."""
    _, grant = await rig.a_connection("c")
    await patch(rig, metadata={"crm": "17", "plan": {"seats": 3, "kind": "pro"}}, settings={"region": "eu"})

    answers = [
        await patch(rig, enabled=False),
        await patch(rig, shared=True),
        await patch(rig, prefer="inherited"),
        await patch(rig, metadata={"crm": None, "plan": {"kind": None}, "new": True}),
        await patch(rig, settings=None),
        await patch(rig),
    ]

    for answer in answers:
        always(answer)
        leaks.check(answer.text)
        assert answer.status_code == 200, answer.text
    last = answers[-1].json()
    assert (last["enabled"], last["shared"], last["prefer"]) == (False, True, "inherited")
    assert last["metadata"] == {"plan": {"seats": 3}, "new": True}
    assert answers[0].json()["settings"] == {"region": "eu"}
    assert "settings" not in last
    assert last["generation"] == 1
    await patch(rig, enabled=True, prefer="own")
    assert (await rig.token("c")).json()["access_token"] == grant.access_token
    assert await rig.provider.counts() == {}


@on_sqlite
async def test_a_put_puts_notes_in_the_place_of_others(rig: Rig) -> None:
    """Unlike a PATCH, it merges nothing; and a field that it does not name it leaves alone."""
    await rig.a_connection("c")
    await rig.api.put(CONNECTION, json={"metadata": {"a": 1}, "settings": {"b": 2}, "shared": True})

    body = (await rig.api.put(CONNECTION, json={"metadata": {"c": None}})).json()

    assert (body["metadata"], body["settings"], body["shared"]) == ({"c": None}, {"b": 2}, True)


@on_sqlite
async def test_a_patch_makes_nothing(rig: Rig) -> None:
    """404 for what is not there, and still nothing is."""
    refused(await patch(rig, NEW, **CREDENTIALS), 404, "not_found")
    refused(await patch(rig, NEW, '"x"', enabled=True), 404, "not_found")
    refused(await rig.api.get(NEW), 404, "not_found")


@on_sqlite
async def test_patched_credentials_are_verified_first(rig: Rig) -> None:
    """What the provider refuses is not stored, nor is anything else of that request."""
    _, grant = await rig.a_connection("c")
    dead = await rig.provider.mint()
    await rig.provider.kill_access(dead.access_token)

    tokens = {"access_token": dead.access_token, "refresh_token": dead.refresh_token}
    refused(await patch(rig, credentials=tokens, shared=True), 422, "credentials_rejected")

    assert (await rig.api.get(CONNECTION)).json()["shared"] is False
    assert (await rig.token("c")).json()["access_token"] == grant.access_token


@on_sqlite
@pytest.mark.parametrize("field", ["enabled", "prefer", "shared", "kind", "credentials", "verify"])
async def test_only_notes_can_be_null(rig: Rig, store: Store, field: str) -> None:
    """Nothing else can be without a value: a null there is a mistake, and changes nothing."""
    await rig.a_connection("c")
    before = await etag(rig)

    refused(await patch(rig, CONNECTION, None, **{field: None}), 400, "invalid_request")

    assert await etag(rig) == before


@on_sqlite
async def test_notes_do_not_grow_without_end(rig: Rig, store: Store) -> None:
    """What is merged from many requests is limited like what one request could bring."""
    await rig.a_connection("c")
    large = "x" * (LARGEST_NOTES // 2)

    assert (await patch(rig, metadata={"a": large})).status_code == 200
    problem = refused(await patch(rig, metadata={"b": large}), 422, "too_large")

    assert problem["field"] == "metadata"
    assert (await rig.api.get(CONNECTION)).json()["metadata"] == {"a": large}


# --- conditions -------------------------------------------------------------------------------------------


@on_sqlite
async def test_a_tag_stands_for_what_people_edit(rig: Rig) -> None:
    """It changes with each field and with another grant; not with refreshes, failures, pauses or time."""
    _, grant = await rig.a_connection("c")
    seen = [await etag(rig)]
    for body in (
        {"metadata": {"a": 1}},
        {"settings": {"a": 1}},
        {"enabled": False},
        {"enabled": True, "shared": True},
        {"prefer": "inherited"},
        CREDENTIALS,
    ):
        answer = await rig.api.put(CONNECTION, json=body)
        seen.append(answer.headers["etag"])
        assert await etag(rig) == seen[-1]
    assert len(set(seen)) == len(seen)
    assert all(tag.startswith('"') for tag in seen)

    await rig.adopt(grant, "c", expires_in=0)
    tag = await etag(rig)
    await rig.vault.refresher.refresh(await rig.look("c"), "operator")
    assert (await rig.api.get(CONNECTION)).json()["generation"] > 1
    assert await etag(rig) == tag
    await rig.provider.revoke_family(grant.family)
    await age(rig, timedelta(hours=2))
    await rig.vault.refresher.refresh(await rig.look("c"), "operator")
    await rig.api.post(f"/v1/tenants/{TENANT}/pause")
    shown = (await rig.api.get(CONNECTION)).json()
    assert (shown["status"], shown["paused"]) == ("failed", "tenant")
    assert await etag(rig) == tag


async def test_a_change_is_made_over_what_was_seen_only(rig: Rig) -> None:
    """412 for each way of changing, and nothing is changed; with the tag of what is there, it is."""
    await rig.a_connection("c")
    old = await etag(rig)
    new = (await patch(rig, metadata={"a": 1})).headers["etag"]
    changes = len(await audited(rig, "connection.changed"))

    for header in ({"If-Match": old}, {"If-Match": f"W/{new}"}, {"If-None-Match": "*"}):
        refused(await rig.api.put(CONNECTION, json={"metadata": {}}, headers=header), 412, "precondition_failed")
    refused(await patch(rig, match=old, metadata=None), 412, "precondition_failed")
    refused(await rig.api.delete(CONNECTION, headers={"If-Match": old}), 412, "precondition_failed")
    assert await etag(rig) == new
    assert len(await audited(rig, "connection.changed")) == changes

    assert (await patch(rig, match=f"{old}, {new}", metadata={"b": 1})).status_code == 200
    assert (await patch(rig, match="*", metadata={"c": 1})).status_code == 200
    gone = await rig.api.delete(CONNECTION, headers={"If-Match": await etag(rig)})
    assert gone.status_code == 200


@on_sqlite
async def test_a_condition_may_be_sent_in_several_lines(rig: Rig) -> None:
    """They are one list (RFC 9110, 5.3), whichever line the tag is on; what is no condition is not ignored."""
    await rig.a_connection("c")
    for address, body in ((CONNECTION, {"shared": True}), (f"/v1/tenants/{TENANT}", {"name": "B"})):
        for tags in (('"x"', "TAG"), ("TAG", '"x"'), ('"x", "y"', 'W/"z"', "TAG")):
            tag = await etag(rig, address)
            lines = [("If-Match", tag if line == "TAG" else line) for line in tags]
            assert (await rig.api.patch(address, json=body, headers=lines)).status_code == 200, tags

    strange = [("If-Match", '"x"'), ("If-Match", '"y"')]
    refused(await rig.api.patch(CONNECTION, json={}, headers=strange), 412, "precondition_failed")
    for name, second in (("If-Match", "*"), ("If-Match", "y"), ("If-None-Match", '"y"')):
        first = "*" if name == "If-None-Match" else await etag(rig)
        answer = await rig.api.put(CONNECTION, json={}, headers=[(name, first), (name, second)])
        refused(answer, 422, "invalid_condition")


@on_sqlite
async def test_a_change_can_be_a_beginning_or_none_at_all(rig: Rig) -> None:
    """`If-None-Match: *` makes and does not change; `If-Match` changes and does not make."""
    for header in ({"If-Match": "*"}, {"If-Match": '"x"'}):
        refused(await rig.api.put(NEW, json=CREDENTIALS, headers=header), 412, "precondition_failed")
    refused(await rig.api.get(NEW), 404)

    once = {"If-None-Match": "*"}
    assert (await rig.api.put(NEW, json=CREDENTIALS, headers=once)).status_code == 201
    refused(await rig.api.put(NEW, json=CREDENTIALS, headers=once), 412, "precondition_failed")
    assert (await rig.api.get(NEW)).json()["generation"] == 1


@on_sqlite
async def test_what_is_no_condition_is_not_ignored(rig: Rig, store: Store) -> None:
    """422, for connections and tenants alike; a read has no condition, for it tells of health too."""
    await rig.a_connection("c")
    tag = await etag(rig)
    for address, body in ((CONNECTION, {"shared": True}), (f"/v1/tenants/{TENANT}", {"name": "B"})):
        refused(await patch(rig, address, tag.strip('"'), **body), 422, "invalid_condition")
        wrong = await rig.api.put(address, json={"name": "B"}, headers={"If-None-Match": tag})
        assert wrong.status_code in {400, 422}
    assert await etag(rig) == tag
    assert (await rig.api.get(CONNECTION, headers={"If-None-Match": tag})).status_code == 200


@on_postgres
async def test_of_two_edits_of_the_same_thing_one_is_refused(replicas: Replicas, store: Store) -> None:
    """On two replicas at the same moment: what the one saw is not there any more for the other."""
    rig, other = await replicas(), await replicas()
    await rig.a_connection("c")
    for number in range(10):
        tag = await etag(rig)

        answers = await asyncio.gather(
            patch(rig, match=tag, metadata={"a": number}), patch(other, match=tag, metadata={"b": number})
        )

        assert sorted(answer.status_code for answer in answers) == [200, 412]


@on_postgres
@pytest.mark.parametrize(("headers", "status"), [({"If-None-Match": "*"}, 412), ({}, 200)])
async def test_of_two_beginnings_one_is_a_change(
    rig: Rig, store: Store, headers: dict[str, str], status: int
) -> None:
    """Made elsewhere at the same moment: what was to make it changes it, unless it was only to make it."""
    model = await rig.a_connection("c")
    row = {"id": "made-elsewhere", "tenant_id": TENANT, "provider": PROVIDER, "name": "new", "kind": "oauth2"}

    async def is_waiting() -> bool:
        async with rig.vault.database.read() as tx:
            return bool(await tx.scalar(text(WAITING)))

    async with rig.vault.database.transaction() as elsewhere:
        await connections.add(elsewhere, {**row, "client": None, "created_at": model[0].created_at})
        ours = asyncio.create_task(rig.api.put(NEW, json=CREDENTIALS, headers=headers))
        await eventually(is_waiting)
    answer = await ours

    assert answer.status_code == status, answer.text
    assert (await rig.look("new")).id == "made-elsewhere"


# --- tenants ----------------------------------------------------------------------------------------------

GLOBEX = "/v1/tenants/globex"


async def globex(rig: Rig) -> dict[str, Any]:
    made = await rig.api.put(
        GLOBEX, json={"name": "Globex", "parent": TENANT, "inherit": False, "return_urls": ["https://g.example/"]}
    )
    assert made.status_code == 201, made.text
    shown: dict[str, Any] = made.json()
    return shown


@on_sqlite
async def test_a_tenant_is_patched_field_by_field(rig: Rig) -> None:
    """What is not sent stays; a PUT is the whole of it, and what it leaves out is as for a new tenant."""
    before = await globex(rig)
    change: dict[str, Any]
    for change in ({"name": "G"}, {"inherit": True}, {"return_urls": []}, {"parent": "platform"}, {}):
        answer = await patch(rig, GLOBEX, **change)
        assert answer.status_code == 200, answer.text
        before.update(change)
        assert answer.json() == before
    await patch(rig, GLOBEX, inherit=False)
    assert (await rig.api.put(GLOBEX, json={"name": "G"})).json()["inherit"] is True


async def test_a_tenant_is_changed_over_what_was_seen_only(rig: Rig) -> None:
    """412 for PUT, PATCH and DELETE; its tag changes with each field and with no pause."""
    await globex(rig)
    seen = [await etag(rig, GLOBEX)]
    change: dict[str, Any]
    for change in ({"name": "G"}, {"inherit": True}, {"return_urls": []}, {"parent": "platform"}):
        seen.append((await patch(rig, GLOBEX, seen[-1], **change)).headers["etag"])
    assert len(set(seen)) == len(seen)
    await rig.api.post(f"{GLOBEX}/pause")
    assert await etag(rig, GLOBEX) == seen[-1]

    old, body = {"If-Match": seen[0]}, {"name": "X"}
    refused(await rig.api.put(GLOBEX, json=body, headers=old), 412, "precondition_failed")
    refused(await rig.api.put(GLOBEX, json=body, headers={"If-None-Match": "*"}), 412, "precondition_failed")
    refused(await rig.api.patch(GLOBEX, json=body, headers=old), 412, "precondition_failed")
    refused(await rig.api.delete(GLOBEX, headers=old), 412, "precondition_failed")
    assert await etag(rig, GLOBEX) == seen[-1]
    assert (await rig.api.delete(GLOBEX, headers={"If-Match": seen[-1]})).status_code == 204
    refused(await patch(rig, GLOBEX, name="X"), 404, "not_found")
    once = await rig.api.put(GLOBEX, json=body, headers={"If-None-Match": "*"})
    assert once.status_code == 201


@on_sqlite
async def test_a_patch_of_a_tenant_keeps_to_the_rules_of_the_tree(rig: Rig) -> None:
    """No cycles, no moving the root, no unreachable places, no bad addresses; nor one's own tenant."""
    await globex(rig)
    key = await rig.key("tenants:write", tenant=TENANT)

    refused(await patch(rig, f"/v1/tenants/{TENANT}", parent="globex"), 409, "tenant_cycle")
    refused(await patch(rig, "/v1/tenants/platform", parent=TENANT), 409, "tenant_is_root")
    refused(await patch(rig, GLOBEX, return_urls=["http://g.example/"]), 422, "invalid_url")
    refused(await patch(rig, GLOBEX, name=None), 400, "invalid_request")
    assert (await patch(rig, "/v1/tenants/platform", name="Ours")).json()["name"] == "Ours"
    for address, body in (
        (f"/v1/tenants/{TENANT}", {"inherit": False}),
        (GLOBEX, {"parent": "platform"}),
        ("/v1/tenants/platform", {"name": "Mine"}),
    ):
        refused(await rig.api.patch(address, json=body, headers=bearing(key)), 404, "not_found")
    assert (await rig.api.patch(GLOBEX, json={"name": "G"}, headers=bearing(key))).status_code == 200


# --- finding ----------------------------------------------------------------------------------------------

ODD = ("a.b", 'a"b', "a'b", "$", "$.a", "[0]", "0", "a b", "é\U0001f600", "%", "a\\b", "metadata.x", "' OR 1=1 --")
NOTES: dict[str, dict[str, Any]] = {
    "text": {"k": "17", "other": "x"},
    "number": {"k": 17},
    "negative": {"k": -17},
    "fraction": {"k": 17.5},
    "true": {"k": True},
    "said": {"k": "true"},
    "false": {"k": False},
    "null": {"k": None},
    "nothing": {"k": ""},
    "list": {"k": ["17"]},
    "object": {"k": {"17": 17}},
    "nul": {"k": "17\x00", "other": "x"},
    "case": {"K": "17"},
    "odd": {key: f"v {key}" for key in ODD},
    "none": {},
}


async def found(rig: Rig, **metadata: str) -> set[str]:
    query = {f"metadata.{key}": value for key, value in metadata.items()}
    answer = await rig.api.get("/v1/connections", params=query)
    assert answer.status_code == 200, answer.text
    return {one["name"] for one in answer.json()["items"]}


async def test_connections_are_found_by_what_is_written_on_them(rig: Rig) -> None:
    """Texts, whole numbers and booleans are what they look like; several filters are true together."""
    for name, notes in NOTES.items():
        address = f"/v1/connections/{TENANT}/{PROVIDER}/{name}"
        assert (await rig.api.put(address, json={**CREDENTIALS, "metadata": notes})).status_code == 201

    assert await found(rig, k="17") == {"text", "number"}
    assert await found(rig, k="-17") == {"negative"}
    assert await found(rig, k="true") == {"true", "said"}
    assert await found(rig, k="false") == {"false"}
    assert await found(rig, k="1") == set()
    assert await found(rig, k="") == {"nothing"}
    assert await found(rig, k="null") == set()
    assert await found(rig, k="17.5") == set()
    assert await found(rig, k='["17"]') == set()
    assert await found(rig, K="17") == {"case"}
    assert await found(rig, k="17", other="x") == {"text"}
    assert await found(rig, k="17", other="y") == set()
    assert await found(rig, missing="17") == set()
    for key in ODD:
        assert await found(rig, **{key: f"v {key}"}) == {"odd"}, key
        assert await found(rig, **{key: "v"}) == set(), key
    assert await found(rig, **{key: f"v {key}" for key in ODD}) == {"odd"}
    assert await found(rig) == set(NOTES)


async def test_a_filter_shows_nothing_that_the_key_does_not(rig: Rig) -> None:
    """It combines with the tenant, the provider, the key's limits and the pages."""
    await rig.api.put("/v1/tenants/globex", json={"name": "G"})
    for tenant in (TENANT, "globex"):
        for name in ("a", "b", "c"):
            notes = {"crm": "1" if name != "b" else "2"}
            address = f"/v1/connections/{tenant}/{PROVIDER}/{name}"
            await rig.api.put(address, json={**CREDENTIALS, "metadata": notes})
    key = bearing(await rig.key("connections:read", tenant="globex"))

    async def ask(**query: Any) -> dict[str, Any]:
        answer = await rig.api.get("/v1/connections", params={"metadata.crm": "1", **query}, headers=key)
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        return body

    first = await ask(limit=1)
    second = await ask(limit=1, cursor=first["next"])
    assert [(one["tenant"], one["name"]) for one in (*first["items"], *second["items"])] == [
        ("globex", "a"),
        ("globex", "c"),
    ]
    assert (await ask(provider="other"))["items"] == []
    refused(await rig.api.get("/v1/connections", params={"metadata.crm": "1", "tenant": TENANT}, headers=key), 404)


@on_sqlite
@pytest.mark.parametrize(
    "query",
    [
        "metadata.=x",
        f"metadata.{'k' * 257}=x",
        f"metadata.k={'v' * 257}",
        "metadata.k=%00",
        "metadata.%00=x",
        "&".join(f"metadata.k{number}=x" for number in range(21)),
    ],
)
async def test_what_is_no_filter_is_refused(rig: Rig, store: Store, query: str) -> None:
    """It is not ignored: a list without it would be a wrong answer. Twice the same is refused as ever."""
    problem = refused(await rig.api.get(f"/v1/connections?{query}"), 422, "invalid_filter")

    assert problem["field"] == "metadata"
    refused(await rig.api.get("/v1/connections?metadata.k=1&metadata.k=1"), 400, "invalid_request")
    assert json.loads((await rig.api.get("/v1/connections?metadata.k=1")).content) == {"items": []}
