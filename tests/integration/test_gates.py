"""Gates on real rows: who is parked, what the sweep looks at, and who tries what is shut."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select, text

from tests.integration.conftest import Store
from tests.integration.test_claims import HOUR, PROVIDER, TENANT, TERMS, Ground, ready
from vault.store import due, gates, leases, parking, schema
from vault.store.database import Database
from vault.store.leases import Turn, new_attempt
from vault.store.parking import Scope
from vault.store.writer import Writer

MINUTE = timedelta(minutes=1)
CLIENT_SCOPE = Scope("client", "theirs")


@pytest.fixture(name="ground")
async def _ground(store: Store) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        yield await ready(store, stack)


@pytest.fixture(name="on_postgres")
async def _on_postgres(postgres_store: Store) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        yield await ready(postgres_store, stack)


async def parked(ground: Ground) -> dict[str, str | None]:
    async with ground.database.read() as tx:
        rows = await tx.execute(select(schema.token_states.c.connection_id, schema.token_states.c.parked))
        return {row[0]: row[1] for row in rows}


async def unsettled(ground: Ground) -> list[Scope]:
    async with ground.database.read() as tx:
        return await parking.unsettled(tx)


# --- what the sweep looks at -----------------------------------------------------------------------------

OTHERS, REJECTED = 300, 10_000


async def crowd(ground: Ground, count: int, client: str, *, due: timedelta, named: str) -> None:
    """Lay out *count* connections of *client*, due since *due*, with a handful of statements."""
    ids = [f"{named}{n}" for n in range(count)]
    common = {"tenant_id": TENANT, "provider": PROVIDER, "kind": "oauth", "client": client, "enabled": True}
    state = {"provider": PROVIDER, "client": client, "status": "verified", "generation": 1}
    state |= {"granted_generation": 1, "renewal": "refresh_token", "next_refresh_at": ground.now - due}
    async with ground.database.transaction() as tx:
        made = [{"id": id_, "name": id_, "created_at": ground.now, **common} for id_ in ids]
        await tx.execute(insert(schema.connections), made)
        await tx.execute(insert(schema.token_states), [{"connection_id": id_, **state} for id_ in ids])


async def explained(ground: Ground, statement: Any, **parameters: Any) -> Any:
    """Return how the database carries out *statement*: PostgreSQL's plan and what it visited, SQLite's lines."""
    sent: list[tuple[str, Any]] = []
    async with ground.database.transaction() as tx:
        engine = tx.sync_connection
        assert engine is not None
        event.listen(engine, "before_cursor_execute", lambda *call: sent.append(call[2:4]))
        await tx.execute(statement, parameters)
        text_, values = sent[0]
        if ground.store.on_sqlite:
            return [row.detail for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {text_}", values)]
        found = await tx.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {text_}", values)
        return found.scalar_one()[0]["Plan"]


def nodes(plan: dict[str, Any]) -> Any:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def of_states(plan: Any) -> list[dict[str, Any]]:
    return [node for node in nodes(plan) if node.get("Relation Name") == "token_states"]


def visited(plan: Any) -> int:
    """Return how many rows of `token_states` a plan of PostgreSQL looked at."""
    return int(
        sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in of_states(plan)
        )
    )


def uses(plan: Any, index: str, ground: Ground) -> bool:
    """Say whether all looks at `token_states` go by *index*."""
    if ground.store.on_sqlite:
        looks = [line for line in plan if "token_states" in line or " next" in line]
        return bool(looks) and all(f"INDEX {index}" in line for line in looks)
    return bool(of_states(plan)) and all(node.get("Index Name") == index for node in of_states(plan))


async def analyzed(ground: Ground) -> None:
    async with ground.database.transaction() as tx:
        await tx.execute(text("ANALYZE"))


async def test_a_crowd_that_is_parked_costs_the_others_nothing(ground: Ground) -> None:
    """Ten thousand due rows of a rejected client in front: the sweep looks at no row more than without them."""
    await ground.client("theirs")
    await crowd(ground, OTHERS, "c", due=HOUR, named="ours")
    await analyzed(ground)
    about = {"of_provider": PROVIDER, "most": 100, "attempt": ""}
    without = await explained(ground, due.DUE, **about)
    await crowd(ground, REJECTED, "theirs", due=2 * HOUR, named="theirs")
    await ground.run(gates.reject_client, "theirs", 1)
    assert await ground.run(parking.park, CLIENT_SCOPE) is True
    await analyzed(ground)

    crowded = await explained(ground, due.DUE, **about)
    turns = await ground.run(due.claim_due, TERMS, PROVIDER, 100, new_attempt())

    assert uses(without, "ix_token_states_due", ground)
    assert uses(crowded, "ix_token_states_due", ground)
    if not ground.store.on_sqlite:
        assert visited(crowded) == visited(without) == 100
    assert len(turns) == 100
    assert {turn.connection[:4] for turn in turns} == {"ours"}


async def test_what_is_due_is_found_by_one_look_a_provider(ground: Ground) -> None:
    """Which providers have anything due is read off the index, however many rows of each there are."""
    await ground.client("theirs", state="rejected", retry_not_before=ground.now - HOUR)
    await crowd(ground, 2_000, "c", due=HOUR, named="ours")
    await crowd(ground, 2_000, "theirs", due=HOUR, named="theirs")
    await ground.run(parking.park, CLIENT_SCOPE)
    await analyzed(ground)

    plan = await explained(ground, due.DUE_PROVIDERS)
    probes = await explained(ground, due.DUE_PROBES, of_provider=PROVIDER, most=10, attempt="")

    assert uses(plan, "ix_token_states_due", ground)
    if ground.store.on_sqlite:
        assert any("ix_token_states_rejected" in line for line in probes)
    else:
        assert visited(plan) < 10
        assert visited(probes) < 10


async def test_providers_that_have_anything_to_sweep(ground: Ground) -> None:
    """Due ones are swept, and ones whose rejected client may be tried; not what is paused, held or not due."""
    await ground.client("theirs", provider="probe", state="rejected", retry_not_before=ground.now - HOUR)
    await ground.client("later", provider="no probe", state="rejected", retry_not_before=ground.now + HOUR)
    await ground.connection("a", provider="due")
    await ground.connection("b", provider="due too")
    await ground.connection("c", provider="not due", next_refresh_at=ground.now + HOUR)
    await ground.connection("d", provider="probe", client="theirs")
    await ground.connection("e", provider="no probe", client="later")
    await ground.connection("f", provider="paused")
    await ground.connection("g", provider="held")
    await ground.run(_pause_provider, "paused")
    await ground.run(gates.hold_provider, "held", ground.now + HOUR)

    async with ground.database.read() as tx:
        found = sorted((await tx.execute(due.DUE_PROVIDERS)).scalars())

    assert found == ["due", "due too", "probe"]


async def _pause_provider(tx: Any, provider: str) -> None:
    await gates.pause_provider(tx, provider, paused=True)


# --- who is parked ---------------------------------------------------------------------------------------


async def family(ground: Ground) -> None:
    """A tenant `t` with a child and a grandchild, one connection each, of a client that all share."""
    for tenant, parent in (("child", TENANT), ("grandchild", "child")):
        row = {"id": tenant, "parent_id": parent, "name": "", "created_at": ground.now}
        await ground.insert(schema.tenants, **row)
    await ground.client("theirs")
    for tenant in (TENANT, "child", "grandchild"):
        await ground.connection(tenant, client="theirs", connection={"tenant_id": tenant})
    await ground.connection("other")


async def test_a_paused_tenant_parks_all_below_and_nobody_else(ground: Ground) -> None:
    """A kill switch works down the tree, an inner one goes on when the outer one is off, and none is forgotten."""
    await family(ground)
    free = dict.fromkeys((TENANT, "child", "grandchild", "other"))

    await ground.edit(schema.tenants, "child", paused_at=ground.now)
    await ground.run(parking.park, Scope("tenant", "child"))
    assert await parked(ground) == {**free, "child": "paused", "grandchild": "paused"}

    await ground.edit(schema.tenants, "grandchild", paused_at=ground.now)
    await ground.edit(schema.tenants, "child", paused_at=None)
    await ground.run(parking.park, Scope("tenant", "child"))
    assert await parked(ground) == {**free, "grandchild": "paused"}

    await ground.edit(schema.tenants, "grandchild", paused_at=None)
    await ground.run(parking.park, Scope("tenant", "grandchild"))
    assert await parked(ground) == free


async def test_a_kill_switch_outranks_a_rejection(ground: Ground) -> None:
    """Paused and rejected is paused: it is not even tried; resumed, it is rejected still."""
    await family(ground)
    await ground.run(gates.reject_client, "theirs", 1)
    await ground.edit(schema.clients, "theirs", paused_at=ground.now, retry_not_before=ground.now - HOUR)
    await ground.run(parking.park, CLIENT_SCOPE)
    assert set((await parked(ground)).values()) == {"paused", None}
    assert await ground.claim(TENANT) is None
    turns = await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt())
    assert [turn.connection for turn in turns] == ["other"]

    await ground.edit(schema.clients, "theirs", paused_at=None)
    await ground.run(parking.park, CLIENT_SCOPE)

    assert set((await parked(ground)).values()) == {"rejected", None}
    assert await ground.claim(TENANT) is not None


async def test_what_was_parked_since_the_look_is_not_claimed(ground: Ground) -> None:
    """The statement that takes the lease looks for itself: a switch that is thrown in between is in force."""
    await ground.connection("x")
    seen = {"connection": "x", "seen": 1, **TERMS.parameters(new_attempt())}
    for parked_as in ("paused", "rejected"):
        await ground.edit(schema.token_states, "x", parked=parked_as)
        assert (await ground.run(lambda tx: tx.execute(leases.CLAIM, seen))).first() is None

    await ground.edit(schema.token_states, "x", parked="paused")
    assert (await ground.run(lambda tx: tx.execute(leases.CLAIM_AS_TRY, seen))).first() is None


async def test_a_new_connection_is_parked_as_it_has_to_be(ground: Ground) -> None:
    """One that is added below a paused tenant, or for a rejected client, is passed by from the beginning."""
    await family(ground)
    await ground.edit(schema.tenants, "child", paused_at=ground.now)
    await ground.run(gates.reject_client, "theirs", 1)

    await ground.connection("below", connection={"tenant_id": "grandchild"})
    await ground.connection("of theirs", client="theirs")

    found = await parked(ground)
    assert (found["below"], found["of theirs"]) == ("paused", "rejected")


async def test_parking_goes_chunk_by_chunk_and_is_noted_until_it_is_done(ground: Ground) -> None:
    """What one statement leaves is noted for anybody to finish, and struck when nothing is left."""
    await ground.client("theirs")
    await crowd(ground, 5, "theirs", due=HOUR, named="x")
    await ground.run(gates.reject_client, "theirs", 1)

    answers = [await ground.run(parking.park, CLIENT_SCOPE, 2) for _ in range(2)]
    counted = list((await parked(ground)).values()).count("rejected")

    assert (answers, counted) == ([False, False], 4)
    assert await unsettled(ground) == [CLIENT_SCOPE]
    assert await ground.run(parking.park, CLIENT_SCOPE, 2) is True
    assert set((await parked(ground)).values()) == {"rejected"}
    assert await unsettled(ground) == []


async def test_parking_waits_for_no_row_that_is_being_settled(on_postgres: Ground) -> None:
    """A row that another transaction holds is left for the next chunk, and is not forgotten."""
    ground, other = on_postgres, Database(on_postgres.store.url)
    await ground.client("theirs")
    await crowd(ground, 3, "theirs", due=HOUR, named="x")
    await ground.run(gates.reject_client, "theirs", 1)
    try:
        async with other.transaction() as tx:
            await tx.execute(text("UPDATE token_states SET failures = 1 WHERE connection_id = 'x1'"))
            async with asyncio.timeout(3):
                assert await ground.run(parking.park, CLIENT_SCOPE) is False
    finally:
        await other.close()

    assert await parked(ground) == {"x0": "rejected", "x1": None, "x2": "rejected"}
    assert await unsettled(ground) == [CLIENT_SCOPE]
    assert await ground.run(parking.park, CLIENT_SCOPE) is True


async def test_no_gate_changes_while_a_connection_is_added(on_postgres: Ground) -> None:
    """Who closes a gate waits for a connection that is just being added, and so parks that one too."""
    ground, other = on_postgres, Database(on_postgres.store.url)
    try:
        async with other.transaction() as tx:
            await parking.stand_still(tx)
            closing = asyncio.create_task(ground.run(parking.hold))
            await asyncio.sleep(0.3)
            assert not closing.done()
            await parking.stand_still(tx)
        await closing
    finally:
        await other.close()


# --- who tries a provider whose breaker is open ----------------------------------------------------------


def briefly(trips: int) -> timedelta:
    return timedelta(seconds=trips)


async def opened(ground: Ground, *, again: bool = False) -> bool:
    async with ground.database.transaction() as tx:
        return await gates.open_breaker(tx, PROVIDER, briefly, again=again)


async def gate(ground: Ground) -> Any:
    async with ground.database.read() as tx:
        return (await tx.execute(select(schema.provider_states))).one()


async def due_for_a_try(ground: Ground) -> None:
    await ground.edit(schema.provider_states, PROVIDER, retry_not_before=ground.now - MINUTE)


async def test_nothing_is_claimed_of_a_provider_whose_breaker_is_open(ground: Ground) -> None:
    """Neither sweep nor caller gets a lease; another provider's connections are claimed as ever."""
    await ground.connection("x")
    await ground.connection("y", provider="other")
    assert await opened(ground)

    await ground.edit(schema.provider_states, PROVIDER, retry_not_before=ground.now + HOUR)

    assert await ground.claim() is None
    assert await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt()) == []
    assert await ground.claim("y") is not None


