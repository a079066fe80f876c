"""Kill switches: a provider, a client or a tenant is paused, everywhere, until it is resumed."""

from typing import Any

import httpx
import pytest
from sqlalchemy import func, insert, select, update

from tests.integration.conftest import Replicas, on_sqlite
from tests.integration.judge import audited, row_of
from tests.rig import PROVIDER, TENANT, Rig
from vault.audit import Event
from vault.callers import OPERATOR
from vault.housekeeping import tidy
from vault.listing import everything, line
from vault.store import figures, schema
from vault.store.writer import Transaction

SWITCHES = {
    "provider": f"/v1/providers/{PROVIDER}",
    "client": f"/v1/clients/{TENANT}/{PROVIDER}",
    "tenant": f"/v1/tenants/{TENANT}",
}


async def switch(rig: Rig, which: str, what: str) -> httpx.Response:
    return await rig.api.post(f"{SWITCHES[which]}/{what}")


async def calls(rig: Rig) -> int:
    return (await rig.provider.ledger()).token_requests


def told(answer: httpx.Response) -> tuple[int, Any, Any]:
    body = answer.json()
    return answer.status_code, body.get("code"), body.get("paused")


@pytest.mark.parametrize("which", SWITCHES)
async def test_a_pause_is_in_force_everywhere_when_it_is_answered(replicas: Replicas, which: str) -> None:
    """No replica hands out or refreshes anything below it, living or not; resumed, what is due is due at once."""
    rig = await replicas()
    other = rig if rig.vault.database.on_sqlite else await replicas()
    await rig.a_connection("living")
    await rig.a_connection("dead", expires_in=0)
    for each in (rig, other):
        assert (await each.token("living")).status_code == 200  # and is remembered

    answer = await switch(rig, which, "pause")

    refused = [told(await each.token(name)) for each in (other, rig) for name in ("living", "dead")]
    await rig.vault.sweeper.once()
    await other.vault.sweeper.once()
    assert answer.status_code == 200
    assert answer.json()["paused_at"]
    assert set(refused) == {(409, "disabled", which)}
    assert await calls(rig) == 0
    shown = await rig.api.get(f"/v1/connections/{TENANT}/{PROVIDER}/living")
    assert (shown.json()["paused"], shown.json()["status"]) == (which, "configured")

    resumed = await switch(rig, which, "resume")
    await rig.vault.sweeper.once()

    assert resumed.status_code == 200
    assert "paused_at" not in resumed.json()
    assert await calls(rig) == 1
    assert [(await other.token(name, wait=0)).status_code for name in ("living", "dead")] == [200, 200]


