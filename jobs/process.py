"""How a server and a worker live and end: signals, draining, and the database closed last."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import uvicorn

from jobs.metronome import Metronome
from vault.app import serving
from vault.cli.commands import CannotListen
from vault.http.server import application
from vault.services import Vault
from vault.settings import Settings

GRACE = 15  # seconds beyond a provider call in which its outcome can be written


class _Server(uvicorn.Server):
    """A server whose signals are ours: uvicorn would raise them again, before we have drained."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Stop:
    """What SIGTERM and SIGINT do, from the first moment on: end a start at once, and let what runs end well."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self._starting = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._handle)

    @asynccontextmanager
    async def started(self, settings: Settings) -> AsyncIterator[Vault]:
        """Give a vault that nothing of a start is left to do for."""
        async with serving(settings) as vault:
            self._starting = None
            _settle_down()
            yield vault

    @contextlib.contextmanager
    def accepted(self) -> Iterator[None]:
        """Leave the block quietly where a start was ended in it."""
        try:
            yield
        except asyncio.CancelledError:
            if self._starting is None or not self.told.is_set():
                raise

    def _handle(self) -> None:
        self.told.set()
        if self._starting is not None:
            self._starting.cancel()


async def serve(settings: Settings, host: str, port: int, ready: Callable[[Vault], None] | None = None) -> None:
    """Run API and sweep until SIGTERM or SIGINT: answer what was asked, settle what was sent, then close.

    Raises CannotListen, before anything was begun.
    """
    stop = _Stop()
    with stop.accepted():
        async with stop.started(settings) as vault:
            await _served(vault, host, port, ready, stop.told)


async def work(settings: Settings) -> None:
    """Run the sweep alone until SIGTERM or SIGINT."""
    stop = _Stop()
    with stop.accepted():
        async with stop.started(settings) as vault:
            with _ticking(vault):
                await stop.told.wait()


async def _served(
    vault: Vault, host: str, port: int, ready: Callable[[Vault], None] | None, told: asyncio.Event
) -> None:
    server = _server(vault, host, port)
    listening = asyncio.create_task(_listen(server))
    while not server.started and not listening.done():  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.02)
    if not server.started:
        return await listening
    with _ticking(vault):
        if ready is not None:
            ready(vault)
        stopping = asyncio.create_task(told.wait())
        await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        vault.refresher.stop_claiming()
        server.should_exit = True
        stopping.cancel()
        await listening


def _server(vault: Vault, host: str, port: int) -> _Server:
    return _Server(
        uvicorn.Config(
            application(vault),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks who is at the other end
            lifespan="off",
            timeout_graceful_shutdown=int(vault.settings.provider_timeout) + GRACE,
        )
    )


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
