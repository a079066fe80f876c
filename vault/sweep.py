"""The sweep: renews what is due before anybody has to wait for it.

Providers are swept apart from each other, so that one that hangs holds up only itself. Any number
of replicas sweep at once: the claim decides who gets which row.
"""

import asyncio
import functools
import logging

from vault.errors import StorageUnavailable
from vault.refresh import Refresher
from vault.store import due
from vault.store.database import Database

log = logging.getLogger(__name__)
LARGEST_CLAIM = 100  # rows a transaction


class Sweeper:
    def __init__(self, database: Database, refresher: Refresher) -> None:
        self._database = database
        self._refresher = refresher
        self._running: dict[str, asyncio.Task[None]] = {}

    async def tick(self) -> None:
        """Begin a sweep of each provider that has something due and is not being swept already."""
        try:
            async with self._database.read() as tx:
                providers = list((await tx.execute(due.DUE_PROVIDERS)).scalars())
        except StorageUnavailable:
            log.warning("the sweep cannot reach the database")
            return
        for provider in providers:
            if provider not in self._running:
                task = asyncio.create_task(self._sweep(provider), name=f"sweep {provider}")
                self._running[provider] = task
                task.add_done_callback(functools.partial(self._ended, provider))

    async def once(self) -> None:
        """Sweep until nothing is due and everything that was claimed is settled."""
        await self.tick()
        await self.finished()
        await self._refresher.settled()

    async def finished(self) -> None:
        """Wait until no sweep is running. Never cancelled: a claim whose task is gone blocks its row."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    def _ended(self, provider: str, task: asyncio.Task[None]) -> None:
        del self._running[provider]
        if not task.cancelled() and (error := task.exception()):
            log.error("a sweep ended in an error of ours", extra={"provider": provider}, exc_info=error)

    async def _sweep(self, provider: str) -> None:
        """Claim as many due rows as there are free slots, again and again, until none is left."""
        slots = self._refresher.slots(provider)
        while True:
            await slots.acquire()
            taken = 1
            while taken < LARGEST_CLAIM and not slots.locked():
                await slots.acquire()
                taken += 1
            try:
                claimed = await self._refresher.claim_due(provider, taken)
            except BaseException as error:
                _give_back(slots, taken)
                if isinstance(error, StorageUnavailable):
                    log.warning("the sweep cannot claim", extra={"provider": provider})
                    return
                raise
            for turn, started in claimed:
                self._refresher.exchange(turn, started, slots.release)
            _give_back(slots, taken - len(claimed))
            if not claimed:
                return


def _give_back(slots: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        slots.release()
