"""Usage: every hand-out is in exactly one figure, whoever counts, whoever dies, and whatever retention takes."""

import asyncio
import json
import signal
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from tests import killable
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.test_api import bearing, refused
from tests.killable import Order, Step
from tests.rig import PROVIDER, TENANT, Rig
from vault.audit import Event
from vault.callers import OPERATOR
from vault.http.views.common import encode_cursor
from vault.store import usage
from vault.store.moments import EPOCH
from vault.store.schema import usage_daily
from vault.trail import retention

DAY = 86_400_000  # milliseconds
ALL = -1  # days of retention: even what is written today has expired


async def hand_out(rig: Rig, count: int = 1, tenant: str = TENANT, name: str = "c", **about: Any) -> None:
    """Write the records of *count* hand-outs, as they are written when tokens leave."""
    event = Event("operator", "token.handed_out", "ok", tenant, PROVIDER, name, 1, **about)
    await asyncio.gather(*(rig.vault.writer.record(event) for _ in range(count)))


async def figures(rig: Rig, key: str | None = None, **query: Any) -> list[dict[str, Any]]:
    headers = {} if key is None else bearing(key)
    answer = await rig.api.get("/v1/usage", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def counted(rig: Rig) -> int:
    """Return how many hand-outs are in all figures together."""
    async with rig.vault.database.read() as tx:
        return int(await tx.scalar(text("SELECT coalesce(sum(handed_out), 0) FROM usage_daily")) or 0)


async def backdate(rig: Rig, days: int) -> str:
    """Have all records of the audit be *days* older; return the day of those that were of today."""
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text("UPDATE audit_events SET at = at - :by"), {"by": days * DAY})
        newest = await tx.scalar(text("SELECT max(at) FROM audit_events"))
    return str(date(1970, 1, 1) + timedelta(milliseconds=int(newest or 0)))


async def test_hand_outs_are_counted_by_day_path_and_source(rig: Rig) -> None:
    """Real hand-outs and refusals, an inherited one, and one of another day, each in its own figure or in none."""
    await rig.a_connection("c")
    await rig.token("c")
    before = await backdate(rig, 1)
    for _ in range(2):
        await rig.token("c")
    await rig.token("missing")
    await hand_out(rig, 3, detail={"source": "platform"})
    assert await figures(rig) == []  # nothing is counted as it happens

    await rig.vault.roll_up()
    await rig.vault.roll_up()

    today = str(date.fromisoformat(before) + timedelta(days=1))
    path = {"tenant": TENANT, "provider": PROVIDER, "name": "c"}
    assert await figures(rig) == [
        {"day": before, **path, "source": TENANT, "handed_out": 1},
        {"day": today, **path, "source": TENANT, "handed_out": 2},
        {"day": today, **path, "source": "platform", "handed_out": 3},
    ]
    assert [one["day"] for one in await figures(rig, until=before)] == [before]
    assert [one["day"] for one in await figures(rig, since=today)] == [today, today]
    await rig.token("c")
    await rig.vault.roll_up()
    assert [one["handed_out"] for one in await figures(rig, since=today)] == [3, 3]


async def test_figures_come_page_by_page_each_once(rig: Rig) -> None:
    """In the order of day, tenant, provider, name and source."""
    for number in range(5):
        await hand_out(rig, number + 1, name=f"c{number}")
        await hand_out(rig, number + 1, name=f"c{number}", detail={"source": "platform"})
    await rig.vault.roll_up()
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await rig.api.get("/v1/usage", params=query)).json()
        found += page["items"]
        if "next" not in page:
            break
        query["cursor"] = page["next"]

    assert [(one["name"], one["source"], one["handed_out"]) for one in found] == [
        (f"c{number}", source, number + 1) for number in range(5) for source in (TENANT, "platform")
    ]


