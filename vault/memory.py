"""What this process remembers of the database, and how it knows that it may still rely on it.

A fresh token is served from here: sealed values, callers and tenants, never a plain secret. Whatever
makes something here untrue is written down as a `Stale` in the transaction that does it. Each process
hears of those twice a second (`watch.py`), and at once of its own. What is remembered counts only
while the last good hearing began less than STALE_AFTER ago, on a clock that goes on while the process
stands still: so nothing that ended longer ago than that is served by anybody, stopped and continued
processes among them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from vault.clock import uptime
from vault.store.changes import Stale

V = TypeVar("V")
Loader = Callable[[], Awaitable[tuple[V, Sequence[Stale]]]]
STALE_AFTER = 1.0  # seconds

GATES = Stale("gate")
TENANTS = Stale("tenant")


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Any
    because: tuple[Stale, ...]  # each of these makes it untrue


@dataclass(eq=False, slots=True)
class _Load:
    """A load under way: what changed since it began may not be in what it finds."""

    changed: set[Stale] = field(default_factory=set)
    void: bool = False  # it is not known what changed


@dataclass(frozen=True, slots=True)
class _Heard:
    """The last good hearing: when it began, by our clock and by the database's."""

    began: float
    moment: datetime


class Memory:
    """At most *capacity* values, the least recently used of which goes first."""

    def __init__(self, capacity: int, *, alone: bool) -> None:
        self._capacity = capacity
        self._alone = alone  # no other process serves from this database
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._concerned: dict[Stale, set[Hashable]] = {}
        self._loading: list[_Load] = []
        self._heard: _Heard | None = None
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def now(self) -> datetime | None:
        """Return the time by the database's clock; None where nothing remembered may be relied on."""
        heard = self._heard
        if heard is None:
            return None
        since = uptime() - heard.began
        return heard.moment + timedelta(seconds=since) if since < STALE_AFTER else None

    def heard_ago(self) -> float | None:
        """Return how many seconds ago the last good hearing began, None where there was none yet."""
        return None if self._heard is None else uptime() - self._heard.began

    def recall(self, key: Hashable) -> Any | None:
        """Return what is remembered under *key*, None where there is nothing. Whoever asks has asked `now`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry.value

    async def get(self, key: Hashable, load: "Loader[V]") -> V:
        """Return what is remembered under *key*, or else what *load* finds."""
        found: V | None = self.recall(key) if self.now() is not None else None
        return await self.load(key, load) if found is None else found

    async def load(self, key: Hashable, load: "Loader[V]") -> V:
        """Return what *load* finds now, to be remembered under *key* from now on.

        *load* returns the value and the changes that would make it untrue; without any, it is not kept.
        """
        self.misses += 1
        under_way = _Load()
        self._loading.append(under_way)
        try:
            value, because = await load()
        finally:
            self._loading.remove(under_way)
        if because and not under_way.void and under_way.changed.isdisjoint(because):
            self._keep(key, _Entry(value, tuple(because)))
        return value

    def forget(self, changes: Iterable[Stale]) -> None:
        """Drop all that *changes* make untrue, and what is being loaded of it."""
        for change in changes:
            for under_way in self._loading:
                under_way.changed.add(change)
            for key in tuple(self._concerned.get(change, ())):
                self._drop(key)

    def forget_all(self) -> None:
        """Drop everything: it is not known any more what of it is true."""
        for under_way in self._loading:
            under_way.void = True
        self._entries.clear()
        self._concerned.clear()

    def heard(self, began: float, moment: datetime) -> None:
        """Take note that all changes until *began* (uptime) are known; *moment* is the database's time since."""
        self._heard = _Heard(began, moment)

    async def elsewhere(self) -> None:
        """Return when no other process can serve any more what is forgotten here: done means done."""
        if not self._alone:
            await asyncio.sleep(STALE_AFTER)

    def _keep(self, key: Hashable, entry: _Entry) -> None:
        self._drop(key)
        self._entries[key] = entry
        for change in entry.because:
            self._concerned.setdefault(change, set()).add(key)
        while len(self._entries) > self._capacity:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        for change in entry.because if entry else ():
            keys = self._concerned[change]
            keys.discard(key)
            if not keys:
                del self._concerned[change]
