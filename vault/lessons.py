"""What is learned from reports that tokens were refused: they are due, and live shorter than was said."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.connection import TokenState
from vault.timing import SOONEST

SHORTEST_LESSON = 60  # seconds: nothing is learned from tokens that were rejected younger, nor made of it
EARLY = 0.9  # of what a token was to live: who is rejected later has only met its end
ALIKE = 1.25  # two ages agree where the larger is at most so many times the smaller
QUIET = 20  # generations in a row without a report, after which a lesson is trusted less


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """What the first report that the current tokens are refused downstream leaves behind, as columns."""

    rejected_generation: int
    rejected_age: int  # seconds
    learned_lifetime: int | None
    next_refresh_at: datetime  # where they can be renewed at all


def rejection(state: TokenState, now: datetime) -> Rejection:
    """Return what a first report at *now* makes of *state*: its tokens are due, whatever their expiry says.

    At once, but for a backoff; and who rejects one generation after the other gets them at a pace. What is
    refused does not live, so the pace of those that do is not kept.
    """
    backoff = state.retry_not_before if state.status == "degraded" else None
    issued_at = state.refreshed_at or now
    age = max(now - issued_at, timedelta(0)) // timedelta(seconds=1)
    again = state.rejected_generation == state.generation - 1
    return Rejection(
        rejected_generation=state.generation,
        rejected_age=age,
        learned_lifetime=learned_lifetime(state, age),
        next_refresh_at=max(now, backoff or now, issued_at + SOONEST if again else now),
    )


def learned_lifetime(state: TokenState, age: int) -> int | None:
    """Return how many seconds tokens really live, now that those of *state* are reported refused at *age*.

    None: as long as the provider says. One report proves nothing, for a caller may be wrong. Two
    generations in a row that were refused at ages alike, a minute old at least and clearly before
    their end, do: what is relied on from then on is 90 % of the smaller age, and a minute at least.
    """
    before = state.rejected_age if state.rejected_generation == state.generation - 1 else None
    if before is None or state.issued_lifetime is None:
        return state.learned_lifetime
    younger, older = sorted((before, age))
    telling = younger >= SHORTEST_LESSON and older <= state.issued_lifetime * EARLY
    if not telling or older > younger * ALIKE:
        return state.learned_lifetime
    return max(younger * 9 // 10, SHORTEST_LESSON)


def still_learned(learned: int | None, quiet: int) -> int | None:
    """Return what is left of a *learned* lifetime after *quiet* generations in a row without a report.

    A wrong lesson heals: each QUIET of them add a quarter, until it is no less than what the
    provider says. A right one is then learned again, from two more reports.
    """
    return learned * 5 // 4 if learned is not None and quiet > 0 and quiet % QUIET == 0 else learned
