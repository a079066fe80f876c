"""Settling: what became of a refresh, written in the statement that also gives the lease back.

Two numbers keep races harmless. The *generation* says which tokens an attempt started from: a
success is stored wherever that still holds, however late, because its holder may have the only good
copy. The *fence* says whose turn it is: a failure counts only from whoever has the lease now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, Boolean, and_, bindparam, case, func, insert, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.keyring import Sealed
from vault.store import sealed
from vault.store.leases import Turn
from vault.store.moments import Moment, clock
from vault.store.schema import AnyRow, orphaned_tokens, token_states
from vault.timing import NewTokens

_state = token_states.c
_now = clock()
_mine = _state.lease_fence == bindparam("fence")
_from_these_tokens = and_(
    _state.connection_id == bindparam("connection"), _state.generation == bindparam("from_generation")
)

# Not fenced by the lease: a holder that overslept may hold the only good token.
SETTLE_SUCCESS = (
    update(token_states)
    .where(_from_these_tokens)
    .values(
        generation=_state.generation + 1,
        status=case((_mine, "verified"), else_="degraded"),
        reason=case((_mine, None), else_="outcome_unknown"),
        access_expires_at=bindparam("new_access_expires_at"),
        issued_lifetime=bindparam("new_issued_lifetime"),
        # A new refresh token has an end of its own, or none that is known.
        refresh_expires_at=case(
            (bindparam("rotated", type_=Boolean), bindparam("new_refresh_expires_at", type_=Moment)),
            else_=func.coalesce(bindparam("new_refresh_expires_at", type_=Moment), _state.refresh_expires_at),
        ),
        refreshed_at=_now,
        verified_at=_now,
        next_refresh_at=bindparam("new_next_refresh_at"),
        # What turned out never to end is renewed no more, and tried now and then.
        renewal=case((bindparam("never_ends", type_=Boolean), "none"), else_=_state.renewal),
        next_check_at=bindparam("new_next_check_at", type_=Moment),
        # What a report of these tokens taught since the claim is newer.
        learned_lifetime=case(
            (_state.rejected_generation == _state.generation, _state.learned_lifetime),
            else_=bindparam("new_learned_lifetime", type_=BigInteger),
        ),
        failures=0,
        first_failed_at=None,
        last_error_code=None,
        retry_not_before=bindparam("new_retry_not_before", type_=Moment),
        retry_dictated=False,
        inflight_generation=None,
        retake_after=None,
        # Somebody who took over may have sent the same token since: a rejection to come is our loss.
        uncertain=and_(_state.uncertain, ~_mine),
        last_success_attempt=bindparam("attempt"),
        # A lease that is somebody else's by now is left alone.
        lease_holder=case((_mine, None), else_=_state.lease_holder),
        lease_expires_at=case((_mine, None), else_=_state.lease_expires_at),
    )
)

# A late failure is nobody's business: it counts only from whoever has the lease, on the tokens it is about.
SETTLE_FAILURE = (
    update(token_states)
    .where(_from_these_tokens, _mine)
    .values(
        status=bindparam("new_status"),
        reason=bindparam("new_reason"),
        failures=bindparam("new_failures"),
        first_failed_at=func.coalesce(_state.first_failed_at, _now),
        last_error_code=bindparam("new_error_code"),
        retry_not_before=bindparam("new_retry_not_before"),
        retry_dictated=bindparam("new_retry_dictated"),
        next_refresh_at=bindparam("new_next_refresh_at"),
        # The intent stays open exactly where a moment is given after which it may be retaken.
        inflight_generation=case(
            (bindparam("new_retake_after", type_=Moment).is_not(None), _state.inflight_generation), else_=None
        ),
        retake_after=bindparam("new_retake_after", type_=Moment),
        lease_holder=None,
        lease_expires_at=None,
    )
)

RELEASE = (
    update(token_states)
    .where(_state.connection_id == bindparam("connection"), _mine)
    .values(lease_holder=None, lease_expires_at=None)
)

# A new grant, or none: whoever is still out with the old one settles nothing over it.
SUPERSEDE = (
    update(token_states)
    .where(_state.connection_id == bindparam("connection"))
    .values(
        generation=_state.generation + 1,
        granted_generation=_state.generation + 1,
        lease_fence=_state.lease_fence + 1,
        lease_holder=None,
        lease_expires_at=None,
        inflight_generation=None,
        retake_after=None,
        uncertain=False,
        attempt_id=None,
        next_refresh_at=None,
        rejected_generation=None,
        rejected_age=None,
        learned_lifetime=None,
    )
    .returning(_state.generation, type_coerce(_now, Moment).label("superseded_at"))
)

STANDING = select(_state.connection_id, _state.granted_generation, _state.last_success_attempt).where(
    _state.connection_id.in_(bindparam("connections", expanding=True))
)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A failure, as columns. *retake_after* keeps the intent open until then; None closes it."""

    status: str
    reason: str
    failures: int
    error_code: str
    retry_not_before: datetime | None = None
    retry_dictated: bool = False
    next_refresh_at: datetime | None = None
    retake_after: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Success:
    """New tokens for a *turn*: their times, and themselves sealed as the next generation.

    *orphan* is the same sealed for that place; None where the answer brought no successor. What never ends is
    tried again at *next_check_at*, if ever.
    """

    turn: Turn
    tokens: NewTokens
    values: Mapping[str, Sealed]
    orphan: Mapping[str, Sealed] | None
    next_check_at: datetime | None = None


