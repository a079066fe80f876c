"""A driver of works that is cut wherever one can be: after every call and every keeping, or amid it.

What it remembers over a cut is what was kept, and nothing else. The provider is a function that answers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import httpx

from integrations.contract import (
    Answer,
    Finding,
    Keep,
    OutcomeUnknown,
    ProviderError,
    Root,
    Secret,
    Transient,
    Work,
)

# What happens at a step. It is done, and then the process ends: which is also how it ends before the next one. Or
# it goes on: a call was carried out and its answer was lost, or it never left.
Fate = Literal["dies", "answer_lost", "never_left"]
FATES: tuple[Fate, ...] = ("dies", "answer_lost", "never_left")
MOST_RUNS = 6


class Died(Exception):
    """The process is gone."""


@dataclass
class Stored:
    """What is stored of a connection."""

    kind: str
    credentials: dict[str, Secret]
    pending: dict[str, Secret] = field(default_factory=dict)

    def root(self) -> Root:
        return Root(kind=self.kind, credentials=dict(self.credentials), pending=dict(self.pending))

    def keep(self, kept: Keep) -> None:
        self.credentials |= kept.credentials
        self.pending = dict(kept.pending)

    def value(self, name: str) -> str | None:
        return self.credentials[name].reveal() if name in self.credentials else None


@dataclass
class Driver:
    """Carries out works of a provider that *answers*, and looks *after* each step whether all is well."""

    answer: Callable[[httpx.Request], Answer]
    work: Callable[[Root], Work[Finding] | None]
    stored: Stored
    after: Callable[[], None]
    cuts: Mapping[int, Fate] = field(default_factory=dict)  # by the number of a step, counted over all runs
    steps: int = 0
    told: list[ProviderError] = field(default_factory=list)

    def until_done(self) -> Finding:
        """Begin anew for as long as it does not come to an end, as the vault does."""
        for _ in range(MOST_RUNS):
            try:
                return self.run()
            except ProviderError as error:
                self.told.append(error)
            except Died:
                pass
        raise AssertionError(f"it comes to no end: {self.told}")

    def run(self) -> Finding:
        work = self.work(self.stored.root())
        assert work is not None
        try:
            step: object = next(work)
            while True:
                step = self._next(work, step)
        except StopIteration as done:
            found: Finding = done.value
            return found

    def _next(self, work: Work[Finding], step: object) -> object:
        fate = self.cuts.get(self.steps)
        self.steps += 1
        if isinstance(step, Keep):
            self.stored.keep(step)
            self._look(fate)
            return next(work)
        assert isinstance(step, httpx.Request)
        if fate == "never_left":
            return work.throw(Transient("connection_failed"))
        answer = self.answer(step)
        self._look(fate)
        return work.throw(OutcomeUnknown("timeout")) if fate == "answer_lost" else work.send(answer)

    def _look(self, fate: Fate | None) -> None:
        self.after()
        if fate == "dies":
            raise Died


def every_cut(steps: int, *, pairs: bool = True) -> Iterator[dict[int, Fate]]:
    """Give every way to cut a work of so many *steps* once; with *pairs* also twice.

    After the first cut there are about as many steps again: what is numbered higher is hardly ever reached.
    """
    for first in range(steps):
        for fate in FATES:
            yield {first: fate}
            if pairs:
                for second in range(first + 1, first + steps):
                    for other in FATES:
                        yield {first: fate, second: other}


def copied(stored: Stored) -> Stored:
    return replace(stored, credentials=dict(stored.credentials), pending=dict(stored.pending))
