"""The breaker's judgement: when too much fails for it to be the connections' fault, and how long to stay away.

Each process judges by the refreshes it made itself. What it finds is written down for all of them
(`store/gates.py`), and so is who tries when it is time.
"""

from collections import OrderedDict, defaultdict
from datetime import timedelta

from integrations.contract import GrantRejected, OutcomeUnknown, ProviderError, Transient
from vault.errors import CannotOpen
from vault.timing import Jitter

WINDOW = 60.0  # seconds that an outcome counts
LATEST = 100  # outcomes that count at most: a long run of successes does not hide that all fail now
FEWEST = 10  # outcomes to judge by, each of another connection
SHARE = 0.6  # of them failed
SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(minutes=10)

# Failures of ours: nothing was sent, so they say nothing about the provider.
_BUSY = {"http_408", "http_425"}  # the only refusals that speak of the provider and not of what was asked
_OURS = {"storage_unavailable", "too_late", "address_refused"}


class Breaker:
    """What one process saw of each provider lately: of each connection its latest outcome.

    So that one broken grant, however often it is tried, or a few of them at a quiet provider, do not
    speak for all others: it takes ten connections to open a breaker.
    """

    def __init__(self) -> None:
        self._seen: defaultdict[str, OrderedDict[str, tuple[float, bool]]] = defaultdict(OrderedDict)

    def note(self, provider: str, connection: str, works: bool | None, now: float) -> bool:
        """Take note of one outcome at *now* (seconds); None says nothing. Returns whether it opens the breaker.

        Then counting begins anew: what led to it is not held against the provider a second time.
        """
        if works is None:
            return False
        seen = self._seen[provider]
        seen.pop(connection, None)
        seen[connection] = (now, works)
        while len(seen) > LATEST or now - next(iter(seen.values()))[0] > WINDOW:
            seen.popitem(last=False)
        failed = sum(not worked for _, worked in seen.values())
        trips = not works and len(seen) >= FEWEST and failed >= SHARE * len(seen)
        if trips:
            seen.clear()
        return trips


def works(error: ProviderError | CannotOpen | None) -> bool | None:
    """Return what the outcome of a refresh says of its provider: None where it says nothing.

    Who rejects a grant has looked at it. Who finds us too fast, unknown or wrong is there, but has
    not shown that it can do its work.
    """
    if error is None or isinstance(error, GrantRejected):
        return True
    if isinstance(error, Transient | OutcomeUnknown) and error.code not in _OURS:
        return False if error.code in _BUSY or not error.code.startswith("http_4") else None
    return None


def pause(trips: int, jitter: Jitter) -> timedelta:
    """Return how long a provider is left alone after it tripped for the *trips*-th time in a row."""
    doubled = SHORTEST_PAUSE * 2.0 ** min(trips - 1, 10)
    return min(doubled, LONGEST_PAUSE) * jitter(0.8, 1.2)
