"""Fetching a fresh token over HTTP, beside a hello-world on the same server and core.

1 KB tokens, one API key, the audit on, the log as it is by default. The vault, on either database,
and the hello-world take turns; 64 keep-alive connections. Beside them is the least that an answer
with a durable record costs on each database: no vault can be faster than that.
"""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import filling, servers
from benchmarks.figures import Goal, Section, Spread, number
from benchmarks.load import Load, Loaded, wrk
from benchmarks.machine import Usage, on
from benchmarks.servers import Served
from benchmarks.stage import DATABASES, Stage
from vault.app import serving

CONNECTIONS = 64
SECONDS, WARMING, ROUNDS = 4.0, 2.0, 3
HEADER = ("what", "requests/s", "ratio", "p50 ms", "p99 ms", "p99 ratio", "CPU µs a request", "RSS MB")
LEAST = "least, "
SHARE, TAIL = 0.8, 2.0  # of the hello-world's requests a second, and of its p99
_NAMES = {
    "hello": "Litestar hello-world",
    **{f"{LEAST}{kind}": f"a bare handler and a durable row, {kind}" for kind in DATABASES},
}


@dataclass(frozen=True)
class Round:
    loaded: Loaded
    cpu: float  # microseconds a request
    rss: float  # MB


def run(stage: Stage) -> Section:
    """Return the table: each server with a hello-world and a vault on each database."""
    section = Section("Fetching a token that is fresh", HEADER)
    seconds, warming, rounds = (1.0, 1.0, 1) if stage.quick else (SECONDS, WARMING, ROUNDS)
    with ExitStack() as stack:
        urls = {kind: stack.enter_context(stage.database(kind)) for kind in DATABASES}
        keys = {kind: asyncio.run(prepare(url)) for kind, url in urls.items()}
        least = {kind: stack.enter_context(stage.database(kind, "least")) for kind in DATABASES}
        for url in least.values():
            asyncio.run(prepare(url))
        for server in servers.SERVERS:
            stage.tell(f"fetch on {server}")
            with ExitStack() as running, on(stage.cores.measured):
                measured = {"hello": running.enter_context(servers.hello(server, stage.directory))}
                for kind, url in urls.items():
                    measured[kind] = running.enter_context(servers.vault(server, url, stage.directory))
                    measured[f"{LEAST}{kind}"] = running.enter_context(
                        servers.least(server, least[kind], stage.directory)
                    )
                with on(stage.cores.others):
                    seen = in_turns(measured, keys, wrk, seconds=seconds, warming=warming, rounds=rounds)
            _add(section, server, seen)
    return section


async def prepare(database_url: str) -> str:
    """Store a connection on *database_url*; return the API key that may fetch its token."""
    async with serving(filling.settings(database_url)) as vault:
        furnished = await filling.furnish(vault)
        await filling.connect(vault, furnished.client, 1)
    return furnished.key


def in_turns(
    measured: dict[str, Served], keys: dict[str, str], load: Load, *, seconds: float, warming: float, rounds: int
) -> dict[str, list[Round]]:
    """Return the rounds of each server, taken alternately after a warm-up."""
    for name, served in measured.items():
        load(served.address, keys.get(name, ""), warming, CONNECTIONS)
    seen: dict[str, list[Round]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, served in measured.items():
            before = Usage.of(served.pid)
            loaded = load(served.address, keys.get(name, ""), seconds, CONNECTIONS)
            after = Usage.of(served.pid)
            spent = (after.cpu - before.cpu) / max(loaded.requests, 1) * 1e6
            seen[name].append(Round(loaded, spent, after.rss))
    return seen


def _add(section: Section, server: str, seen: dict[str, list[Round]]) -> None:
    rates = {name: Spread.of(each.loaded.rate for each in rounds) for name, rounds in seen.items()}
    tails = {name: Spread.of(each.loaded.p99 for each in rounds) for name, rounds in seen.items()}
    for name, rounds in seen.items():
        rate, tail = rates[name].median / rates["hello"].median, tails[name].median / tails["hello"].median
        what = _NAMES.get(name, f"vault, {name}")
        section.rows.append(
            (
                f"{what}, {server}",
                str(rates[name]),
                f"{rate:.2f}",
                number(Spread.of(each.loaded.p50 for each in rounds).median),
                number(tails[name].median),
                f"{tail:.2f}",
                number(Spread.of(each.cpu for each in rounds).median),
                number(Spread.of(each.rss for each in rounds).median),
            )
        )
        if name not in _NAMES:
            share = f"fetch, {name}, {server}: requests/s of hello-world's"
            section.goals.append(Goal(share, rate, SHARE, at_least=True, unit=" x"))
            section.goals.append(Goal(f"fetch, {name}, {server}: p99 of hello-world's", tail, TAIL, unit=" x"))
