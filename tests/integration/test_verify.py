"""Renewing and verifying on request: what a person asks for who does not want to wait for the sweep."""

from datetime import timedelta

import pytest

from tests.integration.conftest import Store, on_sqlite
from tests.integration.judge import age, audited
from tests.integration.test_api import refused
from tests.rig import PROVIDER, TENANT, Rig
from vault.errors import NotFound

PATH = f"/v1/connections/{TENANT}/{PROVIDER}/c"


async def test_a_fresh_token_is_renewed_on_request(rig: Rig, store: Store) -> None:
    """However long it would still live; the answer is the connection as it is then."""
    await rig.setup()
    await rig.a_connection("c")

    shown = (await rig.api.post(f"{PATH}/refresh")).json()

    assert (shown["generation"], shown["status"]) == (2, "verified")
    assert (await rig.provider.counts())["token_requests"] == 1


@on_sqlite
async def test_what_waits_for_the_provider_waits_here_too(rig: Rig, store: Store) -> None:
    """A request does not shorten a backoff: the connection is shown as it is, and nothing is sent."""
    await rig.setup()
    await rig.a_connection("c")
    await rig.provider.fault("token", status=429, headers={"Retry-After": "60"})

    first = (await rig.api.post(f"{PATH}/refresh")).json()
    second = (await rig.api.post(f"{PATH}/refresh")).json()

    assert (first["reason"], second["reason"]) == ("rate_limited", "rate_limited")
    assert (await rig.provider.counts())["token_requests"] == 1


@on_sqlite
async def test_what_nothing_renews_is_refused(rig: Rig, store: Store) -> None:
    """An access token alone, a grant that is over, a connection that is not there."""
    await rig.setup()
    grant = await rig.provider.mint()
    refused(await rig.api.post(f"{PATH}/refresh"), 404, "not_found")
    refused(await rig.api.post(f"{PATH}/verify"), 404, "not_found")
    await rig.api.put(PATH, json={"credentials": {"access_token": grant.access_token}})
    refused(await rig.api.post(f"{PATH}/refresh"), 409, "not_renewable")
    _, over = await rig.a_connection("c", expires_in=-1)
    await rig.provider.revoke_family(over.family)
    await rig.token("c")

    problem = refused(await rig.api.post(f"{PATH}/refresh"), 409, "not_renewable")
    assert problem["next_action"] == "reconnect"


async def test_a_good_token_is_proven_and_nothing_is_spent(rig: Rig, store: Store) -> None:
    """What was stored unproven is verified by asking the provider about its access token."""
    await rig.setup()
    grant = await rig.provider.mint()
    credentials = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
    await rig.api.put(PATH, json={"credentials": credentials, "verify": False})

    shown = (await rig.api.post(f"{PATH}/verify")).json()

    assert (shown["verdict"], shown["status"], shown["generation"]) == ("valid", "verified", 1)
    assert "verdict" not in (await rig.api.get(PATH)).json()
    assert (await rig.provider.counts()).get("token_requests", 0) == 0
    (event,) = await audited(rig, "connection.verified")
    assert (event["outcome"], event["generation"]) == ("valid", 1)


async def test_a_refused_token_is_renewed_and_asked_about_again(rig: Rig, store: Store) -> None:
    """The grant may be good though its token is not: one refresh tells."""
    await rig.setup()
    _, grant = await rig.a_connection("c")
    await rig.provider.kill_access(grant.access_token)

    shown = (await rig.api.post(f"{PATH}/verify")).json()

    assert (shown["verdict"], shown["status"], shown["generation"]) == ("valid", "verified", 2)


async def test_a_token_that_nothing_renews_and_that_is_refused_fails(rig: Rig, store: Store) -> None:
    """Only a person can mend that, and is told so."""
    await rig.setup()
    grant = await rig.provider.mint()
    await rig.api.put(PATH, json={"credentials": {"access_token": grant.access_token}})
    await rig.provider.kill_access(grant.access_token)

    shown = (await rig.api.post(f"{PATH}/verify")).json()

    assert (shown["verdict"], shown["status"], shown["next_action"]) == ("invalid", "failed", "reconnect")
    refused(await rig.token("c"), 409, "reconnect_required")


@on_sqlite
async def test_a_provider_that_cannot_tell_changes_nothing(rig: Rig, store: Store) -> None:
    """Neither a broken provider nor an old token that cannot be renewed now makes a bad connection."""
    await rig.setup()
    await rig.a_connection("c")
    await rig.api.post(f"{PATH}/refresh")
    await rig.provider.fault("userinfo", status=500)

    shown = (await rig.api.post(f"{PATH}/verify")).json()
    assert (shown["verdict"], shown["status"]) == ("unknown", "verified")

    await age(rig, timedelta(hours=2))
    await rig.provider.fault("token", status=500)
    shown = (await rig.api.post(f"{PATH}/verify")).json()
    assert (shown["verdict"], shown["status"], shown["reason"]) == ("unknown", "degraded", "transient")


async def test_a_connection_that_is_deleted_meanwhile_is_not_found(rig: Rig, store: Store) -> None:
    """Its tokens are gone when they are looked for."""
    await rig.a_connection("c")
    seen = await rig.look("c")
    await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c")

    with pytest.raises(NotFound):
        await rig.vault.verify._tried("operator", seen)
