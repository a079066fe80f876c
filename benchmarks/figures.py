"""Figures: medians of rounds, what they are held to, and how they are printed."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spread:
    """The same figure of several rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.low)}-{number(self.high)})"


@dataclass(frozen=True)
class Goal:
    """A figure and the limit that it is held to: at least that, or at most."""

    name: str
    measured: float
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def row(self) -> tuple[str, ...]:
        limit = f"{'≥' if self.at_least else '≤'} {number(self.limit)}{self.unit}"
        return self.name, f"{number(self.measured)}{self.unit}", limit, "yes" if self.met else "**no**"


@dataclass
class Section:
    """The outcome of one benchmark: its table, and the goals that the table bears on."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def __str__(self) -> str:
        return f"## {self.title}\n\n{table(self.header, self.rows)}\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return *rows* as a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def goals_table(sections: Iterable[Section]) -> str:
    """Return one table of all that is held to a limit."""
    return table(("figure", "measured", "limit", "met"), [goal.row() for each in sections for goal in each.goals])


def number(value: float) -> str:
    """Return *value* with three digits that count, and no more than it has."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(2 - math.floor(math.log10(abs(value))), 0)}f}"


def percentile(values: Iterable[float], part: float) -> float:
    """Return the value below which *part* (0 to 1) of *values* lie: one of them, by the nearest rank."""
    ranked = sorted(values)
    return ranked[max(math.ceil(part * len(ranked)), 1) - 1]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much y rises for one more x, by least squares."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope
