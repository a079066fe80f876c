"""`python -m tests.provider --port 0 --ledger PATH`: runs until SIGTERM, or until its parent is gone."""

import argparse
import asyncio
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from tests.provider.config import Config
from tests.provider.server import Server


def main() -> None:
    options = _options()
    config = Config()
    config.update(dict(options.key))
    if options.until_stdin_closes:
        threading.Thread(target=_watch_stdin, daemon=True).start()
    asyncio.run(_serve(config, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--key", type=_setting, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--no-fsync", action="store_true")
    parser.add_argument("--until-stdin-closes", action="store_true")
    return parser.parse_args()


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value being JSON where it can be read as such, else the text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _watch_stdin() -> None:
    # A killed test run must not leave providers behind. os.read holds no lock at interpreter exit.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(config: Config, options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = Server(config, options.ledger, fsync=not options.no_fsync)
    port = await server.start(options.port)
    print(json.dumps({"port": port}), flush=True)  # noqa: T201 - this line is the interface
    await stopped.wait()
    await server.stop()


if __name__ == "__main__":
    main()
