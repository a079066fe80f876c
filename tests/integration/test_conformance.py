"""The statements do what the model says, on both databases, from every small state of a row.

`tests/model` proves the rules safe under every interleaving; this holds the SQL to those rules, column by
column. A unit of the model's time is 1000 s here, so that no slow machine can mistake one moment for another.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import product
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import GrantRejected, OutcomeUnknown, ProviderError, Transient
from tests.integration.conftest import Store
from tests.model import exchange as model
from tests.model.exchange import Design, Failure, Faults, Row, State, Worker, World
from tests.model.explore import reachable
from vault.exchange.failure import aftermath
from vault.store import connections, leases, settle
from vault.store.database import Database
from vault.store.leases import Terms, Turn
from vault.store.schema import connections as connections_table
from vault.store.schema import tenants, token_states
from vault.timing import NewTokens

UNIT = timedelta(seconds=1000)
LEASE, PATIENCE = World.lease, World.lease  # units
FAR = timedelta(days=1000)
GENERATION, FENCE, SUCCESSOR = 1, 5, 9  # what the attempt under test started from, and what it brings
MINE, OTHER = "mine", "other"


@dataclass(frozen=True)
class Case:
    """One row, and the attempt that acts on it."""

    row: Row
    attempt: str = MINE
    generation: int = GENERATION
    fence: int = FENCE
    serial: int = SUCCESSOR


# --- which rows ------------------------------------------------------------------------------------------


def well_formed(
    *, fences: tuple[int, ...] = (FENCE, FENCE + 1), last: tuple[str, ...] = (MINE, OTHER)
) -> Iterator[Case]:
    """Every mix of lease, attempt, intent, doubt, failure, generation, fence and last success."""
    lapses = (None, -1, 1)
    intents = ((None, None), (0, -1), (0, 1), (-1, -1), (-1, 1))  # of this generation or an older, passed or ahead
    for lapse, attempt, (intent, retake), uncertain, failed, moved, fence, succeeded in product(
        lapses, (MINE, OTHER), intents, (False, True), (False, True), (0, 1), fences, last
    ):
        generation = GENERATION + moved
        yield Case(
            Row(
                generation=generation,
                lease_holder=None if lapse is None else attempt,
                lease_expires_at=lapse,
                lease_fence=fence,
                attempt_id=attempt,
                inflight_generation=None if intent is None else generation + intent,
                retake_after=retake,
                uncertain=uncertain,
                last_success_attempt=succeeded,
                reason=model.GRANT_REJECTED if failed else None,
            )
        )


FAULTS = (
    Faults(slow=1, reply=1),
    Faults(crash=1, slow=1),
    Faults(frozen=1),
    Faults(crash=1, network=1),
    Faults(slow=1, refusal=1),
)


@cache
def reached() -> tuple[tuple[Row, Worker], ...]:
    """Every row that the model gets to, with each worker that stands before it."""
    found = dict.fromkeys(
        (state.row, worker) for faults in FAULTS for state in visited(faults) for worker in state.workers
    )
    return tuple(found)


def visited(faults: Faults) -> Iterator[State]:
    return reachable(Design(), World(faults=faults, generations=2))


def met(*steps: str, answer: Callable[[int], bool] = lambda serial: True) -> list[Case]:
    """Return the rows before which a worker of the model takes one of *steps*, with that worker's attempt."""
    found = [
        Case(row, worker.attempt or "new", worker.generation, worker.fence, worker.serial)
        for row, worker in reached()
        if worker.step in steps and answer(worker.serial)
    ]
    assert found, "the model never gets there"
    return list(dict.fromkeys(found))


# --- rows in and out of the database ---------------------------------------------------------------------


