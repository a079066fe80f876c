"""Claims and settles on real rows: who gets a lease, what a late answer may do, and what the tables refuse."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from integrations.contract import Secret
from tests.integration.conftest import Store
from vault.chain import Chain
from vault.errors import CannotOpen
from vault.keyring import Sealed
from vault.metrics import Metrics
from vault.sealing import Place, open_one, seal_all
from vault.store import connections as connection_rows
from vault.store import due, gates, leases, parking, schema, sealed, settle
from vault.store.database import Database
from vault.store.leases import Terms, Turn, new_attempt
from vault.store.moments import EPOCH
from vault.store.parking import Scope
from vault.store.settle import Failed, Success
from vault.store.trail import Trail
from vault.store.writer import Writer
from vault.timing import NewTokens

PROVIDER, TENANT, CLIENT = "p", "t", "c"
HOUR = timedelta(hours=1)
TERMS = Terms("somebody", HOUR, HOUR)
NO_TERMS = Terms("sleeper", timedelta(0), timedelta(0))  # a lease that has lapsed as soon as it is taken
TRANSIENT = Failed(status="degraded", reason="transient", failures=1, error_code="http_500")


class Ground:
    """One database with a tenant and a client, rows to claim on it, and any number of replicas."""

    def __init__(self, store: Store, stack: AsyncExitStack) -> None:
        self.store = store
        self._stack = stack
        self.database = Database(store.url)
        stack.push_async_callback(self.database.close)
        self.now = EPOCH  # by the database's clock, when the test began

    async def prepare(self) -> None:
        async with self.database.transaction() as tx:
            self.now = await connection_rows.database_time(tx)
            made = {"created_at": self.now}
            tenant = {"id": TENANT, "parent_id": "platform", "name": "", **made}
            await tx.execute(insert(schema.tenants), tenant)
        await self.client(CLIENT)

    async def client(self, id_: str, **changed: Any) -> None:
        row = {"tenant_id": TENANT, "provider": PROVIDER, "client_id": id_, "current": False, "state": "active"}
        await self.insert(schema.clients, id=id_, created_at=self.now, **{**row, **changed})

    async def connection(self, id_: str, *, connection: dict[str, Any] | None = None, **state: Any) -> None:
        """Store a connection that is due and that anybody may claim, but for what is *changed*."""
        fixed = {
            "id": id_,
            "tenant_id": TENANT,
            "name": id_,
            "kind": "oauth",
            "client": state.get("client", CLIENT),
        }
        common = {"enabled": True, "created_at": self.now, "provider": state.get("provider", PROVIDER)}
        await self.insert(schema.connections, **{**fixed, **common, **(connection or {})})
        due: dict[str, Any] = {
            "connection_id": id_,
            "provider": PROVIDER,
            "client": CLIENT,
            "status": "verified",
            "generation": 1,
            "granted_generation": 1,
            "renewal": "refresh_token",
            "next_refresh_at": self.now - HOUR,
        }
        await self.insert(schema.token_states, **{**due, **state})
        await self.run(parking.park, Scope("connection", id_))

    async def insert(self, table: Table, **row: Any) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(insert(table), row)

    async def edit(self, table: Table, id_: str, **changed: Any) -> None:
        async with self.database.transaction() as tx:
            key = next(iter(table.primary_key.columns))
            await tx.execute(update(table).where(key == id_).values(changed))

    async def state(self, id_: str = "x") -> Any:
        async with self.database.read() as tx:
            states = schema.token_states
            return (await tx.execute(select(states).where(states.c.connection_id == id_))).one()

    async def count(self, table: Table) -> int:
        async with self.database.read() as tx:
            return int(await tx.scalar(select(func.count()).select_from(table)) or 0)

    async def values(self, owner_kind: str, owner_id: str) -> dict[str, tuple[Sealed, int]]:
        async with self.database.read() as tx:
            return await sealed.load(tx, owner_kind, owner_id)

    async def run(self, act: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Carry out a function of the store in a transaction of its own."""
        async with self.database.transaction() as tx:
            return await act(tx, *arguments)

    async def claim(self, id_: str = "x", terms: Terms = TERMS, seen: int = 1) -> Turn | None:
        found: Turn | None = await self.run(leases.claim, terms, id_, seen, new_attempt())
        return found

    async def turn(self, id_: str = "x", terms: Terms = TERMS, seen: int = 1) -> Turn:
        """Return a claim that must not fail."""
        turn = await self.claim(id_, terms, seen)
        assert turn is not None
        return turn

    async def succeed(self, turn: Turn, access_token: str) -> str:
        """Settle *turn* with tokens that say which answer they are."""
        times = NewTokens(
            access_expires_at=self.now + HOUR,
            issued_lifetime=3600,
            refresh_expires_at=None,
            next_refresh_at=self.now + HOUR,
        )
        secrets = {"access_token": Secret(access_token)}
        sealed_values = (
            seal_all(self.store.keyring, place, turn.generation + 1, secrets)
            for place in (place_of("connection", turn.connection), place_of("orphan", turn.attempt))
        )
        values, orphan = sealed_values
        return await self.settle(Success(turn=turn, tokens=times, values=values, orphan=orphan))

    async def settle(self, news: Success) -> str:
        stored: list[str] = await self.run(settle.successes, [news])
        return stored[0]

    async def token(self, id_: str = "x") -> str | None:
        """Return the access token that is stored, opened where it belongs."""
        found = (await self.values("connection", id_)).get("access_token")
        return found and open_one(self.store.keyring, place_of("connection", id_), "access_token", found).reveal()

    async def writers(self, count: int) -> list[Writer]:
        """Return the writers of *count* replicas, each with engines of its own."""
        made = []
        for _ in range(count):
            database = Database(self.store.url)
            self._stack.push_async_callback(database.close)
            made.append(Writer(database, Trail(Chain(bytes(32))), lambda _stale: None, Metrics()))
            self._stack.push_async_callback(made[-1].close)
        return made


