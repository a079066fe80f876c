"""Visits every state that the model can reach, counts the bad ones, and keeps the shortest way to each kind.

The two workers are alike, so two states that differ only in which is A and which is B count as one.
"""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TypeAlias

from .exchange import (
    GRANT_REJECTED,
    Design,
    Row,
    State,
    World,
    claim,
    is_flagged,
    is_lost,
    is_quiet,
    is_usable,
    moves,
    start,
)

Ways: TypeAlias = dict[State, tuple[State, str] | None]  # each state, and how it was first reached

MOST_STATES = 1_000_000
MUCH_LATER = 1_000


def _bad(state: State) -> Iterator[str]:
    """What is wrong in this state, by name."""
    row, provider = state.row, state.provider
    if provider.reuses:
        yield "reuse"
    if provider.reuses > 1:
        yield "reuse twice"
    if row.reason == GRANT_REJECTED:
        yield "misblamed"  # our own loss, put down to the provider
    if row.reason is not None and is_usable(provider, row.serial):
        yield "failed in vain"
    if state.orphans:
        yield "orphan"
    if state.reader.wrong:
        yield "misread"
    if is_quiet(state):
        yield from _bad_rest(state)


def _bad_rest(state: State) -> Iterator[str]:
    """What is wrong where nobody is about to put it right."""
    row, provider = state.row, state.provider
    if not is_usable(provider, row.serial):
        yield "lost"
        if not is_flagged(row):
            yield "silent"  # the row does not know that its token is dead
        if any(is_usable(provider, orphan) for orphan in state.orphans):
            yield "good orphan"  # we had the good token and did not store it
    elif row.reason is None and not row.access_alive and not _claimable_later(row):
        yield "stuck"


def _claimable_later(row: Row) -> bool:
    return claim(row, now=MUCH_LATER, attempt="", seen=row.generation, lease=1, patience=0) is not None


@dataclass(frozen=True)
class Report:
    """How many states there are, how many of each bad kind, and the shortest trace to one of them."""

    states: int
    found: Counter[str]
    traces: dict[str, list[str]]
    harmful_crashes: frozenset[str]  # the steps at which a crash fell, in states with a reuse or a loss
    generation: int  # the highest that was reached: the proof that the search got somewhere
    retaken: int  # states in which an unclosed intent has been taken over

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {count}" for kind, count in self.found.items() if count)
        return f"{self.states} states: {counts or 'nothing bad'}"

    def tell(self, kind: str) -> str:
        """The shortest counterexample, for reading."""
        return f"{kind}: " + " > ".join(self.traces.get(kind, ["not found"]))


@cache
def explore(design: Design, world: World) -> Report:
    """Breadth-first search over all interleavings."""
    collects = gc.isenabled()
    gc.disable()  # a hundred thousand living tuples and no cycles: collecting only costs time
    try:
        return _judge(_search(design, world))
    finally:
        if collects:
            gc.enable()


def reachable(design: Design, world: World) -> Iterator[State]:
    """Give every state that the search visits, for who wants to hold something else against them."""
    return iter(_search(design, world))


def _judge(came_from: Ways) -> Report:
    found: Counter[str] = Counter()
    examples: dict[str, State] = {}
    for state in came_from:  # in the order of their distance
        for kind in _bad(state):
            found[kind] += 1
            examples.setdefault(kind, state)
    harmed = (state for state in came_from if state.provider.reuses or is_lost(state))
    return Report(
        states=len(came_from),
        found=found,
        traces={kind: _way_to(state, came_from) for kind, state in examples.items()},
        harmful_crashes=frozenset(state.crashed_at or "none" for state in harmed),
        generation=max(state.row.generation for state in came_from),
        retaken=sum(state.row.uncertain for state in came_from),
    )


def _search(design: Design, world: World) -> Ways:
    """Every reachable state, and the step that first led to it."""
    first = start(world)
    came_from: Ways = {first: None}
    known = {_anonymous(first)}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        for label, after in moves(state, design, world):
            if (key := _anonymous(after)) not in known:
                known.add(key)
                came_from[after] = (state, label)
                queue.append(after)
        if len(known) > MOST_STATES:
            raise RuntimeError("the model has outgrown exhaustive search")
    return came_from


def _anonymous(state: State) -> tuple[object, ...]:
    row, workers, *rest = state
    return (row, frozenset(workers), *rest)


def _way_to(state: State, came_from: Ways) -> list[str]:
    labels = []
    step = came_from[state]
    while step is not None:
        state, label = step
        labels.append(label)
        step = came_from[state]
    return [_repeated(label, len(list(same))) for label, same in groupby(reversed(labels))]


def _repeated(label: str, times: int) -> str:
    return label if times == 1 else f"{label} x{times}"