class Bench:
    """Many rows in one database, each acted upon once, in one transaction."""

    def __init__(self, tx: AsyncConnection, base: datetime) -> None:
        self.tx = tx
        self.base = base

    def moment(self, units: int | None) -> datetime | None:
        return None if units is None else self.base + units * UNIT

    def units(self, moment: datetime | None) -> int | None:
        return None if moment is None else round((moment - self.base) / UNIT)

    async def lay_out(self, laid: list[Case]) -> None:
        await self.tx.execute(
            insert(tenants), {"id": "t", "parent_id": "platform", "name": "", "created_at": self.base}
        )
        common = {"tenant_id": "t", "provider": "p", "kind": "oauth", "enabled": True, "created_at": self.base}
        rows = [{"id": str(number), "name": str(number), **common} for number in range(len(laid))]
        await self.tx.execute(insert(connections_table), rows)
        await self.tx.execute(insert(token_states), [self.columns(n, case.row) for n, case in enumerate(laid)])

    def columns(self, number: int, row: Row) -> dict[str, Any]:
        """Return *row* as columns. `issued_lifetime` goes with the tokens, so it tells which serial is stored."""
        copied = asdict(row)
        for name in ("serial", "access_alive", "reason"):
            del copied[name]
        for name in ("attempt_id", "lease_holder", "last_success_attempt"):
            copied[name] = own(copied[name], number)
        return {
            **copied,
            "connection_id": str(number),
            "provider": "p",
            "renewal": "refresh_token",
            "status": "failed" if row.reason else "verified",
            "reason": row.reason,
            "granted_generation": 0,
            "issued_lifetime": row.serial,
            "access_expires_at": self.base + (FAR if row.access_alive else -FAR),
            "lease_expires_at": self.moment(row.lease_expires_at),
            "retake_after": self.moment(row.retake_after),
        }

    async def rows(self) -> dict[int, Row]:
        """Return what has become of every row, in the model's words."""
        found = {}
        for state in await self.tx.execute(select(token_states)):
            number = int(state.connection_id)
            found[number] = Row(
                generation=state.generation,
                serial=state.issued_lifetime,
                access_alive=state.access_expires_at > self.base,
                lease_holder=anyones(state.lease_holder),
                lease_expires_at=self.units(state.lease_expires_at),
                lease_fence=state.lease_fence,
                attempt_id=anyones(state.attempt_id),
                inflight_generation=state.inflight_generation,
                retake_after=self.units(state.retake_after),
                uncertain=state.uncertain,
                last_success_attempt=anyones(state.last_success_attempt),
                reason=state.reason if state.status == "failed" else None,
            )
        return found

    def turn(self, number: int, case: Case) -> Turn:
        """Return what the attempt remembers of its claim."""
        own_row = case.row.lease_fence == case.fence  # then nobody has touched the row since
        return Turn(
            renewal="refresh_token",
            connection=str(number),
            provider="p",
            generation=case.generation,
            fence=case.fence,
            attempt=own(case.attempt, number),
            uncertain=case.row.uncertain if own_row else False,
            retake_after=self.moment(case.row.retake_after if own_row else 0) or self.base,
            access_expires_at=self.base - FAR,
            refresh_expires_at=None,
            last_asked_at=None,
            failures=0,
            rejected_generation=None,
            learned_lifetime=None,
            claimed_at=self.base,
        )


def own(attempt: str | None, number: int) -> Any:
    """Return the name of an attempt on row *number*: attempts are unique in the database, not in the model."""
    return attempt and f"{attempt}:{number}"


def anyones(attempt: str | None) -> str | None:
    return attempt and attempt.partition(":")[0]


def meaningful(row: Row) -> Row:
    """Return *row* without the end of an intent where there is no intent: nobody reads it."""
    return replace(row, retake_after=None) if row.inflight_generation is None else row


Act = Callable[[Bench, int, Case], Awaitable[Any]]
Rule = Callable[[Case], Row | None]


async def compare(
    store: Store, laid: list[Case], act: Act, rule: Rule, told: Callable[[Case, Row | None], Any]
) -> None:
    """Let *act* loose on each row, and hold what it left and what it answered against *rule*."""
    database = Database(store.url)
    try:
        async with database.transaction() as tx:
            bench = Bench(tx, await connections.database_time(tx))
            await bench.lay_out(laid)
            answers = [await act(bench, number, case) for number, case in enumerate(laid)]
            after = await bench.rows()
    finally:
        await database.close()
    differing = [
        f"{case}\n  model {expected, told(case, expected)}\n  SQL   {after[number], answers[number]}"
        for number, case in enumerate(laid)
        for expected in [rule(case)]
        if (meaningful(after[number]), answers[number]) != (meaningful(expected or case.row), told(case, expected))
    ]
    assert not differing, f"{len(differing)} of {len(laid)} rows differ, the first:\n" + "\n".join(differing[:5])


