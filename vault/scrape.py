"""All metrics as text, for whoever watches: what was counted, and what is looked up when they are asked for."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vault.clock import uptime
from vault.errors import StorageUnavailable
from vault.memory import Memory
from vault.metrics import Metrics
from vault.store import figures
from vault.store.database import Database
from vault.store.figures import HORIZONS, Figures
from vault.store.writer import Writer

REMEMBERED = 15.0  # seconds that a look into the database counts, that it was away included
SPARED = 20  # times as long as a look took nobody looks again: on SQLite, commits wait for it
LONGEST_LOOK = 3.0  # seconds that a scrape waits for the database
_LE = [str(seconds) for seconds in HORIZONS] + ["+Inf"]


class Scrape(Collector):
    """Answers scrapes. However many come, and however slow the database, one look is under way at most."""

    def __init__(self, database: Database, metrics: Metrics, writer: Writer, memory: Memory) -> None:
        self._database = database
        self._metrics = metrics
        self._writer = writer
        self._memory = memory
        self._figures: Figures | None = None
        self._look_again = 0.0  # uptime
        self._looking: asyncio.Task[None] | None = None
        metrics.registry.register(self)

    async def text(self) -> bytes:
        """Return everything in Prometheus' text format. Where the database is away, the rest is still told."""
        await self._look()
        return generate_latest(self._metrics.registry)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _look(self) -> None:
        """Have figures that are young enough, or none."""
        if self._looking is None and uptime() >= self._look_again:
            self._looking = asyncio.create_task(self._read(), name="scrape")
        if self._looking is None:
            return
        done, _ = await asyncio.wait({self._looking}, timeout=LONGEST_LOOK)
        if not done:
            self._figures = None
        for task in done:
            task.result()

    async def _read(self) -> None:
        began = uptime()
        try:
            async with self._database.read() as tx:
                self._figures = await figures.read(tx)
        except StorageUnavailable:
            self._figures = None
        finally:
            self._look_again = began + max(REMEMBERED, SPARED * (uptime() - began))
            self._looking = None

    def collect(self) -> Iterator[Metric]:
        """Give what is true at this moment, as the registry asks for it."""
        yield _one("database_up", "Whether the database answered the last look", self._figures is not None)
        yield _one("writer_queued_units", "Units of work that wait for the commit under way", self._writer.queued)
        yield from self._of_memory()
        if self._figures is not None:
            yield from _of_connections(self._figures)
            yield from _of_gates(self._figures)

    def _of_memory(self) -> Iterator[Metric]:
        memory = self._memory
        yield _one("memory_entries", "Values remembered of the database", len(memory))
        for name, about, count in (
            ("hits", "Times that a remembered value was there", memory.hits),
            ("misses", "Times that the database had to be asked", memory.misses),
        ):
            yield CounterMetricFamily(f"tokenvault_memory_{name}", about, value=count)
        age = memory.heard_ago()
        if age is not None:
            about = "Time since all changes were last known, beyond 1 nothing is served from memory"
            yield _one("memory_heard_age_seconds", about, age)


def _of_connections(now: Figures) -> Iterator[Metric]:
    about = "Connections by provider and status"
    yield _many("connections", about, ["provider", "status"], now.connections.items())
    expiring = [
        ((provider, le), count)
        for provider, counts in now.expiring.items()
        for le, count in zip(_LE, counts, strict=True)
    ]
    about = "Usable connections whose access token ends within le seconds"
    yield _many("connections_expiring", about, ["provider", "le"], expiring)
    yield _by_provider("connections_overdue", "Connections that the sweep should have renewed by now", now.overdue)
    yield _by_provider("sweep_lag_seconds", "Time since the longest overdue connection became due", now.lag)


def _of_gates(now: Figures) -> Iterator[Metric]:
    about = "Whether so much failed at the provider that it is asked nothing for a while"
    yield _by_provider("breaker_open", about, now.breakers)
    about = "Registrations that their provider refuses"
    yield _by_provider("clients_rejected", about, now.rejected_clients)
    paused = [((kind,), count) for kind, count in now.paused.items()]
    yield _many("paused", "Providers, clients and tenants that somebody paused", ["kind"], paused)


def _one(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tokenvault_{name}", about, value=value)


def _by_provider(name: str, about: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    return _many(name, about, ["provider"], [((provider,), value) for provider, value in values.items()])


def _many(
    name: str, about: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tokenvault_{name}", about, labels=labels)
    for which, value in sorted(values):
        family.add_metric(which, value)
    return family