async def test_a_key_sees_the_figures_within_its_limits(rig: Rig) -> None:
    """Its tenant and all below, its providers and names, and of a tenant what came since it was made."""
    for tenant, parent in (("acme-eu", TENANT), ("globex", "platform")):
        await rig.vault.tenants.put(OPERATOR, tenant, parent=parent, name=tenant, return_urls=[])
    await backdate(rig, 1)
    await hand_out(rig, tenant="acme-eu")
    await hand_out(rig, tenant="gone")
    await backdate(rig, 1)  # before there was any of them
    for tenant in (TENANT, "acme-eu", "globex"):
        for name in ("c", "d"):
            await hand_out(rig, tenant=tenant, name=name)
    await rig.vault.roll_up()

    async def seen(query: dict[str, Any], **limits: Any) -> list[str]:
        key = await rig.key("audit:read", **limits)
        return [f"{one['tenant']}/{one['name']}" for one in await figures(rig, key, **query)]

    own = ["acme/c", "acme/d", "acme-eu/c", "acme-eu/d"]
    assert sorted(await seen({}, tenant=TENANT)) == sorted(own)
    assert await seen({"tenant": "acme-eu"}, tenant=TENANT) == ["acme-eu/c", "acme-eu/d"]
    assert sorted(await seen({}, tenant=TENANT, names=["d"])) == ["acme-eu/d", "acme/d"]
    assert await seen({}, tenant=TENANT, providers=["other"]) == []
    assert await seen({"provider": PROVIDER}, tenant=TENANT, providers=["other"]) == []
    assert await seen({"provider": "other"}, tenant=TENANT) == []
    assert sorted(await seen({})) == sorted(["acme-eu/c", "gone/c", *own, "globex/c", "globex/d"])
    assert await seen({"tenant": "gone"}) == ["gone/c"]
    key = await rig.key("audit:read", tenant=TENANT)
    for tenant in ("globex", "gone", "platform"):
        refused(await rig.api.get(f"/v1/usage?tenant={tenant}", headers=bearing(key)), 404, "not_found")


@on_sqlite
async def test_a_span_that_makes_no_sense_is_refused(rig: Rig) -> None:
    """No day, a day before all days, more than a year, or a cursor of somebody else's."""
    for query, status, code in [
        ("since=yesterday", 400, "invalid_request"),
        ("until=0001-01-01", 422, "invalid_moment"),
        ("since=0001-01-01", 422, "invalid_moment"),
        ("since=2020-01-01&until=2022-01-01", 422, "invalid_span"),
        ("until=9999-12-31&since=2020-01-01", 422, "invalid_span"),
        ("cursor=x", 422, "invalid_cursor"),
        (f"cursor={encode_cursor(['x', 'a', 'b', 'c', 'd'])}", 422, "invalid_cursor"),
        (f"cursor={encode_cursor(['9999999999', 'a', 'b', 'c', 'd'])}", 422, "invalid_cursor"),
        ("tenant=no%20name", 422, "invalid_name"),
    ]:
        refused(await rig.api.get(f"/v1/usage?{query}"), status, code)
    assert await figures(rig, since="2026-01-02", until="2026-01-01") == []
    assert await figures(rig, until="1970-01-01") == []


# ---- exactly once


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream takes several transactions to count."""
    monkeypatch.setattr(usage, "BATCH", 7)


@pytest.mark.parametrize("step", ["count.commit", "count.committed"])
async def test_a_roll_up_that_is_killed_counts_nothing_twice(replicas: Replicas, store: Store, step: Step) -> None:
    """What it had committed is counted, and the rest by whoever comes next."""
    rig = await replicas()
    await hand_out(rig, 30)
    order = Order(url=store.url, keyring=store.keyring, key="", path="", step=step, roll_up=True)

    with killable.started(order) as child:
        assert await child.ended() == -signal.SIGKILL
    half = await counted(rig)
    await rig.vault.roll_up()

    assert (half == 0) == (step == "count.commit")
    assert await counted(rig) == 30


async def test_replicas_that_count_at_once_count_everything_once(replicas: Replicas) -> None:
    """Two, over each other's streams, while both go on writing."""
    one, two = await replicas(), await replicas()

    async def count(rig: Rig) -> None:
        for _ in range(6):
            await asyncio.gather(hand_out(rig, 20), rig.vault.roll_up())

    await asyncio.gather(count(one), count(two))
    await one.vault.roll_up()

    assert await counted(one) == 240
    (figure,) = await figures(two)
    assert figure["handed_out"] == 240


