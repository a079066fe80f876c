"""A holder that stands still for longer than its lease: it sends nothing late, and loses nothing it got."""

import asyncio
import signal
from datetime import timedelta
from typing import Any, cast

import pytest

from tests import killable
from tests.integration.conftest import Replicas, Store, on_postgres
from tests.integration.judge import LEASES, age, row_of, stored_pair
from tests.killable import Child, Order, Step
from tests.processes import token_path
from tests.provider.orders import Grant
from tests.rig import Rig
from vault.outbound import OVERSLEPT

TIMEOUT = 2.0  # seconds of a provider call in the process that is stopped; ample to get as far as its step
A_WHILE = timedelta(minutes=5)  # more than two leases

pytestmark = on_postgres


async def order(rig: Rig, store: Store, step: str, **changed: Any) -> Order:
    return Order(
        url=store.url,
        keyring=store.keyring,
        key=await rig.key("tokens:read"),
        path=token_path("c"),
        step=cast(Step, step),
        signal=signal.SIGSTOP,
        settings={"provider_timeout": TIMEOUT},
        **changed,
    )


async def outsleep(child: Child) -> None:
    """Wait until *child* stands still, and then until all its deadlines have passed."""
    await child.stopped()
    await asyncio.sleep(TIMEOUT + 2 * OVERSLEPT)


async def wake(child: Child) -> tuple[int, str | None]:
    child.send(signal.SIGCONT)
    answer = await child.answer()
    assert await child.ended() == 0
    return answer


async def check_nothing_was_replayed(rig: Rig, grant: Grant, exchanges: int) -> None:
    ledger = await rig.provider.ledger()
    assert ledger.replays() == []
    assert len(ledger.exchanges(grant.family)) == exchanges
    assert (await stored_pair(rig, "c")).refresh_token == ledger.last_refresh_token(grant.family)


async def test_a_holder_stopped_before_sending_does_not_send_late(replicas: Replicas, store: Store) -> None:
    """Stopped with the request at the socket, while another replica refreshes: awake again, it sends nothing."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    with killable.started(await order(rig, store, "send")) as holder:
        await outsleep(holder)
        await age(rig, A_WHILE, *LEASES)
        await rig.vault.sweeper.once()
        taken_over = await stored_pair(rig, "c")
        status, token = await wake(holder)

    assert (status, token) == (200, taken_over.access_token)
    await check_nothing_was_replayed(rig, grant, exchanges=1)
    assert (await rig.provider.ledger()).token_requests == 1
    state = (await rig.look("c")).state
    assert (state.status, state.generation, state.failures) == ("verified", 2, 0)


async def test_a_holder_stopped_before_sending_alone_loses_its_turn_only(replicas: Replicas, store: Store) -> None:
    """Nobody else came meanwhile: it still does not send late, and gives its lease back."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    with killable.started(await order(rig, store, "send", sweep=True)) as holder:
        await outsleep(holder)
        holder.send(signal.SIGCONT)
        assert await holder.ended() == 0
    assert (await rig.provider.ledger()).token_requests == 0
    row = await row_of(rig, "c")
    assert (row.status, row.reason, row.last_error_code) == ("degraded", "transient", "too_late")
    assert (row.lease_holder, row.inflight_generation, row.uncertain) == (None, None, False)

    await age(rig, timedelta(minutes=1))
    await rig.vault.sweeper.once()
    await check_nothing_was_replayed(rig, grant, exchanges=1)


async def test_a_holder_stopped_while_it_waits_stores_its_late_answer(replicas: Replicas, store: Store) -> None:
    """Stopped after sending, the answer in its socket: it is read and stored although the lease has lapsed."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold(when="after")
    with killable.started(await order(rig, store, "never")) as holder:
        await rig.provider.wait_for_held()
        holder.send(signal.SIGSTOP)
        await holder.stopped()
        await rig.provider.release()
        await rig.provider.wait_for("delivered", 1)
        await age(rig, A_WHILE, *LEASES)
        await outsleep(holder)
        status, token = await wake(holder)

    assert status == 200
    assert token == (await stored_pair(rig, "c")).access_token
    await check_nothing_was_replayed(rig, grant, exchanges=1)
    assert (await rig.look("c")).state.status == "verified"


async def test_a_late_success_is_stored_though_the_lease_is_another_ones(replicas: Replicas, store: Store) -> None:
    """The lease went to a replica that got nowhere: the sleeper's tokens are the good ones, and are stored."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold(when="after")
    with killable.started(await order(rig, store, "never")) as holder:
        await rig.provider.wait_for_held()
        holder.send(signal.SIGSTOP)
        await holder.stopped()
        await rig.provider.release()
        await rig.provider.wait_for("delivered", 1)
        await age(rig, A_WHILE, *LEASES)
        await rig.provider.fault(status=503)
        await rig.vault.sweeper.once()
        assert (await row_of(rig, "c")).lease_fence == 3  # one import, two claims
        await outsleep(holder)
        status, _ = await wake(holder)

    assert status == 200
    await check_nothing_was_replayed(rig, grant, exchanges=1)
    # Another one sent the same token since: until the next success this is told.
    state = (await rig.look("c")).state
    assert (state.status, state.reason, state.generation) == ("degraded", "outcome_unknown", 2)

    await age(rig, timedelta(hours=2))
    await rig.vault.sweeper.once()
    assert (await rig.look("c")).state.status == "verified"
    await check_nothing_was_replayed(rig, grant, exchanges=2)


@pytest.mark.parametrize("other", ["succeeds", "fails"])
async def test_a_late_failure_is_nobodys_business(replicas: Replicas, store: Store, other: str) -> None:
    """A sleeper that wakes up to a rejection changes nothing once the turn, or the tokens, are another's."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.fault(hold="before", status=400, body={"error": "invalid_grant"})
    if other == "fails":
        await rig.provider.fault(status=500)
    with killable.started(await order(rig, store, "never", sweep=True)) as holder:
        await rig.provider.wait_for_held()
        holder.send(signal.SIGSTOP)
        await holder.stopped()
        await age(rig, A_WHILE, *LEASES)
        await rig.vault.sweeper.once()
        before = await row_of(rig, "c")
        await rig.provider.release()
        await rig.provider.wait_for("delivered", 2)
        await outsleep(holder)
        holder.send(signal.SIGCONT)
        assert await holder.ended() == 0

    after = await row_of(rig, "c")
    assert after == before
    assert after.status == ("verified" if other == "succeeds" else "degraded")
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == (1 if other == "succeeds" else 0)


async def test_a_claim_that_stands_still_uncommitted_blocks_nobody(replicas: Replicas, store: Store) -> None:
    """Stopped inside the claim's transaction, it holds up no other sweep or reader, and then goes on."""
    rig = await replicas()
    _, grant = await rig.a_connection("c", expires_in=0)
    _, other = await rig.a_connection("other", expires_in=0)
    with killable.started(await order(rig, store, "claim.commit")) as holder:
        await holder.stopped()
        await asyncio.wait_for(rig.vault.sweeper.once(), 5)
        assert (await rig.token("c", wait=0)).status_code == 503
        ledger = await rig.provider.ledger()
        assert (len(ledger.exchanges(grant.family)), len(ledger.exchanges(other.family))) == (0, 1)
        await wake(holder)

    assert (await rig.provider.ledger()).replays() == []
