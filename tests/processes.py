"""Real servers: `tokenvault serve` and `worker` as processes of their own, for tests to signal and kill.

They are forked and not executed, because a second of imports each is a fifth of what all tests cost; that
the commands start from nothing is seen in `test_commands` and `test_readme`.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from tests.forks import FORKS
from tests.postgres import free_port
from tests.rig import PROVIDER, SECRET, TENANT
from vault.__main__ import main

ROOT = Path(__file__).parents[1]
START_SECONDS = 40.0
END_SECONDS = 40.0
POLL = 0.02  # seconds


class DidNotStart(Exception):
    """The process ended before it was ready; *code* is how, *output* what it said."""

    def __init__(self, code: int, output: str) -> None:
        super().__init__(f"exit {code}: {output[-2000:]}")
        self.code = code
        self.output = output


@dataclass
class VaultProcess:
    """One process that we started; *address* is where it serves, if it does."""

    process: BaseProcess
    log: Path
    address: str

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text()

    def records(self) -> list[dict[str, Any]]:
        """Return what it logged, line by line."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    def api(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.address, headers={"Authorization": f"Bearer {key}"}, timeout=40, trust_env=False
        )

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait for its end and return its exit code."""
        await asyncio.to_thread(self.process.join, END_SECONDS)
        assert self.process.exitcode is not None, "still running"
        return self.process.exitcode

    async def terminate(self) -> int:
        self.send(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> int:
        self.send(signal.SIGKILL)
        return await self.ended()


@asynccontextmanager
async def started(
    command: str, database_url: str, directory: Path, *, expect_ready: bool = True, **settings: object
) -> AsyncIterator[VaultProcess]:
    """Give `vault serve` or `vault worker` on *database_url*; *settings* are TOKENVAULT_… in lower case.

    Ends it by its process id, whatever happens. Raises DidNotStart.
    """
    port = free_port()
    log = directory / f"{command}-{port}.log"
    arguments = ["--port", str(port)] if command == "serve" else []
    log.touch()
    variables = environment(database_url, port, settings)
    process = FORKS.Process(target=_run, args=([command, *arguments], variables, log), daemon=True)
    process.start()
    made = VaultProcess(process, log, f"http://127.0.0.1:{port}")
    try:
        if command == "serve" and expect_ready:
            await _ready(made)
        yield made
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
        process.close()


async def ran(
    arguments: list[str], database_url: str, directory: Path, given: str = "", **changed: str
) -> tuple[int, str]:
    """Return exit code and output of a command on *database_url*, with *given* on its standard input."""
    variables = environment(database_url, free_port(), {}) | changed
    done = await asyncio.to_thread(completed, arguments, variables, directory, given, together=True)
    return done.returncode, done.stdout


def completed(
    arguments: list[str], variables: dict[str, str], folder: Path, given: str = "", *, together: bool = False
) -> CompletedProcess[str]:
    """Run a command in *folder* with just these *variables*; its two outputs *together*, or each by itself."""
    with TemporaryDirectory() as place:
        source, said, complained = (Path(place) / name for name in ("given", "said", "complained"))
        for file in (source, said, complained):
            file.write_text(given if file is source else "")
        streams = (said, said if together else complained, source)
        process = FORKS.Process(target=_run, args=(arguments, variables, *streams, folder), daemon=True)
        process.start()
        try:
            process.join(END_SECONDS)
            assert process.exitcode is not None, "still running"
            output = (file.read_bytes().decode(errors="replace") for file in (said, complained))
            return CompletedProcess(arguments, process.exitcode, *output)
        finally:
            process.kill()
            process.join()


def _run(
    arguments: list[str],
    variables: dict[str, str],
    said: Path,
    complained: Path | None = None,
    given: Path | None = None,
    folder: Path = ROOT,
) -> None:
    """Become the command, as if it had been executed: its environment, its folder, its input and output."""
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    if given is not None:
        os.dup2(os.open(given, os.O_RDONLY), 0)
        sys.stdin = os.fdopen(0)
    for stream, file in ((1, said), (2, complained or said)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), stream)
    warnings.simplefilter("error")
    try:
        main(arguments, prog_name="tokenvault")
    finally:
        logging.shutdown()  # as the interpreter does at its end, which a forked process never comes to


def token_path(name: str) -> str:
    return f"/v1/connections/{TENANT}/{PROVIDER}/{name}/token"


def environment(database_url: str, port: int, settings: dict[str, object]) -> dict[str, str]:
    """Return what a process of the vault is started with."""
    chosen: dict[str, object] = {
        "allow_local_providers": "true",
        "provider_timeout_seconds": 5,
        "lease_seconds": 15,
        "sweep_interval_seconds": 0,
        **settings,
    }
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
        "ENCRYPTION_SECRET": SECRET,
        "DATABASE_URL": database_url,
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        **{f"TOKENVAULT_{name.upper()}": str(value) for name, value in chosen.items()},
    }


async def _ready(server: VaultProcess) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    async with httpx.AsyncClient(base_url=server.address, trust_env=False) as client:
        while True:
            if server.process.exitcode is not None:
                raise DidNotStart(server.process.exitcode, server.output)
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert asyncio.get_running_loop().time() < deadline, f"not ready: {server.output[-2000:]}"
            await asyncio.sleep(POLL)
