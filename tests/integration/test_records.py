"""The audit over HTTP: the newest first, page by page, as far as a key may see."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.conftest import on_sqlite
from tests.integration.test_api import bearing, refused
from tests.rig import PROVIDER, TENANT, Rig
from vault.audit import Event
from vault.callers import OPERATOR
from vault.http.views.common import encode_cursor
from vault.store import records as store_records
from vault.trail import records

DAY = 86_400_000  # milliseconds


async def write(rig: Rig, *events: Event) -> None:
    await asyncio.gather(*map(rig.vault.writer.record, events))


async def page(rig: Rig, key: str | None = None, **query: Any) -> dict[str, Any]:
    headers = {} if key is None else bearing(key)
    answer = await rig.api.get("/v1/audit", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def everything(rig: Rig, key: str | None = None, **query: Any) -> list[dict[str, Any]]:
    """Return all pages one after the other."""
    found: list[dict[str, Any]] = []
    while True:
        one = await page(rig, key, **query)
        found += one["items"]
        if "next" not in one:
            return found
        query["cursor"] = one["next"]


async def stored(rig: Rig) -> list[tuple[str, int]]:
    """Return the records of the audit, the newest first."""
    newest_first = "SELECT stream, seq FROM audit_events ORDER BY at DESC, stream DESC, seq DESC"
    async with rig.vault.database.read() as tx:
        return [(row.stream, row.seq) for row in await tx.execute(text(newest_first))]


def placed(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(one["stream"], one["seq"]) for one in found]


async def test_a_record_is_shown_as_it_was_written(rig: Rig) -> None:
    """Who, what, on what, and its detail as an object; absent is absent."""
    await rig.a_connection("c")
    answer = await rig.token("c")
    await write(rig, Event("scheduler", "audit.pruned", detail={"stream": "x", "seq": 5}, request_id=None))

    pruned, handed_out, *_ = (await page(rig, limit=5))["items"]

    assert handed_out["action"] == "token.handed_out"
    about = {name: value for name, value in handed_out.items() if name not in {"at", "stream", "seq", "actor"}}
    assert about == {
        "action": "token.handed_out",
        "outcome": "ok",
        "tenant": TENANT,
        "provider": PROVIDER,
        "name": "c",
        "generation": 1,
        "request_id": answer.headers["x-request-id"],
        "detail": {},
    }
    assert abs(datetime.fromisoformat(handed_out["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert pruned["detail"] == {"stream": "x", "seq": 5}
    assert {"tenant", "provider", "name", "generation", "request_id"}.isdisjoint(pruned)


@pytest.mark.parametrize("window", [3, 5_000])
async def test_every_record_comes_once_the_newest_first(
    rig: Rig, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of pages and windows, and however many records are of one moment."""
    monkeypatch.setattr(store_records, "WINDOW", window)
    await write(rig, *(Event("operator", "tenant.changed", tenant=TENANT, name=f"n{n}") for n in range(20)))
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text("UPDATE audit_events SET at = at - at % 1000"))

    for limit in (1, 4, 200):
        assert placed(await everything(rig, limit=limit)) == await stored(rig)