async def test_what_retention_takes_is_counted_first(rig: Rig) -> None:
    """Even where the roll-up has never come by."""
    await hand_out(rig, 20)

    await retention.prune(rig.vault.database, rig.vault.writer, rig.vault.chain, ALL)
    async with rig.vault.database.read() as tx:
        left = await tx.scalar(text("SELECT count(*) FROM audit_events WHERE action = 'token.handed_out'"))
    await rig.vault.roll_up()

    assert (left, await counted(rig)) == (0, 20)


async def test_a_record_that_was_altered_stops_no_counting(rig: Rig) -> None:
    """A hand-out of nobody counts for nobody, and one whose detail is spoilt for its own tenant."""
    for detail in ("[]", "{", json.dumps({"source": 5})):
        await hand_out(rig)
        async with rig.vault.database.transaction() as tx:
            newest = "seq = (SELECT max(seq) FROM audit_events)"
            await tx.execute(text(f"UPDATE audit_events SET detail = :d WHERE {newest}"), {"d": detail})
    await hand_out(rig)
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text("UPDATE audit_events SET tenant = NULL WHERE detail = '{}'"))

    await rig.vault.roll_up()

    assert [(one["source"], one["handed_out"]) for one in await figures(rig)] == [(TENANT, 3)]


# ---- another tenant of the same id


async def a_tenant(rig: Rig, tenant: str, parent: str) -> None:
    await rig.vault.tenants.put(OPERATOR, tenant, parent=parent, name=tenant, return_urls=[])


async def offboard(rig: Rig, tenant: str) -> None:
    answer = await rig.api.delete(f"/v1/tenants/{tenant}?cascade=true")
    assert answer.status_code == 200, answer.text


async def a_day_passes(rig: Rig) -> None:
    """Have all that there is be a day older; nothing is counted yet."""
    await backdate(rig, 1)
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text("UPDATE tenants SET created_at = created_at - :day"), {"day": DAY})


async def seen(rig: Rig, tenant: str) -> list[tuple[str, int]]:
    """Return of which tenants a key of *tenant* sees how many hand-outs."""
    key = await rig.key("audit:read", tenant=tenant)
    return sorted((one["tenant"], one["handed_out"]) for one in await figures(rig, key))


@pytest.mark.parametrize("counted", ["while it lived", "half of it", "when it was gone", "after all"])
@pytest.mark.parametrize("days", [0, 1])
async def test_a_tenant_made_again_has_none_of_its_predecessors_figures(rig: Rig, days: int, counted: str) -> None:
    """On the same day or a later one, whenever those are counted: neither it nor its parent sees or adds them."""
    await a_tenant(rig, "acme-eu", TENANT)
    await hand_out(rig, 2)
    await hand_out(rig, 3, tenant="acme-eu")
    if days:
        await a_day_passes(rig)
    if counted in ("while it lived", "half of it"):
        await rig.vault.roll_up()
    if counted == "half of it":
        await hand_out(rig, 4, tenant="acme-eu")
    await offboard(rig, "acme-eu")
    if counted == "when it was gone":
        await rig.vault.roll_up()
    await a_tenant(rig, "acme-eu", TENANT)

    for own in ([], [("acme-eu", 1)], [("acme-eu", 2)]):
        if own:
            await hand_out(rig, tenant="acme-eu")
        await rig.vault.roll_up()
        assert await seen(rig, "acme-eu") == own
        assert await seen(rig, TENANT) == [(TENANT, 2), *own]
    assert await counted_of(rig, "acme-eu") == (9 if counted == "half of it" else 5)


