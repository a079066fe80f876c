"""A connection as it is stored, and the judgements on it that need nothing but its fields and the time.

All moments are the database's: the clocks of the replicas do not matter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from integrations.contract import Provider, Renewal, TokenSet

Path = tuple[str, str, str]  # of a connection: its tenant, provider and name
Status = Literal["unconfigured", "configured", "verified", "degraded", "failed"]
Reason = Literal[
    "awaiting_consent", "empty",                                            # unconfigured
    "unverified", "probe_unknown",                                          # configured
    "transient", "rate_limited", "outcome_unknown", "client_rejected",      # degraded
    "grant_rejected", "lost_rotation", "expired", "undecryptable",          # failed
    "credentials_rejected", "account_suspended",
]  # fmt: skip
Prefer = Literal["own", "inherited"]
WITH_ITS_TOKEN: frozenset[Renewal] = frozenset({"self_exchange", "none"})  # over when the access token is
OF_ITS_TOKEN: frozenset[Renewal] = frozenset({"refresh_token", "self_exchange"})  # without one they are none
# Why something failed where its provider has said so, and not the time alone, or a key of ours.
REFUSED: frozenset[Reason] = frozenset(
    {"grant_rejected", "lost_rotation", "credentials_rejected", "account_suspended"}
)
NextAction = Literal["none", "connect", "verify", "wait", "fix_client", "reconnect", "fix_credentials", "operator"]

ACTIONS: Mapping[str, NextAction] = {
    "awaiting_consent": "connect",
    "empty": "connect",
    "unverified": "verify",
    "probe_unknown": "verify",
    "transient": "wait",
    "rate_limited": "wait",
    "outcome_unknown": "wait",
    "client_rejected": "fix_client",
    "grant_rejected": "reconnect",
    "lost_rotation": "reconnect",
    "expired": "reconnect",
    "credentials_rejected": "fix_credentials",
    "account_suspended": "fix_credentials",
    "undecryptable": "operator",
}

SHORTEST_LEAD, LONGEST_LEAD = timedelta(seconds=60), timedelta(minutes=15)
LIVING = timedelta(seconds=1)  # less than this is not worth handing out
ASKED_RECENTLY = timedelta(minutes=1)
SOONEST = timedelta(seconds=2)  # between refreshes of tokens that arrive dead, or that whoever gets them rejects

SHORTEST_LESSON = 60  # seconds: nothing is learned from tokens that were rejected younger, nor made of it
EARLY = 0.9  # of what a token was to live: who is rejected later has only met its end
ALIKE = 1.25  # two ages agree where the larger is at most so many times the smaller
QUIET = 20  # generations in a row without a report, after which a lesson is trusted less

Jitter = Callable[[float, float], float]  # uniform between two bounds


@dataclass(frozen=True, kw_only=True)
class TokenState:
    """What the machine knows of one connection's tokens: `token_states`, less the exchange's own columns."""

    status: Status
    reason: Reason | None
    generation: int
    granted_generation: int
    renewal: Renewal
    access_expires_at: datetime | None
    issued_lifetime: int | None  # seconds
    refresh_expires_at: datetime | None
    refreshed_at: datetime | None
    verified_at: datetime | None
    next_refresh_at: datetime | None
    failures: int
    first_failed_at: datetime | None
    last_error_code: str | None
    retry_not_before: datetime | None
    lease_expires_at: datetime | None
    inflight_generation: int | None
    retake_after: datetime | None
    uncertain: bool
    parked: Literal["rejected", "paused"] | None
    rejected_generation: int | None
    rejected_age: int | None  # seconds
    learned_lifetime: int | None  # seconds
    granted_at: datetime | None = None  # when a person consented to what is renewed; None where nobody knows
    next_check_at: datetime | None = None  # when what is never renewed is tried again
    checked_at: datetime | None = None  # when somebody last asked whether it works
    lacks: tuple[str, ...] = ()  # abilities that it turned out not to have

    @property
    def next_action(self) -> NextAction:
        if self.status == "degraded" and self.reason == "probe_unknown":
            return "wait"  # it worked so far, and is tried again
        return ACTIONS[self.reason] if self.reason else "none"

    @property
    def holds_tokens(self) -> bool:
        return self.status != "unconfigured"

    def judged(self, now: datetime) -> "TokenState":
        """Return this state as it is at *now*: what nothing can renew then fails when its token ends."""
        over = self.is_its_token and self.ended(now)
        if over and self.holds_tokens and self.status != "failed":
            return replace(self, status="failed", reason="expired")
        return self

    @property
    def is_its_token(self) -> bool:
        """Whether what is handed out is all that it holds: what is said of the one is said of the other."""
        return self.renewal in WITH_ITS_TOKEN

    @property
    def proven_dead(self) -> bool:
        """Whether what is handed out is known not to work, however long it was to live.

        Its provider has refused it; or has refused what it was got with, which it may outlive, and whoever used
        it has reported it too. Neither alone is proof: not a report, nor the end of a grant.
        """
        if self.status != "failed" or self.reason not in REFUSED:
            return False
        return self.is_its_token or self.is_reported

    @property
    def is_reported(self) -> bool:
        """Whether somebody has said that the current token was refused."""
        return self.rejected_generation == self.generation

    @property
    def in_doubt(self) -> bool:
        """Whether the current token was reported, and its provider was not asked about it since."""
        if not self.is_reported or self.checked_at is None or self.refreshed_at is None:
            return self.is_reported
        return self.checked_at <= self.refreshed_at + timedelta(seconds=self.rejected_age or 0)

    def remaining(self, now: datetime) -> timedelta:
        """Return how long the access token was to live from *now*; a year where it never ends."""
        return self.access_expires_at - now if self.access_expires_at else timedelta(days=365)

    def ended(self, now: datetime) -> bool:
        return self.remaining(now) < LIVING

    def living(self, now: datetime) -> bool:
        """Say whether there is something to hand out. What is not known to be dead, is."""
        return self.holds_tokens and not self.ended(now) and not self.proven_dead

    def fresh(self, min_ttl: timedelta, now: datetime) -> bool:
        """Say whether the token will live long enough for a caller that wants *min_ttl*."""
        left = self.remaining(now)
        return self.living(now) and (left >= min_ttl or left >= effective_min_ttl(min_ttl, self.issued_lifetime))

    def claimable_at(self, now: datetime) -> datetime:
        """Return when a refresh may start, as far as this row says; *now* or earlier means at once."""
        waits = [self.retry_not_before, self.lease_expires_at]
        if self.inflight_generation == self.generation:
            waits.append(self.retake_after)
        return max([moment for moment in waits if moment], default=now)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One tenant's standing access at one provider. `held_back_until` joins its provider's and client's gates."""

    id: str
    tenant: str
    provider: str
    name: str
    kind: str
    client: str | None
    client_id: str | None  # of that client, as its provider knows it
    account: str | None
    account_label: str | None
    scopes: tuple[str, ...]
    asked_scopes: tuple[str, ...]
    metadata: Mapping[str, Any]
    settings: Mapping[str, Any]
    enabled: bool
    prefer: Prefer
    shared: bool
    created_at: datetime
    state: TokenState
    client_rejected: bool
    client_held_until: datetime | None
    client_paused: bool
    provider_held_until: datetime | None
    provider_paused: bool
    read_at: datetime
    shown: Mapping[str, str] | None = None  # what was entered, as people may see it
    changed_by: str | None = None
    changed_at: datetime | None = None

    @property
    def missing_scopes(self) -> tuple[str, ...]:
        """Return what was asked for and not granted."""
        return tuple(scope for scope in self.asked_scopes if scope not in self.scopes)

    @property
    def path(self) -> str:
        return f"{self.tenant}/{self.provider}/{self.name}"

    @property
    def offers_its_own(self) -> bool:
        """Say whether it holds credentials that are not put aside for what its tenant inherits."""
        return self.prefer == "own" and self.state.holds_tokens

    @property
    def paused(self) -> Literal["provider", "client", "tenant"] | None:
        """Return whose kill switch is on, apart from its own; None where none is."""
        if not self.enabled:
            return None
        if self.provider_paused:
            return "provider"
        if self.client_paused:
            return "client"
        return "tenant" if self.state.parked == "paused" else None

    @property
    def standing(self) -> str:
        """Return its status in words, behind whatever switches it off: "paused by its tenant (verified)"."""
        if not self.enabled:
            return f"switched off ({self.state.status})"
        return self.state.status if self.paused is None else f"paused by its {self.paused} ({self.state.status})"

    def held_back_until(self) -> datetime | None:
        """Return when the provider's and the client's gates open again; None where they are open."""
        gates = [self.provider_held_until, self.client_held_until if self.client_rejected else None]
        return max([moment for moment in gates if moment and moment > self.read_at], default=None)


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
