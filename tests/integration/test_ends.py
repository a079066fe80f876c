"""Renewing tokens in time and at a provider's pace, and refresh tokens that end when their provider said so."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import age, an_aged_connection, audited, row_of
from tests.integration.test_api import refused
from tests.rig import PROVIDER, Rig
from vault.memory import GATES
from vault.store.schema import token_states
from vault.store.writer import Transaction

DAY = 86_400


async def ends(rig: Rig, name: str, within: timedelta) -> None:
    """Have the provider have said that the refresh token ends *within* so long from now."""
    of = (await rig.look(name)).id
    now = (await rig.look(name)).read_at

    async def unit(tx: Transaction) -> None:
        tx.outdate(GATES)
        change = update(token_states).where(token_states.c.connection_id == of)
        await tx.execute(change.values(refresh_expires_at=now + within))

    await rig.vault.writer.submit(unit)


async def renewed(rig: Rig, name: str) -> Any:
    answer = await rig.api.post(f"/v1/connections/acme/{PROVIDER}/{name}/refresh")
    assert answer.status_code == 200, answer.text
    return answer.json()


@on_sqlite
async def test_tokens_are_renewed_by_the_margin_that_their_provider_is_given(replicas: Replicas) -> None:
    """Twenty of sixty days before their end, give or take four: what is consented to, and what is renewed."""
    rig = await replicas({"refresh_margin": 20 * DAY, "rotation": "never"})
    await rig.a_connection("c", expires_in=60 * DAY)
    await rig.provider.configure(access_lifetime=60 * DAY)
    first = await row_of(rig, "c")
    await renewed(rig, "c")
    second = await row_of(rig, "c")

    assert second.generation == first.generation + 1
    for row in (first, second):
        assert timedelta(days=16) <= row.access_expires_at - row.next_refresh_at <= timedelta(days=24)


@on_sqlite
async def test_nobody_has_living_tokens_renewed_more_often_than_the_provider_is_to_be_asked(
    replicas: Replicas,
) -> None:
    """Neither who asks for a longer life, nor who asks for it by hand, nor the sweep, until the day is over."""
    rig = await replicas({"min_refresh_interval": DAY})
    await rig.provider.configure(access_lifetime=30 * DAY)
    await rig.a_connection("c", expires_in=0)
    assert (await rig.token("c")).json()["generation"] == 2
    await age(rig, timedelta(days=40), "next_refresh_at", name="c")

    await rig.vault.sweeper.once()
    held = await renewed(rig, "c")

    assert held["generation"] == 2
    assert "retry_not_before" in held
    assert (await rig.provider.ledger()).token_requests == 1
    await age(rig, timedelta(days=1), "retry_not_before", "refreshed_at", name="c")
    await rig.vault.sweeper.once()
    assert (await rig.look("c")).state.generation == 3


async def test_tokens_that_are_refused_are_renewed_at_once_at_any_pace(replicas: Replicas) -> None:
    """They do not live, whatever was said of them."""
    rig = await replicas({"min_refresh_interval": DAY})
    await rig.a_connection("c", expires_in=0)
    assert (await rig.token("c")).json()["generation"] == 2

    answer = await rig.api.post(f"/v1/connections/acme/{PROVIDER}/c/rejections", json={"generation": 2})

    assert (answer.status_code, answer.json()["generation"]) == (200, 3)


@on_sqlite
async def test_a_failed_renewal_of_living_tokens_waits_for_the_pace(replicas: Replicas) -> None:
    """The living token is served meanwhile."""
    rig = await replicas({"min_refresh_interval": 1500})
    grant = await an_aged_connection(rig, "c", left=1800)
    await rig.provider.fault(status=503)

    held = await renewed(rig, "c")

    row = await row_of(rig, "c")
    assert held["status"] == "degraded"
    assert 1490 < (row.retry_not_before - (await rig.look("c")).read_at).total_seconds() <= 1500
    assert (await rig.token("c", min_ttl=3600)).json()["access_token"] == grant.access_token


@pytest.mark.parametrize("who", ["reader", "sweep", "hand"])
async def test_a_refresh_token_that_has_ended_is_sent_by_nobody(rig: Rig, who: str) -> None:
    """Its grant has failed, without a call; a token that still lives is served all the same."""
    await rig.a_connection("dead", expires_in=0)
    grant = await an_aged_connection(rig, "living", left=20)
    for name in ("dead", "living"):
        await ends(rig, name, timedelta(0))

    if who == "reader":
        problem = refused(await rig.token("dead"), 409, "reconnect_required")
        assert problem["reason"] == "expired"
        assert (await rig.token("living")).json()["access_token"] == grant.access_token
    elif who == "sweep":
        await rig.vault.sweeper.once()
    else:
        assert {(await renewed(rig, name))["status"] for name in ("dead", "living")} == {"failed"}

    for name in ("dead", "living"):
        shown = (await rig.api.get(f"/v1/connections/acme/{PROVIDER}/{name}")).json()
        assert (shown["status"], shown["reason"], shown["next_action"]) == ("failed", "expired", "reconnect")
        assert shown["last_error_code"] == "refresh_token_expired"
    assert (await rig.token("living")).status_code == 200
    assert (await rig.provider.ledger()).token_requests == 0
    assert {row["outcome"] for row in await audited(rig, "token.refresh_failed")} == {"refresh_token_expired"}


async def test_a_new_refresh_token_does_not_end_with_the_former_one(rig: Rig) -> None:
    """Its own end is unknown where the answer names none; one that is kept keeps its end."""
    await rig.a_connection("c", expires_in=0)
    await ends(rig, "c", timedelta(hours=1))

    assert (await rig.token("c")).status_code == 200
    assert (await rig.look("c")).state.refresh_expires_at is None

    await ends(rig, "c", timedelta(hours=1))
    await rig.provider.configure(rotation="never")
    await renewed(rig, "c")
    state = (await rig.look("c")).state
    assert (state.generation, state.refresh_expires_at is None) == (3, False)
