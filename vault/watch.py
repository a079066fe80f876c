"""Hearing what other processes changed, so that nothing untrue is served from memory."""

import asyncio
import logging
from datetime import datetime, timedelta

from vault.clock import uptime
from vault.errors import StorageUnavailable
from vault.live_keyring import LiveKeyring
from vault.memory import Memory
from vault.store import changes, connections
from vault.store.changes import Stale
from vault.store.writer import Transaction, Writer

log = logging.getLogger(__name__)
INTERVAL = 0.5  # seconds; twice in the time that memory is relied on
# Numbers are handed out before commits: a lower one may appear later than a higher one. A number that
# has not appeared for longer than any transaction lives belongs to one that was rolled back.
GAP_LIFETIME = 60.0  # seconds
LOOK_BACK = 500  # numbers below the first that is seen, which may be under way
MOST_GAPS = 2000
KEPT = timedelta(minutes=5)  # that changes stay in the table


class Watch:
    """Listens to `changes`, and looks at the keys. A task of its own, from the start to `close`."""

    def __init__(self, writer: Writer, memory: Memory, keyring: LiveKeyring) -> None:
        self._writer = writer
        self._memory = memory
        self._keyring = keyring
        self._after: int | None = None
        self._gaps: dict[int, float] = {}  # numbers not seen yet, and when they were first missed
        self._last_good = uptime()
        self._task = asyncio.create_task(self._run(), name="watch")

    async def listen(self) -> None:
        """Hear what has changed since the last time. Raises StorageUnavailable."""
        began = uptime()
        if began - self._last_good > KEPT.total_seconds() / 2:
            # What we missed may have been pruned by now.
            self._after, self._gaps = None, {}
            self._memory.forget_all()

        async def unit(tx: Transaction) -> tuple[datetime, list[tuple[int, Stale]]]:
            moment = await connections.database_time(tx.connection)
            await self._keyring.look(tx.connection)
            return moment, await changes.since(tx.connection, self._after, self._gaps)

        # Not on a connection of its own: SQLite would have it wait for a gap between the writer's commits.
        moment, found = await self._writer.submit(unit)
        self._note([number for number, _ in found], began)
        self._memory.forget([change for _, change in found])
        self._memory.heard(began, moment)
        self._last_good = began

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            try:
                await self.listen()
            except StorageUnavailable:
                log.warning("changes cannot be heard: nothing is served from memory meanwhile")
            except Exception:
                log.exception("changes are not heard for a fault of ours or of the database's")
            await asyncio.sleep(INTERVAL)

    def _note(self, numbers: list[int], now: float) -> None:
        """Remember how far *numbers* reach, and which are missing below."""
        for number in numbers:
            self._gaps.pop(number, None)
            expected = number - LOOK_BACK if self._after is None else self._after + 1
            self._gaps.update(dict.fromkeys(range(max(expected, 1), number), now))
            self._after = max(number, self._after or 0)
        self._gaps = {number: since for number, since in self._gaps.items() if now - since < GAP_LIFETIME}
        if len(self._gaps) > MOST_GAPS:
            self._after, self._gaps = None, {}
            self._memory.forget_all()
