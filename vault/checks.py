"""Trying now and then what is never renewed: nobody would find out that it is over but those who need it."""

import asyncio
import logging
from datetime import timedelta

from vault.connection import Path
from vault.errors import NotFound, StorageUnavailable, VaultError
from vault.means import Means
from vault.store import checks as store
from vault.store.writer import Transaction
from vault.verify import Verify

log = logging.getLogger(__name__)
AT_ONCE = 4  # a process
UNTIL_DONE = timedelta(hours=1)  # after which what was claimed is tried once more, if nothing came of it


class Checks:
    """Claims what is due to be tried, and tries it. Any number of replicas may."""

    def __init__(self, means: Means, verify: Verify) -> None:
        self._means = means
        self._verify = verify
        self._running: asyncio.Task[None] | None = None
        self._draining = False

    async def tick(self) -> None:
        """Begin to try what is due, unless that is under way."""
        if self._running is None and not self._draining:
            self._running = asyncio.create_task(self._all(), name="checks")
            self._running.add_done_callback(self._ended)

    async def drain(self) -> None:
        """Claim no more, and wait for what is being tried."""
        self._draining = True
        await self.finished()

    async def finished(self) -> None:
        """Wait until nothing is being tried."""
        if self._running is not None:
            await asyncio.wait({self._running})

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running = None
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StorageUnavailable):
            log.warning("the checks cannot reach the database")
        elif error is not None:
            log.error("the checks ended in an error of ours", exc_info=error)

    async def _all(self) -> None:
        """Try until nothing is due."""
        while not self._draining and (due := await self._claimed()):
            await asyncio.gather(*(self._try(*one) for one in due))

    async def _claimed(self) -> list[tuple[str, Path]]:
        async def unit(tx: Transaction) -> list[tuple[str, Path]]:
            return await store.claim(tx.connection, AT_ONCE, UNTIL_DONE)

        return await self._means.writer.submit(unit)

    async def _try(self, connection: str, path: Path) -> None:
        """Try it; when it is tried next is part of what comes of that."""
        try:
            await self._verify.check(path)
        except NotFound:
            return  # deleted meanwhile
        except StorageUnavailable:
            raise
        except VaultError as error:
            log.warning("a check came to nothing", extra={"connection": connection, "code": error.code})
