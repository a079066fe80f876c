"""Revocations at providers that have begun: each stands on its tombstone until what came of it is written."""

from sqlalchemy import ColumnElement, false, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.audit import Event
from vault.connection import Path
from vault.store.schema import connections
from vault.store.writer import Transaction

_c = connections.c


async def begin(tx: AsyncConnection, connection: str) -> None:
    """Remember that the grant of *connection* is about to be revoked."""
    await tx.execute(update(connections).where(_c.id == connection).values(revoking=true()))


async def end(tx: AsyncConnection, connection: str) -> None:
    """Forget it: what came of it is known."""
    await tx.execute(update(connections).where(_c.id == connection).values(revoking=false()))


async def give_up(tx: Transaction, actor: str, which: ColumnElement[bool]) -> list[Path]:
    """Note for those of *which* connections whose revocation has not ended that nobody knows what came of it.

    Who asked for it has died, or is still at it elsewhere. Returns their paths.
    """
    begun = update(connections).where(_c.revoking.is_(True), which).values(revoking=false())
    rows = await tx.connection.execute(begun.returning(_c.tenant_id, _c.provider, _c.name))
    found: list[Path] = [tuple(row) for row in rows]
    for each in found:
        tx.record(Event(actor, "connection.revoked", "unknown", *each))
    return found
