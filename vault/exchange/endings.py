"""When people are told that a token ends which should have renewed itself by then: 14, 7 and 1 days before."""

from dataclasses import replace
from datetime import datetime, timedelta

from vault.connection import TokenState

DAYS = (1, 7, 14)


def ends_within(state: TokenState, at: datetime) -> int | None:
    """Return within how many of DAYS somebody will be needed, seen from *at*; None: in none of them."""
    if state.renewal != "self_exchange" or state.status in {"unconfigured", "failed"}:
        return None
    return next((days for days in DAYS if _ends(state, at, timedelta(days=days))), None)


def news(state: TokenState, next_try: datetime | None) -> int | None:
    """Return which of DAYS to tell of after a failed try of *state*: what will be reached by the next one.

    None where that was told after the try before.
    """
    if next_try is None:
        return None
    told = ends_within(state, state.retry_not_before) if _failing(state) and state.retry_not_before else None
    reached = ends_within(replace(state, status="degraded"), next_try)
    return None if reached == told else reached


def _ends(state: TokenState, at: datetime, within: timedelta) -> bool:
    """Say whether it ends so soon: the token, although it was due to be renewed, or what only a person renews."""
    late = _failing(state) or (state.next_refresh_at is not None and state.next_refresh_at <= at)
    lives = timedelta(seconds=state.issued_lifetime or 0)  # what lives no longer always ends so soon
    ends = [state.refresh_expires_at, state.access_expires_at if late and lives > within else None]
    return any(end is not None and end - at <= within for end in ends)


def _failing(state: TokenState) -> bool:
    return state.status == "degraded"
