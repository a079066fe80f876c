"""When people are told that what should have renewed itself ends: from the state alone, and each time once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.test_lifetimes import state
from vault.connection import TokenState
from vault.exchange.endings import ends_within, news

NOW = datetime(2026, 11, 28, tzinfo=UTC)
DAY = timedelta(days=1)


def held(left: float, **changed: Any) -> TokenState:
    """Return the state of a token of 60 days that has so many days left and is due."""
    fields = {
        "renewal": "self_exchange",
        "status": "verified",
        "access_expires_at": NOW + left * DAY,
        "issued_lifetime": 60 * 86_400,
        "next_refresh_at": NOW - DAY,
        "refresh_expires_at": None,
        "retry_not_before": None,
    }
    return state(**{**fields, **changed})


@pytest.mark.parametrize(
    ("seen", "days"),
    [
        (held(14.1), None),
        (held(14), 14),
        (held(7.1), 14),
        (held(7), 7),
        (held(1), 1),
        (held(0.1, status="degraded", next_refresh_at=NOW + DAY), 1),  # it failed, and is tried again
        (held(6, next_refresh_at=NOW + DAY), None),  # not late: it was entered with few days left
        (held(0.05, issued_lifetime=5400, status="degraded"), None),  # it never lives longer
        (held(6, renewal="refresh_token"), None),
        (held(6, status="failed"), None),  # that is told by its status
        (held(40, refresh_expires_at=NOW + 6 * DAY), 7),  # what only a person renews
        (held(40, access_expires_at=None, issued_lifetime=None), None),
    ],
)
def test_somebody_will_be_needed(seen: TokenState, days: int | None) -> None:
    """The token ends although it is due, or what a person lets us see does."""
    assert ends_within(seen, NOW) == days


def test_each_is_told_once_of_daily_tries_that_fail() -> None:
    """Before it is reached, for the next try comes after that; and again where it is another grant's."""
    told, retry = list[tuple[float, int]](), None
    for left in range(20, 0, -1):
        now = NOW + (20 - left) * DAY
        known: dict[str, Any] = (
            {"status": "degraded", "retry_not_before": retry, "next_refresh_at": retry} if retry else {}
        )
        seen = held(20, **known)
        retry = now + DAY
        if (days := news(seen, retry)) is not None:
            told.append((left, days))

    assert told == [(15, 14), (8, 7), (2, 1)]


def test_what_waits_for_its_client_is_not_told_of() -> None:
    """It is not tried meanwhile, and the client's refusal is told."""
    assert news(held(6), None) is None
