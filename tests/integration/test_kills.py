"""kill -9 between any two steps of a refresh: what is stored is whole, and what was lost is said."""

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests import killable
from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import LEASES, Pair, age, came_together, eventually, row_of, stored_pair
from tests.killable import Order, Step
from tests.processes import started, token_path
from tests.provider.config import Rotation
from tests.provider.orders import Grant
from tests.rig import Rig
from vault.store import leases
from vault.store.writer import Transaction

ROTATIONS: dict[Rotation, dict[str, Any]] = {
    "strict": {"rotation": "strict"},
    "grace": {"rotation": "grace", "rotation_grace_seconds": 600},
    "never": {"rotation": "never"},
}
NOT_SENT = ("claim.execute", "claim.commit", "claim.committed", "send")
# The provider has carried it out, and nothing of its answer is durable.
UNKNOWN = ("sent", "settle.execute", "settle.commit")
STORED = ("settle.committed", "answer")
A_WHILE = timedelta(minutes=5)  # more than two leases


async def setup(replicas: Replicas, rotation: Rotation) -> Rig:
    """Return a replica beside the one that will die, at a provider with that *rotation*."""
    rig = await replicas(ROTATIONS[rotation])
    await rig.provider.configure(rotation=rotation, grace_seconds=600)
    return rig


async def die(rig: Rig, store: Store, name: str, step: str, *, sweep: bool = False) -> None:
    """Have a process refresh connection *name* until it is killed at *step*.

    At `sent` it is we who kill it, once the provider has carried out its request.
    """
    key, moment = await rig.key("tokens:read"), cast(Step, "never" if step == "sent" else step)
    order = Order(url=store.url, keyring=store.keyring, key=key, path=token_path(name), step=moment, sweep=sweep)
    if step == "sent":
        await rig.provider.hold(when="after")
    with killable.started(order) as child:
        if step == "sent":
            await rig.provider.wait_for_held()
            child.send(signal.SIGKILL)
        assert await child.ended() == -signal.SIGKILL, step
    await rig.provider.clear_faults()


async def restart(rig: Rig, store: Store) -> None:
    """Do what a start on SQLite does; on PostgreSQL let the lease lapse and the intent become free."""
    if store.on_sqlite:

        async def unit(tx: Transaction) -> None:
            await tx.execute(leases.VOID_ALL)

        await rig.vault.writer.submit(unit)
    else:
        await age(rig, A_WHILE, *LEASES)


async def check_row_is_whole(rig: Rig, name: str, grant: Grant, step: str) -> None:
    """The row is that of before or that of after, and after is what the provider issued last."""
    pair, ledger = await stored_pair(rig, name), await rig.provider.ledger()
    if step in STORED:
        assert came_together(ledger, grant.family, pair), step
        expected = ledger.last_refresh_token(grant.family)
        assert (pair.generation, pair.refresh_token) == (2, expected), step
    else:
        assert pair == Pair(1, grant.access_token, grant.refresh_token), step


async def check_is_well(rig: Rig, name: str, grant: Grant, step: str) -> None:
    """Nothing was lost: it is verified, and both of its tokens work."""
    answer, ledger = await rig.token(name), await rig.provider.ledger()
    assert answer.status_code == 200, (step, answer.text)
    assert answer.json()["status"] == "verified", step
    assert ledger.is_alive_access(answer.json()["access_token"]), step
    await age(rig, timedelta(hours=2), name=name)
    again, ledger = await rig.token(name), await rig.provider.ledger()
    assert again.json()["generation"] == answer.json()["generation"] + 1, (step, again.text)
    assert (ledger.reuses(grant.family), grant.family in ledger.revoked_families) == ([], False), step


async def check_says_it_was_lost(rig: Rig, name: str, grant: Grant, step: str) -> None:
    """The one thing that cannot be saved: it was tried once more, and a person is asked to connect again."""
    answer, ledger = await rig.token(name), await rig.provider.ledger()
    assert answer.status_code == 409, (step, answer.text)
    assert (answer.json()["code"], answer.json()["reason"]) == ("reconnect_required", "lost_rotation"), step
    state = (await rig.look(name)).state
    assert (state.status, state.reason, state.generation) == ("failed", "lost_rotation", 1), step
    assert len(ledger.replays(grant.family)) == 1, step
    assert len(ledger.of("request", grant.family, endpoint="token")) == 2, step


