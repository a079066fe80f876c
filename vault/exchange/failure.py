"""What a failed refresh does to its connection: the class of the failure, turned into columns."""

from datetime import datetime, timedelta

from integrations.contract import (
    ClientRejected,
    GrantRejected,
    Misused,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
)
from vault.connection import OF_ITS_TOKEN
from vault.errors import CannotOpen
from vault.metrics import Outcome
from vault.store.leases import Turn
from vault.store.settle import Failed
from vault.timing import ASKED_RECENTLY, Jitter, retry_delay

RATE_LIMIT_PAUSE = 30.0  # seconds, where the provider does not say
GRACE_RETRY = timedelta(seconds=5)


class Expired(ProviderError):
    """The refresh token has ended when its provider said that it would: nothing was sent."""

    def __init__(self, code: str = "refresh_token_expired") -> None:
        super().__init__(code)


_OUTCOMES: dict[type[Exception], Outcome] = {
    GrantRejected: "grant_rejected",
    ClientRejected: "client_rejected",
    RateLimited: "rate_limited",
    OutcomeUnknown: "outcome_unknown",
    Misused: "bug",
    Expired: "expired",
    CannotOpen: "undecryptable",
}


def outcome_of(error: ProviderError | CannotOpen) -> Outcome:
    """Return the class of *error*, as it is counted; transient where it is no other."""
    return next((outcome for kind, outcome in _OUTCOMES.items() if isinstance(error, kind)), "transient")


def aftermath(
    error: ProviderError,
    turn: Turn,
    *,
    now: datetime,
    asked: bool,
    in_grace: bool,
    pace: timedelta,
    jitter: Jitter,
    entered: bool = False,
) -> Failed:
    """Return how *turn* is settled after *error*.

    *asked* says that a caller stands waiting, *in_grace* that the provider still takes a consumed
    refresh token for a while, so that the only mistake is to wait too long. *pace* is the least time between two
    tries while the tokens live. *entered* says that a token was entered by hand, and not given by a consent.
    """
    if isinstance(error, GrantRejected | Expired):
        reason = "expired" if isinstance(error, Expired) else _why_rejected(turn, entered=entered)
        return Failed(status="failed", reason=reason, failures=turn.failures + 1, error_code=error.code)
    if isinstance(error, ClientRejected):
        # Due at once: it is the client that waits, and whoever mends it mends all its connections. That is since
        # the claim: *now* is ahead of the database's clock by as long as the claim waited for its turn.
        return Failed(
            status="degraded",
            reason="client_rejected",
            failures=turn.failures,
            error_code=error.code,
            next_refresh_at=turn.claimed_at,
        )
    return _passing(error, turn, now, asked, in_grace, pace, jitter)


def _why_rejected(turn: Turn, *, entered: bool) -> str:
    """Return whose loss a rejection is: an earlier attempt on these tokens may have lost us the successor."""
    if turn.renewal not in OF_ITS_TOKEN or (entered and turn.renewal == "self_exchange"):
        return "credentials_rejected"
    return "lost_rotation" if turn.uncertain and turn.renewal == "refresh_token" else "grant_rejected"


def pause_of_provider(error: RateLimited, now: datetime) -> datetime:
    """Return until when the whole provider is left alone."""
    return now + timedelta(seconds=error.retry_after or RATE_LIMIT_PAUSE)


def _passing(
    error: ProviderError,
    turn: Turn,
    now: datetime,
    asked: bool,
    in_grace: bool,
    pace: timedelta,
    jitter: Jitter,
) -> Failed:
    unknown, bug = isinstance(error, OutcomeUnknown), isinstance(error, Misused)
    left = max(turn.access_expires_at - now, timedelta(0)) if turn.access_expires_at else timedelta(0)
    failures = turn.failures if left and not bug else turn.failures + 1
    delay = max(_delay(error, turn, now, failures, asked, jitter), min(pace, left))
    if unknown and in_grace:
        delay = min(delay, GRACE_RETRY)
    retake_after = (now if in_grace else turn.retake_after) if unknown else None
    retry_at = _no_later_than_its_end(max(now + delay, retake_after or now), turn, now)
    return Failed(
        status="degraded",
        reason="rate_limited" if isinstance(error, RateLimited) else "outcome_unknown" if unknown else "transient",
        failures=failures,
        error_code=error.code,
        retry_not_before=retry_at,
        retry_dictated=bug or unknown or error.retry_after is not None or isinstance(error, RateLimited),
        next_refresh_at=retry_at,
        retake_after=retake_after,
    )


def _no_later_than_its_end(retry_at: datetime, turn: Turn, now: datetime) -> datetime:
    """Return *retry_at*, or when the refresh token ends: then nothing is sent any more, and a person is told."""
    ends = turn.refresh_expires_at if turn.renewal == "refresh_token" else None
    return retry_at if ends is None else min(retry_at, max(ends, now))


def _delay(
    error: ProviderError, turn: Turn, now: datetime, failures: int, asked: bool, jitter: Jitter
) -> timedelta:
    if isinstance(error, RateLimited):
        return pause_of_provider(error, now) - now
    if error.retry_after is not None:
        return timedelta(seconds=error.retry_after)
    remaining = turn.access_expires_at - now if turn.access_expires_at else timedelta(0)
    lately = turn.last_asked_at is not None and now - turn.last_asked_at < ASKED_RECENTLY
    return retry_delay(
        remaining=remaining,
        failures=failures,
        asked_recently=asked or lately,
        bug=isinstance(error, Misused),
        jitter=jitter,
    )
