"""When tokens are renewed, tried, and tried again after a failure. All moments are the database's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from integrations.contract import Provider, TokenSet

Jitter = Callable[[float, float], float]  # uniform between two bounds
ASKED_RECENTLY = timedelta(minutes=1)
SOONEST = timedelta(seconds=2)  # between refreshes of tokens that arrive dead, or that whoever gets them rejects
SHORTEST_LEAD, LONGEST_LEAD = timedelta(seconds=60), timedelta(minutes=15)


@dataclass(frozen=True)
class NewTokens:
    """The times of a token set, as columns."""

    access_expires_at: datetime | None  # None: never
    issued_lifetime: int | None
    refresh_expires_at: datetime | None
    next_refresh_at: datetime | None
    learned_lifetime: int | None = None
    retry_not_before: datetime | None = None


def new_tokens(
    tokens: TokenSet,
    provider: Provider,
    kind: str,
    issued_at: datetime,
    jitter: Jitter,
    learned: int | None = None,
) -> NewTokens:
    """Return the times of *tokens* of a *kind* of *provider*'s, counted from when they were asked for.

    They live no longer than the *learned* seconds, which are forgotten once the provider itself says less. They
    are renewed before the refresh token ends that it takes, too.
    """
    if not tokens.ends:
        return NewTokens(None, None, None, None)
    stated = provider.default_lifetime if tokens.expires_in is None else tokens.expires_in
    learned = learned if learned is not None and learned < stated else None
    lifetime = stated if learned is None else learned
    margin = next((one.refresh_margin for one in provider.kinds if one.id == kind), None)
    dies = None if tokens.refresh_expires_in is None else issued_at + timedelta(seconds=tokens.refresh_expires_in)
    dues = [due_at(issued_at, end, jitter) for end in _other_ends(tokens, provider)]
    dues.append(due_at(issued_at, lifetime, jitter, margin))
    return NewTokens(
        access_expires_at=issued_at + timedelta(seconds=lifetime),
        issued_lifetime=lifetime,
        refresh_expires_at=dies,
        next_refresh_at=min(dues),
        learned_lifetime=learned,
    )


def paced(times: NewTokens, provider: Provider, tried_at: datetime) -> NewTokens:
    """Return *times* of tokens that a try at *tried_at* gave, with the next one at *provider*'s pace.

    Tokens that arrive dead are not got in a whirl. Who dies first, be it the access token, is not waited for;
    a refresh token that would end meanwhile is renewed as if there were no pace.
    """
    if times.access_expires_at is None or times.next_refresh_at is None:
        return times  # nothing ends
    spaced = min(tried_at + timedelta(seconds=provider.min_refresh_interval), times.access_expires_at)
    if spaced <= tried_at or (times.refresh_expires_at is not None and times.refresh_expires_at <= spaced):
        return replace(times, next_refresh_at=max(times.next_refresh_at, tried_at + SOONEST))
    next_refresh_at = max(times.next_refresh_at, tried_at + SOONEST, spaced)
    return replace(times, next_refresh_at=next_refresh_at, retry_not_before=spaced)


def effective_min_ttl(asked: timedelta, issued_lifetime: int | None) -> timedelta:
    """Return what of *asked* can be given: a token is never renewed in the first half of its life for it."""
    if issued_lifetime is None:
        return asked
    return min(asked, timedelta(seconds=issued_lifetime) / 2)


def _other_ends(tokens: TokenSet, provider: Provider) -> list[int]:
    """Return after how many seconds *tokens* have to be renewed, whatever the access token lives."""
    ends = (tokens.refresh_expires_in, provider.refresh_every)
    return [end for end in ends if end is not None]


def due_at(issued_at: datetime, lifetime: int, jitter: Jitter, margin: int | None = None) -> datetime:
    """Return when the sweep renews a token that lives *lifetime* seconds from *issued_at*.

    The lead is *margin* seconds, or else a quarter of the life, from 1 to 15 minutes; at most half of it.
    The jitter keeps tokens that were issued together from being renewed together.
    """
    life = timedelta(seconds=lifetime)
    usual = min(max(life / 4, SHORTEST_LEAD), LONGEST_LEAD)
    lead = min(usual if margin is None else timedelta(seconds=margin), life / 2)
    return issued_at + life - lead * jitter(0.8, 1.2)


def check_at(now: datetime, every: int | None, jitter: Jitter) -> datetime | None:
    """Return when what was tried *now* is tried again, which may be *every* so many seconds; None: never."""
    return None if every is None else now + timedelta(seconds=every) * jitter(0.8, 1.2)


def retry_delay(
    *, remaining: timedelta, failures: int, asked_recently: bool, bug: bool, jitter: Jitter
) -> timedelta:
    """Return how long to wait after a failure that may pass.

    While the token lives, tries are a third of its rest apart, a day at most, so that at least three fit in.
    Once it is dead they back off, but never beyond 20 s while somebody stands waiting.
    """
    if remaining > timedelta(0) and not bug:
        return min(max(timedelta(seconds=5), remaining / 3), timedelta(days=1))
    backed_off = timedelta(seconds=10 * 2.0 ** min(failures - 1, 20)) * jitter(0.5, 1.5)
    longest = timedelta(hours=6) if bug else timedelta(seconds=20) if asked_recently else timedelta(minutes=30)
    return min(backed_off, longest)
