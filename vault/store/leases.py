"""Claiming: who may refresh a connection, and from when until when.

The *intent* (`inflight_generation`) is written with the claim, before anything is sent. Where it is
found open, an earlier attempt on these very tokens ended and nobody knows how; then the next one
waits for `retake_after`, so that a holder that was only slow gets to store what it has.
"""

import secrets
from collections.abc import Sequence
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

from vault.store import gates
from vault.store.schema import AnyRow, Moment, clients, clock, connections, token_states

_state = token_states.c
_now = clock()

_backoff_is_over = or_(_state.retry_not_before.is_(None), _state.retry_not_before <= _now)
_is_enabled = exists().where(
    connections.c.id == _state.connection_id, connections.c.enabled, connections.c.deleted_at.is_(None)
)
# How an attempt is called: a single claim by a name of its own, each of a sweep's by the sweep's and its row's.
_single = bindparam("attempt", type_=String)
_of_many = _single + _state.connection_id


def _claimable(attempt: Any) -> Any:
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
        _state.renewal == "refresh_token",
        _state.status.not_in(("unconfigured", "failed")),
        nobody_has_it,
        intent_may_be_retaken,
        _backoff_is_over,
        _is_enabled,
    )


_unparked = _state.parked.is_(None)
# Spelled out and not a parameter: only so do both databases see that a partial index has it.
_rejected = _state.parked == literal_column("'rejected'")
_due = _state.next_refresh_at <= _now


def _taken(attempt: Any) -> dict[str, Any]:
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
        "retake_after": _now + bindparam("lease_ms") + bindparam("patience_ms"),
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


_returned = (
    _state.connection_id,
    _state.provider,
    _state.generation,
    _state.lease_fence,
    _state.attempt_id,
    _state.uncertain,
    _state.retake_after,
    _state.access_expires_at,
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
        .where(*still, _claimable(_single), gates_open)
        .values(_taken(_single))
        .returning(*_returned)
    )


CLAIM = _claiming(and_(_unparked, gates.PROVIDER_IS_FREE))
# For whoever has the turn to try a rejected client, or a provider whose breaker is open.
CLAIM_AS_TRY = _claiming(and_(or_(_unparked, _rejected), gates.PROVIDER_MAY_BE_TRIED))

# What the sweep may claim of one provider, most urgent first. What is parked is not in the index.
DUE = (
    select(_state.connection_id, _state.generation)
    .where(_state.provider == bindparam("of_provider"), _due, _unparked, _claimable(_of_many))
    .order_by(_state.next_refresh_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=token_states)
)

# Whose try is to tell of the provider: one that has not failed itself so far, if there is any.
DUE_FOR_A_TRY = DUE.order_by(None).order_by(_state.failures, _state.next_refresh_at)

# Take the leases of what is due, all in one statement, whose price hardly grows with their number.
_found = DUE.cte("found")
CLAIM_DUE = (
    update(token_states)
    .where(_state.connection_id.in_(select(_found.c.connection_id)), gates.PROVIDER_IS_FREE)
    .values(_taken(_of_many))
    .returning(*_returned, _state.next_refresh_at)
)

# One due connection for each rejected client whose next try has come.
_triable_clients = and_(
    clients.c.state == "rejected", clients.c.paused_at.is_(None), clients.c.retry_not_before <= _now
)
_longest_due = (
    select(_state.connection_id)
    .where(_state.client == clients.c.id, _rejected, _due, _claimable(_of_many))
    .order_by(_state.next_refresh_at)
    .limit(1)
    .correlate(clients)
    .scalar_subquery()
)
_probe = token_states.alias("probe")
DUE_PROBES = (
    select(_probe.c.connection_id, _probe.c.generation)
    .where(
        _probe.c.connection_id.in_(
            select(_longest_due).where(clients.c.provider == bindparam("of_provider"), _triable_clients)
        )
    )
    .limit(bindparam("most"))
)


def _next_provider(after: Any) -> Any:
    """Return the first provider after another one of which anything is to be refreshed, read off the index."""
    row = token_states.alias("next")
    return (
        select(row.c.provider)
        .where(row.c.provider > after, row.c.next_refresh_at.is_not(None), row.c.parked.is_(None))
        .order_by(row.c.provider)
        .limit(1)
        .scalar_subquery()
    )


# From one provider to the next, however many rows of each are due, and then one look at each.
_swept = select(_next_provider(literal_column("''")).label("provider")).cte("swept", recursive=True)
_swept = _swept.union_all(select(_next_provider(_swept.c.provider)).where(_swept.c.provider.is_not(None)))
_has_due = exists().where(_state.provider == _swept.c.provider, _due, _unparked)
_waiting = (
    select(_swept.c.provider)
    .where(_has_due)
    .union(select(clients.c.provider).where(_triable_clients))
    .subquery("waiting")
)
DUE_PROVIDERS = select(_waiting.c.provider).where(~gates.is_shut(_waiting.c.provider))

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
    fence: int
    attempt: str
    uncertain: bool
    retake_after: datetime
    access_expires_at: datetime | None
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


async def claim_due(tx: AsyncConnection, terms: Terms, provider: str, most: int, attempt: str) -> list[Turn]:
    """Take the leases of up to *most* connections of *provider* that are due.

    The same *attempt* again finds those that it took before.
    """
    passage = await gates.passage(tx, provider)
    if passage == "none":
        return []
    found = {"of_provider": provider, **terms.parameters(attempt)}
    if passage == "one":
        first = (await tx.execute(DUE_FOR_A_TRY, {**found, "most": 1})).first()
        first = first or (await tx.execute(DUE_PROBES, {**found, "most": 1})).first()
        return await _claim_some(tx, terms, [first] if first else [])
    rows = await tx.execute(CLAIM_DUE, {**found, "most": most})
    turns = [_turn(row) for row in sorted(rows, key=lambda row: row.next_refresh_at)]
    left = most - len(turns)
    probes = list(await tx.execute(DUE_PROBES, {**found, "most": left})) if left else []
    return turns + await _claim_some(tx, terms, probes)


async def _claim_some(tx: AsyncConnection, terms: Terms, rows: Sequence[AnyRow]) -> list[Turn]:
    """Take the leases of *rows* one by one, each through its gates."""
    turns = [await claim(tx, terms, row.connection_id, row.generation, new_attempt()) for row in rows]
    return [turn for turn in turns if turn is not None]


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
    return None if row is None else _turn(row)


def new_attempt() -> str:
    """Return an id for one attempt, by which a success is recognised whoever reads it later."""
    return secrets.token_hex(16)


def _turn(row: AnyRow) -> Turn:
    return Turn(
        connection=row.connection_id,
        provider=row.provider,
        generation=row.generation,
        fence=row.lease_fence,
        attempt=row.attempt_id,
        uncertain=row.uncertain,
        retake_after=row.retake_after,
        access_expires_at=row.access_expires_at,
        last_asked_at=row.last_asked_at,
        failures=row.failures,
        rejected_generation=row.rejected_generation,
        learned_lifetime=row.learned_lifetime,
        claimed_at=row.claimed_at,
    )
