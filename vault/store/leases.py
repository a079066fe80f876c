"""Claiming: who may refresh a connection, and from when until when.

The *intent* (`inflight_generation`) is written with the claim, before anything is sent. Where it is
found open, an earlier attempt on these very tokens ended and nobody knows how; then the next one
waits for `retake_after`, so that a holder that was only slow gets to store what it has.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import OF_ITS_TOKEN
from vault.store import gates
from vault.store.moments import Moment, clock
from vault.store.schema import AnyRow, connections, token_states

_state = token_states.c
_now = clock()

_backoff_is_over = or_(_state.retry_not_before.is_(None), _state.retry_not_before <= _now)
_is_enabled = exists().where(
    connections.c.id == _state.connection_id, connections.c.enabled, connections.c.deleted_at.is_(None)
)
_single = bindparam("attempt", type_=String)


def claimable(attempt: Any) -> Any:
    """Return the condition that a row may be claimed by *attempt*, gates apart."""
    # After a commit whose answer was lost, the same claim comes again.
    itself = _state.attempt_id == attempt
    nobody_has_it = or_(_state.lease_expires_at.is_(None), _state.lease_expires_at <= _now, itself)
    intent_may_be_retaken = or_(
        _state.inflight_generation.is_(None),
        _state.inflight_generation != _state.generation,
        _state.retake_after <= _now,
        itself,
    )
    return and_(
        _state.renewal != "none",
        _state.status.not_in(("unconfigured", "failed")),
        nobody_has_it,
        intent_may_be_retaken,
        _backoff_is_over,
        _is_enabled,
    )


# Only a refresh token can be spent: any other root may be used again as soon as the lease has lapsed.
_patience = case((_state.renewal == "refresh_token", bindparam("patience_ms")), else_=0)

UNPARKED = _state.parked.is_(None)
# Spelled out and not a parameter: only so do both databases see that a partial index has it.
REJECTED = _state.parked == literal_column("'rejected'")


def taken(attempt: Any) -> dict[str, Any]:
    """Return what a claim by *attempt* writes."""
    # Old values stand on the right-hand side: an intent that was still open makes this a retake.
    retaken = and_(
        func.coalesce(_state.inflight_generation == _state.generation, False),
        _state.attempt_id.is_distinct_from(attempt),
    )
    return {
        "lease_holder": bindparam("holder"),
        "lease_expires_at": _now + bindparam("lease_ms"),
        "lease_fence": _state.lease_fence + 1,
        "attempt_id": attempt,
        "uncertain": or_(_state.uncertain, retaken),
        "inflight_generation": _state.generation,
        "retake_after": _now + bindparam("lease_ms") + _patience,
    }


def _unlocked(connection: Any) -> Any:
    """Return a sub-select that gives *connection* unless another transaction is writing its row."""
    row = token_states.alias("unlocked")
    return (
        select(row.c.connection_id)
        .where(row.c.connection_id == connection)
        .with_for_update(skip_locked=True, of=row)
        .scalar_subquery()
    )


RETURNED = (
    _state.connection_id,
    _state.provider,
    _state.generation,
    _state.renewal,
    _state.lease_fence,
    _state.attempt_id,
    _state.uncertain,
    _state.retake_after,
    _state.access_expires_at,
    _state.refresh_expires_at,
    _state.last_asked_at,
    _state.failures,
    _state.rejected_generation,
    _state.learned_lifetime,
    type_coerce(_now, Moment).label("claimed_at"),
)


def _claiming(gates_open: Any) -> Any:
    """Return the statement that takes the lease of one connection whose tokens are still generation :seen.

    It never waits for a row that another replica is writing: that would only lead to "somebody has it",
    and two groups of claims that wait for each other are a deadlock.
    """
    still = (
        _state.connection_id == _unlocked(bindparam("connection")),
        _state.generation == bindparam("seen"),
    )
    return (
        update(token_states)
        .where(*still, claimable(_single), gates_open)
        .values(taken(_single))
        .returning(*RETURNED)
    )


CLAIM = _claiming(and_(UNPARKED, gates.PROVIDER_IS_FREE))
# For whoever has the turn to try a rejected client, or a provider whose breaker is open.
CLAIM_AS_TRY = _claiming(and_(or_(UNPARKED, REJECTED), gates.PROVIDER_MAY_BE_TRIED))

_soon = _now + 20_000


def _pulled_in(moment: Any) -> Any:
    return case((and_(~_state.retry_dictated, moment > _soon), _soon), else_=moment)


# Somebody stands waiting: a backoff of ours is shortened to 20 s, a provider's Retry-After is not.
ASKED = (
    update(token_states)
    .where(
        _state.connection_id == _unlocked(bindparam("connection")),
        or_(_state.last_asked_at.is_(None), _state.last_asked_at < _now - 5_000),
    )
    .values(
        last_asked_at=_now,
        retry_not_before=_pulled_in(_state.retry_not_before),
        next_refresh_at=case(
            (_state.retry_not_before.is_not(None), _pulled_in(_state.next_refresh_at)),
            else_=_state.next_refresh_at,
        ),
    )
)

# For whoever knows that every other process is dead: no holder is out there that could still settle.
VOID_ALL = (
    update(token_states)
    .where(or_(_state.lease_holder.is_not(None), _state.inflight_generation.is_not(None)))
    .values(
        lease_holder=None,
        lease_expires_at=None,
        retake_after=case((_state.inflight_generation.is_not(None), _now), else_=None),
        retry_not_before=case((_state.reason == "outcome_unknown", None), else_=_state.retry_not_before),
    )
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The right to refresh one connection once, as the claim returned it."""

    connection: str
    provider: str
    generation: int
    renewal: str
    fence: int
    attempt: str
    uncertain: bool
    retake_after: datetime
    access_expires_at: datetime | None
    refresh_expires_at: datetime | None
    last_asked_at: datetime | None
    failures: int
    rejected_generation: int | None
    learned_lifetime: int | None  # seconds
    claimed_at: datetime
    trying: bool = False  # whether it finds out for all if the provider, whose breaker is open, works again

    @property
    def quiet(self) -> int:
        """Return how many generations in a row, with this one, nobody has reported refused."""
        return self.generation - (self.rejected_generation or 0)

    @property
    def refresh_token_ended(self) -> bool:
        """Say whether it renews with a refresh token that was over, by its provider's word, at the claim."""
        ends = self.refresh_expires_at if self.renewal in OF_ITS_TOKEN else None
        return ends is not None and ends <= self.claimed_at

    @property
    def ended(self) -> bool:
        """Say whether it renews itself and was over at the claim: too late for that."""
        ends = self.access_expires_at if self.renewal == "self_exchange" else None
        return ends is not None and ends <= self.claimed_at


