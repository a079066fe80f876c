"""Judging from outside: what the database holds and what the provider's ledger says, side by side."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import func, insert, select, text

from integrations.contract import Secret
from tests.provider.oracle import Ledger
from tests.provider.orders import Grant
from tests.rig import PROVIDER, TENANT, Rig
from vault.memory import GATES
from vault.sealing import Place, open_one, seal_all
from vault.store import sealed
from vault.store.connections import database_time
from vault.store.schema import audit_events, connections, sealed_values, token_states
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
        "next_check_at",
    ),
    "provider_states": ("retry_not_before",),
    "clients": ("retry_not_before",),
    "works": ("due_at",),
    "tries": ("tried_at",),
}
LEASES = ("lease_expires_at", "retake_after")


async def eventually(look: Callable[[], Awaitable[T | None]], within: float = 15.0) -> T:
    """Return what *look* sees as soon as that is true. Fails after *within* seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while not (seen := await look()):
        assert asyncio.get_running_loop().time() < deadline, f"not within {within} s: {look}"
        await asyncio.sleep(POLL)
    return seen


def queued(rig: Rig, count: int) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether *count* units wait to be written."""

    async def look() -> bool:
        return rig.vault.writer.queued >= count

    return look


async def age(rig: Rig, by: timedelta, *columns: str, name: str | None = None) -> None:
    """Let *by* pass as far as the database can tell: for all its moments or some, of all connections or one."""

    async def unit(tx: Transaction) -> None:
        tx.outdate(GATES)  # what goes behind the program's back, its memory has to be told of
        for table, moments in TIMES.items():
            of_one = " WHERE connection_id = (SELECT id FROM connections WHERE name = :name)" if name else ""
            if name and table != "token_states":
                continue
            for moment in moments:
                if not columns or moment in columns:
                    shift = text(f"UPDATE {table} SET {moment} = {moment} - :ms{of_one}")
                    await tx.execute(
                        shift, {"ms": by // timedelta(milliseconds=1), **({"name": name} if name else {})}
                    )

    await rig.vault.writer.submit(unit)


async def an_aged_connection(rig: Rig, name: str, *, left: int) -> Grant:
    """Return the grant of a new connection whose token of an hour has *left* seconds to live."""
    _, grant = await rig.a_connection(name, expires_in=3600)
    await age(rig, timedelta(seconds=3600 - left), "access_expires_at", "next_refresh_at", name=name)
    return grant


async def adopt_many(rig: Rig, grants: Sequence[Grant]) -> list[str]:
    """Store *grants* as expired connections with a handful of statements; return their names.

    The first is imported like any other, and the rest are rows like its own.
    """
    names = [f"many-{number}" for number in range(len(grants))]
    first = await rig.adopt(grants[0], names[0], expires_in=0)
    ids = [secrets.token_hex(16) for _ in names[1:]]

    async def unit(tx: Transaction) -> None:
        of_first = connections.c.id == first.id
        row = (await tx.execute(select(connections).where(of_first))).one()._mapping
        state_of_first = token_states.c.connection_id == first.id
        state = (await tx.execute(select(token_states).where(state_of_first))).one()._mapping
        rows = [{**row, "id": made, "name": name} for made, name in zip(ids, names[1:], strict=True)]
        await tx.execute(insert(connections), rows)
        await tx.execute(insert(token_states), [{**state, "connection_id": made} for made in ids])
        await tx.execute(insert(sealed_values), list(_sealed(rig, ids, grants[1:], state["generation"])))

    if ids:
        await rig.vault.writer.submit(unit, alone=True)
    return names


def _sealed(rig: Rig, ids: Sequence[str], grants: Sequence[Grant], generation: int) -> Iterator[dict[str, Any]]:
    for made, grant in zip(ids, grants, strict=True):
        place = Place(TENANT, PROVIDER, "connection", made)
        tokens = {"access_token": Secret(grant.access_token), "refresh_token": Secret(grant.refresh_token)}
        for field, value in seal_all(rig.vault.keyring, place, generation, tokens).items():
            owner = {"owner_kind": "connection", "owner_id": made, "field": field, "generation": generation}
            yield {**owner, **vars(value)}


async def row_of(rig: Rig, name: str) -> Any:
    """Return the whole row of `token_states` behind connection *name*, with the database's time as `now`."""
    connection = await rig.look(name)
    async with rig.vault.database.read() as tx:
        found = (await tx.execute(select(token_states).where(token_states.c.connection_id == connection.id))).one()
    return found


async def now_of(rig: Rig) -> datetime:
    async with rig.vault.database.read() as tx:
        return await database_time(tx)


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
