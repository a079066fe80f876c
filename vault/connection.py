"""A connection as it is stored, and the judgements on it that need nothing but its fields and the time.

All moments are the database's: the clocks of the replicas do not matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from integrations.contract import Renewal
from vault.timing import effective_min_ttl

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

LIVING = timedelta(seconds=1)  # less than this is not worth handing out


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
        """Say whether there is something to hand out that is not known to be dead."""
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