async def test_of_all_replicas_one_tries_whether_a_provider_works_again(ground: Ground) -> None:
    """However many replicas sweep and ask, one call goes out, and the next when that one's lease has lapsed."""
    for n in range(10):
        await ground.connection(f"x{n}")
    writers = await ground.writers(5)
    await opened(ground)

    async def sweep(writer: Writer) -> list[Turn]:
        attempt = new_attempt()
        return await writer.submit(lambda tx: due.claim_due(tx.connection, TERMS, PROVIDER, 10, attempt))

    async def ask(n: int, writer: Writer) -> list[Turn]:
        turn = await writer.submit(lambda tx: leases.claim(tx.connection, TERMS, f"x{n}", 1, new_attempt()))
        return [turn] if turn else []

    async def everybody() -> list[Turn]:
        asked = [ask(n, writer) for n, writer in enumerate(writers)]
        return list(itertools.chain(*await asyncio.gather(*asked, *map(sweep, writers))))

    await due_for_a_try(ground)
    (turn,) = await everybody()
    assert turn.trying is True
    assert await everybody() == []
    assert (await gate(ground)).retry_not_before >= ground.now + HOUR

    await due_for_a_try(ground)
    assert len(await everybody()) == 1


async def test_a_try_is_not_spent_on_a_row_that_cannot_be_claimed(ground: Ground) -> None:
    """A claim that is refused for its row leaves the provider's one try to a row that can use it."""
    await ground.connection("busy", lease_holder="other", lease_expires_at=ground.now + HOUR)
    await ground.connection("x")
    await opened(ground)
    await due_for_a_try(ground)

    assert await ground.claim("busy") is None
    assert await ground.claim("x") is not None


