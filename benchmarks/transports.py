"""What one core sends through httpx, by the transport under it: `python -m benchmarks.transports`.

64 refresh-like POSTs at a time against a server in a process of its own, the transports in turn,
three rounds; printed are requests a second (median) and each one's ratio to httpx's own transport.
"""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from vault.clock import uptime
from vault.outbound import Outbound

AT_ONCE = 64
SECONDS = 3.0
ROUNDS = 3
ANSWER = b'{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r"}'
BODY = "grant_type=refresh_token&refresh_token=" + "r" * 64
Send = Callable[[str], Awaitable[object]]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in request.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            writer.write(head + ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _serve(port: "multiprocessing.Queue[int]") -> None:
    async def run() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def _through(client: httpx.AsyncClient) -> Send:
    async def send(url: str) -> object:
        response = await client.post(url, content=BODY)
        return response.json()

    return send


async def _rate(send: Send, url: str) -> float:
    done, ends = 0, time.monotonic() + SECONDS

    async def worker() -> None:
        nonlocal done
        while time.monotonic() < ends:
            await send(url)
            done += 1

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return done / SECONDS


async def _compare(url: str) -> None:
    outbound = Outbound(allow_local=True)

    async def ours(to: str) -> object:
        return await outbound.send(httpx.Request("POST", to, content=BODY), deadline=uptime() + 20)

    limits = httpx.Limits(max_connections=None)
    plain = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(limits=limits))
    over_aiohttp = httpx.AsyncClient(
        transport=AiohttpTransport(client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    )
    ways: dict[str, Send] = {
        "httpx, its own transport": _through(plain),
        "httpx over aiohttp": _through(over_aiohttp),
        "the vault's Outbound (guarded)": ours,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, send in ways.items():
            rates[name].append(await _rate(send, url))
    base = statistics.median(rates["httpx, its own transport"])
    for name, seen in rates.items():
        middle = statistics.median(seen)
        print(f"{name:32} {middle:7.0f}/s  x{middle / base:.1f}")  # noqa: T201 - its output
    await plain.aclose()
    await over_aiohttp.aclose()
    await outbound.close()


if __name__ == "__main__":
    ports: "multiprocessing.Queue[int]" = multiprocessing.Queue()
    server = multiprocessing.Process(target=_serve, args=(ports,), daemon=True)
    server.start()
    asyncio.run(_compare(f"http://127.0.0.1:{ports.get()}/token"))
    server.terminate()