def place_of(owner_kind: str, owner_id: str) -> Place:
    return Place(TENANT, PROVIDER, owner_kind, owner_id)


async def ready(store: Store, stack: AsyncExitStack) -> Ground:
    ground = Ground(store, stack)
    await ground.prepare()
    return ground


@pytest.fixture(name="ground")
async def _ground(store: Store) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        yield await ready(store, stack)


@pytest.fixture(name="on_postgres")
async def _on_postgres(postgres_store: Store) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        yield await ready(postgres_store, stack)


# --- one row, one holder ---------------------------------------------------------------------------------


async def test_five_replicas_never_share_a_row(ground: Ground) -> None:
    """Whatever five replicas claim at once, each due row goes to exactly one of them, and none is left."""
    rows = [f"x{n}" for n in range(60)]
    for row in rows:
        await ground.connection(row)
    writers = await ground.writers(5)

    async def take_all(writer: Writer) -> list[str]:
        taken: list[str] = []
        while True:
            turns = await writer.submit(take_due(7))
            taken += [turn.connection for turn in turns]
            if not turns:
                return taken

    taken = await asyncio.gather(*map(take_all, writers))
    left = await writers[0].submit(take_due(7))

    assert sorted(itertools.chain(*taken)) == sorted(rows)
    assert left == []


def take_due(most: int) -> Callable[..., Awaitable[list[Turn]]]:
    return lambda tx: due.claim_due(tx.connection, TERMS, PROVIDER, most, new_attempt())


async def test_a_repeated_sweep_finds_what_it_claimed(ground: Ground) -> None:
    """Claims of a sweep whose commit was answered to nobody are found by the same attempt, without a doubt."""
    await ground.connection("x")
    await ground.connection("y")
    attempt = new_attempt()

    first = await ground.run(due.claim_due, TERMS, PROVIDER, 10, attempt)
    again = await ground.run(due.claim_due, TERMS, PROVIDER, 10, attempt)

    assert {turn.connection for turn in again} == {turn.connection for turn in first} == {"x", "y"}
    assert [turn.uncertain for turn in again] == [False, False]
    assert await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt()) == []


async def test_of_five_replicas_one_gets_the_row_they_all_want(ground: Ground) -> None:
    """Five claims of one row at the same time are one lease, with a fence that rose once."""
    await ground.connection("x")
    writers = await ground.writers(5)

    async def take(writer: Writer) -> Turn | None:
        return await writer.submit(lambda tx: leases.claim(tx.connection, TERMS, "x", 1, new_attempt()))

    turns = [turn for turn in await asyncio.gather(*map(take, writers)) if turn]

    assert len(turns) == 1
    state = await ground.state()
    assert (state.lease_fence, state.attempt_id) == (1, turns[0].attempt)