async def counted_of(rig: Rig, tenant: str) -> int:
    """Return how many hand-outs of *tenant*, whoever that was, a key for the whole tree sees."""
    return sum(one["handed_out"] for one in await figures(rig, tenant=tenant))


async def test_a_parent_made_again_has_none_of_its_predecessors_figures(rig: Rig) -> None:
    """Neither its own nor those of tenants below it that were made again too, or were not."""
    for tenant in ("acme-eu", "acme-us"):
        await a_tenant(rig, tenant, TENANT)
    for tenant in (TENANT, "acme-eu", "acme-us"):
        await hand_out(rig, 3, tenant=tenant)
    await rig.vault.roll_up()
    await offboard(rig, TENANT)
    await a_tenant(rig, TENANT, "platform")
    await a_tenant(rig, "acme-eu", TENANT)
    assert await seen(rig, TENANT) == []

    for tenant in (TENANT, "acme-eu"):
        await hand_out(rig, 1, tenant=tenant)
    await rig.vault.roll_up()

    assert await seen(rig, TENANT) == [(TENANT, 1), ("acme-eu", 1)]
    assert await counted_of(rig, TENANT) == 8


async def test_a_figure_that_a_tenant_has_no_part_in_takes_no_place_on_its_page(rig: Rig) -> None:
    """What its predecessor did is passed over, so that a page is full as long as there is more."""
    await a_tenant(rig, "acme-eu", TENANT)
    await hand_out(rig, tenant="acme-eu", name="a")
    await offboard(rig, "acme-eu")
    await a_tenant(rig, "acme-eu", TENANT)
    await hand_out(rig, tenant="acme-eu", name="b")
    await rig.vault.roll_up()
    key = await rig.key("audit:read", tenant="acme-eu")

    assert [one["name"] for one in await figures(rig, key, limit=1)] == ["b"]


async def test_what_is_counted_late_of_a_predecessor_is_not_its_successors(rig: Rig) -> None:
    """A replica that looked before the tenant was made again may count after one that looked later."""
    await a_tenant(rig, "acme-eu", TENANT)
    await hand_out(rig, 2, tenant="acme-eu")
    await rig.vault.roll_up()
    async with rig.vault.database.transaction() as tx:
        late = (await tx.execute(select(usage_daily))).mappings().one()
        await tx.execute(usage_daily.delete())
    await offboard(rig, "acme-eu")
    await a_tenant(rig, "acme-eu", TENANT)
    await hand_out(rig, 1, tenant="acme-eu")
    await rig.vault.roll_up()

    async with rig.vault.database.transaction() as tx:
        await usage.add(tx, [dict(late)])

    assert await seen(rig, "acme-eu") == [("acme-eu", 1)]
    assert await counted_of(rig, "acme-eu") == 3


async def test_a_replica_of_the_former_version_counts_beside_newer_ones(rig: Rig) -> None:
    """It does not know whose count it adds to: that is taken for the tenant's that is there."""
    former = text(
        "INSERT INTO usage_daily (day, tenant, provider, name, source, handed_out)"
        " VALUES (:day, :tenant, :provider, 'c', :tenant, 2) ON CONFLICT (day, tenant, provider, name, source)"
        " DO UPDATE SET handed_out = usage_daily.handed_out + excluded.handed_out"
    )
    today = (datetime.now(UTC) - EPOCH).days
    for expected in (2, 5):
        async with rig.vault.database.transaction() as tx:
            await tx.execute(former, {"day": today, "tenant": TENANT, "provider": PROVIDER})
        assert await seen(rig, TENANT) == [(TENANT, expected)]
        await hand_out(rig)
        await rig.vault.roll_up()
        assert await seen(rig, TENANT) == [(TENANT, expected + 1)]