# --- the three statements --------------------------------------------------------------------------------


def claimed(case: Case) -> Row | None:
    attempt, seen = case.attempt, case.generation
    return model.claim(case.row, now=0, attempt=attempt, seen=seen, lease=LEASE, patience=PATIENCE)


async def claim(bench: Bench, number: int, case: Case) -> Any:
    attempt = own(case.attempt, number)
    terms = Terms(attempt, LEASE * UNIT, PATIENCE * UNIT)
    turn = await leases.claim(bench.tx, terms, str(number), case.generation, attempt)
    return turn and (turn.generation, turn.fence, turn.uncertain, bench.units(turn.retake_after))


async def test_claim_conforms(store: Store) -> None:
    """A claim takes what the model's claim takes, writes what it writes, and returns what it wrote."""

    def told(case: Case, row: Row | None) -> Any:
        return row and (row.generation, row.lease_fence, row.uncertain, row.retake_after)

    await compare(store, [*well_formed(fences=(FENCE,), last=(OTHER,)), *met("seen")], claim, claimed, told)


def succeeded(case: Case) -> Row | None:
    key: dict[str, Any] = {"attempt": case.attempt, "generation": case.generation, "fence": case.fence}
    return model.settle_success(case.row, **key, serial=case.serial)


async def succeed(bench: Bench, number: int, case: Case) -> Any:
    tokens = NewTokens(
        access_expires_at=bench.base + FAR,
        issued_lifetime=case.serial,
        refresh_expires_at=None,
        next_refresh_at=bench.base + FAR,
    )
    news = settle.Success(turn=bench.turn(number, case), tokens=tokens, values={}, orphan={})
    return (await settle.successes(bench.tx, [news]))[0]


async def test_success_conforms(store: Store) -> None:
    """A success is stored, found stored, or set aside where the model says so, and leaves the row as it says."""

    def told(case: Case, row: Row | None) -> str:
        return "stored" if row or case.row.last_success_attempt == case.attempt else "orphaned"

    await compare(
        store, [*well_formed(), *met("answered", answer=lambda serial: serial > 0)], succeed, succeeded, told
    )


FAILURES: dict[str, tuple[Failure, ProviderError, tuple[str, ...], bool]] = {
    "rejected": ("rejected", GrantRejected("invalid_grant"), ("answered",), False),
    "definite": ("not_sent", Transient("connection_refused"), ("stopped", "refused"), False),
    "unknown": ("unknown", OutcomeUnknown("timeout"), ("unknown",), False),
    "unknown, where a retake does no harm": ("unknown", OutcomeUnknown("timeout"), ("unknown",), True),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failure_conforms(store: Store, name: str) -> None:
    """A failure counts only where the model says so, closes the intent or not as it says, and frees the lease."""
    failure, error, steps, in_grace = FAILURES[name]

    async def fail(bench: Bench, number: int, case: Case) -> bool:
        turn = bench.turn(number, case)
        when: dict[str, Any] = {"now": bench.base, "asked": False, "in_grace": in_grace}
        failed = aftermath(error, turn, **when, pace=timedelta(0), jitter=lambda low, high: low)
        return await settle.failure(bench.tx, turn, failed)

    def counted(case: Case) -> Row | None:
        retake_at = 0 if in_grace else None
        key = {"generation": case.generation, "fence": case.fence}
        return model.settle_failure(case.row, **key, failure=failure, retake_at=retake_at)

    def counted_or_released(case: Case) -> Row:
        return counted(case) or model.release(case.row, fence=case.fence)

    found = met(*steps, answer=lambda serial: failure != "rejected" or serial == model.REJECTED)
    laid = [*well_formed(last=(OTHER,)), *found]
    await compare(store, laid, fail, counted_or_released, lambda case, _row: counted(case) is not None)
