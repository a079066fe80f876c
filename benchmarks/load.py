"""Making load: `wrk`, and a client of our own where little of it will do."""

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.figures import percentile
from benchmarks.machine import Unsuitable

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_PERCENTILE = r"^\s+{}%\s+([\d.]+)(us|ms|s|m)$"


@dataclass(frozen=True)
class Loaded:
    """What a load of some seconds met."""

    requests: int
    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float


Load = Callable[[str, str, float, int], Loaded]  # address, API key, seconds, connections


class BadLoad(Exception):
    """Answers that were none: what was measured is not what was meant."""


def wrk(address: str, key: str, seconds: float, connections: int) -> Loaded:
    """Have *connections* ask for *address* again and again with wrk. Raises BadLoad, Unsuitable."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--latency"]
    done = subprocess.run(
        [found_wrk(), *command[1:], "-H", f"Authorization: Bearer {key}", address],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    if done.returncode != 0:
        raise BadLoad(done.stderr.strip() or done.stdout.strip())
    return read_wrk(done.stdout)


def found_wrk() -> str:
    """Return the path of wrk. Raises Unsuitable."""
    path = shutil.which("wrk")
    if path is None:
        raise Unsuitable("The benchmarks need wrk, the load generator: `apt-get install wrk` (or your system's).")
    return path


def read_wrk(printed: str) -> Loaded:
    """Return what wrk *printed*. Raises BadLoad where answers were refusals or did not come."""
    for complaint in ("Non-2xx or 3xx responses", "Socket errors"):
        if complaint in printed:
            raise BadLoad(next(line.strip() for line in printed.splitlines() if complaint in line))
    requests = re.search(r"^\s+(\d+) requests in ", printed, re.MULTILINE)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", printed, re.MULTILINE)
    if requests is None or rate is None:
        raise BadLoad(f"wrk said something else: {printed!r}")
    return Loaded(int(requests[1]), float(rate[1]), _latency(printed, 50), _latency(printed, 99))


def _latency(printed: str, part: int) -> float:
    found = re.search(_PERCENTILE.format(part), printed, re.MULTILINE)
    if found is None:
        raise BadLoad(f"wrk told no {part}th percentile")
    return float(found[1]) * _UNITS[found[2]]


def knock(address: str, key: str, seconds: float, connections: int) -> Loaded:
    """Do what `wrk` does, with less speed and no program to install. Raises BadLoad."""
    return asyncio.run(_knock(address, key, seconds, connections))


async def _knock(address: str, key: str, seconds: float, connections: int) -> Loaded:
    took: list[float] = []
    began = time.monotonic()
    await asyncio.gather(*(_keep_asking(address, key, began + seconds, took) for _ in range(connections)))
    milliseconds = [each * 1000 for each in took]
    rate = len(took) / (time.monotonic() - began)
    return Loaded(len(took), rate, percentile(milliseconds, 0.5), percentile(milliseconds, 0.99))


async def _keep_asking(address: str, key: str, until: float, took: list[float]) -> None:
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    asking = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    try:
        while not took or time.monotonic() < until:
            began = time.monotonic()
            writer.write(asking)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            if not head.startswith(b"HTTP/1.1 200") or length is None:
                raise BadLoad(head.decode("latin-1").partition("\r\n")[0])
            await reader.readexactly(int(length[1]))
            took.append(time.monotonic() - began)
    finally:
        writer.close()
