"""Credentials that are entered: tried first, stored, and renewed through the one function like any others."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import Leaks
from tests.integration.conftest import Store, on_sqlite
from tests.integration.judge import age
from tests.integration.test_api import refused
from tests.rig import PROVIDER, TENANT, Rig

PATH = f"/v1/connections/{TENANT}/{PROVIDER}/c"
OWN = {"kind": "client_credentials", "credentials": {"scope": "read"}}
BOTH = ["authorization_code", "client_credentials"]
AT_ONCE = timedelta(seconds=10)  # a sixth of the lease that would be waited for otherwise


async def with_both_kinds(rig: Rig, **definition: Any) -> None:
    await rig.setup(grant_types=BOTH, **definition)


async def count(rig: Rig, table: str) -> int:
    async with rig.vault.database.read() as tx:
        return int(await tx.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def test_a_clients_own_access_is_got_at_once_and_renewed(rig: Rig, store: Store, leaks: Leaks) -> None:
    """Nothing but the kind is given: the token is there with the answer, and a new one when it is old."""
    await with_both_kinds(rig)

    answer = await rig.api.put(PATH, json=OWN)

    shown = answer.json()
    leaks.check(answer.text)
    assert (answer.status_code, shown["kind"], shown["renewal"]) == (
        201,
        "client_credentials",
        "client_credentials",
    )
    assert (shown["status"], shown["generation"], shown["scopes"]) == ("verified", 1, ["read"])
    first = (await rig.token("c")).json()
    await age(rig, timedelta(hours=2))
    second = (await rig.token("c")).json()
    assert (first["generation"], second["generation"]) == (1, 2)
    assert first["access_token"] != second["access_token"]
    assert second["expires_in"] > 3500


async def test_the_sweep_renews_what_was_entered(rig: Rig, store: Store) -> None:
    """Due is due, whatever it is renewed with."""
    await with_both_kinds(rig)
    await rig.api.put(PATH, json=OWN)
    await age(rig, timedelta(hours=2))

    await rig.vault.sweeper.once()

    assert (await rig.look("c")).state.generation == 2


async def test_what_is_not_tried_is_stored_unproven_and_due(rig: Rig, store: Store) -> None:
    """With verify false, or where the provider does not say: configured, and the first fetch finds out."""
    await with_both_kinds(rig)

    untried = (await rig.api.put(PATH, json={**OWN, "verify": False})).json()
    fetched = (await rig.token("c")).json()

    assert (untried["status"], untried["reason"]) == ("configured", "unverified")
    assert (await rig.provider.counts())["token_requests"] == 1
    assert (fetched["status"], fetched["generation"]) == ("verified", 2)
    await rig.provider.fault("token", status=503)
    unsure = (await rig.api.put(PATH, json=OWN)).json()
    assert (unsure["status"], unsure["reason"]) == ("configured", "probe_unknown")


@on_sqlite
async def test_a_refused_client_is_the_clients_matter_and_nothing_is_stored(
    rig: Rig, store: Store, leaks: Leaks
) -> None:
    """What is wrong is the registration: 409 that says so, and no connection."""
    await with_both_kinds(rig)
    await rig.provider.configure(clients={rig.provider.client_id: "canary-another"})

    problem = await rig.api.put(PATH, json=OWN)

    leaks.check(problem.text)
    assert refused(problem, 409, "client_misconfigured")["reason"] == "invalid_client"
    assert await count(rig, "connections") == 0


@on_sqlite
async def test_a_form_is_held_to_its_kind(rig: Rig, store: Store, leaks: Leaks) -> None:
    """Another field, another kind, tokens where none are taken: refused by name, and never repeated."""
    await with_both_kinds(rig)
    own = "client_credentials"

    problem = refused(
        await rig.api.put(PATH, json={"kind": own, "credentials": {"canary-field": "canary-value"}}), 422
    )
    assert (problem["code"], problem["fields"]) == ("unknown_field", ["scope"])
    leaks.check(str(problem))
    refused(await rig.api.put(PATH, json={"kind": "api_key", "credentials": {}}), 422, "unknown_kind")
    refused(
        await rig.api.put(PATH, json={"kind": own, "credentials": {"access_token": "x"}}), 422, "unknown_field"
    )
    refused(await rig.api.put(PATH, json={"credentials": {"scope": "read"}}), 422, "unknown_field")
    assert await count(rig, "connections") == 0


@on_sqlite
async def test_an_app_without_consent_has_no_consent(rig: Rig, store: Store) -> None:
    """A link for a person is only made for a kind that a person consents to."""
    await rig.setup(grant_types=["client_credentials"])

    refused(await rig.api.post(f"{PATH}/authorize", json={}), 422, "unknown_kind")
    kinds = (await rig.api.get(f"/v1/providers/{PROVIDER}")).json()["kinds"]
    assert [kind["id"] for kind in kinds] == ["client_credentials"]
    assert kinds[0]["fields"][0] == {
        "name": "scope",
        "label": "Scopes, separated by spaces",
        "secret": False,
        "required": False,
    }


async def test_entered_credentials_that_are_refused_later_ask_for_other_ones(rig: Rig, store: Store) -> None:
    """A person can mend that by entering them again, and is told so."""
    await with_both_kinds(rig)
    await rig.api.put(PATH, json=OWN)
    await age(rig, timedelta(hours=2))
    await rig.provider.fault("token", status=400, body={"error": "invalid_grant"})

    problem = refused(await rig.token("c"), 409)
    shown = (await rig.api.get(PATH)).json()

    assert problem["code"] == "credentials_rejected"
    assert (shown["status"], shown["reason"], shown["next_action"]) == (
        "failed",
        "credentials_rejected",
        "fix_credentials",
    )
    assert (await rig.api.put(PATH, json=OWN)).json()["status"] == "verified"
    assert (await rig.token("c")).status_code == 200


@on_sqlite
@pytest.mark.parametrize("by", ["verify", "patch"])
async def test_a_further_try_that_tells_nothing_takes_nothing_away(rig: Rig, store: Store, by: str) -> None:
    """What was refused stays refused while nobody can tell, and its token is served as long as it lives."""
    await with_both_kinds(rig)
    first = (await rig.api.put(PATH, json=OWN)).json()
    await rig.provider.fault("token", status=400, body={"error": "invalid_grant"})
    await rig.api.post(f"{PATH}/refresh")
    await rig.provider.fault("token", status=503)

    if by == "verify":
        assert (await rig.api.post(f"{PATH}/verify")).json()["verdict"] == "unknown"
    else:
        assert (await rig.api.patch(PATH, json={"credentials": {}})).status_code == 200

    shown = (await rig.api.get(PATH)).json()
    assert (shown["status"], shown["reason"]) == ("failed", "credentials_rejected")
    assert shown["expires_at"] == first["expires_at"]
    assert (await rig.token("c")).json()["generation"] == 1


async def test_a_holder_of_what_cannot_be_spent_is_not_waited_for(rig: Rig, store: Store) -> None:
    """An attempt whose end nobody knows is taken over as soon as its lease has lapsed: nothing was consumed."""
    await with_both_kinds(rig, rotation="strict")
    await rig.api.put(PATH, json=OWN)
    await age(rig, timedelta(hours=2))
    await rig.provider.fault("token", reset="after")

    await rig.vault.refresher.refresh(await rig.look("c"), "operator")
    unsure = await rig.look("c")

    assert unsure.state.reason == "outcome_unknown"
    assert unsure.state.retake_after is not None
    assert unsure.state.retake_after < unsure.read_at + AT_ONCE
    await age(rig, timedelta(seconds=6), "retry_not_before")
    assert (await rig.token("c")).json()["generation"] == 2


@on_sqlite
async def test_a_scope_that_is_refused_is_not_stored(rig: Rig, store: Store) -> None:
    """What is wrong with the request was entered: 422 with the provider's word, and nobody's alarm."""
    await with_both_kinds(rig)
    await rig.provider.fault("token", status=400, body={"error": "invalid_scope"})

    assert refused(await rig.api.put(PATH, json=OWN), 422, "credentials_rejected")["reason"] == "invalid_scope"
    assert await count(rig, "connections") == 0


@on_sqlite
async def test_scopes_that_are_left_out_are_the_providers(rig: Rig, store: Store) -> None:
    """Shown before the provider has answered as after, which repeats what it was asked for; less is missed."""
    await with_both_kinds(rig, scopes=["read", "write"])
    for entered, asked in (
        ({}, ["read", "write"]),
        ({"scope": "read"}, ["read"]),
        ({"scope": ""}, ["read", "write"]),
    ):
        body = {"kind": "client_credentials", "credentials": entered}

        untried = (await rig.api.put(PATH, json={**body, "verify": False})).json()
        tried = (await rig.api.put(PATH, json=body)).json()

        assert untried["scopes"] == tried["scopes"] == asked
    await rig.provider.fault("token", patch={"scope": "read"})
    limited = (await rig.api.put(PATH, json={"kind": "client_credentials"})).json()
    assert (limited["scopes"], limited["missing_scopes"]) == (["read"], ["write"])


async def test_a_client_that_is_removed_during_the_try_is_missed(rig: Rig, store: Store) -> None:
    """What was tried with a registration that is gone is not stored, and that is no fault of the server's."""
    await with_both_kinds(rig)
    await rig.provider.hold()
    asking = asyncio.create_task(rig.api.put(PATH, json=OWN))
    await rig.provider.wait_for_held()
    assert (await rig.api.delete(f"/v1/clients/{TENANT}/{PROVIDER}")).status_code == 204
    await rig.provider.release()

    refused(await asking, 409, "no_client")
    assert await count(rig, "connections") == 0


