"""How a server and a worker live and end: signals, draining, and the database closed last."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import uvicorn

from jobs.metronome import Metronome
from vault.app import serving
from vault.http.server import application
from vault.services import Vault
from vault.settings import Settings

GRACE = 15  # seconds beyond a provider call in which its outcome can be written


class _Server(uvicorn.Server):
    """A server whose signals are ours: uvicorn would raise them again, before we have drained."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings, host: str, port: int, ready: Callable[[Vault], None] | None = None) -> None:
    """Run API and sweep until SIGTERM or SIGINT: answer what was asked, settle what was sent, then close."""
    async with _ticking(settings) as vault:
        server = _Server(
            uvicorn.Config(
                application(vault),
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=int(settings.provider_timeout) + GRACE,
            )
        )

        def stop() -> None:
            vault.refresher.stop_claiming()
            server.should_exit = True

        _on_signals(stop)
        serving_task = asyncio.create_task(server.serve())
        while not server.started and not serving_task.done():
            await asyncio.sleep(0.02)
        if server.started and ready is not None:
            ready(vault)
        await serving_task


async def work(settings: Settings) -> None:
    """Run the sweep alone until SIGTERM or SIGINT."""
    async with _ticking(settings):
        stopped = asyncio.Event()
        _on_signals(stopped.set)
        await stopped.wait()


@asynccontextmanager
async def _ticking(settings: Settings) -> AsyncIterator[Vault]:
    async with serving(settings) as vault:
        metronome = Metronome(vault)
        metronome.start()
        try:
            yield vault
        finally:
            metronome.stop()


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
