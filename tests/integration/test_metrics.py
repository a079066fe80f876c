"""What is counted, by which names, and that it is true: values after real events, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert, update

from tests.conftest import CANARY, Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.judge import age, eventually, now_of
from tests.rig import PROVIDER, TENANT, Rig
from vault import scrape
from vault.callers import OPERATOR
from vault.clock import uptime
from vault.store.database import Database
from vault.store.schema import clients, provider_states, sealed_values, tenants, token_states
from vault.store.writer import Transaction

PROMPT = 4.0  # seconds; the database itself would give up after 5
ROUTE = "/v1/connections/{tenant}/{provider}/{name}/token"

# Every name with its type and labels. Dashboards and alarms hold on to these: a change here is one of theirs.
NAMES = {
    "process_cpu_seconds": ("counter", set()),
    "process_max_fds": ("gauge", set()),
    "process_open_fds": ("gauge", set()),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_start_time_seconds": ("gauge", set()),
    "process_virtual_memory_bytes": ("gauge", set()),
    "tokenvault_audit_records": ("counter", set()),
    "tokenvault_breaker_open": ("gauge", {"provider"}),
    "tokenvault_clients_rejected": ("gauge", {"provider"}),
    "tokenvault_commit_duration_seconds": ("histogram", {"le"}),
    "tokenvault_connections": ("gauge", {"provider", "status"}),
    "tokenvault_connections_expiring": ("gauge", {"provider", "le"}),
    "tokenvault_connections_overdue": ("gauge", {"provider"}),
    "tokenvault_database_up": ("gauge", set()),
    "tokenvault_http_request_duration_seconds": ("histogram", {"route", "method", "le"}),
    "tokenvault_http_requests": ("counter", {"route", "method", "status"}),
    "tokenvault_memory_entries": ("gauge", set()),
    "tokenvault_memory_heard_age_seconds": ("gauge", set()),
    "tokenvault_memory_hits": ("counter", set()),
    "tokenvault_memory_misses": ("counter", set()),
    "tokenvault_paused": ("gauge", {"kind"}),
    "tokenvault_refresh_duration_seconds": ("histogram", {"provider", "le"}),
    "tokenvault_refresh_wait_seconds": ("summary", {"provider"}),
    "tokenvault_refreshes": ("counter", {"provider", "outcome"}),
    "tokenvault_sweep_lag_seconds": ("gauge", {"provider"}),
    "tokenvault_tokens_handed_out": ("counter", {"provider", "source"}),
    "tokenvault_writer_queued_units": ("gauge", set()),
}


class Figures:
    """One scrape, parsed."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200
        self.text = answer.text
        self.families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float | None:
        """Return the value of one series, None where there is none."""
        return self._samples.get((f"tokenvault_{name}", frozenset(labels.items())))


async def figures(rig: Rig) -> Figures:
    """Scrape without a key, as Prometheus does, with what was looked up before forgotten."""
    rig.vault.scrape._look_again = 0.0
    async with httpx.AsyncClient(transport=rig.api._transport, base_url=rig.api.base_url) as anybody:
        return Figures(await anybody.get("/metrics"))


async def change(rig: Rig, *statements: object) -> None:
    async def unit(tx: Transaction) -> None:
        for statement in statements:
            await tx.execute(statement)

    await rig.vault.writer.submit(unit)


async def until_remembered(rig: Rig) -> None:
    """Return once the watch has heard the database, so that memory is relied on."""
    await rig.vault.watch.listen()


@on_sqlite
async def test_names_types_and_labels_are_what_they_were(rig: Rig, store: Store) -> None:
    """A metric that is renamed, or gets another label, is seen here before a dashboard goes blank."""
    await rig.a_connection("c", expires_in=0)
    await asyncio.gather(*(rig.token("c") for _ in range(2)))
    await change(rig, insert(provider_states).values(provider=PROVIDER))
    found = (await figures(rig)).families

    assert {
        name: (family.type, {label for sample in family.samples for label in sample.labels})
        for name, family in found.items()
    } == NAMES
    assert all(family.documentation for family in found.values())


