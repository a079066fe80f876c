"""Consent at another device (RFC 8628): a code for a person, and a vault that finds out by itself."""

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.judge import audited
from tests.integration.test_api import refused
from tests.rig import PROVIDER, TENANT, Rig
from vault.store import connections
from vault.store.schema import device_authorizations, sealed_values
from vault.store.writer import Transaction

PATH = f"/v1/connections/{TENANT}/{PROVIDER}/c"


async def begun(rig: Rig, **body: Any) -> dict[str, Any]:
    answer = await rig.api.post(f"{PATH}/device", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def furnished(rig: Rig, **config: Any) -> None:
    await rig.provider.configure(device_interval=0, **config)
    await rig.setup(device_authorization_endpoint=rig.provider.device_authorization_endpoint)


async def later(rig: Rig, by: timedelta = timedelta(seconds=6)) -> None:
    """Let *by* pass for what is under way at devices, then have the vault ask."""

    async def unit(tx: Transaction) -> None:
        moved = "next_poll_at = next_poll_at - :by, expires_at = expires_at - :by"
        await tx.execute(
            text(f"UPDATE device_authorizations SET {moved}"),
            {"by": by // timedelta(milliseconds=1)},
        )

    await rig.vault.writer.submit(unit)
    await rig.vault.devices.poll()
    await rig.vault.devices.drain()


async def under_way(rig: Rig) -> list[Any]:
    async with rig.vault.database.read() as tx:
        return list(await tx.execute(select(device_authorizations)))


async def codes(rig: Rig) -> int:
    async with rig.vault.database.read() as tx:
        found = await tx.execute(select(sealed_values.c.owner_id).where(sealed_values.c.owner_kind == "device"))
        return len(found.all())


async def test_a_person_connects_at_another_device(rig: Rig, store: Store, leaks: Leaks) -> None:
    """The code is theirs to type; the vault asks until they have, and serves a token from then on."""
    await furnished(rig)
    asked = await begun(rig)
    leaks.check(str(asked))

    await later(rig)
    refused(await rig.token("c"), 409, "not_connected")
    await rig.provider.decide_device(asked["user_code"])
    await later(rig)

    assert asked["verification_uri_complete"].endswith(asked["user_code"])
    got = (await rig.token("c")).json()
    assert (got["status"], got["generation"]) == ("verified", 1)
    shown = (await rig.api.get(PATH)).json()
    assert (shown["renewal"], shown["kind"]) == ("refresh_token", "oauth2")
    assert (await under_way(rig), await codes(rig)) == ([], 0)
    assert [event["outcome"] for event in await audited(rig, "connection.connected")] == ["ok"]


@on_sqlite
async def test_a_person_who_says_no_connects_nothing(rig: Rig, store: Store) -> None:
    """It is over with the first word of it, and written down."""
    await furnished(rig)
    asked = await begun(rig)
    await rig.provider.decide_device(asked["user_code"], approved=False)

    await later(rig)

    assert [event["outcome"] for event in await audited(rig, "connection.connect_failed")] == ["access_denied"]
    assert (await under_way(rig), await codes(rig)) == ([], 0)
    refused(await rig.token("c"), 409, "not_connected")


async def test_a_code_that_nobody_types_runs_out(rig: Rig, store: Store) -> None:
    """Then nothing is asked any more."""
    await furnished(rig)
    await begun(rig)
    asked_before = (await rig.provider.counts()).get("token_requests", 0)

    await later(rig, timedelta(hours=1))
    await later(rig, timedelta(hours=1))

    assert [event["outcome"] for event in await audited(rig, "connection.connect_failed")] == ["expired_token"]
    assert (await rig.provider.counts()).get("token_requests", 0) == asked_before
    assert await codes(rig) == 0


async def test_replicas_share_the_questions(replicas: Replicas, store: Store) -> None:
    """However many look, the provider is asked once an interval."""
    rig, other = await replicas(), await replicas()
    await furnished(rig)
    await begun(rig)

    await later(rig)
    for each in (other, rig, other):
        await each.vault.devices.poll()
        await each.vault.devices.drain()

    assert (await rig.provider.counts())["token_requests"] == 1


@on_sqlite
async def test_who_asks_too_quickly_asks_less_often(rig: Rig, store: Store) -> None:
    """Five seconds more between two questions, from then on, as the standard has it."""
    await furnished(rig)
    await begun(rig)
    (before,) = await under_way(rig)
    await rig.provider.fault("token", status=400, body={"error": "slow_down"})

    await later(rig)

    (after,) = await under_way(rig)
    assert after.interval_seconds == before.interval_seconds + 5
    assert after.next_poll_at > before.next_poll_at


@on_sqlite
async def test_a_question_that_fails_is_asked_again(rig: Rig, store: Store) -> None:
    """What may pass ends nothing: the person may still be typing."""
    await furnished(rig)
    asked = await begun(rig)
    for fault in ({"status": 503}, {"reset": "before"}, {"status": 200, "body": "<html>"}):
        await rig.provider.fault("token", **fault)
        await later(rig)
    await rig.provider.decide_device(asked["user_code"])

    await later(rig)

    assert (await rig.token("c")).status_code == 200


@on_sqlite
async def test_a_later_code_takes_the_place_of_the_former(rig: Rig, store: Store) -> None:
    """One at a time: what was typed for the former one connects nothing."""
    await furnished(rig)
    former, asked = await begun(rig), await begun(rig)
    await rig.provider.decide_device(former["user_code"])
    await later(rig)
    refused(await rig.token("c"), 409, "not_connected")

    await rig.provider.decide_device(asked["user_code"])
    await later(rig)

    assert (await rig.token("c")).status_code == 200


@on_sqlite
async def test_another_account_does_not_slip_in(rig: Rig, store: Store) -> None:
    """Who has an account connected keeps it, unless another one is asked for; what is not stored is given back."""
    await furnished(rig)
    for subject, replace_account, code in (("one", False, 200), ("two", False, 200), ("two", True, 200)):
        asked = await begun(rig, scopes=["openid"], replace_account=replace_account)
        await rig.provider.decide_device(asked["user_code"], subject=subject)
        await later(rig)
        assert (await rig.token("c")).status_code == code

    failed = [event["outcome"] for event in await audited(rig, "connection.connect_failed")]
    assert failed == ["account_mismatch"]


@on_sqlite
async def test_an_import_is_asked_for_what_it_has(rig: Rig, store: Store) -> None:
    """As with a link: what was found granted counts before the provider's usual."""
    await furnished(rig)
    grant = await rig.provider.mint(scope="openid read")
    await rig.api.put(PATH, json={"credentials": {"refresh_token": grant.refresh_token}})
    assert (await rig.token("c")).status_code == 200

    await begun(rig)

    (row,) = await under_way(rig)
    assert json.loads(row.scopes) == ["openid", "read", "offline_access"]


@on_sqlite
async def test_disconnecting_ends_what_is_under_way(rig: Rig, store: Store) -> None:
    """A person who types the code then connects nothing."""
    await furnished(rig)
    await begun(rig)

    await rig.api.delete(PATH)

    assert (await under_way(rig), await codes(rig)) == ([], 0)


@on_sqlite
async def test_a_provider_without_it_says_so(rig: Rig, store: Store) -> None:
    """No endpoint, no client, no answer: refused, and no connection is left behind."""
    await rig.setup()
    refused(await rig.api.post(f"{PATH}/device", json={}), 409, "device_not_supported")
    await furnished(rig)
    await rig.provider.fault("device_authorization", status=500)
    refused(await rig.api.post(f"{PATH}/device", json={}), 503, "provider_unavailable")
    refused(await rig.api.get(PATH), 404)
    await rig.api.delete(f"/v1/clients/{TENANT}/{PROVIDER}")
    refused(await rig.api.post(f"{PATH}/device", json={}), 409, "no_client")


@on_sqlite
async def test_a_slow_answer_is_waited_for(rig: Rig, store: Store) -> None:
    """Whoever asks has the turn until the answer must have come, and nobody else asks with the same code."""
    await furnished(rig)
    await begun(rig)
    await rig.provider.hold()
    await rig.vault.writer.submit(lambda tx: tx.execute(text("UPDATE device_authorizations SET next_poll_at = 0")))
    await rig.vault.devices.poll()
    await rig.provider.wait_for_held()

    (row,) = await under_way(rig)
    async with rig.vault.database.read() as tx:
        now = await connections.database_time(tx)
    await rig.provider.release()
    await rig.vault.devices.drain()
    (asked,) = await under_way(rig)

    assert row.next_poll_at - now > timedelta(seconds=rig.vault.settings.provider_timeout)
    assert asked.next_poll_at < row.next_poll_at


@on_sqlite
async def test_scopes_that_the_provider_refuses_are_the_askers_mistake(rig: Rig, store: Store) -> None:
    """422: asking again would not help."""
    await furnished(rig)
    await rig.provider.fault("device_authorization", status=400, body={"error": "invalid_scope"})

    answer = await rig.api.post(f"{PATH}/device", json={"scopes": ["nonsense"]})

    assert refused(answer, 422, "request_refused")["reason"] == "invalid_scope"


async def test_what_was_begun_for_a_connection_that_is_gone_goes_with_it(rig: Rig, store: Store) -> None:
    """A code that another replica stored while it was deleted does not stay for ever."""
    await furnished(rig)
    await begun(rig)
    gone = "UPDATE connections SET deleted_at = 1"
    await rig.vault.writer.submit(lambda tx: tx.execute(text(gone)))

    await rig.vault.tidy()

    assert (await under_way(rig), await codes(rig)) == ([], 0)