async def test_a_claim_writes_lease_and_intent(ground: Ground) -> None:
    """A claim leaves holder, end, fence, attempt and intent in the row, and returns what it wrote."""
    await ground.connection("x", failures=3, access_expires_at=ground.now - HOUR, last_asked_at=ground.now)

    turn = await ground.turn()

    state = await ground.state()
    assert (state.lease_holder, state.lease_fence, state.inflight_generation) == ("somebody", 1, 1)
    assert state.lease_expires_at == turn.claimed_at + HOUR
    assert state.retake_after == turn.retake_after == turn.claimed_at + 2 * HOUR
    assert (turn.fence, turn.attempt, turn.generation) == (1, state.attempt_id, 1)
    assert (turn.failures, turn.access_expires_at, turn.last_asked_at) == (3, ground.now - HOUR, ground.now)
    assert turn.uncertain is False


async def test_a_claim_of_tokens_that_moved_on_is_refused(ground: Ground) -> None:
    """Who has seen an older generation has nothing to refresh any more."""
    await ground.connection("x", generation=2)

    assert await ground.claim(seen=1) is None


async def test_a_repeated_claim_finds_itself(ground: Ground) -> None:
    """A claim whose commit was answered to nobody is claimed again by the same attempt, and by no other."""
    await ground.connection("x")
    attempt = new_attempt()

    first = await ground.run(leases.claim, TERMS, "x", 1, attempt)
    again = await ground.run(leases.claim, TERMS, "x", 1, attempt)

    assert first is not None
    assert again is not None
    assert again.attempt == attempt
    assert await ground.claim() is None
    assert await ground.succeed(again, "canary-again") == "stored"
    assert (await ground.state()).status == "verified"


async def test_a_repeated_claim_casts_no_doubt(ground: Ground) -> None:
    """Nothing was sent between a claim and its repetition, so a rejection after it is not our loss."""
    await ground.connection("x")
    attempt = new_attempt()
    await ground.run(leases.claim, TERMS, "x", 1, attempt)

    again = await ground.run(leases.claim, TERMS, "x", 1, attempt)

    assert again.uncertain is False


async def test_an_open_intent_is_retaken_after_its_end_and_in_doubt(ground: Ground) -> None:
    """A lapsed lease alone does not free tokens that may have been sent; their retake is marked."""
    await ground.connection("x")
    await ground.turn(terms=Terms("dead", timedelta(0), HOUR))

    assert await ground.claim() is None
    await ground.edit(schema.token_states, "x", retake_after=ground.now - HOUR)
    assert (await ground.turn()).uncertain is True


async def test_a_lease_is_respected_though_a_late_success_closed_the_intent(ground: Ground) -> None:
    """Who overslept stores the next tokens; whoever has the lease by now still has it, on those too."""
    await ground.connection("x")
    overslept = await ground.turn(terms=NO_TERMS)
    await ground.turn()

    assert await ground.succeed(overslept, "canary-late") == "stored"

    assert (await ground.state()).inflight_generation is None
    assert await ground.claim(seen=2) is None
    await ground.edit(schema.token_states, "x", lease_expires_at=ground.now - HOUR)
    assert await ground.claim(seen=2) is not None


async def test_a_claim_does_not_wait_for_a_row_that_is_being_written(on_postgres: Ground) -> None:
    """While another transaction holds the row, a claim is refused at once instead of queueing for it."""
    ground, other = on_postgres, Database(on_postgres.store.url)
    await ground.connection("x")
    await ground.connection("y")
    try:
        async with other.transaction() as tx:
            await tx.execute(
                update(schema.token_states).where(schema.token_states.c.connection_id == "x").values(failures=1)
            )

            async with asyncio.timeout(3):  # a claim that waited would wait for us, and we for it
                assert await ground.claim("x") is None
                turns = await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt())
    finally:
        await other.close()

    assert [turn.connection for turn in turns] == ["y"]
    assert await ground.claim("x") is not None


