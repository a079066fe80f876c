"""A server beside `tokenvault serve`: `python -m benchmarks.served hello|least|lifelong uvicorn|granian PORT`."""

import importlib
import sys
from typing import Any


def _on_uvicorn(module: str, port: int) -> None:
    """Serve the way `jobs.process` serves the vault."""
    import uvicorn
    import uvloop

    app = importlib.import_module(module).application()
    options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False}
    uvloop.run(uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", **options)).serve())


def _on_granian(module: str, port: int) -> None:
    from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
    from granian.server import Server

    Server(
        f"{module}:application",
        factory=True,
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        runtime_mode=RuntimeModes.mt,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    what, server, port = sys.argv[1:]
    {"uvicorn": _on_uvicorn, "granian": _on_granian}[server](f"benchmarks.{what}", int(port))