@on_sqlite
async def test_a_condition_that_is_not_met_costs_no_call(rig: Rig, store: Store) -> None:
    """The provider is not asked for tokens that would not be stored."""
    await with_both_kinds(rig)
    await rig.api.put(PATH, json=OWN)
    before = (await rig.provider.ledger()).token_requests

    refused(await rig.api.put(PATH, json=OWN, headers={"If-Match": '"another"'}), 412, "precondition_failed")
    assert (await rig.provider.ledger()).token_requests == before


async def test_what_a_change_is_added_to_is_what_it_replaces(rig: Rig, store: Store) -> None:
    """Other credentials that are entered during the try are not mixed with those that the change was added to."""
    await with_both_kinds(rig)
    await rig.api.put(PATH, json=OWN)
    await rig.provider.hold()
    changing = asyncio.create_task(rig.api.patch(PATH, json={"credentials": {"scope": "write"}}))
    await rig.provider.wait_for_held()

    await rig.api.put(PATH, json={**OWN, "verify": False})
    await rig.provider.release()

    refused(await changing, 412, "precondition_failed")
    assert (await rig.look("c")).state.reason == "unverified"


@on_sqlite
async def test_another_kind_needs_its_credentials(rig: Rig, store: Store) -> None:
    """Naming a kind without them changes nothing, and says so."""
    await with_both_kinds(rig)
    await rig.api.put(PATH, json=OWN)

    refused(await rig.api.patch(PATH, json={"kind": "oauth2"}), 422, "credentials_missing")
    assert (await rig.look("c")).kind == "client_credentials"


@on_sqlite
async def test_credentials_of_whoever_are_not_called_the_former_accounts(rig: Rig, store: Store) -> None:
    """Whose tokens are imported, or entered, over a consent is not known: the account goes with its grant."""
    await with_both_kinds(rig)
    connection, _ = await rig.a_connection("c")
    named = "UPDATE connections SET account = 'ann', account_label = 'ann' WHERE id = :id"
    await rig.vault.writer.submit(lambda tx: tx.execute(text(named), {"id": connection.id}))
    other = await rig.provider.mint()
    tokens = {"access_token": other.access_token, "refresh_token": other.refresh_token}

    answer = await rig.api.put(PATH, json={"credentials": tokens, "verify": False})

    assert answer.status_code == 200
    assert {"account", "account_label"} & set(answer.json()) == set()