async def test_a_closed_breaker_lets_everybody_through(ground: Ground) -> None:
    """Closing is news once, and then claims are plain claims."""
    await ground.connection("x")
    await opened(ground)

    assert [await ground.run(gates.close_breaker, PROVIDER) for _ in range(2)] == [True, False]

    assert (await ground.turn()).trying is False


async def test_trips_count_up_until_there_was_no_trouble_for_a_while(ground: Ground) -> None:
    """Opened again soon after it closed, the pause is longer; after ten quiet minutes it is short again."""
    assert [await opened(ground), await opened(ground)] == [True, False]
    assert (await gate(ground)).trips == 1
    assert await opened(ground, again=True) is False
    assert (await gate(ground)).trips == 2
    await ground.run(gates.close_breaker, PROVIDER)
    assert await opened(ground)
    assert (await gate(ground)).trips == 3

    await ground.run(gates.close_breaker, PROVIDER)
    await ground.edit(schema.provider_states, PROVIDER, retry_not_before=ground.now - 11 * MINUTE)
    assert await opened(ground)
    assert (await gate(ground)).trips == 1


async def test_an_open_breaker_does_not_shorten_what_the_provider_asked_for(ground: Ground) -> None:
    """A Retry-After that runs longer than the breaker's pause stays in force."""
    await ground.run(gates.hold_provider, PROVIDER, ground.now + HOUR)
    await opened(ground)

    assert (await gate(ground)).retry_not_before == ground.now + HOUR


async def test_a_rejected_client_is_tried_of_a_provider_that_is_tried(ground: Ground) -> None:
    """Both gates shut and both due: one call finds out about both, and neither is tried by a second."""
    await ground.client("theirs", state="rejected", retry_not_before=ground.now - HOUR)
    await ground.connection("x", client="theirs")
    await ground.connection("y", client="theirs")
    await opened(ground)
    await due_for_a_try(ground)

    turns = await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt())

    assert [turn.trying for turn in turns] == [True]
    await due_for_a_try(ground)
    assert await ground.run(due.claim_due, TERMS, PROVIDER, 10, new_attempt()) == []


async def test_a_purged_connection_leaves_nothing_to_park(ground: Ground) -> None:
    """Parking what has no connections any more is done at once."""
    await ground.client("theirs")
    await ground.connection("x", client="theirs")
    async with ground.database.transaction() as tx:
        await tx.execute(delete(schema.connections))

    assert await ground.run(parking.park, CLIENT_SCOPE) is True
