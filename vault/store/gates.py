"""Gates: what holds up refreshes of many connections at once, whatever their own state.

A provider has its Retry-After, its breaker and a kill switch; a client may be rejected and has a kill
switch; a tenant has one for all below it. A rejected client and an open breaker are tried now and then:
an update with a condition decides who, of all replicas.

What a client's or a tenant's gate does to its connections is told by `parking.park`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Table, and_, bindparam, case, exists, func, literal, or_, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.moments import Moment, clock
from vault.store.schema import AnyRow, clients, provider_states, tenants, token_states

Passage = Literal["free", "one", "none"]

CLIENT_PROBE_INTERVAL = 300_000  # milliseconds between tries of a client that was rejected
RELAPSE = timedelta(minutes=10)  # after so long without trouble, a provider's trips are forgotten

_now = clock()
_p, _c, _state = provider_states.c, clients.c, token_states.c
_shut = or_(_p.retry_not_before > _now, _p.paused_at.is_not(None))
_of_this_state = _p.provider == _state.provider


def is_shut(provider: Any) -> Any:
    """Return the condition that nothing at all may be asked of *provider*, a column."""
    return exists().where(_p.provider == provider, _shut)


# Of a row of `token_states`: whether its provider lets any refresh through, or one at least.
PROVIDER_IS_FREE = ~exists().where(_of_this_state, or_(_shut, _p.breaker == "open"))
PROVIDER_MAY_BE_TRIED = ~is_shut(_state.provider)

_PASSAGE = select(case((_shut, "none"), (_p.breaker == "open", "one"), else_="free")).where(
    _p.provider == bindparam("this_provider")
)

# The gates before one connection.
_BEFORE = (
    select(_state.parked, _state.client, _state.provider, _p.breaker)
    .join_from(token_states, provider_states, _of_this_state, isouter=True)
    .where(_state.connection_id == bindparam("connection"))
)

# Somebody's turn to find out whether a rejected client is right again: one in five minutes, of all replicas.
_TRY_CLIENT = (
    update(clients)
    .where(_c.id == bindparam("this_client"), _c.state == "rejected", _c.retry_not_before <= _now)
    .values(retry_not_before=_now + CLIENT_PROBE_INTERVAL)
)
# The same for a provider whose breaker is open: the next try is due when this one's lease has lapsed.
_TRY_PROVIDER = (
    update(provider_states)
    .where(_p.provider == bindparam("this_provider"), _p.breaker == "open", ~func.coalesce(_shut, False))
    .values(retry_not_before=_now + bindparam("lease_ms"))
)

_REJECT_CLIENT = (
    update(clients)
    .where(_c.id == bindparam("this_client"), _c.generation == bindparam("of_secrets"), _c.state == "active")
    .values(state="rejected", rejected_at=_now, retry_not_before=_now + CLIENT_PROBE_INTERVAL)
)
_ACCEPT_CLIENT = (
    update(clients)
    .where(_c.id == bindparam("this_client"), _c.state == "rejected")
    .values(state="active", rejected_at=None, retry_not_before=None)
)

_HOLD_PROVIDER = (
    update(provider_states)
    .where(
        _p.provider == bindparam("this_provider"),
        # The longest of what it asked for counts.
        func.coalesce(_p.retry_not_before, 0) < bindparam("until", type_=Moment),
    )
    .values(retry_not_before=bindparam("until", type_=Moment))
)
_BREAKER = (
    select(_p.breaker, _p.trips, _p.retry_not_before, type_coerce(_now, Moment).label("now"))
    .where(_p.provider == bindparam("this_provider"))
    .with_for_update()
)
# When it was closed stays behind as the last moment of trouble, in the place of the hold that is over.
_CLOSE_BREAKER = (
    update(provider_states)
    .where(_p.provider == bindparam("this_provider"), _p.breaker == "open")
    .values(breaker="closed", retry_not_before=_now)
)
_PAUSED_PROVIDERS = select(_p.provider, _p.paused_at).where(_p.paused_at.is_not(None))


# --- asking ----------------------------------------------------------------------------------------------


async def passage(tx: AsyncConnection, provider: str) -> Passage:
    """Say whether *provider* may be asked freely, by one call that finds out, or not at all."""
    found: Passage | None = await tx.scalar(_PASSAGE, {"this_provider": provider})
    return found or "free"


async def before(tx: AsyncConnection, connection: str) -> AnyRow | None:
    """Return the gates before *connection*: `parked`, `client`, `provider` and its `breaker`."""
    found: AnyRow | None = (await tx.execute(_BEFORE, {"connection": connection})).one_or_none()
    return found


async def begin_try(tx: AsyncConnection, gates: AnyRow, lease: timedelta) -> bool:
    """Take the turn to try whatever of *gates* is shut. Returns whether it was to be had."""
    if gates.parked == "rejected":
        tried = await tx.execute(_TRY_CLIENT, {"this_client": gates.client})
        if tried.rowcount == 0:
            return False
    if gates.breaker != "open":
        return True
    parameters = {"this_provider": gates.provider, "lease_ms": lease // timedelta(milliseconds=1)}
    return (await tx.execute(_TRY_PROVIDER, parameters)).rowcount == 1


async def paused_providers(tx: AsyncConnection) -> dict[str, datetime]:
    """Return since when providers are paused, by id."""
    return {row.provider: row.paused_at for row in await tx.execute(_PAUSED_PROVIDERS)}


# --- what answers do -------------------------------------------------------------------------------------


async def hold_provider(tx: AsyncConnection, provider: str, until: datetime) -> None:
    """Ask *provider* nothing before *until*, on any replica."""
    await _known(tx, provider)
    await tx.execute(_HOLD_PROVIDER, {"this_provider": provider, "until": until})


async def open_breaker(
    tx: AsyncConnection, provider: str, pause: Callable[[int], timedelta], *, again: bool
) -> bool:
    """Hold *provider* for as long as *pause* says of its trips; *again* after a try that failed.

    Returns whether that is news: of all who see it fail, one raises the alarm.
    """
    await _known(tx, provider)
    found = (await tx.execute(_BREAKER, {"this_provider": provider})).one()
    news = found.breaker == "closed"
    if not news and not again:
        return False
    lately = found.retry_not_before is not None and found.now - found.retry_not_before < RELAPSE
    trips = found.trips + 1 if lately else 1
    until = found.now + pause(trips)
    if news and found.retry_not_before is not None:
        until = max(until, found.retry_not_before)  # a Retry-After that runs longer
    opened = {"breaker": "open", "trips": trips, "retry_not_before": until}
    await tx.execute(update(provider_states).where(_p.provider == provider).values(opened))
    return bool(news)


async def close_breaker(tx: AsyncConnection, provider: str) -> bool:
    """Let everybody ask *provider* again. Returns whether that is news."""
    return bool((await tx.execute(_CLOSE_BREAKER, {"this_provider": provider})).rowcount)


async def reject_client(tx: AsyncConnection, client: str, generation: int) -> bool:
    """Take *client* as wrong with its secrets of *generation*.

    Returns whether that is news: of all that fail together, one raises the alarm.
    """
    refused = {"this_client": client, "of_secrets": generation}
    return bool((await tx.execute(_REJECT_CLIENT, refused)).rowcount)


async def accept_client(tx: AsyncConnection, client: str) -> bool:
    """Take *client* as right again. Returns whether that is news."""
    return bool((await tx.execute(_ACCEPT_CLIENT, {"this_client": client})).rowcount)


# --- kill switches ---------------------------------------------------------------------------------------


async def pause_provider(tx: AsyncConnection, provider: str, *, paused: bool) -> bool:
    """Pause or resume *provider*. Returns whether that is news."""
    await _known(tx, provider)
    return await _switch(tx, provider_states, [_p.provider == provider], paused)


async def pause_clients(tx: AsyncConnection, tenant: str, provider: str, *, paused: bool) -> bool:
    """Pause or resume *tenant*'s registrations at *provider*, former ones too. Returns whether that is news."""
    return await _switch(tx, clients, [_c.tenant_id == tenant, _c.provider == provider], paused)