Stored = Literal["stored", "orphaned", "outdated", "superseded"]


async def successes(tx: AsyncConnection, news: Sequence[Success]) -> list[Stored]:
    """Store each of *news* as the next generation, however late; return what became of each.

    Where the tokens moved on without us, the orphan is set aside: the successor may be the only good
    one. Where the grant itself was replaced or deleted, nothing is stored and the caller has to
    revoke it. Telling twice is telling once.
    """
    written = await tx.execute(SETTLE_SUCCESS, [_columns(one) for one in news])
    if written.rowcount == len(news):
        outcomes: list[Stored] = ["stored"] * len(news)
    else:
        about = {"connections": [one.turn.connection for one in news]}
        standing = {row.connection_id: row for row in await tx.execute(STANDING, about)}
        outcomes = [_became(one, standing.get(one.turn.connection)) for one in news]
    stored = [one for one, outcome in zip(news, outcomes, strict=True) if outcome == "stored"]
    await sealed.put_all(
        tx, [("connection", one.turn.connection, one.turn.generation + 1, one.values) for one in stored]
    )
    for one, outcome in zip(news, outcomes, strict=True):
        if outcome == "orphaned" and one.orphan is not None:
            await _set_aside(tx, one.turn, one.orphan)
    return outcomes


def _became(news: Success, standing: AnyRow | None) -> Stored:
    """Return what *news* came to, of which not all may have been stored, as its row stands now."""
    if standing is None or standing.granted_generation > news.turn.generation:
        return "superseded"
    if standing.last_success_attempt == news.turn.attempt:
        return "stored"
    return "outdated" if news.orphan is None else "orphaned"


async def failure(tx: AsyncConnection, turn: Turn, failed: Failed) -> bool:
    """Write *failed* and give the lease back. Returns whether it was still our turn to say so."""
    parameters = {**_key(turn), **{f"new_{k}": v for k, v in vars(failed).items()}}
    counted = (await tx.execute(SETTLE_FAILURE, parameters)).rowcount == 1
    if not counted:
        await release(tx, turn)
    return counted


async def release(tx: AsyncConnection, turn: Turn) -> None:
    """Give a lease back, where it is still ours, without a word on the tokens."""
    await tx.execute(RELEASE, {"connection": turn.connection, "fence": turn.fence})


async def supersede(tx: AsyncConnection, connection: str) -> tuple[int, datetime]:
    """Begin a new grant, or the end: return its generation and the database's time."""
    row = (await tx.execute(SUPERSEDE, {"connection": connection})).one()
    return row.generation, row.superseded_at


async def _set_aside(tx: AsyncConnection, turn: Turn, values: Mapping[str, Sealed]) -> None:
    known = select(orphaned_tokens.c.attempt_id).where(orphaned_tokens.c.attempt_id == turn.attempt)
    if await tx.scalar(known) is not None:
        return
    row = {"attempt_id": turn.attempt, "connection_id": turn.connection, "generation": turn.generation + 1}
    await tx.execute(insert(orphaned_tokens).values(seen_at=_now, **row))
    await sealed.put(tx, "orphan", turn.attempt, turn.generation + 1, values)


def _columns(news: Success) -> dict[str, Any]:
    times = {f"new_{name}": value for name, value in vars(news.tokens).items()}
    rotated = news.orphan is not None
    never_ends = news.tokens.access_expires_at is None
    checked = {"never_ends": never_ends, "new_next_check_at": news.next_check_at}
    return {**_key(news.turn), "attempt": news.turn.attempt, "rotated": rotated, **times, **checked}


def _key(turn: Turn) -> dict[str, Any]:
    return {"connection": turn.connection, "from_generation": turn.generation, "fence": turn.fence}