async def set_ahead(ground: Ground) -> None:
    """Put the database's clock an hour ahead, for connections made from now on."""
    if ground.store.on_sqlite:

        @event.listens_for(ground.database._writing.sync_engine, "connect")
        def _replace_clock(connection: Any, _entry: Any) -> None:
            connection.create_function("julianday", 1, lambda _now: JULIAN_EPOCH + ahead().timestamp() / 86400)

    else:
        async with ground.database.transaction() as tx:
            await tx.execute(text("CREATE SCHEMA ahead"))
            for clock in ("clock_timestamp", "statement_timestamp", "transaction_timestamp", "now"):
                ahead_of_it = f"SELECT pg_catalog.{clock}() + interval '1 hour'"
                made = (
                    f"CREATE FUNCTION ahead.{clock}() RETURNS timestamptz STABLE LANGUAGE sql AS $${ahead_of_it}$$"
                )
                await tx.execute(text(made))
            name = ground.database.url.database
            await tx.execute(text(f'ALTER DATABASE "{name}" SET search_path = ahead, public, pg_catalog'))
    await ground.database.close()


JULIAN_EPOCH = 2440587.5


def ahead() -> datetime:
    return datetime.now().astimezone() + HOUR


async def test_leases_are_judged_by_the_clock_of_the_database(ground: Ground) -> None:
    """What has lapsed, is due, and until when a lease runs is for the database's clock to say, not for ours."""
    half = HOUR / 2
    held: dict[str, Any] = {"lease_holder": "other", "attempt_id": "a", "inflight_generation": 1, "lease_fence": 1}
    until: dict[str, Any] = {"lease_expires_at": ground.now + half, "retake_after": ground.now + half}
    await ground.connection("x", **held, **until, next_refresh_at=ground.now + half)
    assert await ground.claim() is None
    await set_ahead(ground)

    turns = await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt())

    assert [turn.connection for turn in turns] == ["x"]
    ends = (await ground.state()).lease_expires_at
    assert ground.now + 2 * HOUR <= ends < ground.now + 2 * HOUR + half


async def test_the_clock_moves_on_within_a_transaction(ground: Ground) -> None:
    """Units that share a long transaction do not share its beginning: each lease runs from its own claim."""
    async with ground.database.transaction() as tx:
        before = await connection_rows.database_time(tx)
        await asyncio.sleep(0.02)
        after = await connection_rows.database_time(tx)

    assert timedelta(milliseconds=10) < after - before < HOUR


# --- what may be claimed ---------------------------------------------------------------------------------

Variant = Callable[[datetime], dict[str, Any]]

CLAIMABLE: dict[str, Variant] = {
    "plain": lambda now: {},
    "failing": lambda now: {"status": "degraded", "reason": "transient", "retry_not_before": now - HOUR},
    "just stored": lambda now: {"status": "configured", "reason": "unverified"},
    "lapsed": lambda now: {"lease_holder": "dead", "lease_expires_at": now - HOUR},
    "retakeable": lambda now: {"inflight_generation": 1, "retake_after": now - HOUR},
    "old intent": lambda now: {"generation": 2, "inflight_generation": 1, "retake_after": now + HOUR},
    "held long ago": lambda now: {"provider": "held long ago"},
}
NOT_CLAIMABLE: dict[str, Variant] = {
    "disabled": lambda now: {"connection": {"enabled": False}},
    "deleted": lambda now: {"connection": {"deleted_at": now - HOUR}},
    "failed": lambda now: {"status": "failed", "reason": "grant_rejected"},
    "unconfigured": lambda now: {"status": "unconfigured", "reason": "awaiting_consent"},
    "unrenewable": lambda now: {"renewal": "none"},
    "backing off": lambda now: {"status": "degraded", "reason": "transient", "retry_not_before": now + HOUR},
    "leased": lambda now: {"lease_holder": "other", "lease_expires_at": now + HOUR},
    "in flight": lambda now: {"inflight_generation": 1, "retake_after": now + HOUR},
    "held": lambda now: {"provider": "held"},
}
NOT_DUE: dict[str, Variant] = {
    "later": lambda now: {"next_refresh_at": now + HOUR},
    "never": lambda now: {"next_refresh_at": None},
}