@on_sqlite
@pytest.mark.parametrize("which", SWITCHES)
async def test_a_switch_may_be_thrown_twice(replicas: Replicas, which: str) -> None:
    """The second pause keeps the first one's time; each change is in the audit once."""
    rig = await replicas()

    answers = [await switch(rig, which, what) for what in ("pause", "pause", "resume", "resume")]

    paused = [answer.json().get("paused_at") for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert paused[0] == paused[1] is not None
    assert paused[2:] == [None, None]
    outcomes = [row["outcome"] for row in await audited(rig, f"{which}.changed")]
    assert [outcome for outcome in outcomes if outcome in {"paused", "resumed"}] == ["paused", "resumed"]
    shown = await rig.api.get(SWITCHES[which])
    assert shown.json() == answers[3].json()


SCOPES = {"provider": "providers:write", "client": "clients:write", "tenant": "tenants:write"}


@on_sqlite
@pytest.mark.parametrize("which", SWITCHES)
async def test_a_switch_takes_the_scope_and_the_reach(replicas: Replicas, which: str) -> None:
    """The key needs the scope of what it switches, and reach; what is not there cannot be paused."""
    rig = await replicas()
    without = await rig.key(*(scope for scope in SCOPES.values() if scope != SCOPES[which]))
    await rig.vault.tenants.put(OPERATOR, "elsewhere", parent="platform", name="", return_urls=[])
    outside = await rig.key(SCOPES[which], tenant="elsewhere")
    address = f"{SWITCHES[which]}/pause"

    refused = await rig.api.post(address, headers={"Authorization": f"Bearer {without}"})
    unseen = await rig.api.post(address, headers={"Authorization": f"Bearer {outside}"})
    missing = await rig.api.post(SWITCHES[which].replace(PROVIDER, "nobody").replace(TENANT, "nobody") + "/pause")

    assert told(refused)[:2] == (403, "insufficient_scope")
    assert told(unseen)[:2] == (404, "not_found")
    assert told(missing)[:2] == (404, "not_found")


@on_sqlite
async def test_a_key_pauses_its_own_tenant_and_cannot_resume_it(replicas: Replicas) -> None:
    """What was stopped from above stays stopped; below its own tenant a key resumes, and at the root anything."""
    rig = await replicas()
    await rig.vault.tenants.put(OPERATOR, "acme-eu", parent=TENANT, name="", return_urls=[])
    key = {"Authorization": f"Bearer {await rig.key('tenants:write', tenant=TENANT)}"}

    paused = await rig.api.post(f"{SWITCHES['tenant']}/pause", headers=key)
    refused = await rig.api.post(f"{SWITCHES['tenant']}/resume", headers=key)
    child = [await rig.api.post(f"/v1/tenants/acme-eu/{what}", headers=key) for what in ("pause", "resume")]
    shown = await rig.api.get(SWITCHES["tenant"])
    root = [await rig.api.post(f"/v1/tenants/platform/{what}") for what in ("pause", "resume")]

    assert paused.status_code == 200
    assert told(refused)[:2] == (404, "not_found")
    assert shown.json()["paused_at"] == paused.json()["paused_at"]
    assert [answer.status_code for answer in (*child, *root)] == [200] * 4
    denied = [(row["outcome"], row["tenant"]) for row in await audited(rig, "caller.denied")]
    assert denied == [("own_tenant", TENANT)]
    assert (await switch(rig, "tenant", "resume")).status_code == 200


@pytest.mark.parametrize(
    ("limits", "within"), [({"providers": [PROVIDER]}, {"provider", "client"}), ({"names": ["c"]}, set())]
)
@on_sqlite
async def test_no_switch_reaches_beyond_a_keys_limits(
    replicas: Replicas, limits: dict[str, Any], within: set[str]
) -> None:
    """A key for some providers switches no whole tenant, and a key for some names switches nothing at all."""
    rig = await replicas()
    key = {"Authorization": f"Bearer {await rig.key(**limits)}"}

    answers = {
        which: [(await rig.api.post(f"{SWITCHES[which]}/{what}", headers=key)) for what in ("pause", "resume")]
        for which in SWITCHES
    }

    for which, both in answers.items():
        expected = (200, None) if which in within else (404, "not_found")
        assert [told(answer)[:2] for answer in both] == [expected] * 2, which
    denied = await audited(rig, "caller.denied")
    assert [row["outcome"] for row in denied] == ["out_of_reach"] * 2 * (len(SWITCHES) - len(within))


@on_sqlite
async def test_the_catalogue_shows_which_provider_is_paused(replicas: Replicas) -> None:
    """The list says it of the one that is, and of no other."""
    rig = await replicas()
    await rig.vault.providers.define(
        "other-id",
        {
            "token_endpoint": rig.provider.token_endpoint,
            "authorization_endpoint": rig.provider.authorization_endpoint,
        },
        "operator",
    )
    await switch(rig, "provider", "pause")

    listed = (await rig.api.get("/v1/providers")).json()["items"]

    assert {PROVIDER, "other-id"} < {one["id"] for one in listed}
    assert [one["id"] for one in listed if "paused_at" in one] == [PROVIDER]


async def test_a_tenant_that_moves_takes_on_the_pause_of_where_it_is(replicas: Replicas) -> None:
    """Moved under a paused tenant it is paused, with all its connections; moved away again it is not."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    await rig.vault.tenants.put(OPERATOR, "stopped", parent="platform", name="", return_urls=[])
    assert (await rig.api.post("/v1/tenants/stopped/pause")).status_code == 200

    await rig.vault.tenants.put(OPERATOR, TENANT, parent="stopped", name="Acme", return_urls=[])
    await rig.vault.sweeper.once()
    assert told(await rig.token("c")) == (409, "disabled", "tenant")
    assert await calls(rig) == 0

    await rig.vault.tenants.put(OPERATOR, TENANT, parent="platform", name="Acme", return_urls=[])
    assert (await rig.token("c")).status_code == 200


@on_sqlite
@pytest.mark.parametrize("which", ["client", "tenant"])
async def test_what_is_connected_under_a_pause_is_paused(replicas: Replicas, which: str) -> None:
    """A connection that comes, or is connected anew, while a kill switch is on is stopped by it too."""
    rig = await replicas()
    await rig.a_connection("old", expires_in=0)
    await switch(rig, which, "pause")

    await rig.a_connection("old", expires_in=0)
    await rig.a_connection("new", expires_in=0)
    await rig.vault.sweeper.once()

    assert [(await row_of(rig, name)).parked for name in ("old", "new")] == ["paused", "paused"]
    assert told(await rig.token("new")) == (409, "disabled", which)
    assert await calls(rig) == 0


@on_sqlite
async def test_a_pause_covers_former_registrations(replicas: Replicas) -> None:
    """Grants of a client_id that was replaced stop with their tenant's switch, and go on with it."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    put = {"client_id": "another", "client_secret": "canary-s"}
    assert (await rig.api.put(SWITCHES["client"], json=put)).status_code == 200

    await switch(rig, "client", "pause")
    assert told(await rig.token("c")) == (409, "disabled", "client")

    await switch(rig, "client", "resume")
    assert (await rig.token("c")).status_code == 200


async def test_a_retired_registration_can_be_paused_and_resumed(replicas: Replicas) -> None:
    """Removed while grants use it, it is still under its switch, which shows it; as a registration it is gone."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    await switch(rig, "client", "pause")
    assert (await rig.api.delete(SWITCHES["client"])).status_code == 204

    resumed = await switch(rig, "client", "resume")
    assert (resumed.status_code, resumed.json().get("client_id")) == (200, rig.provider.client_id)
    assert "paused_at" not in resumed.json()
    assert (await rig.token("c")).status_code == 200

    again = await switch(rig, "client", "pause")
    assert (again.status_code, "paused_at" in again.json()) == (200, True)
    assert told(await rig.token("c")) == (409, "disabled", "client")
    assert (await rig.api.get(SWITCHES["client"])).status_code == 404


async def test_of_retired_registrations_a_switch_shows_the_newest(replicas: Replicas) -> None:
    """The current one where there is one; a tenant that never had any at that provider has no switch there."""
    rig = await replicas()
    await rig.a_connection("former")
    put = {"client_id": "another", "client_secret": "canary-s"}
    assert (await rig.api.put(SWITCHES["client"], json=put)).status_code == 200
    await rig.a_connection("latter")

    current = await switch(rig, "client", "pause")
    assert (await rig.api.delete(SWITCHES["client"])).status_code == 204
    retired = await switch(rig, "client", "resume")
    never = await rig.api.post(f"/v1/clients/platform/{PROVIDER}/resume")

    assert [answer.json().get("client_id") for answer in (current, retired)] == ["another", "another"]
    assert told(never)[:2] == (404, "not_found")


@on_sqlite
async def test_a_new_secret_does_not_end_a_pause(replicas: Replicas) -> None:
    """Only resuming ends a kill switch; a PUT of the registration does not."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)
    await switch(rig, "client", "pause")

    await rig.register(rig.provider.client_secret)
    await rig.vault.sweeper.once()

    assert told(await rig.token("c")) == (409, "disabled", "client")
    assert await calls(rig) == 0


async def test_another_registration_does_not_end_a_pause(replicas: Replicas) -> None:
    """A new client_id under a switch is paused since the same moment, with whatever is connected with it."""
    rig = await replicas()
    paused = (await switch(rig, "client", "pause")).json()["paused_at"]

    put = {"client_id": "another", "client_secret": "canary-s"}
    answer = await rig.api.put(SWITCHES["client"], json=put)
    await rig.a_connection("c")

    assert (answer.status_code, answer.json().get("paused_at")) == (200, paused)
    assert told(await rig.token("c")) == (409, "disabled", "client")
    await switch(rig, "client", "resume")
    assert (await rig.token("c")).status_code == 200


@on_sqlite
async def test_what_a_dead_process_left_half_done_is_finished(replicas: Replicas) -> None:
    """A pause whose process died over parking is carried out by whoever keeps house next."""
    rig = await replicas()
    await rig.a_connection("c", expires_in=0)

    async def die_half_way(tx: Transaction) -> None:
        of_acme = update(schema.tenants).where(schema.tenants.c.id == TENANT)
        await tx.execute(of_acme.values(paused_at=(await rig.look("c")).read_at))
        await tx.execute(insert(schema.unsettled_gates).values(kind="tenant", key=TENANT))

    await rig.vault.writer.submit(die_half_way)
    await rig.vault.tidy()

    assert told(await rig.token("c")) == (409, "disabled", "tenant")


async def test_what_is_switched_off_is_not_in_the_sweeps_way(rig: Rig) -> None:
    """A disabled connection is not among what the sweep looks at; switched on again, it is due at once."""
    _, grant = await rig.a_connection("c", expires_in=0)
    address = f"/v1/connections/{TENANT}/{PROVIDER}/c"

    off = await rig.api.put(address, json={"enabled": False})
    assert (await row_of(rig, "c")).parked == "paused"
    assert "paused" not in off.json()
    assert told(await rig.token("c")) == (409, "disabled", None)

    await rig.api.put(address, json={"enabled": True})
    assert (await row_of(rig, "c")).parked is None
    await rig.vault.sweeper.once()
    assert len((await rig.provider.ledger()).exchanges(grant.family)) == 1


@on_sqlite
async def test_the_list_for_people_says_what_is_stopped(replicas: Replicas) -> None:
    """A connection's own switch and that of what is above it, each before the status that its tokens have."""
    rig = await replicas()
    for name in ("off", "on"):
        await rig.a_connection(name)
    path = f"{TENANT}/{PROVIDER}"
    assert (await rig.api.put(f"/v1/connections/{path}/off", json={"enabled": False})).status_code == 200

    async def told_of() -> list[str]:
        return [line(each) async for each in everything(rig.vault, tenant=None, status=None)]

    before = await told_of()
    await switch(rig, "tenant", "pause")

    why = "(unverified: verify)"
    assert before == [f"{path}/off  switched off (configured) {why}", f"{path}/on  configured {why}"]
    assert (await told_of())[1] == f"{path}/on  paused by its tenant (configured) {why}"


# ---- alarms that end with what they were about


async def alarms(rig: Rig) -> figures.Figures:
    async with rig.vault.database.read() as tx:
        return await figures.read(tx)


async def secrets_of_clients(rig: Rig) -> int:
    of_clients = schema.sealed_values.c.owner_kind == "client"
    async with rig.vault.database.read() as tx:
        return (
            await tx.execute(select(func.count()).select_from(schema.sealed_values).where(of_clients))
        ).scalar_one()


async def test_a_rejected_registration_goes_with_its_last_grant(rig: Rig) -> None:
    """Retired it stays, with its secret and its alarm, while a grant needs it, and not a housekeeping longer."""
    connection, _ = await rig.a_connection("c")
    assert connection.client is not None
    event = Event("scheduler", "client.rejected", tenant=TENANT, provider=PROVIDER)
    await rig.vault.gates.reject_client(connection.client, 1, event)
    assert (await rig.api.delete(SWITCHES["client"])).status_code == 204

    await rig.vault.tidy()
    assert (await alarms(rig)).rejected_clients == {PROVIDER: 1}
    assert await secrets_of_clients(rig) == 1

    assert (await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c")).status_code == 200
    await rig.vault.tidy()
    assert (await alarms(rig)).rejected_clients == {PROVIDER: 1}  # for the tombstone's sake

    await tidy(rig.vault.writer, rig.vault.gates, lease=0)  # as if the tombstone were old
    assert (await alarms(rig)).rejected_clients == {}
    assert await secrets_of_clients(rig) == 0


async def test_housekeeping_leaves_current_registrations_alone(rig: Rig) -> None:
    """Used or not: somebody means to connect with it."""
    await rig.vault.tidy()

    assert (await rig.api.get(SWITCHES["client"])).status_code == 200
    assert await secrets_of_clients(rig) == 1


async def test_a_forgotten_provider_takes_its_gates_along(rig: Rig) -> None:
    """Neither its kill switch nor its breaker is shown any more, and neither waits for the next of that name."""
    await switch(rig, "provider", "pause")

    async def trip(tx: Transaction) -> None:
        await tx.execute(update(schema.provider_states).values(breaker="open"))

    await rig.vault.writer.submit(trip)
    before = await alarms(rig)
    await rig.api.delete(SWITCHES["client"])

    assert (await rig.api.delete(SWITCHES["provider"])).status_code == 204

    after = await alarms(rig)
    assert (before.breakers, before.paused["provider"]) == ({PROVIDER: True}, 1)
    assert (after.breakers, after.paused["provider"]) == ({}, 0)
