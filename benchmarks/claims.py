"""Claiming 100 due rows: of few and of many, and with those of a rejected client due before them."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
import uvloop
from sqlalchemy import bindparam, func, select, update

from benchmarks import filling
from benchmarks.figures import Goal, Section, number, percentile
from benchmarks.machine import on
from benchmarks.servers import provider
from benchmarks.stage import DATABASES, Stage
from integrations.contract import Client, Secret
from vault.app import serving
from vault.services import Vault
from vault.store.database import sqlite_path
from vault.store.moments import clock
from vault.store.schema import clients, token_states

FEW, MANY, REJECTED = 10_000, 1_000_000, 10_000
CLAIMED = 100
ROUNDS, FEWEST = 80, 10
LONGEST = 90.0  # seconds of rounds, a database
HEADER = ("rows", "claim p50 ms", "p99 ms", "ratio", "nothing due, p50 ms", "ratio")
GROWTH, ASIDE = 1.3, 1.3  # times the claim of FEW

# 1 in 100 is due, spread over the last hour; the others over the next.
_CONNECTIONS = """
    INSERT INTO connections (id, tenant_id, provider, name, kind, client, enabled, created_at)
    SELECT {random_id}, :tenant, :provider, :prefix || n, 'oauth2', :client, true, 0 FROM {series}"""
_STATES = """
    INSERT INTO token_states (connection_id, provider, client, status, generation, granted_generation, renewal,
                              access_expires_at, issued_lifetime, next_refresh_at)
    SELECT id, provider, client, 'verified', 1, 1, 'refresh_token', :now + 3600000, 3600,
           CASE WHEN n % :one_in = 0 THEN :now - 3600000 + n % 3600000 ELSE :now + 600000 + n % 3000000 END
    FROM (SELECT id, provider, client, CAST(substr(name, 1 + length(:prefix)) AS INTEGER) AS n
          FROM connections
          WHERE client = :client AND id NOT IN (SELECT connection_id FROM token_states)) AS them"""
_ON = {
    "SQLite": {
        "random_id": "lower(hex(randomblob(16)))",
        "series": """(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :count)
                     SELECT n FROM s)""",
    },
    "PostgreSQL": {
        "random_id": "replace(CAST(gen_random_uuid() AS text), '-', '')",
        "series": "generate_series(1, :count) AS s(n)",
    },
}

_s = token_states.c
# A refresh is over: the row goes to the end of the queue, so that as many are due as before.
_SETTLED = (
    update(token_states)
    .where(_s.connection_id == bindparam("settled"))
    .values(
        lease_holder=None,
        lease_expires_at=None,
        inflight_generation=None,
        retake_after=None,
        next_refresh_at=clock(),
    )
)
_NOTHING_DUE = (
    update(token_states)
    .where(
        _s.next_refresh_at <= clock(), _s.client.not_in(select(clients.c.id).where(clients.c.state == "rejected"))
    )
    .values(next_refresh_at=clock() + 3_600_000)
)
Reject = Callable[[Vault, str], Awaitable[None]]


@dataclass
class Case:
    """One filled vault, and what its claims took, in milliseconds."""

    name: str
    vault: Vault
    took: list[float] = field(default_factory=list)
    took_for_nothing: list[float] = field(default_factory=list)


def run(stage: Stage) -> Section:
    """Return the table: claims of few, of many, and of few behind those of a rejected client."""
    few, many, rejected, rounds = (1000, 10_000, 1000, 10) if stage.quick else (FEW, MANY, REJECTED, ROUNDS)
    section = Section(f"Claiming {CLAIMED} due rows", HEADER)
    for kind in DATABASES:
        stage.tell(f"claims on {kind}")
        with (
            stage.database(kind, "few") as a,
            stage.database(kind, "many") as b,
            stage.database(kind, "by-sql") as c,
            stage.database(kind, "by-product") as d,
            on(stage.cores.measured),
        ):
            cases = uvloop.run(_measured(kind, [a, b, c, d], few, many, rejected, rounds))
        _add(section, kind, cases)
    return section


async def _measured(kind: str, urls: list[str], few: int, many: int, rejected: int, rounds: int) -> list[Case]:
    async with AsyncExitStack() as stack:
        endpoint = stack.enter_context(provider(0))
        vaults = [await stack.enter_async_context(serving(filling.settings(url))) for url in urls]
        ours = [(await filling.furnish(vault, endpoint)).client for vault in vaults]
        names = [f"{few:,} rows, {kind}", f"{many:,} rows, {kind}"]
        for vault, (way, reject) in zip(vaults[2:], WAYS.items(), strict=True):
            parked = await put_rejected(kind, vault, rejected, reject)
            how = way if parked else f"{way}, **which parks none**"
            names.append(f"{few:,} rows behind {rejected:,} of a rejected client ({how}), {kind}")
        for vault, client, count in zip(vaults, ours, (few, many, few, few), strict=True):
            await asyncio.to_thread(fill, kind, vault, client, "c", count, one_in=max(few // CLAIMED, 1))
        cases = [Case(name, vault) for name, vault in zip(names, vaults, strict=True)]
        await in_turns(cases, rounds)
        return cases


def fill(kind: str, vault: Vault, client: str, prefix: str, count: int, *, one_in: int) -> None:
    """Store *count* connections of *client*, one in so many of them due; nothing is sealed for them."""
    url = vault.settings.database_url
    values: dict[str, Any] = {
        "tenant": filling.TENANT,
        "provider": filling.PROVIDER,
        "client": client,
        "prefix": prefix,
    }
    values |= {"count": count, "one_in": one_in, "now": int(time.time() * 1000)}
    statements = [_CONNECTIONS.format(**_ON[kind]), _STATES]
    if kind == "SQLite":
        with closing(sqlite3.connect(str(sqlite_path(url)))) as file, file:
            file.execute("PRAGMA synchronous = OFF")
            for statement in statements:
                file.execute(statement, values)
        return
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(_for_psycopg(statement), values)
        connection.execute("VACUUM ANALYZE")


def _for_psycopg(statement: str) -> Any:
    statement = statement.replace("%", "%%")
    for name in ("tenant", "provider", "client", "prefix", "count", "one_in", "now"):
        cast = "bigint" if name in ("count", "one_in", "now") else "text"
        statement = statement.replace(f":{name}", f"CAST(%({name})s AS {cast})")
    return statement


async def put_rejected(kind: str, vault: Vault, count: int, reject: Reject) -> bool:
    """Store *count* connections of a client that is rejected, all due. Returns whether they are parked."""
    await vault.clients.put(
        "platform", filling.PROVIDER, Client(filling.REFUSED, Secret(filling.REFUSED)), "operator"
    )
    client = (await vault.clients.get("platform", filling.PROVIDER)).row.id
    # Not in the loop: the vault may be in the middle of a read there, and SQLite would wait for its end.
    await asyncio.to_thread(fill, kind, vault, client, "r", count, one_in=count + 1)
    await reject(vault, client)
    await filling.make_due(vault, client)
    async with vault.database.transaction() as tx:  # no try of it while claims are measured
        later = clock() + 86_400_000
        await tx.execute(update(clients).where(clients.c.id == client).values(retry_not_before=later))
    async with vault.database.read() as tx:
        parked = select(func.count()).where(_s.client == client, _s.parked == "rejected")
        return int(await tx.scalar(parked) or 0) >= count


async def by_sql(vault: Vault, client: str) -> None:
    """Write down what a rejection comes to."""
    rejected = {"state": "rejected", "rejected_at": clock(), "retry_not_before": clock()}
    async with vault.database.transaction() as tx:
        await tx.execute(update(clients).where(clients.c.id == client).values(rejected))
        await tx.execute(update(token_states).where(_s.client == client).values(parked="rejected"))


async def by_product(vault: Vault, client: str) -> None:
    """Have the vault find out, by a refresh, that the provider does not know *client*."""
    await filling.connect(vault, client, 1, prefix="refused")
    async with vault.database.transaction() as tx:
        one = (_s.client == client, _s.refreshed_at.is_not(None))
        await tx.execute(update(token_states).where(*one).values(next_refresh_at=clock()))
    await vault.sweeper.once()
    async with vault.database.read() as tx:
        state = await tx.scalar(select(clients.c.state).where(clients.c.id == client))
    if state != "rejected":
        raise RuntimeError("the vault did not find out that its client is refused")


WAYS: dict[str, Reject] = {"parked by SQL": by_sql, "found out by a refresh": by_product}


async def in_turns(cases: list[Case], rounds: int) -> None:
    """Claim CLAIMED rows of each case again and again, then look for some where nothing is due."""
    ends = time.monotonic() + LONGEST
    for number_of_round in range(rounds):
        if number_of_round >= FEWEST and time.monotonic() > ends:
            break
        for case in cases:
            found = await _claimed(case.vault, case.took)
            if len(found) != CLAIMED:
                raise RuntimeError(f"{case.name}: {len(found)} rows were claimed, not {CLAIMED}")
            async with case.vault.database.transaction() as tx:
                await tx.execute(_SETTLED, [{"settled": claimed.turn.connection} for claimed, _ in found])
    for case in cases:
        async with case.vault.database.transaction() as tx:
            await tx.execute(_NOTHING_DUE)
        for _ in range(rounds):
            if await _claimed(case.vault, case.took_for_nothing):
                raise RuntimeError(f"{case.name}: something was due")


async def _claimed(vault: Vault, took: list[float]) -> list[Any]:
    began = time.monotonic()
    found = await vault.refresher.claim_due(filling.PROVIDER, CLAIMED)
    took.append((time.monotonic() - began) * 1000)
    return found


def _add(section: Section, kind: str, cases: list[Case]) -> None:
    base = percentile(cases[0].took, 0.5), percentile(cases[0].took_for_nothing, 0.5)
    for case in cases:
        middle, nothing = percentile(case.took, 0.5), percentile(case.took_for_nothing, 0.5)
        figures = (number(middle), number(percentile(case.took, 0.99)), f"{middle / base[0]:.2f}")
        section.rows.append((case.name, *figures, number(nothing), f"{nothing / base[1]:.2f}"))
    ratios = [percentile(case.took, 0.5) / base[0] for case in cases]
    section.goals.append(Goal(f"claims, {kind}: of many rows to of few", ratios[1], GROWTH, unit=" x"))
    section.goals.append(Goal(f"claims, {kind}: behind a rejected client's", ratios[3], ASIDE, unit=" x"))
