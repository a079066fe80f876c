"""The provider's process: says at which port it listens, and runs until SIGTERM or its maker's end."""

import asyncio
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from tests.provider.config import Config
from tests.provider.server import Server


@dataclass(frozen=True)
class Start:
    """What a provider is started with; port 0 is any that is free."""

    ledger: Path
    port: int
    fsync: bool
    settings: dict[str, Any]


def main(start: Start, port: Pipe) -> None:
    threading.Thread(target=_end_with_the_maker, daemon=True).start()
    asyncio.run(_serve(start, port))


def _end_with_the_maker() -> None:
    # A killed test run must not leave providers behind.
    maker = multiprocessing.parent_process()
    assert maker is not None
    maker.join()
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(start: Start, port: Pipe) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    config = Config()
    config.update(start.settings)
    server = Server(config, start.ledger, fsync=start.fsync)
    port.send(await server.start(start.port))
    await stopped.wait()
    await server.stop()
