"""The places for calls to one provider, and for those of each of its clients. Counted in memory, a process.

Who wants a token renewed has a place first and then the lease: a lease never waits in a queue.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import ExitStack

from integrations.contract import Limits
from vault.clock import uptime

UNBOUNDED = 1_000_000


class _Line:
    """First come, first served: so many at once, and so many a minute, evenly apart."""

    def __init__(self, most: int | None, per_minute: int | None, closing: asyncio.Event) -> None:
        self._places = asyncio.Semaphore(most or UNBOUNDED)
        self._apart = 60 / per_minute if per_minute else 0.0
        self._next = 0.0  # when the next one may enter
        self._first = asyncio.Lock()  # whoever holds it is the next one
        self._queued = 0
        self._closing = closing

    async def enter(self) -> None:
        self._queued += 1
        try:
            async with self._first:
                await self._closes_within(self._next - uptime())
                await self._places.acquire()
                self._next = uptime() + self._apart
        finally:
            self._queued -= 1

    def leave(self) -> None:
        self._places.release()

    def give_back(self, count: int) -> None:
        """Take it that *count* of those who entered have asked nothing."""
        self._next -= count * self._apart

    def is_free(self) -> bool:
        return not self._queued and not self._places.locked() and uptime() >= self._next

    def waits(self) -> float:
        """Return how many seconds the last one in the queue waits for its turn, whatever the calls take."""
        return max(self._next - uptime(), 0.0) + self._apart * max(self._queued - 1, 0)

    async def _closes_within(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)


class Places:
    """What *limits* leave room for; *otherwise* is how many calls at once, where they do not say.

    Once *closing*, nobody is held to a pace any more: whoever waited is let in to find out that it is over.
    """

    def __init__(self, limits: Limits, otherwise: int, closing: asyncio.Event) -> None:
        self.limits = limits
        self._closing = closing
        self._everybody = _Line(limits.concurrency or otherwise, limits.requests_per_minute, closing)
        self._clients: dict[str, _Line] = {}  # as many as ever had something renewed: registrations are few

    @property
    def by_client(self) -> bool:
        """Whether there is a limit for each client."""
        return bool(self.limits.client_concurrency or self.limits.client_requests_per_minute)

    async def take(self, client: str | None) -> ExitStack:
        """Wait for a place for a call as *client*. What is returned gives it back when it is closed.

        The client's line comes first: who stands in it takes no place from others.
        """
        with ExitStack() as place:
            for line in self._lines(client):
                await line.enter()
                place.callback(line.leave)
            return place.pop_all()

    def give_back(self, client: str | None, unused: Sequence[ExitStack]) -> None:
        """Leave the *unused* places of *client*, which count as never taken."""
        for place in unused:
            place.close()
        for line in self._lines(client):
            line.give_back(len(unused))

    def is_free(self, client: str | None) -> bool:
        """Say whether there is a place for *client* now that nobody waits for."""
        return all(line.is_free() for line in self._lines(client))

    def waits(self, client: str | None) -> float:
        """Return how many seconds at least the last one of *client*'s calls waits for its turn."""
        return max(line.waits() for line in self._lines(client))

    def _lines(self, client: str | None) -> list[_Line]:
        if not client or not self.by_client:
            return [self._everybody]
        if client not in self._clients:
            most, per_minute = self.limits.client_concurrency, self.limits.client_requests_per_minute
            self._clients[client] = _Line(most, per_minute, self._closing)
        return [self._clients[client], self._everybody]