async def test_what_is_rare_is_found_however_far_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request looks through a bounded part of the audit, and says where to go on."""
    monkeypatch.setattr(store_records, "WINDOW", 3)
    monkeypatch.setattr(records, "WINDOWS", 2)
    await write(rig, Event("operator", "tenant.deleted", tenant=TENANT))
    await write(rig, *(Event("operator", "tenant.changed", tenant=TENANT) for _ in range(20)))

    first = await page(rig, action="tenant.deleted", limit=1)
    found = await everything(rig, action="tenant.deleted", limit=1)

    assert (first["items"], "next" in first) == ([], True)
    assert [one["action"] for one in found] == ["tenant.deleted"]


async def test_each_filter_takes_what_it_says(rig: Rig) -> None:
    """By tenant with all below, provider, name, action, outcome, actor, request and time, and all together."""
    await rig.vault.tenants.put(OPERATOR, "acme-eu", parent=TENANT, name="x", return_urls=[])
    wanted = Event("scheduler", "token.rejected", "outdated", "acme-eu", "other", "d", request_id="request-1")
    await write(rig, wanted, Event("operator", "token.refreshed", "ok", TENANT, PROVIDER, "c"))
    (own,) = (await page(rig, request_id="request-1"))["items"]
    filters = {
        "provider": "other",
        "name": "d",
        "action": "token.rejected",
        "outcome": "outdated",
        "actor": "scheduler",
        "request_id": "request-1",
    }

    for name, value in filters.items():
        assert {one[name] for one in await everything(rig, **{name: value})} == {value}, name
        assert own in await everything(rig, **{name: value})
    assert own in await everything(rig, tenant=TENANT)
    assert {one["tenant"] for one in await everything(rig, tenant="acme-eu")} == {"acme-eu"}
    assert await everything(rig, tenant=TENANT, **filters) == [own]
    assert await everything(rig, **{**filters, "outcome": "ok"}) == []


async def test_a_span_has_its_beginning_and_not_its_end(rig: Rig) -> None:
    """`since` counts and `until` does not, to the millisecond, in whatever zone they are written."""
    await write(rig, Event("operator", "tenant.changed", tenant=TENANT, request_id="request-1"))
    async with rig.vault.database.transaction() as tx:
        moment = 1_767_225_600_123
        await tx.execute(text(f"UPDATE audit_events SET at = {moment} WHERE request_id = 'request-1'"))

    for query, found in [
        ({"since": "2026-01-01T00:00:00.123Z", "until": "2026-01-01T00:00:00.124Z"}, 1),
        ({"since": "2026-01-01T00:00:00.124Z"}, 0),
        ({"until": "2026-01-01T00:00:00.123Z"}, 0),
        ({"since": "2026-01-01T02:00:00.123+02:00", "until": "2026-01-01T02:00:00.124+02:00"}, 1),
    ]:
        assert len(await everything(rig, request_id="request-1", **query)) == found, query


async def test_a_key_sees_the_records_within_its_limits(rig: Rig) -> None:
    """Its tenant and all below, and, where it is limited to them, its providers and names alone."""
    for tenant, parent in (("acme-eu", TENANT), ("globex", "platform")):
        await rig.vault.tenants.put(OPERATOR, tenant, parent=parent, name=tenant, return_urls=[])
    paths = [(t, p, n) for t in (TENANT, "acme-eu", "globex") for p in (PROVIDER, "other") for n in ("c", "d")]
    await write(rig, *(Event("operator", "token.refreshed", "ok", *path) for path in paths))
    await write(rig, Event("operator", "provider.changed", provider=PROVIDER))

    async def seen(**limits: Any) -> list[dict[str, Any]]:
        return await everything(rig, await rig.key("audit:read", **limits))

    own = await seen(tenant=TENANT)
    assert {one["tenant"] for one in own} == {TENANT, "acme-eu"}
    assert {"tenant.changed", "token.refreshed"} <= {one["action"] for one in own}
    assert {(one["tenant"], one["provider"]) for one in await seen(tenant=TENANT, providers=["other"])} == {
        (TENANT, "other"),
        ("acme-eu", "other"),
    }
    assert {one["name"] for one in await seen(tenant=TENANT, names=["d"])} == {"d"}
    assert {one["provider"] for one in await seen(providers=[PROVIDER])} == {PROVIDER}
    assert "provider.changed" in {one["action"] for one in await seen(providers=[PROVIDER])}
    assert {one.get("tenant") for one in await seen()} == {None, "platform", TENANT, "acme-eu", "globex"}
    key = await rig.key("audit:read", tenant=TENANT, providers=["other"])
    assert await everything(rig, key, provider=PROVIDER) == []
    for tenant in ("globex", "platform", "nowhere"):
        refused(await rig.api.get(f"/v1/audit?tenant={tenant}", headers=bearing(key)), 404, "not_found")


async def test_what_a_tenant_of_that_name_did_before_is_nobody_elses(rig: Rig) -> None:
    """Who makes a tenant anew does not see its predecessor's records; a key for the whole tree does."""
    await rig.vault.tenants.put(OPERATOR, "globex", parent="platform", name="x", return_urls=[])
    await write(rig, Event("operator", "token.refreshed", "ok", "globex", PROVIDER, "c"))
    assert (await rig.api.delete("/v1/tenants/globex")).status_code == 204
    gone = {one["action"] for one in await everything(rig, tenant="globex")}
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text("UPDATE audit_events SET at = at - 5"))
    await rig.vault.tenants.put(OPERATOR, "globex", parent=TENANT, name="y", return_urls=[])

    mine = await everything(rig, await rig.key("audit:read", tenant=TENANT), tenant="globex")

    assert gone == {"tenant.changed", "token.refreshed", "tenant.deleted"}
    assert [one["action"] for one in mine] == ["tenant.changed"]
    assert len(await everything(rig, tenant="globex")) > len(mine)


@on_sqlite
async def test_a_question_that_makes_no_sense_is_refused(rig: Rig) -> None:
    """Moments without a zone, words that nothing is called, and cursors that are not ours."""
    for query, status, code in [
        ("since=2026-01-01T00:00:00", 422, "invalid_moment"),
        ("since=1767225600", 422, "invalid_moment"),
        ("until=now", 422, "invalid_moment"),
        ("until=9999-12-31T23:59:59Z", 422, "invalid_moment"),
        ("action=token.stolen", 400, "invalid_request"),
        ("actor=%00", 400, "invalid_request"),
        ("outcome=", 400, "invalid_request"),
        ("request_id=a%0a", 400, "invalid_request"),
        ("name=a%00", 422, "invalid_name"),
        ("limit=0", 400, "invalid_request"),
        (f"cursor={encode_cursor(['1', 'b', 'c'])}", 422, "invalid_cursor"),
        (f"cursor={encode_cursor(['9' * 19, 'a', '1'])}", 422, "invalid_cursor"),
    ]:
        refused(await rig.api.get(f"/v1/audit?{query}"), status, code)


async def test_a_record_that_was_altered_hides_no_other(rig: Rig) -> None:
    """A detail that is no object any more is said to be unreadable."""
    await write(rig, Event("operator", "tenant.changed", tenant=TENANT, request_id="request-1"))
    for spoilt in ("{", "[]", ""):
        async with rig.vault.database.transaction() as tx:
            await tx.execute(text("UPDATE audit_events SET detail = :d"), {"d": spoilt})
        (one,) = (await page(rig, request_id="request-1"))["items"]
        assert one["detail"] == {"unreadable": True}