@on_sqlite
async def test_metrics_are_for_everybody_in_the_text_format_and_not_in_the_schema(rig: Rig, store: Store) -> None:
    """`/metrics` needs no key, says which format it is in, and is no part of the API's description."""
    async with httpx.AsyncClient(transport=rig.api._transport, base_url=rig.api.base_url) as anybody:
        answer = await anybody.get("/metrics")
        schema = (await anybody.get("/schema/openapi.json")).json()

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "/metrics" not in schema["paths"]


async def test_tokens_are_counted_by_what_they_came_from(rig: Rig) -> None:
    """The first is read from the database, the next come from memory, an old one is refreshed."""
    await rig.a_connection("c")
    await rig.a_connection("old", expires_in=0)
    await until_remembered(rig)
    for name in ("c", "c", "c", "old"):
        await until_remembered(rig)
        assert (await rig.token(name)).status_code == 200
    found = await figures(rig)

    assert found.of("tokens_handed_out_total", provider=PROVIDER, source="database") == 1
    assert found.of("tokens_handed_out_total", provider=PROVIDER, source="memory") == 2
    assert found.of("tokens_handed_out_total", provider=PROVIDER, source="refreshed") == 1
    assert found.of("refreshes_total", provider=PROVIDER, outcome="success") == 1
    assert found.of("refresh_duration_seconds_count", provider=PROVIDER) == 1
    assert (found.of("memory_hits_total") or 0) >= 2
    assert (found.of("memory_misses_total") or 0) >= 2
    assert (found.of("memory_entries") or 0) >= 2
    assert found.of("memory_heard_age_seconds") is not None


FAILURES: dict[str, dict[str, Any]] = {
    "grant_rejected": {"status": 400, "body": {"error": "invalid_grant"}},
    "client_rejected": {"status": 401, "body": {"error": "invalid_client"}},
    "rate_limited": {"status": 429},
    "transient": {"status": 500},
    "outcome_unknown": {"status": 502},
    "bug": {"status": 400, "body": {"error": "invalid_request"}},
}


@on_sqlite
@pytest.mark.parametrize("outcome", FAILURES)
async def test_a_refresh_that_fails_is_counted_by_its_class(rig: Rig, store: Store, outcome: str) -> None:
    """Each class of failure has a series of its own."""
    await rig.a_connection("c", expires_in=0)
    await rig.provider.fault(times=None, **FAILURES[outcome])
    await rig.token("c", wait=0)
    await rig.vault.refresher.settled()

    assert (await figures(rig)).of("refreshes_total", provider=PROVIDER, outcome=outcome) == 1


@on_sqlite
async def test_a_value_that_does_not_open_is_counted(rig: Rig, store: Store) -> None:
    """A refresh that found a spoiled value is `undecryptable`."""
    await rig.a_connection("spoiled", expires_in=0)
    await change(
        rig, update(sealed_values).where(sealed_values.c.owner_kind == "connection").values(ciphertext=bytes(32))
    )
    await rig.token("spoiled")

    assert (await figures(rig)).of("refreshes_total", provider=PROVIDER, outcome="undecryptable") == 1


@on_sqlite
@pytest.mark.parametrize("outcome", ["superseded", "orphaned"])
async def test_an_answer_that_comes_too_late_is_counted(rig: Rig, store: Store, outcome: str) -> None:
    """Tokens for a connection that is gone are `superseded`; where others were faster, they are `orphaned`."""
    connection, _ = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold(when="after")
    asking = asyncio.create_task(rig.token("c"))
    await rig.provider.wait_for_held()
    if outcome == "superseded":
        await rig.api.delete(f"/v1/connections/{connection.path}")
    else:
        await change(rig, update(token_states).values(generation=token_states.c.generation + 1))
    await rig.provider.release()
    await rig.vault.refresher.settled()
    await asking

    assert (await figures(rig)).of("refreshes_total", provider=PROVIDER, outcome=outcome) == 1


