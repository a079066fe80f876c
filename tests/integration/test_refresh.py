"""One connection, one refresh: what callers see, and what the provider saw."""

import asyncio

from tests.rig import Rig


async def test_a_fresh_token_is_handed_out_as_it_is(rig: Rig) -> None:
    """A token with time left is answered without a word to the provider."""
    _, grant = await rig.a_connection("c", expires_in=3600)

    answer = await rig.token("c")

    assert answer.status_code == 200
    body = answer.json()
    assert body["access_token"] == grant.access_token
    assert body["authorization"] == f"Bearer {grant.access_token}"
    assert 3590 <= body["expires_in"] <= 3600
    assert body["source"] == {"tenant": "acme", "provider": "acme-id", "name": "c"}
    assert (await rig.provider.ledger()).token_requests == 0


async def test_an_expired_token_is_refreshed_for_whoever_asks(rig: Rig) -> None:
    """An expired token is renewed before the answer, and the new one is what was issued."""
    _, grant = await rig.a_connection("c", expires_in=0)

    answer = await rig.token("c")

    ledger = await rig.provider.ledger()
    assert answer.status_code == 200
    assert ledger.is_alive_access(answer.json()["access_token"])
    assert answer.json()["access_token"] != grant.access_token
    assert len(ledger.exchanges(grant.family)) == 1
    assert answer.json()["status"] == "verified"


async def test_many_readers_of_one_expired_token_cause_one_exchange(rig: Rig) -> None:
    """However many ask at once, the provider is asked once."""
    _, grant = await rig.a_connection("c", expires_in=0)

    answers = await asyncio.gather(*(rig.token("c") for _ in range(32)))

    ledger = await rig.provider.ledger()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 1
    assert len(ledger.exchanges(grant.family)) == 1
    assert ledger.replays() == []


async def test_the_sweep_renews_what_is_due_before_anybody_waits(rig: Rig) -> None:
    """A due token is renewed by the sweep, once, and then left alone."""
    _, grant = await rig.a_connection("c", expires_in=0)

    await rig.vault.sweeper.once()
    await rig.vault.sweeper.once()

    ledger = await rig.provider.ledger()
    assert len(ledger.exchanges(grant.family)) == 1
    assert (await rig.look("c")).state.status == "verified"


async def test_who_does_not_wait_has_a_refresh_begun(rig: Rig) -> None:
    """With `wait=0` the answer comes at once, and the next one finds the new token."""
    _, grant = await rig.a_connection("c", expires_in=0)

    await rig.provider.hold()
    at_once = await rig.token("c", wait=0)
    await rig.provider.wait_for_held()
    await rig.provider.release()
    await rig.vault.refresher.settled()
    later = await rig.token("c", wait=0)

    assert (at_once.status_code, at_once.json()["code"]) == (503, "refresh_in_progress")
    assert later.status_code == 200
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1