@dataclass(frozen=True)
class Terms:
    """On what terms leases are taken: who takes them, for how long, and what the provider's rotation demands."""

    holder: str
    lease: timedelta
    patience: timedelta

    def parameters(self, attempt: str) -> dict[str, Any]:
        return {
            "holder": self.holder,
            "attempt": attempt,
            "lease_ms": self.lease // timedelta(milliseconds=1),
            "patience_ms": self.patience // timedelta(milliseconds=1),
        }


async def claim(tx: AsyncConnection, terms: Terms, connection: str, seen: int, attempt: str) -> Turn | None:
    """Take the lease of *connection* at generation *seen*; None where it cannot be had now."""
    found = await gates.before(tx, connection)
    if found is None or found.parked == "paused":
        return None
    if found.parked is None and found.breaker != "open":
        return await _claim(tx, CLAIM, terms, connection, seen, attempt)
    return await _claim_as_try(tx, found, terms, connection, seen, attempt)


async def _claim_as_try(
    tx: AsyncConnection, found: AnyRow, terms: Terms, connection: str, seen: int, attempt: str
) -> Turn | None:
    """Claim as the one that finds out about the gates in *found*; a turn that cannot be used is not taken."""
    savepoint = await tx.begin_nested()
    turn = await _claim(tx, CLAIM_AS_TRY, terms, connection, seen, attempt)
    if turn is None or not await gates.begin_try(tx, found, terms.lease):
        await savepoint.rollback()
        return None
    await savepoint.commit()
    return replace(turn, trying=found.breaker == "open")


async def _claim(
    tx: AsyncConnection, statement: Any, terms: Terms, connection: str, seen: int, attempt: str
) -> Turn | None:
    parameters = {"connection": connection, "seen": seen, **terms.parameters(attempt)}
    row = (await tx.execute(statement, parameters)).one_or_none()
    return None if row is None else turn_of(row)


def new_attempt() -> str:
    """Return an id for one attempt, by which a success is recognised whoever reads it later."""
    return secrets.token_hex(16)


def turn_of(row: AnyRow) -> Turn:
    return Turn(
        connection=row.connection_id,
        provider=row.provider,
        generation=row.generation,
        renewal=row.renewal,
        fence=row.lease_fence,
        attempt=row.attempt_id,
        uncertain=row.uncertain,
        retake_after=row.retake_after,
        access_expires_at=row.access_expires_at,
        refresh_expires_at=row.refresh_expires_at,
        last_asked_at=row.last_asked_at,
        failures=row.failures,
        rejected_generation=row.rejected_generation,
        learned_lifetime=row.learned_lifetime,
        claimed_at=row.claimed_at,
    )
