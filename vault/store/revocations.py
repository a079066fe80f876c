"""Revocations at providers that have begun: each stands on its tombstone until what came of it is written."""

from sqlalchemy import ColumnElement, false, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Path
from vault.store.schema import connections

_c = connections.c


async def begin(tx: AsyncConnection, connection: str) -> None:
    """Remember that the grant of *connection* is about to be revoked."""
    await tx.execute(update(connections).where(_c.id == connection).values(revoking=true()))


async def end(tx: AsyncConnection, connection: str) -> None:
    """Forget it: what came of it is known."""
    await tx.execute(update(connections).where(_c.id == connection).values(revoking=false()))


async def abandon(tx: AsyncConnection, which: ColumnElement[bool]) -> list[Path]:
    """Forget those of *which* connections that nobody has ended; return whose they were."""
    begun = update(connections).where(_c.revoking.is_(True), which).values(revoking=false())
    return [tuple(row) for row in await tx.execute(begun.returning(_c.tenant_id, _c.provider, _c.name))]
