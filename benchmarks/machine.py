"""The machine: which core measures what, and what a process costs. Linux, which alone tells all of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


class Unsuitable(Exception):
    """Nothing can be measured here; the message says why, and what would help."""


@dataclass(frozen=True)
class Cores:
    """One core for what is measured, the others for load generator, provider and PostgreSQL."""

    measured: frozenset[int]
    others: frozenset[int]

    @classmethod
    def here(cls) -> "Cores":
        """Return this machine's. Raises Unsuitable."""
        if not hasattr(os, "sched_getaffinity"):
            raise Unsuitable("The benchmarks pin processes to cores, which only Linux can do.")
        first, *others = sorted(os.sched_getaffinity(0))
        if not others:
            raise Unsuitable("The benchmarks need two cores: one is measured, the other makes the load.")
        return cls(frozenset({first}), frozenset(others))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Keep this thread, and all that it starts meanwhile, on *cores*."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Usage:
    """What a process and its children have cost so far."""

    cpu: float  # seconds
    rss: float  # MB (10^6 bytes) now

    @classmethod
    def of(cls, pid: int) -> "Usage":
        found = [_of_one(each) for each in _family(pid)]
        return cls(sum(each.cpu for each in found), sum(each.rss for each in found))


def _of_one(pid: int) -> Usage:
    # After the name, which stands in brackets and may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage((int(fields[11]) + int(fields[12])) / _TICK, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def _family(pid: int) -> list[int]:
    children = [
        int(child)
        for listed in Path(f"/proc/{pid}/task").glob("*/children")
        for child in listed.read_text().split()
    ]
    return [pid, *(each for child in children for each in _family(child))]
