"""When a provider is given up for a while, and for how long."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from integrations.contract import (
    ClientRejected,
    GrantRejected,
    Misused,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Transient,
)
from vault.breaker import FEWEST, LATEST, WINDOW, Breaker, pause, works
from vault.errors import CannotOpen

SAID: dict[str, tuple[ProviderError | CannotOpen | None, bool | None]] = {
    "success": (None, True),
    "a rejected grant": (GrantRejected("invalid_grant"), True),
    "500": (Transient("http_500"), False),
    "no answer": (OutcomeUnknown("timeout"), False),
    "429": (RateLimited("http_429"), None),
    "a rejected client": (ClientRejected("invalid_client"), None),
    "our mistake": (Misused("invalid_request"), None),
    "a refusal that proves nothing": (Transient("http_413"), None),
    "a provider in a hurry": (Transient("http_408"), False),
    "our database": (Transient("storage_unavailable"), None),
    "our sleep": (Transient("too_late"), None),
    "our keys": (CannotOpen(), None),
}


@pytest.mark.parametrize("what", SAID)
def test_what_an_outcome_says_of_its_provider(what: str) -> None:
    """Only what the provider did or failed to do counts; our own trouble and our own mistakes do not."""
    error, expected = SAID[what]
    assert works(error) is expected


def tripped(outcomes: Sequence[bool | None], *, apart: float = 0.0) -> list[int]:
    """Return at which of *outcomes* a breaker opens."""
    breaker = Breaker()
    return [n for n, outcome in enumerate(outcomes) if breaker.note("p", f"c{n}", outcome, n * apart)]


def test_it_opens_at_the_tenth_failure_and_counts_anew() -> None:
    """Nine failures are too few to judge by; the tenth opens it, and the same ten do not open it again."""
    assert tripped([False] * (2 * FEWEST - 1)) == [FEWEST - 1]
    assert tripped([False] * (2 * FEWEST)) == [FEWEST - 1, 2 * FEWEST - 1]


def test_it_opens_where_six_of_ten_failed() -> None:
    """Half of ten is no incident, six of ten is."""
    assert tripped([True, False] * 5) == []
    assert tripped([True] * 4 + [False] * 6) == [9]


def test_few_connections_do_not_speak_for_all() -> None:
    """However often nine broken ones are tried, a provider at which hardly anything else happens stays open."""
    breaker = Breaker()
    assert not any(breaker.note("p", f"c{n % 9}", False, n / 10) for n in range(500))
    assert breaker.note("p", "a tenth", False, 50.0)


def test_what_says_nothing_is_not_counted() -> None:
    """Outcomes that are about us neither fill up the ten nor thin out the failures."""
    assert tripped([None, False] * 9) == []
    assert tripped([None, False] * 10) == [19]


def test_outcomes_are_forgotten_after_a_minute() -> None:
    """Failures that are further apart than the window never add up."""
    assert tripped([False] * 50, apart=WINDOW / (FEWEST - 2)) == []
    assert tripped([False] * 10, apart=WINDOW / FEWEST) == [9]


def test_a_long_run_of_successes_does_not_hide_an_outage() -> None:
    """However many worked within the minute, sixty failures of the latest hundred are enough."""
    assert tripped([True] * 20_000 + [False] * LATEST)[0] == 20_000 + 59


def test_providers_are_judged_apart() -> None:
    """What fails at one provider is not held against another."""
    breaker = Breaker()
    assert [breaker.note(f"p{n}", f"c{n}", False, 0.0) for n in range(FEWEST)] == [False] * FEWEST


def test_pauses_double_up_to_ten_minutes() -> None:
    """30 s, 60 s, … 10 min, each up to a fifth more or less."""
    middle = [pause(n, lambda low, high: (low + high) / 2).total_seconds() for n in (1, 2, 3, 5, 6, 100)]

    assert middle == pytest.approx([30, 60, 120, 480, 600, 600])
    assert pause(1, lambda low, _high: low) == timedelta(seconds=24)
    assert pause(1, lambda _low, high: high) == timedelta(seconds=36)
