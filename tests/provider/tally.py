"""Counting what arrived, and holding answers back: tests that wait for events instead of sleeping."""

import asyncio
from collections import Counter, deque


class Tally:
    """Counts, and a way to wait until one of them has been reached."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def add(self, what: str, by: int = 1) -> None:
        self.counts[what] += by
        self._changed.set()
        self._changed = asyncio.Event()

    async def reached(self, what: str, number: int) -> None:
        while self.counts[what] < number:
            await self._changed.wait()


class Hold:
    """Requests that wait for a control call, first come first released."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._waiting: deque[asyncio.Event] = deque()

    async def wait(self) -> None:
        turn = asyncio.Event()
        self._waiting.append(turn)
        self._tally.add("held")
        await turn.wait()

    def release(self, number: int | None = None) -> int:
        """Let the first *number* go on, or all; tells how many that were."""
        going = len(self._waiting) if number is None else min(number, len(self._waiting))
        for _ in range(going):
            self._waiting.popleft().set()
        self._tally.add("held", -going)
        return going