async def lay_out(ground: Ground) -> None:
    for name, variant in (CLAIMABLE | NOT_CLAIMABLE | NOT_DUE).items():
        await ground.connection(name, **variant(ground.now))
    await ground.insert(schema.provider_states, provider="held", retry_not_before=ground.now + HOUR)
    await ground.insert(schema.provider_states, provider="held long ago", retry_not_before=ground.now - HOUR)


async def test_the_sweep_takes_what_is_due_and_nothing_else(ground: Ground) -> None:
    """Disabled, deleted, failed, unrenewable, held, leased and paused connections are left alone by the sweep."""
    await lay_out(ground)

    taken = [
        turn.connection
        for provider in (PROVIDER, "held", "held long ago")
        for turn in await ground.run(due.claim_due, TERMS, provider, 100, new_attempt())
    ]

    assert sorted(taken) == sorted(CLAIMABLE)


async def test_a_caller_takes_what_may_be_claimed_due_or_not(ground: Ground) -> None:
    """Whoever asks for a token gets the lease where the sweep would, and also before the time for it has come."""
    await lay_out(ground)
    seen = {name: (await ground.state(name)).generation for name in CLAIMABLE | NOT_CLAIMABLE | NOT_DUE}

    taken = [name for name in seen if await ground.claim(name, seen=seen[name])]

    assert sorted(taken) == sorted(CLAIMABLE | NOT_DUE)


async def test_the_most_urgent_come_first_and_no_more_than_asked_for(ground: Ground) -> None:
    """The sweep takes the longest due first, as many as it has places for."""
    for name, overdue in {"b": 2, "d": 4, "a": 1, "c": 3}.items():
        await ground.connection(name, next_refresh_at=ground.now - overdue * HOUR)
    await ground.run(lambda tx: tx.execute(text("DROP INDEX ix_token_states_due")))  # it would sort by itself

    first = await ground.run(due.claim_due, TERMS, PROVIDER, 3, new_attempt())
    rest = await ground.run(due.claim_due, TERMS, PROVIDER, 3, new_attempt())

    assert [turn.connection for turn in first] == ["d", "c", "b"]
    assert [turn.connection for turn in rest] == ["a"]


async def test_probes_count_against_the_limit_too(ground: Ground) -> None:
    """The sweep never gets more turns than it has places for, a rejected client's probe included."""
    await ground.client("rejected", state="rejected", retry_not_before=ground.now - HOUR)
    await ground.connection("x")
    await ground.connection("y", client="rejected")

    turns = await ground.run(due.claim_due, TERMS, PROVIDER, 1, new_attempt())

    assert len(turns) == 1


# --- rejected clients ------------------------------------------------------------------------------------


async def test_a_rejected_client_gets_one_probe_in_five_minutes(ground: Ground) -> None:
    """However many replicas sweep and ask, one call in five minutes tries whether the client is right again."""
    await ground.client("rejected", state="rejected", retry_not_before=ground.now - HOUR)
    for n in range(10):
        await ground.connection(f"x{n}", client="rejected")
    writers = await ground.writers(5)

    async def sweep(writer: Writer) -> list[Turn]:
        return await writer.submit(take_due(10))

    async def ask(n: int, writer: Writer) -> list[Turn]:
        turn = await writer.submit(lambda tx: leases.claim(tx.connection, TERMS, f"x{n}", 1, new_attempt()))
        return [turn] if turn else []

    async def everybody() -> list[Turn]:
        asked = [ask(n, writer) for n, writer in enumerate(writers)]
        answers = await asyncio.gather(*asked, *map(sweep, writers))
        return list(itertools.chain(*answers))

    (turn,) = await everybody()
    await ground.run(settle.failure, turn, replace(TRANSIENT, reason="client_rejected"))
    assert await everybody() == []
    async with ground.database.read() as tx:
        client = (await tx.execute(select(schema.clients).where(schema.clients.c.id == "rejected"))).one()
        now = await connection_rows.database_time(tx)
    assert timedelta(minutes=4) < client.retry_not_before - now <= timedelta(minutes=5)

    await ground.edit(schema.clients, "rejected", retry_not_before=ground.now - HOUR)  # five minutes later
    assert len(await everybody()) == 1


async def test_a_rejected_client_holds_up_only_its_own_connections(ground: Ground) -> None:
    """Beside a client that waits for its probe, everybody else's connections are renewed as ever."""
    await ground.client("rejected", state="rejected", retry_not_before=ground.now + HOUR)
    await ground.connection("x")
    await ground.connection("y", client="rejected")

    turns = await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt())

    assert [turn.connection for turn in turns] == ["x"]
    assert await ground.claim("y") is None


