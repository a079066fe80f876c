"""Tickets for a person to connect with, and the authorizations that are under way with them."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store import sealed
from vault.store.moments import clock
from vault.store.schema import AnyRow, pending_authorizations, tickets

_t, _p = tickets.c, pending_authorizations.c
_OPEN = (_t.succeeded_at.is_(None), _t.expires_at > clock())
_BY_ID = select(tickets).where(_t.id == bindparam("ticket"), *_OPEN)
_OF_CONNECTION = (
    select(_t.id, _t.expires_at)
    .where(
        _t.connection_id == bindparam("connection"),
        ~_t.replace_account,  # whoever may only fetch tokens is not told a link that swaps accounts
        *_OPEN,
        _t.expires_at > bindparam("least", type_=_t.expires_at.type),
    )
    .order_by(_t.expires_at.desc())
    .limit(1)
)
# Single use, in time, and only from the browser that began it: all in the statement that uses it up.
_REDEEM = (
    update(pending_authorizations)
    .where(
        _p.state_digest == bindparam("state"),
        _p.browser_digest == bindparam("browser"),
        _p.provider == bindparam("of_provider"),
        _p.used_at.is_(None),
        _p.expires_at > clock(),
    )
    .values(used_at=clock())
    .returning(_p.state_digest, _p.ticket_id, _p.client, _p.redirect_uri)
)


async def find_open(tx: AsyncConnection, ticket: str) -> AnyRow | None:
    """Return a ticket that can still be used."""
    return (await tx.execute(_BY_ID, {"ticket": ticket})).one_or_none()


async def open_for(tx: AsyncConnection, connection: str, least: datetime) -> AnyRow | None:
    """Return an open ticket for *connection* that lasts beyond *least*."""
    return (await tx.execute(_OF_CONNECTION, {"connection": connection, "least": least})).one_or_none()


async def add(
    tx: AsyncConnection,
    ticket: str,
    connection: str,
    *,
    scopes: Sequence[str],
    return_url: str | None,
    replace_account: bool,
    expires_at: datetime,
) -> None:
    await tx.execute(
        insert(tickets),
        {
            "id": ticket,
            "connection_id": connection,
            "scopes": json.dumps(list(scopes)),
            "return_url": return_url,
            "replace_account": replace_account,
            "expires_at": expires_at,
        },
    )


async def succeed(tx: AsyncConnection, ticket: str) -> bool:
    """Use *ticket* up. Returns whether it was still open."""
    used = await tx.execute(
        update(tickets).where(_t.id == ticket, _t.succeeded_at.is_(None)).values(succeeded_at=clock())
    )
    return bool(used.rowcount)


async def begin(tx: AsyncConnection, row: dict[str, Any]) -> None:
    """Store an authorization that a browser is about to be sent into."""
    await tx.execute(insert(pending_authorizations), row)


async def redeem(tx: AsyncConnection, state: bytes, browser: bytes, provider: str) -> AnyRow | None:
    """Use an authorization up and return it; None where it is used, late, foreign or unknown."""
    found = await tx.execute(_REDEEM, {"state": state, "browser": browser, "of_provider": provider})
    return found.one_or_none()


async def forget(tx: AsyncConnection, of: Select[Any]) -> None:
    """Drop the tickets of the connections that are selected, and whatever visit is under way with them."""
    visits = select(_p.state_digest).join_from(pending_authorizations, tickets)
    await _forget_verifiers(tx, visits.where(_t.connection_id.in_(of)))
    await tx.execute(delete(tickets).where(_t.connection_id.in_(of)))


async def forget_visits(tx: AsyncConnection, clients: Sequence[str]) -> None:
    """Drop the visits that are under way with these *clients*."""
    with_them = _p.client.in_(clients)
    await _forget_verifiers(tx, select(_p.state_digest).where(with_them))
    await tx.execute(delete(pending_authorizations).where(with_them))


async def _forget_verifiers(tx: AsyncConnection, visits: Select[bytes]) -> None:
    owners = [digest.hex() for digest in (await tx.execute(visits)).scalars()]
    for owner in owners:
        await sealed.forget(tx, "authorization", owner)


async def prune(tx: AsyncConnection, age: timedelta) -> None:
    """Forget authorizations that ended *age* ago, and tickets with nothing left to say."""
    limit = clock() - age // timedelta(milliseconds=1)
    ended = select(_p.state_digest).join_from(pending_authorizations, tickets)
    await _forget_verifiers(tx, ended.where(or_(_p.expires_at < limit, _t.expires_at < limit)))
    await tx.execute(delete(pending_authorizations).where(_p.expires_at < limit))
    await tx.execute(delete(tickets).where(_t.expires_at < limit))
