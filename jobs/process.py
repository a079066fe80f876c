"""How a server and a worker live and end: signals, draining, and the database closed last."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Iterator

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


class CannotListen(Exception):
    """The address is in use, or not this machine's."""


async def serve(settings: Settings, host: str, port: int, ready: Callable[[Vault], None] | None = None) -> None:
    """Run API and sweep until SIGTERM or SIGINT: answer what was asked, settle what was sent, then close.

    Raises CannotListen, before anything was begun.
    """
    stopped = _told_to_stop()
    async with serving(settings) as vault:
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

        listening = asyncio.create_task(_listen(server))
        while not server.started and not listening.done():  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0.02)
        if not server.started:
            return await listening
        _settle_down()
        with _ticking(vault):
            if ready is not None:
                ready(vault)
            told = asyncio.create_task(stopped.wait())
            await asyncio.wait({listening, told}, return_when=asyncio.FIRST_COMPLETED)
            vault.refresher.stop_claiming()
            server.should_exit = True
            told.cancel()
            await listening


async def work(settings: Settings) -> None:
    """Run the sweep alone until SIGTERM or SIGINT."""
    stopped = _told_to_stop()
    async with serving(settings) as vault:
        _settle_down()
        with _ticking(vault):
            await stopped.wait()


def _settle_down() -> None:
    """Leave what was built for good out of the garbage collector's rounds, and have fewer of them.

    A full round over all that was imported stops everything for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _listen(server: uvicorn.Server) -> None:
    """Serve. uvicorn ends the process where it cannot bind, which would end what the vault has begun as well."""
    try:
        await server.serve()
    except SystemExit:
        raise CannotListen from None


@contextlib.contextmanager
def _ticking(vault: Vault) -> Iterator[None]:
    metronome = Metronome(vault)
    metronome.start()
    try:
        yield
    finally:
        metronome.stop()


def _told_to_stop() -> asyncio.Event:
    """Return what SIGTERM and SIGINT set. From the first moment on: a start that is interrupted ends well too."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped
