"""What one caller, and all of them together, may have of this process at a time. Counted in memory, a process."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from vault.clock import uptime
from vault.errors import Unavailable

MOST_CALLERS = 10_000  # whose buckets are remembered
MOST_WAITING_A_CONNECTION = 100  # readers


class CallerLimits:
    """A token bucket a caller: *rate* requests a second, and twice that at once. A rate of 0 is no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst = max(2 * rate, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is in it, and when it was

    def take(self, caller: str) -> bool:
        """Take one request out of *caller*'s bucket. Returns whether there was one."""
        if self._rate == 0:
            return True
        now = uptime()
        left, since = self._buckets.pop(caller, (self._burst, now))
        left = min(left + (now - since) * self._rate, self._burst)
        taken = left >= 1
        self._buckets[caller] = (left - 1 if taken else left, now)
        if len(self._buckets) > MOST_CALLERS:
            # Who has not asked for longest: its bucket has most likely filled up again, as a new one is.
            self._buckets.popitem(last=False)
        return taken

    def give_back(self, caller: str) -> None:
        """Put back a request of *caller*'s that was taken, and is going to be taken again."""
        if caller in self._buckets:
            left, since = self._buckets[caller]
            self._buckets[caller] = (left + 1, since)


class WaitingRoom:
    """The places for callers that wait for a refresh: *most* in all, and fewer for any one connection."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def place(self, connection: str) -> Iterator[None]:
        """Wait here for *connection*. Raises Unavailable, at once, where there is no place."""
        if self._waiting.total() >= self._most or self._waiting[connection] >= MOST_WAITING_A_CONNECTION:
            raise Overloaded
        self._waiting[connection] += 1
        try:
            yield
        finally:
            self._waiting[connection] -= 1
            if self._waiting[connection] == 0:
                del self._waiting[connection]


class Overloaded(Unavailable):
    """Too many callers wait already."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__(retry_after=1)
