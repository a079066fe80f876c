"""When a failed renewal is tried again: what a provider's pace and the end of the refresh token make of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integrations.contract import ClientRejected, OutcomeUnknown, ProviderError, RateLimited, Transient
from vault.exchange.failure import Expired, aftermath, outcome_of
from vault.store.leases import Turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def turn(**changed: Any) -> Turn:
    """Return the turn of a token with three days to live."""
    fields: dict[str, Any] = {
        **dict.fromkeys(Turn.__dataclass_fields__),
        "connection": "c",
        "renewal": "refresh_token",
        "generation": 1,
        "uncertain": False,
        "retake_after": NOW + timedelta(minutes=2),
        "access_expires_at": NOW + 3 * DAY,
        "failures": 0,
        "claimed_at": NOW,
    }
    return Turn(**{**fields, **changed})


def retried(
    error: ProviderError, of: Turn, *, pace: timedelta = timedelta(0), in_grace: bool = False
) -> timedelta:
    """Return how long after *error* the next try may come, and is due."""
    failed = aftermath(error, of, now=NOW, asked=True, in_grace=in_grace, pace=pace, jitter=lambda *_: 1)
    assert failed.retry_not_before == failed.next_refresh_at
    assert failed.retry_not_before is not None
    return failed.retry_not_before - NOW


@pytest.mark.parametrize(
    ("error", "left", "pace", "after"),
    [
        (Transient("http_503"), 3 * DAY, timedelta(0), DAY),
        (Transient("http_503"), 3 * DAY, 2 * DAY, 2 * DAY),
        (Transient("http_503"), 30 * DAY, timedelta(0), DAY),  # however long it lives, once a day
        (Transient("http_503"), 30 * DAY, 2 * DAY, 2 * DAY),
        (Transient("http_503", retry_after=60), 3 * DAY, 2 * DAY, 2 * DAY),
        (RateLimited("http_429", retry_after=60), 3 * DAY, 2 * DAY, 2 * DAY),
        (OutcomeUnknown("timeout"), 3 * DAY, 2 * DAY, 2 * DAY),
        (Transient("http_503"), HOUR, 2 * DAY, HOUR),  # when the token is over, its pace is
        (Transient("http_503"), -HOUR, 2 * DAY, timedelta(seconds=10)),
    ],
)
def test_tries_keep_the_pace_while_the_token_lives(
    error: ProviderError, left: timedelta, pace: timedelta, after: timedelta
) -> None:
    """Whatever else says sooner."""
    assert retried(error, turn(access_expires_at=NOW + left), pace=pace) == after


def test_a_consumed_refresh_token_is_sent_again_within_its_grace_at_any_pace() -> None:
    """There, to wait is what would lose the grant."""
    assert retried(OutcomeUnknown("timeout"), turn(), pace=DAY, in_grace=True) == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("renewal", "ends", "after"),
    [
        ("refresh_token", 2 * HOUR, 2 * HOUR),
        ("refresh_token", -HOUR, timedelta(0)),
        ("refresh_token", 2 * DAY, DAY),
        ("client_credentials", 2 * HOUR, DAY),  # which has none that could end
    ],
)
def test_a_refresh_token_that_ends_is_not_waited_beyond(renewal: str, ends: timedelta, after: timedelta) -> None:
    """Then nothing is sent any more, and the sooner somebody is told the better."""
    assert retried(Transient("http_503"), turn(renewal=renewal, refresh_expires_at=NOW + ends)) == after


def test_what_has_ended_is_for_a_person() -> None:
    """It is no rejection: nobody was asked."""
    failed = aftermath(Expired(), turn(), now=NOW, asked=True, in_grace=False, pace=DAY, jitter=lambda *_: 1)

    assert (failed.status, failed.reason, failed.error_code) == ("failed", "expired", "refresh_token_expired")
    assert failed.next_refresh_at is None
    assert outcome_of(Expired()) == "expired"


def test_whoever_mends_a_client_finds_its_connections_due() -> None:
    """A claim may have waited for its turn, and our time is ahead of the database's: due is since the claim."""
    claimed_at = NOW - timedelta(seconds=2)
    failed = aftermath(
        ClientRejected("invalid_client"),
        turn(claimed_at=claimed_at),
        now=NOW,
        asked=True,
        in_grace=False,
        pace=timedelta(0),
        jitter=lambda *_: 1,
    )

    assert (failed.next_refresh_at, failed.retry_not_before) == (claimed_at, None)
