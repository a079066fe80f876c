"""Servers as processes of their own, on the core that is measured, ended by their ids."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.filling import SECRET, TOKEN_PATH
from tests.postgres import free_port

ROOT = Path(__file__).parents[1]
START_SECONDS, END_SECONDS = 60.0, 30.0
POLL = 0.02  # seconds
SERVERS = ("uvicorn", "granian")
# One key makes all the load: no caller does that, and a vault that limits callers would object.
_UNLIMITED = {"TOKENVAULT_CALLER_RATE": "1000000"}


class DidNotStart(Exception):
    """The message is what the server said."""


@dataclass(frozen=True)
class Served:
    """A server that answers; *address* is what to ask it for, *started* how many seconds that took."""

    pid: int
    address: str
    started: float


@contextmanager
def hello(server: str, directory: Path) -> Iterator[Served]:
    """Give a hello-world on *server*."""
    port = free_port()
    command = ["-m", "benchmarks.served", "hello", server, str(port)]
    with _running(command, {}, port, "/", directory) as served:
        yield Served(served.pid, f"http://127.0.0.1:{port}/", served.started)


@contextmanager
def least(server: str, database_url: str, directory: Path) -> Iterator[Served]:
    """Give the least that an audited answer can be, on *server* and a migrated database."""
    port = free_port()
    command, settings = ["-m", "benchmarks.served", "least", server, str(port)], {"DATABASE_URL": database_url}
    with _running(command, settings, port, "/", directory) as served:
        yield Served(served.pid, f"http://127.0.0.1:{port}/", served.started)


@contextmanager
def vault(server: str, database_url: str, directory: Path) -> Iterator[Served]:
    """Give a vault on *database_url*: as `tokenvault serve` runs it, or on another *server*."""
    port = free_port()
    ours = ["-m", "vault", "serve", "--port", str(port)]
    command = ours if server == "uvicorn" else ["-m", "benchmarks.served", "lifelong", server, str(port)]
    with _running(command, environment(database_url, port), port, "/readyz", directory) as served:
        yield Served(served.pid, f"http://127.0.0.1:{port}{TOKEN_PATH}", served.started)


@contextmanager
def provider(latency: float) -> Iterator[str]:
    """Give the address of a token endpoint in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.provider", str(latency)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/token"
    finally:
        process.terminate()
        process.communicate()


def environment(database_url: str, port: int) -> dict[str, str]:
    """Return the settings of a vault that is measured: the defaults, but for what measuring needs."""
    known = (ROOT / ".env.example").read_text()
    return {
        "ENCRYPTION_SECRET": SECRET,
        "DATABASE_URL": database_url,
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        **{name: value for name, value in _UNLIMITED.items() if f"\n{name}=" in known},
    }


@contextmanager
def _running(
    arguments: list[str], settings: dict[str, str], port: int, path: str, directory: Path
) -> Iterator[Served]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    log = directory / f"server-{port}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**inherited, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that its children can be ended with it
        )
    try:
        _await(process, f"http://127.0.0.1:{port}{path}", log)
        yield Served(process.pid, f"http://127.0.0.1:{port}", time.monotonic() - began)
    finally:
        _end(process)
        log.unlink()


def _await(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DidNotStart(log.read_text()[-2000:])
        time.sleep(POLL)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
