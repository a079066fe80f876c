"""The sweep: renews what is due before anybody has to wait for it.

Providers are swept apart from each other, so that one that hangs holds up only itself; and so are
clients, where their provider takes only so much of each. Any number of replicas sweep at once: the
claim decides who gets which row.
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
_Swept = tuple[str, str | None]  # a provider, and one of its clients; "" is what has none


class Sweeper:
    def __init__(self, database: Database, refresher: Refresher) -> None:
        self._database = database
        self._refresher = refresher
        self._running: dict[_Swept, asyncio.Task[None]] = {}

    async def tick(self) -> None:
        """Begin a sweep of each provider that has something due and is not being swept already."""
        try:
            async with self._database.read() as tx:
                providers = list((await tx.execute(due.DUE_PROVIDERS)).scalars())
        except StorageUnavailable:
            log.warning("the sweep cannot reach the database")
            return
        for provider in providers:
            self._begin((provider, None))

    async def once(self) -> None:
        """Sweep until nothing is due and everything that was claimed is settled."""
        await self.tick()
        await self.finished()
        await self._refresher.settled()

    async def finished(self) -> None:
        """Wait until no sweep is running. Never cancelled: a claim whose task is gone blocks its row."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    def _begin(self, swept: _Swept) -> None:
        if swept not in self._running:
            task = asyncio.create_task(self._sweep(*swept), name=f"sweep {swept}")
            self._running[swept] = task
            task.add_done_callback(functools.partial(self._ended, swept))

    def _ended(self, swept: _Swept, task: asyncio.Task[None]) -> None:
        del self._running[swept]
        if not task.cancelled() and (error := task.exception()):
            log.error("a sweep ended in an error of ours", extra={"provider": swept[0]}, exc_info=error)

    async def _sweep(self, provider: str, client: str | None) -> None:
        """Claim as many due rows as there are free places, again and again, until none is left.

        Without a *client*, those of all; but where each client has limits, each is swept apart.
        """
        try:
            if client is None and (await self._refresher.places(provider)).by_client:
                async with self._database.read() as tx:
                    found = await due.due_clients(tx, provider)
                for one in found:
                    self._begin((provider, one))
                return
            while await self._claim(provider, client):
                pass
        except StorageUnavailable:
            log.warning("the sweep cannot claim", extra={"provider": provider})

    async def _claim(self, provider: str, client: str | None) -> bool:
        """Claim once, and have what was claimed exchanged. Returns whether it was anything."""
        places = await self._refresher.places(provider)
        taken = [await places.take(client)]
        try:
            while len(taken) < LARGEST_CLAIM and places.is_free(client):
                taken.append(await places.take(client))
            claimed = await self._refresher.claim_due(provider, len(taken), client)
            for turn, started in claimed:
                self._refresher.exchange(turn, started, taken.pop())
        finally:
            places.give_back(client, taken)
        return bool(claimed)
