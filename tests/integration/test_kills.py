"""kill -9 between any two steps of a refresh: what is stored is whole, and what was lost is said."""

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import killable
from tests.integration.conftest import Replicas, Store
from tests.integration.judge import LEASES, Pair, age, came_together, eventually, row_of, stored_pair
from tests.killable import Order, Step
from tests.processes import started, token_path
from tests.provider.client import FakeProvider, Grant
from tests.rig import Rig
from vault.store import leases
from vault.store.writer import Transaction

ROTATIONS: dict[str, dict[str, Any]] = {
    "strict": {"rotation": "strict"},
    "grace": {"rotation": "grace", "rotation_grace_seconds": 600},
    "never": {"rotation": "never"},
}
BEFORE_SENDING: tuple[Step, ...] = ("claim.execute", "claim.commit", "claim.committed", "send")
# The provider has carried it out, and nothing of its answer is durable.
UNKNOWN = ("sent", "settle.execute", "settle.commit")
STORED: tuple[Step, ...] = ("settle.committed", "answer")
A_WHILE = timedelta(minutes=5)  # more than two leases


async def setup(replicas: Replicas, rotation: str) -> tuple[Rig, Grant]:
    """Return a replica beside the one that will die, and an expired connection `c`."""
    definition = ROTATIONS[rotation]
    rig = await replicas(definition)
    await rig.provider.configure(rotation=rotation, grace_seconds=600)
    _, grant = await rig.a_connection("c", expires_in=0)
    return rig, grant


async def order(rig: Rig, store: Store, step: str, **changed: Any) -> Order:
    wanted: Any = "never" if step == "sent" else step
    key = await rig.key("tokens:read")
    return Order(url=store.url, keyring=store.keyring, key=key, path=token_path("c"), step=wanted, **changed)


async def die(rig: Rig, doomed: Order, step: str) -> None:
    """Run *doomed* until it was killed; at `sent`, by us, once the provider has carried out its request."""
    if step == "sent":
        await rig.provider.hold(when="after")
    with killable.started(doomed) as child:
        if step == "sent":
            await rig.provider.wait_for_held()
            child.send(signal.SIGKILL)
        assert await child.ended() == -signal.SIGKILL


async def restart(rig: Rig, store: Store) -> None:
    """Do what a start on SQLite does; on PostgreSQL let the lease lapse and the intent become free."""
    if store.on_sqlite:

        async def unit(tx: Transaction) -> None:
            await tx.execute(leases.VOID_ALL)

        await rig.vault.writer.submit(unit)
    else:
        await age(rig, A_WHILE, *LEASES)


async def check_row_is_whole(rig: Rig, grant: Grant, step: str) -> Pair:
    """The row is of before or of after, and after is what the provider issued last."""
    pair, ledger = await stored_pair(rig, "c"), await rig.provider.ledger()
    assert came_together(ledger, grant.family, pair)
    if step in STORED:
        assert pair.generation == 2
        assert pair.refresh_token == ledger.last_refresh_token(grant.family)
    else:
        assert pair == Pair(1, grant.access_token, grant.refresh_token)
    return pair


async def check_is_well(rig: Rig, grant: Grant) -> None:
    """Nothing was lost: it is verified, and both of its tokens work."""
    answer, ledger = await rig.token("c"), await rig.provider.ledger()
    assert answer.status_code == 200
    assert answer.json()["status"] == "verified"
    assert ledger.is_alive_access(answer.json()["access_token"])
    assert ledger.revoked_families == set()
    await age(rig, timedelta(hours=2))
    again = await rig.token("c")
    assert again.status_code == 200
    assert again.json()["generation"] == answer.json()["generation"] + 1
    assert (await rig.provider.ledger()).reuses() == []


async def check_says_it_was_lost(rig: Rig, grant: Grant) -> None:
    """The one thing that cannot be saved: it was tried once more, and a person is asked to connect again."""
    answer, ledger = await rig.token("c"), await rig.provider.ledger()
    assert len(ledger.replays(grant.family)) == 1
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["reason"]) == ("reconnect_required", "lost_rotation")
    state = (await rig.look("c")).state
    assert (state.status, state.reason, state.generation) == ("failed", "lost_rotation", 1)
    assert ledger.token_requests == 2


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("step", [*BEFORE_SENDING, *UNKNOWN, *STORED])
async def test_a_killed_refresh_loses_only_what_nobody_can_keep(
    replicas: Replicas, store: Store, step: str, rotation: str
) -> None:
    """Killed anywhere, a refresh is as it was or done; only a strict rotation unheard of is lost, and said so."""
    rig, grant = await setup(replicas, rotation)
    await die(rig, await order(rig, store, step), step)
    await check_row_is_whole(rig, grant, step)

    successor = await replicas()
    await restart(successor, store)
    await successor.vault.sweeper.once()

    await check_row_is_accounted_for(successor, grant)
    if rotation == "strict" and step in UNKNOWN:
        await check_says_it_was_lost(successor, grant)
        return
    ledger = await successor.provider.ledger()
    # With one that rotates within grace, the token goes out again; that is what grace is for.
    assert len(ledger.replays()) == (1 if rotation == "grace" and step in UNKNOWN else 0)
    await check_is_well(successor, grant)


async def check_row_is_accounted_for(rig: Rig, grant: Grant) -> None:
    """What is stored is of one answer, and only a token that lives is called verified."""
    pair, ledger = await stored_pair(rig, "c"), await rig.provider.ledger()
    assert came_together(ledger, grant.family, pair)
    if (await rig.look("c")).state.status == "verified":
        assert ledger.is_alive_access(pair.access_token)


@pytest.mark.parametrize("step", ["claim.committed", "sent", "settle.commit", "settle.committed"])
async def test_a_killed_sweep_loses_only_what_nobody_can_keep(
    replicas: Replicas, store: Store, step: str
) -> None:
    """A sweep that is killed leaves its connections as a reader's refresh does."""
    rig, grant = await setup(replicas, "strict")
    await die(rig, await order(rig, store, step, sweep=True), step)
    await check_row_is_whole(rig, grant, step)

    successor = await replicas()
    await restart(successor, store)
    await successor.vault.sweeper.once()

    await check_row_is_accounted_for(successor, grant)
    if step in UNKNOWN:
        await check_says_it_was_lost(successor, grant)
    else:
        assert (await successor.provider.ledger()).replays() == []
        await check_is_well(successor, grant)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("step", ["claim.committed", "sent"])
async def test_nobody_touches_what_a_dead_replica_may_have_sent(
    replicas: Replicas, store: Store, step: str
) -> None:
    """Until its lease has lapsed, and for a lease more, the dead holder's token is not sent again."""
    rig, grant = await setup(replicas, "strict")
    await die(rig, await order(rig, store, step), step)
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


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_server_killed_mid_refresh_goes_on_where_it_was(
    replicas: Replicas, store: Store, tmp_path: Path
) -> None:
    """A real server on SQLite, killed while the provider answers, is started again and waits for no lease."""
    rig, grant = await setup(replicas, "grace")
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
