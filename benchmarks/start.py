"""How fast a vault is ready, and what it weighs: at rest, and after 100,000 fetches."""

import asyncio
import time
from contextlib import ExitStack

from benchmarks import fetch, servers
from benchmarks.figures import Goal, Section, Spread, number, slope
from benchmarks.load import Load, wrk
from benchmarks.machine import Usage, on
from benchmarks.servers import Served
from benchmarks.stage import Stage

STARTS = 5
REST = 5.0  # seconds until it is called idle
FETCHES, WARMED_UP = 100_000, 20_000
CHUNK, LONGEST = 2.0, 180.0  # seconds
HEADER = ("figure", "median (min-max)", "unit")
START_LIMIT, IDLE_LIMIT = 3.0, 150.0  # seconds, MB
GROWTH_LIMIT = 2.0  # MB in FETCHES; less than that is the allocator's


def run(stage: Stage) -> Section:
    """Return the table for `tokenvault serve` on SQLite, scrypt at full strength."""
    section = Section("Start and memory, on SQLite", HEADER)
    starts, fetches, warmed_up = (1, 2000, 500) if stage.quick else (STARTS, FETCHES, WARMED_UP)
    with ExitStack() as stack:
        stack.enter_context(on(stage.cores.others))
        first = [_started(stage, stack.enter_context(stage.database("SQLite", f"new-{n}"))) for n in range(starts)]
        url = stack.enter_context(stage.database("SQLite"))
        key = asyncio.run(fetch.prepare(url))
        stage.tell("starts on a filled database")
        again = [_started(stage, url) for _ in range(starts)]
        with on(stage.cores.measured):
            served = stack.enter_context(servers.vault("uvicorn", url, stage.directory))
        time.sleep(0 if stage.quick else REST)
        idle = Usage.of(served.pid).rss
        stage.tell(f"{fetches:,} fetches")
        points = weighed(served, key, wrk, fetches, chunk=1.0 if stage.quick else CHUNK)
    growth = slope([each for each in points if each[0] >= warmed_up][-1000:]) * FETCHES
    section.rows += [
        ("start to ready, new database", str(Spread.of(first)), "s"),
        ("start to ready, existing database", str(Spread.of(again)), "s"),
        ("memory (RSS) at rest", number(idle), "MB"),
        (f"memory after {points[-1][0]:,.0f} fetches", number(points[-1][1]), "MB"),
        (f"growth a {FETCHES:,} fetches, by slope after {warmed_up:,}", number(growth), "MB"),
    ]
    section.goals += [
        Goal(
            "start to ready, SQLite", max(Spread.of(first).median, Spread.of(again).median), START_LIMIT, unit=" s"
        ),
        Goal("memory at rest", idle, IDLE_LIMIT, unit=" MB"),
        Goal(f"memory growth in {FETCHES:,} fetches", growth, GROWTH_LIMIT, unit=" MB"),
    ]
    return section


def _started(stage: Stage, url: str) -> float:
    with on(stage.cores.measured), servers.vault("uvicorn", url, stage.directory) as served:
        return served.started


def weighed(served: Served, key: str, load: Load, fetches: int, *, chunk: float) -> list[tuple[float, float]]:
    """Return RSS (MB) by the number of fetches so far, until there were that many, or it takes too long."""
    done, points, ends = 0, [(0.0, Usage.of(served.pid).rss)], time.monotonic() + LONGEST
    while done < fetches and time.monotonic() < ends:
        done += load(served.address, key, chunk, fetch.CONNECTIONS).requests
        points.append((float(done), Usage.of(served.pid).rss))
    return points
