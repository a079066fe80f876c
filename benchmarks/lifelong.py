"""The vault on a server that is not ours to start: `jobs.process.serve`, turned inside out."""

from typing import Any

from litestar.types import ASGIApp

from jobs.metronome import Metronome
from vault.app import serving
from vault.http.server import application as whole
from vault.logs import configure
from vault.settings import Settings


def application() -> ASGIApp:
    """Return the vault that the environment describes, which lives as long as its server's lifespan."""
    settings = Settings.from_env()
    configure(settings.log_level)
    return Lifelong(settings)


class Lifelong:
    """An ASGI application that builds its vault when the server starts, and closes it when that ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with serving(self._settings) as vault:
            self._app = whole(vault)
            metronome = Metronome(vault)
            metronome.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            metronome.stop()
        await send({"type": "lifespan.shutdown.complete"})
