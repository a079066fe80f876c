"""What one core sends through httpx, by the transport under it.

64 refresh-like POSTs at a time against a server in a process of its own, the transports in turn.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

from benchmarks.figures import Section, Spread, number
from benchmarks.machine import on
from benchmarks.servers import provider
from benchmarks.stage import Stage
from vault.clock import uptime
from vault.outbound import Outbound

AT_ONCE = 64
SECONDS, ROUNDS = 3.0, 3
BODY = "grant_type=refresh_token&refresh_token=" + "r" * 64
BASE = "httpx, its own transport"
HEADER = ("transport", "requests/s", "ratio", "CPU µs each")
Send = Callable[[str], Awaitable[object]]


def run(stage: Stage) -> Section:
    """Return the table of transports."""
    section = Section(f"What sends the refreshes: {AT_ONCE} at once, answered immediately", HEADER)
    stage.tell("transports")
    with on(stage.cores.others), provider(0) as endpoint, on(stage.cores.measured):
        seen = uvloop.run(in_turns(endpoint, *((0.5, 1) if stage.quick else (SECONDS, ROUNDS))))
    base = Spread.of(rate for rate, _ in seen[BASE]).median
    for name, taken in seen.items():
        rate, spent = Spread.of(each for each, _ in taken), Spread.of(each for _, each in taken)
        section.rows.append((name, str(rate), f"{rate.median / base:.1f}", number(spent.median)))
    return section


async def in_turns(url: str, seconds: float, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return requests a second and CPU µs a request of each transport, round by round."""
    outbound = Outbound(allow_local=True)

    async def ours(to: str) -> object:
        return await outbound.send(httpx.Request("POST", to, content=BODY), deadline=uptime() + 20)

    limits = httpx.Limits(max_connections=None)
    plain = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(limits=limits))
    over_aiohttp = httpx.AsyncClient(
        transport=AiohttpTransport(client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    )
    ways: dict[str, Send] = {
        BASE: _through(plain),
        "httpx over aiohttp": _through(over_aiohttp),
        "the vault's Outbound (guarded)": ours,
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, send in ways.items():
            seen[name].append(await _rate(send, url, seconds))
    await plain.aclose()
    await over_aiohttp.aclose()
    await outbound.close()
    return seen


def _through(client: httpx.AsyncClient) -> Send:
    async def send(url: str) -> object:
        response = await client.post(url, content=BODY)
        return response.json()

    return send


async def _rate(send: Send, url: str, seconds: float) -> tuple[float, float]:
    """Return how many a second were sent and answered, and the CPU µs of each."""
    done, began, spent = 0, time.monotonic(), time.process_time()

    async def worker() -> None:
        nonlocal done
        while time.monotonic() < began + seconds:
            await send(url)
            done += 1

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return done / (time.monotonic() - began), (time.process_time() - spent) / done * 1e6