async def test_who_waits_for_somebody_elses_refresh_is_counted(replicas: Replicas, store: Store) -> None:
    """The one that refreshes does not wait; a reader beside it does, and one on another replica."""
    first = await replicas()
    others = [first] if store.on_sqlite else [first, await replicas()]
    await first.a_connection("c", expires_in=0)
    await first.provider.hold(when="before")
    refreshing = asyncio.create_task(first.token("c"))
    await first.provider.wait_for_held()
    waited = await asyncio.gather(*(rig.token("c", wait=1) for rig in others))
    await first.provider.release()

    assert [answer.json()["code"] for answer in waited] == ["refresh_in_progress"] * len(others)
    assert (await refreshing).status_code == 200

    for rig in others:
        found = await figures(rig)
        assert found.of("refresh_wait_seconds_count", provider=PROVIDER) == 1
        assert (found.of("refresh_wait_seconds_sum", provider=PROVIDER) or 0) >= 0.5


async def test_connections_are_counted_by_how_they_are(rig: Rig) -> None:
    """Status, what ends soon, what is overdue and for how long: as the database has it."""
    await rig.a_connection("fresh", expires_in=3600)
    await rig.a_connection("switched-off", expires_in=0)
    await rig.a_connection("parked", expires_in=0)
    await rig.a_connection("overdue", expires_in=30)
    dead, _ = await rig.a_connection("dead", expires_in=3600)
    gone, _ = await rig.a_connection("gone", expires_in=30)
    await rig.api.delete(f"/v1/connections/{gone.path}")
    await rig.api.put(f"/v1/connections/{TENANT}/{PROVIDER}/switched-off", json={"enabled": False})
    of, parked = token_states.c.connection_id, (await rig.look("parked")).id
    await age(rig, timedelta(seconds=100), "next_refresh_at", name="overdue")
    await change(
        rig,
        update(token_states).where(of == dead.id).values(status="failed", reason="grant_rejected"),
        update(token_states).where(of == parked).values(parked="rejected"),
    )
    found = await figures(rig)

    assert found.of("connections", provider=PROVIDER, status="configured") == 4
    assert found.of("connections", provider=PROVIDER, status="failed") == 1
    expiring = [found.of("connections_expiring", provider=PROVIDER, le=le) for le in ("0", "60", "3600", "+Inf")]
    assert expiring == [1, 2, 3, 3]
    assert found.of("connections_overdue", provider=PROVIDER) == 1
    assert 75 <= (found.of("sweep_lag_seconds", provider=PROVIDER) or 0) < 200


@on_sqlite
async def test_gates_are_shown(rig: Rig) -> None:
    """An open breaker, rejected clients, and what somebody paused."""
    before = await figures(rig)
    paused = {"paused_at": await now_of(rig)}
    await change(
        rig,
        insert(provider_states).values(provider=PROVIDER, breaker="open", **paused),
        update(clients).values(state="rejected", **paused),
        update(tenants).where(tenants.c.id == TENANT).values(**paused),
    )
    found = await figures(rig)

    assert (before.of("clients_rejected", provider=PROVIDER), before.of("paused", kind="tenant")) == (0, 0)
    assert found.of("breaker_open", provider=PROVIDER) == 1
    assert found.of("clients_rejected", provider=PROVIDER) == 1
    assert [found.of("paused", kind=kind) for kind in ("provider", "client", "tenant")] == [1, 1, 1]


@on_sqlite
async def test_requests_are_counted_by_route_and_never_by_address(rig: Rig) -> None:
    """Templates, known methods and statuses: nothing that a sender writes becomes a label."""
    await rig.a_connection("c")
    for _ in range(2):
        await until_remembered(rig)
        await rig.token("c")
    await rig.token("absent")
    await rig.api.get("/no-such-page")
    await rig.api.request("BREW", "/no-such-page")
    found = await figures(rig)

    assert found.of("http_requests_total", route=ROUTE, method="GET", status="200") == 2
    assert found.of("http_requests_total", route=ROUTE, method="GET", status="409") == 1
    assert found.of("http_requests_total", route="unmatched", method="GET", status="404") == 1
    assert found.of("http_requests_total", route="unmatched", method="other", status="404") == 1
    assert found.of("http_request_duration_seconds_count", route=ROUTE, method="GET") == 3