async def test_a_probe_is_not_spent_on_a_row_that_cannot_be_claimed(ground: Ground) -> None:
    """A claim that is refused for its row leaves the client's one probe to a row that can use it."""
    await ground.client("rejected", state="rejected", retry_not_before=ground.now - HOUR)
    await ground.connection("busy", client="rejected", lease_holder="other", lease_expires_at=ground.now + HOUR)
    await ground.connection("x", client="rejected")

    assert await ground.claim("busy") is None
    assert await ground.claim("x") is not None


async def test_of_all_that_fail_together_one_raises_the_alarm(ground: Ground) -> None:
    """Rejecting and accepting a client are news once."""
    assert [await ground.run(gates.reject_client, CLIENT, 1) for _ in range(3)] == [True, False, False]
    assert [await ground.run(gates.accept_client, CLIENT) for _ in range(3)] == [True, False, False]


async def test_a_provider_is_held_for_the_longest_that_it_asked_for(ground: Ground) -> None:
    """A shorter pause that is heard of later does not shorten a longer one."""
    await ground.connection("x")

    await ground.run(gates.hold_provider, PROVIDER, ground.now + HOUR)
    await ground.run(gates.hold_provider, PROVIDER, ground.now - HOUR)

    assert await ground.claim() is None


# --- late answers ----------------------------------------------------------------------------------------


async def test_a_success_is_stored_and_ends_its_lease(ground: Ground) -> None:
    """The holder's success makes the next generation, clears all trouble, and frees the row."""
    await ground.connection("x", status="degraded", reason="transient", failures=4, first_failed_at=ground.now)
    turn = await ground.turn()

    assert await ground.succeed(turn, "canary-new") == "stored"

    state = await ground.state()
    assert (state.status, state.reason, state.generation, state.failures) == ("verified", None, 2, 0)
    assert (state.lease_holder, state.lease_expires_at, state.inflight_generation) == (None, None, None)
    assert (state.uncertain, state.first_failed_at, state.last_success_attempt) == (False, None, turn.attempt)
    assert await ground.token() == "canary-new"


async def test_an_oversleeper_stores_its_success_and_leaves_the_lease_of_another_alone(ground: Ground) -> None:
    """Tokens that arrive after the lease was lost are stored all the same, in doubt, and take nobody's turn."""
    await ground.connection("x")
    asleep = await ground.turn(terms=NO_TERMS)
    holder = await ground.turn()

    assert await ground.succeed(asleep, "canary-late") == "stored"

    state = await ground.state()
    assert await ground.token() == "canary-late"
    assert (state.generation, state.lease_holder, state.lease_fence) == (2, "somebody", holder.fence)
    assert state.lease_expires_at == holder.claimed_at + HOUR
    assert (state.status, state.reason, state.uncertain) == ("degraded", "outcome_unknown", True)


async def test_doubt_lasts_until_a_holder_succeeds(ground: Ground) -> None:
    """Only a success by whoever has the lease proves that the stored tokens are good."""
    await ground.connection("x")
    asleep = await ground.turn(terms=NO_TERMS)
    overtaken = await ground.turn(terms=NO_TERMS)
    await ground.succeed(asleep, "canary-late")
    await ground.run(settle.failure, overtaken, TRANSIENT)

    last = await ground.turn(seen=2)
    await ground.succeed(last, "canary-last")

    assert last.uncertain is True
    state = await ground.state()
    assert (state.status, state.uncertain, state.generation) == ("verified", False, 3)


async def test_a_late_failure_is_nobodys_business(ground: Ground) -> None:
    """A failure from a lost lease changes nothing, whatever the holder does with its turn."""
    await ground.connection("x")
    asleep = await ground.turn(terms=NO_TERMS)
    await ground.turn()
    before = await ground.state()

    assert await ground.run(settle.failure, asleep, TRANSIENT) is False

    assert await ground.state() == before


