"""What one caller may ask for, and how many may wait."""

from contextlib import ExitStack

import pytest

from vault import limits
from vault.limits import (
    MOST_CALLERS,
    MOST_WAITING_A_CONNECTION,
    CallerLimits,
    Overloaded,
    WaitingRoom,
)


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the buckets see; the test sets it."""
    now = [100.0]
    monkeypatch.setattr(limits, "uptime", lambda: now[0])
    return now


def taken(bucket: CallerLimits, caller: str, times: int) -> int:
    return sum(bucket.take(caller) for _ in range(times))


def test_a_caller_has_a_burst_and_then_its_rate(clock: list[float]) -> None:
    """Twice the rate at once, then the rate; what is not used adds up to a burst and no further."""
    bucket = CallerLimits(10)

    assert taken(bucket, "a", 50) == 20
    clock[0] += 1
    assert taken(bucket, "a", 50) == 10
    clock[0] += 60
    assert taken(bucket, "a", 50) == 20


def test_callers_have_buckets_of_their_own(clock: list[float]) -> None:
    """One caller's flood takes nothing from another."""
    bucket = CallerLimits(10)
    taken(bucket, "a", 50)

    assert taken(bucket, "b", 50) == 20


def test_a_slow_rate_lets_single_requests_pass(clock: list[float]) -> None:
    """A rate below one a second still gives one request at a time."""
    bucket = CallerLimits(0.1)

    assert taken(bucket, "a", 3) == 1
    clock[0] += 10
    assert taken(bucket, "a", 3) == 1


def test_no_rate_is_no_limit(clock: list[float]) -> None:
    """0 switches it off."""
    assert taken(CallerLimits(0), "a", 10_000) == 10_000


def test_buckets_do_not_pile_up(clock: list[float]) -> None:
    """Memory is bounded: of too many callers, the one that asked longest ago is forgotten, and only that one."""
    bucket = CallerLimits(1)
    taken(bucket, "first", 5)
    taken(bucket, "second", 5)
    for n in range(MOST_CALLERS - 1):
        bucket.take(f"c{n}")

    assert len(bucket._buckets) == MOST_CALLERS
    assert taken(bucket, "second", 5) == 0
    assert taken(bucket, "first", 5) == 2


def test_one_connection_does_not_take_all_places() -> None:
    """A hundred may wait for one connection, others still may for another, and places come free again."""
    room = WaitingRoom(1_000)
    with ExitStack() as stack:
        for _ in range(MOST_WAITING_A_CONNECTION):
            stack.enter_context(room.place("x"))
        with pytest.raises(Overloaded), room.place("x"):
            pass
        with room.place("y"):
            pass
    with room.place("x"):
        pass
    assert not room._waiting


def test_all_places_together_are_bounded() -> None:
    """The total counts whatever connections are waited for."""
    room = WaitingRoom(3)
    with ExitStack() as stack:
        for name in "abc":
            stack.enter_context(room.place(name))
        with pytest.raises(Overloaded), room.place("d"):
            pass