async def test_the_writer_counts_records_and_commits(rig: Rig) -> None:
    """Audit records and the transactions that carried them rise with what is done."""
    await rig.a_connection("c")
    before = await figures(rig)
    for _ in range(3):
        await rig.token("c")
    after = await figures(rig)

    records, commits = (
        (after.of(name) or 0) - (before.of(name) or 0)
        for name in ("audit_records_total", "commit_duration_seconds_count")
    )
    # The watch has the writer look for changes now and then, and that is a commit more.
    assert (records, commits >= 3) == (3, True)
    assert after.of("writer_queued_units") == 0


@on_sqlite
async def test_nothing_in_the_metrics_says_whose_it_is(rig: Rig, leaks: Leaks) -> None:
    """No tenant, connection or caller, no token and no key: not after success, refusal and failure."""
    await rig.vault.tenants.put(OPERATOR, "acme-sub", parent="platform", name="Acme Sub", return_urls=[])
    await rig.a_connection("nobodys-name", expires_in=0)
    await rig.token("nobodys-name")
    await rig.token("nobodys-other")
    await rig.api.get("/v1/connections", headers={"Authorization": "Bearer canary-key"})
    found = await figures(rig)

    leaks.check(found.text)
    for word in (f'"{TENANT}"', "acme-sub", "Acme Sub", "nobodys", "tv_", CANARY):
        assert word not in found.text


async def test_what_was_looked_up_counts_for_a_while(rig: Rig) -> None:
    """Scrapes that come together, or soon after, cost one look into the database."""
    looks = 0

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal looks
        looks += "oldest_due" in statement

    await figures(rig)
    rig.vault.scrape._look_again = 0.0
    event.listen(rig.vault.database._reading.sync_engine, "before_cursor_execute", count)
    texts = await asyncio.gather(*(rig.vault.scrape.text() for _ in range(5)))
    await rig.a_connection("c")
    texts.append(await rig.vault.scrape.text())

    assert looks == 1
    assert all(b"tokenvault_connections{" not in one for one in texts)


async def test_without_the_database_the_rest_is_still_told(
    replicas: Replicas, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database hangs or is gone, a scrape is prompt and says so, and then that it is back."""
    monkeypatch.setattr(scrape, "LONGEST_LOOK", 0.2)
    rig = await replicas()
    await rig.a_connection("c")
    await rig.token("c")
    await eventually(lambda: _up(rig))
    async with away(rig, store):
        began = uptime()
        down = await figures(rig)
        assert uptime() - began < PROMPT
    assert down.of("database_up") == 0
    assert down.of("connections", provider=PROVIDER, status="configured") is None
    assert down.of("tokens_handed_out_total", provider=PROVIDER, source="database") == 1
    assert "process_cpu_seconds_total" in down.text
    back = await eventually(lambda: _up(rig))

    assert back.of("connections", provider=PROVIDER, status="configured") == 1


async def _up(rig: Rig) -> Figures | None:
    found = await figures(rig)
    return found if found.of("database_up") else None


@asynccontextmanager
async def away(rig: Rig, store: Store) -> AsyncIterator[None]:
    """Keep the database from answering: locked against all others, or without a free connection."""
    other = Database(store.url)
    try:
        async with other._writing.connect() as blocker:
            lock = "BEGIN EXCLUSIVE" if store.on_sqlite else "LOCK TABLE token_states IN ACCESS EXCLUSIVE MODE"
            if store.on_sqlite:
                await blocker.exec_driver_sql("SELECT 1")
                await blocker.exec_driver_sql("COMMIT")
            await blocker.exec_driver_sql(lock)
            yield
            await blocker.exec_driver_sql("ROLLBACK")
    finally:
        await other.close()
