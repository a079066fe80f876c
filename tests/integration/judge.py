"""Judging from outside: what the database holds and what the provider's ledger says, side by side."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import func, select, text

from integrations.contract import Secret, TokenSet
from tests.provider.client import Grant
from tests.provider.oracle import Ledger
from tests.rig import PROVIDER, TENANT, Rig
from vault.authorize import KIND
from vault.grants import Received, store_grant
from vault.sealing import Place, open_one
from vault.store import clients, connections, sealed
from vault.store.schema import audit_events, token_states
from vault.store.writer import Transaction

T = TypeVar("T")
POLL = 0.02  # seconds
TIMES = {
    "token_states": (
        "access_expires_at",
        "next_refresh_at",
        "retry_not_before",
        "last_asked_at",
        "refreshed_at",
        "lease_expires_at",
        "retake_after",
    ),
    "provider_states": ("retry_not_before",),
    "clients": ("retry_not_before",),
}
LEASES = ("lease_expires_at", "retake_after")


async def eventually(look: Callable[[], Awaitable[T]], within: float = 15.0) -> T:
    """Return what *look* sees as soon as that is true. Fails after *within* seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while not (seen := await look()):
        assert asyncio.get_running_loop().time() < deadline, f"not within {within} s: {look}"
        await asyncio.sleep(POLL)
    return seen


async def age(rig: Rig, by: timedelta, *columns: str) -> None:
    """Let *by* pass as far as the database can tell, for some columns or all."""

    async def unit(tx: Transaction) -> None:
        for table, names in TIMES.items():
            for name in names:
                if not columns or name in columns:
                    # S608: both names are ours.
                    shift = text(f"UPDATE {table} SET {name} = {name} - :ms")
                    await tx.execute(shift, {"ms": by // timedelta(milliseconds=1)})

    await rig.vault.writer.submit(unit)


async def an_aged_connection(rig: Rig, name: str, *, left: int) -> Grant:
    """Return the grant of a new connection whose token of an hour has *left* seconds to live."""
    _, grant = await rig.a_connection(name, expires_in=3600)
    gone = timedelta(seconds=3600 - left)

    async def unit(tx: Transaction) -> None:
        shift = text(
            "UPDATE token_states SET access_expires_at = access_expires_at - :ms,"
            " next_refresh_at = next_refresh_at - :ms"
            " WHERE connection_id = (SELECT id FROM connections WHERE name = :name)"
        )
        await tx.execute(shift, {"ms": gone // timedelta(milliseconds=1), "name": name})

    await rig.vault.writer.submit(unit)
    return grant


async def adopt_many(rig: Rig, grants: Sequence[Grant], *, expires_in: int = 0) -> list[str]:
    """Store *grants* as connections, all in one transaction; return their names."""
    names = [f"many-{number}" for number in range(len(grants))]

    async def unit(tx: Transaction) -> None:
        provider = await rig.vault.providers.get(PROVIDER, tx.connection)
        client = await clients.current(tx.connection, TENANT, PROVIDER)
        assert client is not None
        now = await connections.database_time(tx.connection)
        for name, grant in zip(names, grants, strict=True):
            row = {"id": secrets.token_hex(16), "tenant_id": TENANT, "provider": PROVIDER, "name": name}
            await connections.add(tx.connection, {**row, "kind": KIND, "client": client.id, "created_at": now})
            made = await connections.get(tx.connection, row["id"])
            assert made is not None
            tokens = TokenSet(Secret(grant.access_token), Secret(grant.refresh_token), expires_in=expires_in)
            received = Received(tokens, None, client.id, (), 0.0, "configured", "unverified")
            await store_grant(tx, rig.vault.keyring, made, provider, received, lambda low, high: 1.0)

    await rig.vault.writer.submit(unit, alone=True)
    return names


async def row_of(rig: Rig, name: str) -> Any:
    """Return the whole row of `token_states` behind connection *name*, with the database's time as `now`."""
    connection = await rig.look(name)
    async with rig.vault.database.read() as tx:
        found = (await tx.execute(select(token_states).where(token_states.c.connection_id == connection.id))).one()
    return found


async def now_of(rig: Rig) -> datetime:
    async with rig.vault.database.read() as tx:
        return await connections.database_time(tx)


async def audited(rig: Rig, action: str) -> list[dict[str, Any]]:
    """Return the details of all audit rows of one action."""
    async with rig.vault.database.read() as tx:
        rows = await tx.execute(select(audit_events).where(audit_events.c.action == action))
        return [{**row._mapping, "detail": json.loads(row.detail)} for row in rows]


async def count_by_status(rig: Rig) -> dict[str, int]:
    async with rig.vault.database.read() as tx:
        rows = await tx.execute(select(token_states.c.status, func.count()).group_by(token_states.c.status))
        return {row[0]: row[1] for row in rows}


@dataclass(frozen=True)
class Pair:
    """The tokens that a connection holds, opened."""

    generation: int
    access_token: str
    refresh_token: str


async def stored_pair(rig: Rig, name: str) -> Pair:
    """Open what connection *name* holds; fails where the parts of the row are not of one generation."""
    connection = await rig.look(name)
    place = Place(TENANT, PROVIDER, "connection", connection.id)
    async with rig.vault.database.read() as tx:
        row = (await tx.execute(select(token_states).where(token_states.c.connection_id == connection.id))).one()
        values = await sealed.load(tx, "connection", connection.id)
    assert {generation for _, generation in values.values()} == {row.generation}
    opened = {field: open_one(rig.vault.keyring, place, field, value).reveal() for field, value in values.items()}
    assert row.status in {"configured", "verified", "degraded", "failed"}
    assert row.inflight_generation in {None, row.generation}
    return Pair(row.generation, opened["access_token"], opened["refresh_token"])


def came_together(ledger: Ledger, family: str, pair: Pair) -> bool:
    """Whether the provider issued this access token and this refresh token as one answer, or kept the latter."""
    minted = ledger.of("issued", family)[0]["refresh_token"]
    return any(
        one["access_token"] == pair.access_token and (one["refresh_token"] or minted) == pair.refresh_token
        for one in ledger.of("issued", family)
    )