async def note_who_paused(tx: AsyncConnection, tenant: str, provider: str, who: str | None) -> None:
    """Write down from which tenant *tenant*'s registrations at *provider* are paused, if they are."""
    place = (_c.tenant_id == tenant, _c.provider == provider)
    await tx.execute(update(clients).where(*place).values(paused_by=who))


async def clients_of(tx: AsyncConnection, tenant: str, provider: str) -> list[str]:
    """Return the ids of all of *tenant*'s registrations at *provider*."""
    found = await tx.execute(select(_c.id).where(_c.tenant_id == tenant, _c.provider == provider))
    return list(found.scalars())


async def pause_tenant(tx: AsyncConnection, tenant: str, *, paused: bool) -> bool:
    """Pause or resume *tenant*, and with it all below. Returns whether that is news."""
    return await _switch(tx, tenants, [tenants.c.id == tenant], paused)


async def _switch(tx: AsyncConnection, table: Table, which: Sequence[Any], paused: bool) -> bool:
    column = table.c.paused_at
    other = column.is_(None) if paused else column.is_not(None)
    moment = type_coerce(_now, Moment) if paused else literal(None, Moment)
    changed = await tx.execute(update(table).where(and_(*which), other).values(paused_at=moment))
    return bool(changed.rowcount)


async def _known(tx: AsyncConnection, provider: str) -> None:
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    await tx.execute(dialect.insert(provider_states).on_conflict_do_nothing(), {"provider": provider})