async def test_a_failure_over_newer_tokens_only_gives_the_lease_back(ground: Ground) -> None:
    """The holder whose tokens were replaced meanwhile says nothing about the new ones, and frees the row."""
    await ground.connection("x")
    asleep = await ground.turn(terms=NO_TERMS)
    holder = await ground.turn()
    await ground.succeed(asleep, "canary-late")

    assert await ground.run(settle.failure, holder, TRANSIENT) is False

    state = await ground.state()
    assert (state.status, state.reason, state.generation) == ("degraded", "outcome_unknown", 2)
    assert (state.lease_holder, state.failures) == (None, 0)


async def test_the_holders_failure_counts(ground: Ground) -> None:
    """A failure from whoever has the lease is written down with its first moment, and frees the row."""
    await ground.connection("x")

    assert await ground.run(settle.failure, await ground.turn(), TRANSIENT) is True
    first = (await ground.state()).first_failed_at
    assert await ground.run(settle.failure, await ground.turn(), TRANSIENT) is True

    state = await ground.state()
    assert (state.status, state.reason, state.last_error_code) == ("degraded", "transient", "http_500")
    assert (state.lease_holder, state.inflight_generation, state.retake_after) == (None, None, None)
    assert state.first_failed_at == first


async def test_an_orphan_is_kept_where_only_its_own_place_opens_it(ground: Ground) -> None:
    """A successor that lost the race is set aside once, sealed for that place, and readable from it."""
    await ground.connection("x")
    asleep = await ground.turn(terms=NO_TERMS)
    holder = await ground.turn()
    await ground.succeed(asleep, "canary-first")

    answers = [await ground.succeed(holder, "canary-orphan") for _ in range(2)]

    assert answers == ["orphaned", "orphaned"]
    assert await ground.count(schema.orphaned_tokens) == 1
    kept = (await ground.values("orphan", holder.attempt))["access_token"]
    keyring = ground.store.keyring
    assert open_one(keyring, place_of("orphan", holder.attempt), "access_token", kept).reveal() == "canary-orphan"
    with pytest.raises(CannotOpen):
        open_one(keyring, place_of("connection", "x"), "access_token", kept)
    assert await ground.token() == "canary-first"


async def test_an_answer_without_a_successor_is_no_orphan(ground: Ground) -> None:
    """Where the provider gave no new refresh token, nothing is lost by having come too late."""
    await ground.connection("x")
    asleep = await ground.turn(terms=NO_TERMS)
    holder = await ground.turn()
    await ground.succeed(asleep, "canary-first")
    times = NewTokens(
        access_expires_at=ground.now, issued_lifetime=1, refresh_expires_at=None, next_refresh_at=ground.now
    )

    news = Success(turn=holder, tokens=times, values={}, orphan=None)
    assert await ground.settle(news) == "outdated"

    assert await ground.count(schema.orphaned_tokens) == 0


async def test_a_success_told_twice_is_stored_once(ground: Ground) -> None:
    """A settle whose answer was lost is told again, finds itself, and makes no second generation."""
    await ground.connection("x")
    turn = await ground.turn()

    answers = [await ground.succeed(turn, "canary-new") for _ in range(2)]

    assert answers == ["stored", "stored"]
    assert (await ground.state()).generation == 2
    assert await ground.token() == "canary-new"
    assert await ground.count(schema.orphaned_tokens) == 0


# --- a new grant -----------------------------------------------------------------------------------------


async def test_superseding_ends_every_turn(ground: Ground) -> None:
    """A new grant raises generation and fence, and clears lease, intent and doubt."""
    await ground.connection("x", uncertain=True)
    turn = await ground.turn()

    generation, moment = await ground.run(settle.supersede, "x")

    state = await ground.state()
    assert (generation, state.generation, state.granted_generation) == (2, 2, 2)
    assert state.lease_fence == turn.fence + 1
    assert (state.lease_holder, state.lease_expires_at, state.attempt_id) == (None, None, None)
    assert (state.inflight_generation, state.retake_after, state.uncertain) == (None, None, False)
    assert state.next_refresh_at is None
    assert moment >= turn.claimed_at


async def test_tokens_of_a_former_grant_are_not_stored(ground: Ground) -> None:
    """Whoever is out with tokens of a grant that was replaced is told so, and nothing is written or set aside."""
    await ground.connection("x")
    turn = await ground.turn()
    await ground.run(settle.supersede, "x")
    before = await ground.state()

    assert await ground.succeed(turn, "canary-former") == "superseded"
    assert await ground.run(settle.failure, turn, TRANSIENT) is False

    assert await ground.state() == before
    assert await ground.count(schema.orphaned_tokens) == 0
    assert await ground.count(schema.sealed_values) == 0


