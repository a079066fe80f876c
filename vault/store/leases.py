"""Claiming: who may refresh a connection, and from when until when.

The *intent* (`inflight_generation`) is written with the claim, before anything is sent. Where it is
found open, an earlier attempt on these very tokens ended and nobody knows how; then the next one
waits for `retake_after`, so that a holder that was only slow gets to store what it has.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, bindparam, case, exists, func, or_, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.schema import (
    Moment,
    clients,
    clock,
    connections,
    provider_states,
    token_states,
)

_state = token_states.c
_now = clock()
CLIENT_PROBE_INTERVAL = 300_000  # milliseconds between tries of a client that was rejected

_gates_open = and_(
    or_(_state.retry_not_before.is_(None), _state.retry_not_before <= _now),
    ~exists().where(provider_states.c.provider == _state.provider, provider_states.c.retry_not_before > _now),
    exists().where(
        connections.c.id == _state.connection_id, connections.c.enabled, connections.c.deleted_at.is_(None)
    ),
)
_nobody_has_it = or_(
    _state.lease_expires_at.is_(None),
    _state.lease_expires_at <= _now,
    # The same claim again, after a commit whose answer was lost.
    _state.attempt_id == bindparam("attempt"),
)
_intent_may_be_retaken = or_(
    _state.inflight_generation.is_(None),
    _state.inflight_generation != _state.generation,
    _state.retake_after <= _now,
    _state.attempt_id == bindparam("attempt"),
)
_claimable = and_(
    _state.renewal == "refresh_token",
    _state.status.not_in(("unconfigured", "failed")),
    _nobody_has_it,
    _intent_may_be_retaken,
    _gates_open,
)
_taken = {
    "lease_holder": bindparam("holder"),
    "lease_expires_at": _now + bindparam("lease_ms"),
    "lease_fence": _state.lease_fence + 1,
    "attempt_id": bindparam("attempt"),
    # Old values stand on the right-hand side: an intent that was still open makes this a retake.
    "uncertain": or_(
        _state.uncertain,
        and_(
            func.coalesce(_state.inflight_generation == _state.generation, False),
            _state.attempt_id.is_distinct_from(bindparam("attempt")),
        ),
    ),
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
    _state.generation,
    _state.lease_fence,
    _state.uncertain,
    _state.retake_after,
    _state.access_expires_at,
    _state.last_asked_at,
    _state.failures,
    _state.rejected_generation,
    _state.learned_lifetime,
    type_coerce(_now, Moment).label("claimed_at"),
)

# Take the lease of one connection whose tokens are still generation :seen.
# It never waits for a row that another replica is writing: that would only lead to "somebody has it",
# and two groups of claims that wait for each other are a deadlock.
CLAIM = (
    update(token_states)
    .where(
        _state.connection_id == _unlocked(bindparam("connection")),
        _state.generation == bindparam("seen"),
        _claimable,
    )
    .values(_taken)
    .returning(*_returned)
)

# What the sweep may claim of one provider, most urgent first. Rejected clients have their own, slower tries.
DUE = (
    select(_state.connection_id, _state.generation)
    .where(
        _state.provider == bindparam("of_provider"),
        _state.next_refresh_at <= _now,
        _state.client.not_in(select(clients.c.id).where(clients.c.state == "rejected")),
        _claimable,
    )
    .order_by(_state.next_refresh_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=token_states)
)

# One due connection for each rejected client whose next try has come.
DUE_PROBES = (
    select(func.min(_state.connection_id).label("connection_id"), clients.c.id.label("client"))
    .join_from(token_states, clients, clients.c.id == _state.client)
    .where(
        _state.provider == bindparam("of_provider"),
        _state.next_refresh_at <= _now,
        clients.c.state == "rejected",
        clients.c.retry_not_before <= _now,
        _claimable,
    )
    .group_by(clients.c.id)
    .limit(bindparam("most"))
)

DUE_PROVIDERS = select(_state.provider).where(_state.next_refresh_at <= _now).distinct()

CLIENT_OF = (
    select(clients.c.id, clients.c.state)
    .join_from(token_states, clients, clients.c.id == _state.client)
    .where(_state.connection_id == bindparam("connection"))
)

# Somebody's turn to find out whether a rejected client is right again: one in five minutes, of all replicas.
PROBE_CLIENT = (
    update(clients)
    .where(
        clients.c.id == bindparam("this_client"),
        clients.c.state == "rejected",
        clients.c.retry_not_before <= _now,
    )
    .values(retry_not_before=_now + CLIENT_PROBE_INTERVAL)
)

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
    client = (await tx.execute(CLIENT_OF, {"connection": connection})).one_or_none()
    if client is None or client.state == "active":
        return await _claim(tx, terms, connection, seen, attempt)
    # Of a rejected client only one try in five minutes, and that one only if it can be made.
    savepoint = await tx.begin_nested()
    turn = await _claim(tx, terms, connection, seen, attempt)
    if turn is None or (await tx.execute(PROBE_CLIENT, {"this_client": client.id})).rowcount == 0:
        await savepoint.rollback()
        return None
    await savepoint.commit()
    return turn


async def claim_due(tx: AsyncConnection, terms: Terms, provider: str, most: int) -> list[Turn]:
    """Take the leases of up to *most* connections of *provider* that are due."""
    # The attempt is only there because DUE shares its rules with CLAIM; nothing has that id.
    found = {"of_provider": provider, "most": most, "attempt": ""}
    due = (await tx.execute(DUE, found)).all()
    claims = [await _claim(tx, terms, row.connection_id, row.generation, new_attempt()) for row in due]
    probes = (await tx.execute(DUE_PROBES, {**found, "most": most - len(due)})).all() if len(due) < most else []
    for row in probes:
        generation = (
            await tx.execute(select(_state.generation).where(_state.connection_id == row.connection_id))
        ).scalar_one()
        claims.append(await claim(tx, terms, row.connection_id, generation, new_attempt()))
    return [turn for turn in claims if turn is not None]


async def _claim(tx: AsyncConnection, terms: Terms, connection: str, seen: int, attempt: str) -> Turn | None:
    parameters = {"connection": connection, "seen": seen, **terms.parameters(attempt)}
    row = (await tx.execute(CLAIM, parameters)).one_or_none()
    return None if row is None else _turn(row, attempt)


def new_attempt() -> str:
    """Return an id for one attempt, by which a success is recognised whoever reads it later."""
    return secrets.token_hex(16)


def _turn(row: Any, attempt: str) -> Turn:
    return Turn(
        connection=row.connection_id,
        generation=row.generation,
        fence=row.lease_fence,
        attempt=attempt,
        uncertain=row.uncertain,
        retake_after=row.retake_after,
        access_expires_at=row.access_expires_at,
        last_asked_at=row.last_asked_at,
        failures=row.failures,
        rejected_generation=row.rejected_generation,
        learned_lifetime=row.learned_lifetime,
        claimed_at=row.claimed_at,
    )
