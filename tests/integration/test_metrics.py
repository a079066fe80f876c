"""What is counted, by which names, and that it is true: values after real events, on both databases."""

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, text, update

from tests.conftest import CANARY, Leaks
from tests.integration.conftest import Replicas, Store
from tests.integration.judge import an_aged_connection
from tests.rig import PROVIDER, TENANT, Rig
from vault import scrape
from vault.store.schema import clients, provider_states, tenants, token_states
from vault.store.writer import Transaction

on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
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


@pytest.fixture(name="eager")
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape that gives up on the database at once."""
    monkeypatch.setattr(scrape, "LONGEST_LOOK", 0.2)


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


FAILURES: dict[str, dict[str, object]] = {
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
async def test_what_does_not_open_and_what_is_gone_is_counted_too(rig: Rig, store: Store) -> None:
    """A value that does not open is `undecryptable`; a grant replaced meanwhile is `superseded`."""
    await rig.a_connection("spoiled", expires_in=0)
    await change(rig, text("UPDATE sealed_values SET ciphertext = x'00' || ciphertext WHERE field = 'refresh_token'"))
    await rig.token("spoiled")
    connection, _ = await rig.a_connection("gone", expires_in=0)
    async with rig.provider_is_slow() if hasattr(rig, "provider_is_slow") else _nothing():
        pass
    found = await figures(rig)

    assert found.of("refreshes_total", provider=PROVIDER, outcome="undecryptable") == 1