async def test_a_former_grant_stays_former_after_refreshes_of_the_new_one(ground: Ground) -> None:
    """However many generations the new grant has had, an answer from before it is superseded, not an orphan."""
    await ground.connection("x")
    turn = await ground.turn()
    await ground.run(settle.supersede, "x")
    assert await ground.succeed(await ground.turn(seen=2), "canary-new") == "stored"

    assert await ground.succeed(turn, "canary-former") == "superseded"

    assert await ground.token() == "canary-new"


async def test_tokens_of_a_purged_connection_are_not_stored(ground: Ground) -> None:
    """A row that is gone takes no tokens, and says that they have to be revoked."""
    await ground.connection("x")
    turn = await ground.turn()
    async with ground.database.transaction() as tx:
        await tx.execute(schema.connections.delete())

    assert await ground.succeed(turn, "canary-gone") == "superseded"

    assert await ground.count(schema.sealed_values) == 0


async def test_leases_of_the_dead_are_voided(ground: Ground) -> None:
    """Who knows that all others are dead frees their rows at once; what was in flight stays in doubt."""
    await ground.connection("x")
    await ground.turn()
    async with ground.database.transaction() as tx:
        await tx.execute(leases.VOID_ALL)

    assert (await ground.turn()).uncertain is True


# --- what the tables refuse ------------------------------------------------------------------------------

REFUSED = {
    "a holder without an end": "UPDATE token_states SET lease_holder = 'h'",
    "an end without a holder": "UPDATE token_states SET lease_expires_at = 1",
    "an intent without an end": "UPDATE token_states SET inflight_generation = 1",
    "a status that is none": "UPDATE token_states SET status = 'fine'",
    "a renewal that is none": "UPDATE token_states SET renewal = 'magic'",
    "a grant from the future": "UPDATE token_states SET granted_generation = 2",
    "a state without a connection": "UPDATE token_states SET connection_id = 'nothing'",
    "a second primary key for values": "INSERT INTO keyring VALUES (1, 'values', 'primary', 0)",
    "a second primary key for hashes": "INSERT INTO keyring VALUES (1, 'mac', 'primary', 0)",
    "a key for nothing": "INSERT INTO keyring VALUES (1, 'fun', 'pending', 0)",
    "a key in no state": "INSERT INTO keyring VALUES (1, 'mac', 'lost', 0)",
    "a second installation": "INSERT INTO instance (single, id) VALUES (2, 'other')",
    "a key with values under it, dropped": "DELETE FROM keyring",
    "two current clients": "UPDATE clients SET current = true",
    "a client in no state": "UPDATE clients SET state = 'tired'",
    "one registration twice": "UPDATE clients SET client_id = 'same'",
    "a second root": "INSERT INTO tenants (id, name, created_at) VALUES ('root', '', 0)",
    "a root below somebody": "UPDATE tenants SET parent_id = 't' WHERE id = 'platform'",
    "a tenant above itself": "UPDATE tenants SET parent_id = 't' WHERE id = 't'",
    "a parent that is not there": "UPDATE tenants SET parent_id = 'nobody' WHERE id = 't'",
    "a parent, dropped": "DELETE FROM tenants WHERE id = 'platform'",
    "one name twice": (
        "INSERT INTO connections (id, tenant_id, provider, name, kind, enabled, created_at)"
        " VALUES ('y', 't', 'p', 'x', 'oauth', true, 0)"
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_the_tables_refuse(ground: Ground, what: str) -> None:
    """What no code path may write, neither database takes."""
    await ground.connection("x")
    await ground.client("another")

    with pytest.raises(IntegrityError):
        await ground.run(lambda tx: tx.execute(text(REFUSED[what])))


async def test_a_tombstone_frees_its_name(ground: Ground) -> None:
    """The name of a deleted connection can be used again, any number of times."""
    for n in range(3):
        await ground.connection(f"x{n}", connection={"name": "x", "deleted_at": ground.now})

    await ground.connection("y", connection={"name": "x"})

    assert await ground.count(schema.connections) == 4
