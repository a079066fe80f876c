"""What is due: the sweep's look at the index, and its claims, all in one statement.

What is parked (`parking.py`) is not in the index, so that it costs nothing however much of it is due.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, String, and_, bindparam, exists, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store import gates
from vault.store.leases import (
    REJECTED,
    RETURNED,
    UNPARKED,
    Terms,
    Turn,
    claim,
    claimable,
    new_attempt,
    taken,
    turn_of,
)
from vault.store.moments import clock
from vault.store.schema import AnyRow, clients, token_states

_state = token_states.c
_now = clock()
_due = _state.next_refresh_at <= _now
# Each of a sweep's attempts is called by the sweep's own name and its row's.
_of_many = bindparam("attempt", type_=String) + _state.connection_id

# Rows without a client go by an empty name.
_client = func.coalesce(_state.client, "")


def _most_urgent(*more: Any) -> Select[str, int]:
    """Return what the sweep may claim of one provider, most urgent first. What is parked is not in the index."""
    return (
        select(_state.connection_id, _state.generation)
        .where(_state.provider == bindparam("of_provider"), _due, UNPARKED, claimable(_of_many), *more)
        .order_by(_state.next_refresh_at)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True, of=token_states)
    )


def _claiming(most_urgent: Select[str, int]) -> Any:
    """Take the leases of what is due, all in one statement, whose price hardly grows with their number."""
    found = most_urgent.cte("found")
    return (
        update(token_states)
        .where(_state.connection_id.in_(select(found.c.connection_id)), gates.PROVIDER_IS_FREE)
        .values(taken(_of_many))
        .returning(*RETURNED, _state.next_refresh_at)
    )


def _for_a_try(most_urgent: Select[str, int]) -> Any:
    """Return whose try is to tell of the provider: one that has not failed itself so far, if there is any."""
    return most_urgent.order_by(None).order_by(_state.failures, _state.next_refresh_at)


DUE = _most_urgent()
CLAIM_DUE = _claiming(DUE)
_DUE_OF_CLIENT = _most_urgent(_client == bindparam("of_client"))

# One due connection for each rejected client whose next try has come.
_triable_clients = and_(
    clients.c.state == "rejected", clients.c.paused_at.is_(None), clients.c.retry_not_before <= _now
)
_longest_due = (
    select(_state.connection_id)
    .where(_state.client == clients.c.id, REJECTED, _due, claimable(_of_many))
    .order_by(_state.next_refresh_at)
    .limit(1)
    .correlate(clients)
    .scalar_subquery()
)
_probe = token_states.alias("probe")


def _probes(*more: Any) -> Any:
    tried = select(_longest_due).where(clients.c.provider == bindparam("of_provider"), _triable_clients, *more)
    found = select(_probe.c.connection_id, _probe.c.generation).where(_probe.c.connection_id.in_(tried))
    return found.limit(bindparam("most"))


DUE_PROBES = _probes()


class _Looks(NamedTuple):
    """What of one provider is looked at: all that is due there, or what is of one client."""

    claim: Any
    for_a_try: Any
    probes: Any


_AT_ALL = _Looks(CLAIM_DUE, _for_a_try(DUE), DUE_PROBES)
_AT_ONE_CLIENT = _Looks(
    _claiming(_DUE_OF_CLIENT), _for_a_try(_DUE_OF_CLIENT), _probes(clients.c.id == bindparam("of_client"))
)

# The clients of one provider that have something due, or are to be tried.
DUE_CLIENTS = (
    select(_client)
    .where(_state.provider == bindparam("of_provider"), _due, UNPARKED)
    .union(select(clients.c.id).where(clients.c.provider == bindparam("of_provider"), _triable_clients))
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
_has_due = exists().where(_state.provider == _swept.c.provider, _due, UNPARKED)
_waiting = (
    select(_swept.c.provider)
    .where(_has_due)
    .union(select(clients.c.provider).where(_triable_clients))
    .subquery("waiting")
)
DUE_PROVIDERS = select(_waiting.c.provider).where(~gates.is_shut(_waiting.c.provider))


async def due_clients(tx: AsyncConnection, provider: str) -> list[str]:
    """Return whose connections at *provider* are due: the ids of clients, "" for what has none."""
    return list((await tx.execute(DUE_CLIENTS, {"of_provider": provider})).scalars())


async def claim_due(
    tx: AsyncConnection, terms: Terms, provider: str, most: int, attempt: str, client: str | None = None
) -> list[Turn]:
    """Take the leases of up to *most* connections of *provider* that are due; only those of *client* if given.

    The same *attempt* again finds those that it took before.
    """
    look = _AT_ALL if client is None else _AT_ONE_CLIENT
    passage = await gates.passage(tx, provider)
    if passage == "none":
        return []
    found = {"of_provider": provider, "of_client": client, **terms.parameters(attempt)}
    if passage == "one":
        first = (await tx.execute(look.for_a_try, {**found, "most": 1})).first()
        first = first or (await tx.execute(look.probes, {**found, "most": 1})).first()
        return await _claim_some(tx, terms, [first] if first else [])
    rows = await tx.execute(look.claim, {**found, "most": most})
    turns = [turn_of(row) for row in sorted(rows, key=lambda row: row.next_refresh_at)]
    left = most - len(turns)
    probes = list(await tx.execute(look.probes, {**found, "most": left})) if left else []
    return turns + await _claim_some(tx, terms, probes)


async def _claim_some(tx: AsyncConnection, terms: Terms, rows: Sequence[AnyRow]) -> list[Turn]:
    """Take the leases of *rows* one by one, each through its gates."""
    turns = [await claim(tx, terms, row.connection_id, row.generation, new_attempt()) for row in rows]
    return [turn for turn in turns if turn is not None]
