"""Consents that are under way at another device (RFC 8628), and whose turn it is to ask about them."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.keyring import Sealed
from vault.store import sealed
from vault.store.moments import clock
from vault.store.schema import AnyRow, device_authorizations

OWNER = "device"
SLOWER = 5  # seconds more between two questions where the provider finds us too quick (RFC 8628 3.5)
_d = device_authorizations.c
_due = device_authorizations.alias("due")
_DUE = (
    select(_due.c.id)
    .where(_due.c.next_poll_at <= clock())
    .order_by(_due.c.next_poll_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
# Whoever takes one has it until the answer must have come: nobody else asks before.
_CLAIM = (
    update(device_authorizations)
    .where(_d.id.in_(_DUE))
    .values(next_poll_at=clock() + bindparam("turn_ms", type_=BigInteger()))
    .returning(*device_authorizations.c, (_d.expires_at <= clock()).label("is_over"))
)
_AGAIN = (
    update(device_authorizations)
    .where(_d.id == bindparam("authorization"))
    .values(next_poll_at=clock() + _d.interval_seconds * 1000)
)
_SLOW_DOWN = (
    update(device_authorizations)
    .where(_d.id == bindparam("authorization"))
    .values(
        interval_seconds=_d.interval_seconds + SLOWER,
        next_poll_at=clock() + (_d.interval_seconds + SLOWER) * 1000,
    )
)


async def begin(
    tx: AsyncConnection,
    row: Mapping[str, Any],
    values: Mapping[str, Sealed],
    *,
    scopes: Sequence[str],
    interval: int,
    lifetime: timedelta,
) -> None:
    """Store a new authorization in place of the connection's former one. *interval* is in seconds."""
    await _end_all(tx, _d.connection_id == row["connection_id"])
    moments = {
        "next_poll_at": clock() + interval * 1000,
        "expires_at": clock() + int(lifetime.total_seconds() * 1000),
    }
    kept = {**row, "scopes": json.dumps(list(scopes)), "interval_seconds": interval}
    await tx.execute(insert(device_authorizations).values(**kept, **moments))
    await sealed.put(tx, OWNER, row["id"], 0, values)


async def claim(tx: AsyncConnection, most: int, turn: timedelta) -> list[AnyRow]:
    """Return up to *most* that it is time to ask about, for whoever calls this to do so within *turn*."""
    return list(await tx.execute(_CLAIM, {"most": most, "turn_ms": turn // timedelta(milliseconds=1)}))


async def again(tx: AsyncConnection, authorization: str) -> None:
    """Have it asked about after its interval."""
    await tx.execute(_AGAIN, {"authorization": authorization})


async def slow_down(tx: AsyncConnection, authorization: str) -> None:
    """Ask less often from now on."""
    await tx.execute(_SLOW_DOWN, {"authorization": authorization})


async def end(tx: AsyncConnection, authorization: str) -> bool:
    """Drop an authorization and its code. Returns whether it was still there."""
    gone = await tx.execute(delete(device_authorizations).where(_d.id == authorization))
    await sealed.forget(tx, OWNER, authorization)
    return bool(gone.rowcount)


async def forget(tx: AsyncConnection, of: Select[Any]) -> None:
    """Drop what is under way for the connections that are selected."""
    await _end_all(tx, _d.connection_id.in_(of))


async def forget_with(tx: AsyncConnection, clients: Sequence[str]) -> None:
    """Drop what is under way with these *clients*."""
    await _end_all(tx, _d.client.in_(clients))


async def _end_all(tx: AsyncConnection, which: ColumnElement[bool]) -> None:
    under_way = select(_d.id).where(which)
    for authorization in (await tx.execute(under_way)).scalars().all():
        await end(tx, authorization)