# What a kill leaves is the database's matter, and what to make of it the rotation's: not each with each.
@pytest.mark.parametrize(
    ("store", "rotation"),
    [("postgres", "strict"), *(("sqlite", rotation) for rotation in ROTATIONS)],
    indirect=["store"],
)
async def test_a_killed_refresh_loses_only_what_nobody_can_keep(
    replicas: Replicas, store: Store, rotation: Rotation
) -> None:
    """Killed at any step, a refresh is as before or as after; only a strict rotation unheard of is lost."""
    rig, successor = await setup(replicas, rotation), await replicas()
    for step in (*NOT_SENT, *UNKNOWN, *STORED):
        _, grant = await rig.a_connection(step, expires_in=0)
        await die(rig, store, step, step)
        await check_row_is_whole(rig, step, grant, step)

        await restart(successor, store)
        await successor.vault.sweeper.once()

        if rotation == "strict" and step in UNKNOWN:
            await check_says_it_was_lost(successor, step, grant, step)
            continue
        ledger = await successor.provider.ledger()
        # Where a consumed token is good for a while, it goes out again: that is what the while is for.
        sent_again = 1 if rotation == "grace" and step in UNKNOWN else 0
        assert len(ledger.replays(grant.family)) == sent_again, step
        await check_is_well(successor, step, grant, step)


async def test_a_killed_sweep_loses_only_what_nobody_can_keep(replicas: Replicas, store: Store) -> None:
    """A sweep that is killed leaves its connections as a reader's refresh does."""
    rig, successor = await setup(replicas, "strict"), await replicas()
    for step in ("claim.committed", "sent", "settle.commit", "settle.committed"):
        _, grant = await rig.a_connection(step, expires_in=0)
        await die(rig, store, step, step, sweep=True)
        await check_row_is_whole(rig, step, grant, step)

        await restart(successor, store)
        await successor.vault.sweeper.once()

        if step in UNKNOWN:
            await check_says_it_was_lost(successor, step, grant, step)
        else:
            assert (await successor.provider.ledger()).replays(grant.family) == [], step
            await check_is_well(successor, step, grant, step)


@on_postgres
@pytest.mark.parametrize("step", ["claim.committed", "sent"])
async def test_nobody_touches_what_a_dead_replica_may_have_sent(
    replicas: Replicas, store: Store, step: str
) -> None:
    """Until its lease has lapsed, and for a lease more, the dead holder's token is not sent again."""
    rig = await setup(replicas, "strict")
    _, grant = await rig.a_connection("c", expires_in=0)
    await die(rig, store, "c", step)
    asked = (await rig.provider.ledger()).token_requests

    for lapsed in (timedelta(0), timedelta(seconds=61)):
        await age(rig, lapsed, *LEASES)
        await rig.vault.sweeper.once()
        answer = await rig.token("c", wait=1)
        assert answer.status_code == 503
        assert answer.json()["code"] in {"refresh_in_progress", "provider_unavailable"}
        assert (await rig.provider.ledger()).token_requests == asked

    await age(rig, timedelta(seconds=61), *LEASES)
    await rig.vault.sweeper.once()
    assert (await rig.provider.ledger()).token_requests == asked + 1
    assert (await row_of(rig, "c")).inflight_generation is None
    assert len((await rig.provider.ledger()).replays(grant.family)) == (1 if step == "sent" else 0)


@on_sqlite
async def test_a_server_killed_mid_refresh_goes_on_where_it_was(
    replicas: Replicas, store: Store, tmp_path: Path
) -> None:
    """A real server on SQLite, killed while the provider answers, is started again and waits for no lease."""
    rig = await setup(replicas, "grace")
    _, grant = await rig.a_connection("c", expires_in=0)
    key = await rig.key("tokens:read")
    settings: dict[str, Any] = {"sweep_interval_seconds": 0.2, "lease_seconds": 600}
    await rig.provider.hold(when="after")
    async with started("serve", store.url, tmp_path, **settings) as first:
        await rig.provider.wait_for_held()
        assert await first.kill() == -signal.SIGKILL

    async with started("serve", store.url, tmp_path, **settings) as second, second.api(key) as api:
        answer = await eventually(lambda: _ok(api, "c"))
        assert await second.terminate() == 0

    ledger = await rig.provider.ledger()
    assert ledger.is_alive_access(answer["access_token"])
    assert (len(ledger.exchanges(grant.family)), ledger.reuses()) == (2, [])
    assert (await stored_pair(rig, "c")).refresh_token == ledger.last_refresh_token(grant.family)


async def _ok(api: Any, name: str) -> Any:
    answer = await api.get(token_path(name))
    return answer.json() if answer.status_code == 200 else None
