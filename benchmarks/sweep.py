"""Refreshes a second of the sweep, beside bare clients that make the same calls.

The provider, in a process of its own, answers in 50 ms. The vault and the bare client run in this
process, on one core, and take turns; what the vault adds to a call is the difference.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport
from sqlalchemy import func, select

from benchmarks import filling
from benchmarks.figures import Goal, Section, Spread, number
from benchmarks.machine import on
from benchmarks.servers import provider
from benchmarks.stage import DATABASES, Stage
from vault.app import serving
from vault.services import Vault
from vault.store.moments import clock
from vault.store.schema import token_states

LATENCY = 0.05  # seconds
CONCURRENCIES = (32, 64, 128)  # TOKENVAULT_PROVIDER_CONCURRENCY
DUE, ROUNDS = 1500, 3
GOAL = 400  # refreshes a second
HEADER = ("what", "at once", "refreshes/s", "ratio to bare", "CPU µs each")
FORM = {"grant_type": "refresh_token", "refresh_token": "r" * 64}
Refresh = Callable[[], Awaitable[None]]  # all that are due


def run(stage: Stage) -> Section:
    """Return the table: bare clients and the sweep on each database, by concurrency."""
    due, rounds = (200, 1) if stage.quick else (DUE, ROUNDS)
    section = Section(f"Sweep: {due} connections due, the provider answers in {LATENCY * 1000:.0f} ms", HEADER)
    best: dict[str, float] = {}
    with on(stage.cores.others), provider(LATENCY) as endpoint:
        for concurrency in CONCURRENCIES:
            stage.tell(f"sweep with {concurrency} at once")
            seen = _measured(stage, endpoint, concurrency, due, rounds)
            bare = Spread.of(rate for rate, _ in seen["bare"]).median
            for name, taken in seen.items():
                rate = Spread.of(each for each, _ in taken)
                spent = Spread.of(each for _, each in taken).median
                what = "httpx over aiohttp, bare" if name == "bare" else f"vault, {name}"
                section.rows.append(
                    (what, str(concurrency), str(rate), f"{rate.median / bare:.2f}", number(spent))
                )
                best[name] = max(best.get(name, 0), rate.median)
    section.goals += [Goal(f"sweep, {kind}: refreshes/s", best[kind], GOAL, at_least=True) for kind in DATABASES]
    return section


def _measured(
    stage: Stage, endpoint: str, concurrency: int, due: int, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Return refreshes a second and CPU µs a refresh of each way, round by round."""
    with stage.database("SQLite") as sqlite, stage.database("PostgreSQL") as postgres, on(stage.cores.measured):
        urls = {"SQLite": sqlite, "PostgreSQL": postgres}
        return uvloop.run(_in_turns(urls, endpoint, concurrency, due, rounds))


async def _in_turns(
    urls: dict[str, str], endpoint: str, concurrency: int, due: int, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    async with AsyncExitStack() as stack:
        send = await stack.enter_async_context(bare(endpoint))
        ways: dict[str, tuple[Refresh, Refresh]] = {"bare": (_nothing, lambda: repeat(send, due, concurrency))}
        for kind, url in urls.items():
            vault = await stack.enter_async_context(serving(filling.settings(url, concurrency=concurrency)))
            ways[kind] = await _prepared(vault, endpoint, due)
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number_of_round in range(rounds + 1):
            for name, (before, refresh) in ways.items():
                await before()
                figures = await _timed(refresh, due)
                if number_of_round > 0:  # the first warms up
                    seen[name].append(figures)
        return seen


async def _prepared(vault: Vault, endpoint: str, due: int) -> tuple[Refresh, Refresh]:
    furnished = await filling.furnish(vault, endpoint)
    await filling.connect(vault, furnished.client, due)
    return (lambda: filling.make_due(vault, furnished.client)), (lambda: swept(vault))


async def swept(vault: Vault) -> None:
    """Refresh all that is due. Raises RuntimeError where the sweep left something."""
    await vault.sweeper.once()
    async with vault.database.read() as tx:
        left = await tx.scalar(select(func.count()).where(token_states.c.next_refresh_at <= clock()))
    if left:
        raise RuntimeError(f"the sweep left {left} connections that are due: nothing was measured")


async def _timed(refresh: Refresh, count: int) -> tuple[float, float]:
    began, spent = time.monotonic(), time.process_time()
    await refresh()
    return count / (time.monotonic() - began), (time.process_time() - spent) / count * 1e6


async def _nothing() -> None:
    return None


@asynccontextmanager
async def bare(endpoint: str) -> AsyncIterator[Refresh]:
    """Give what sends one refresh and reads its answer, with nothing kept of it."""
    connector = aiohttp.TCPConnector(limit=0)
    transport = AiohttpTransport(client=lambda: aiohttp.ClientSession(connector=connector))
    async with httpx.AsyncClient(
        transport=transport, auth=("measuring", "also measuring"), trust_env=False
    ) as client:

        async def send() -> None:
            answer = await client.post(endpoint, data=FORM)
            answer.raise_for_status()
            assert answer.json()["access_token"]

        yield send


async def repeat(send: Refresh, count: int, concurrency: int) -> None:
    """Call *send* that often, so many at once."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await send()

    await asyncio.gather(*(worker() for _ in range(concurrency)))
