"""Connections without credentials: a tenant says what becomes of a path at which it only inherits."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.judge import audited
from tests.integration.test_api import always, refused
from tests.person import Asking, Person
from tests.provider.orders import Grant
from tests.rig import PROVIDER, TENANT, Rig
from vault.listing import everything, line
from vault.memory import STALE_AFTER

CHILD, SIBLING = "acme-eu", "acme-us"


def path(tenant: str) -> str:
    return f"/v1/connections/{tenant}/{PROVIDER}/c"


async def token(rig: Rig, tenant: str = CHILD) -> httpx.Response:
    return await rig.api.get(f"{path(tenant)}/token")


async def put(
    rig: Rig, tenant: str = CHILD, *, match: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    return await rig.api.put(path(tenant), json=body, headers=match)


async def inherited(rig: Rig) -> Grant:
    """Share a connection with two tenants below, and have the first one's remembered; return its grant."""
    for name in (CHILD, SIBLING):
        await rig.api.put(f"/v1/tenants/{name}", json={"name": name, "parent": TENANT})
    _, grant = await rig.a_connection("c")
    assert (await put(rig, TENANT, shared=True)).status_code == 200
    await rig.vault.watch.listen()
    assert await served(rig) == grant.access_token
    assert rig.vault.memory.recall(("connection", CHILD, PROVIDER, "c")) is not None
    return grant


async def served(rig: Rig, tenant: str = CHILD) -> str:
    answer = await token(rig, tenant)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def test_a_tenant_switches_off_what_it_inherits(rig: Rig, leaks: Leaks) -> None:
    """201 and no token from then on, of nobody else's; on again, or deleted, what is inherited is back."""
    grant = await inherited(rig)
    for back in ("enabled", "deleted"):
        answer = await put(rig, enabled=False)

        always(answer)
        leaks.check(answer.text)
        shown = answer.json()
        assert (answer.status_code, shown["enabled"], shown["kind"]) == (201, False, "oauth2")
        assert (shown["status"], shown["reason"], shown["next_action"]) == ("unconfigured", "empty", "connect")
        assert (shown["generation"], shown["renewal"], shown["source"]["tenant"]) == (0, "none", CHILD)
        refused(await token(rig), 409, "disabled")
        assert await served(rig, SIBLING) == await served(rig, TENANT) == grant.access_token
        on = await put(rig, enabled=True)
        assert (on.status_code, on.json()["source"]["tenant"]) == (200, TENANT)
        assert await served(rig) == grant.access_token
        if back == "deleted":
            await put(rig, enabled=False)
        gone = await rig.api.delete(f"{path(CHILD)}?revoke=true")
        assert gone.json() == {"revoked": "not_asked"}
        assert await served(rig) == grant.access_token
    made = [row for row in await audited(rig, "connection.changed") if row["outcome"] == "created"]
    assert [row["tenant"] for row in made] == [TENANT, CHILD, CHILD]
    assert await rig.provider.counts() == {}


async def test_another_replica_hears_of_it_before_it_is_answered(replicas: Replicas) -> None:
    """Who remembers the inherited token forgets it; the answer comes when nobody can be serving it any more."""
    rig, other = await replicas(), await replicas()
    await inherited(rig)
    rig.vault.memory._alone, other.vault.memory._alone = True, False
    began = asyncio.get_running_loop().time()

    assert (await put(other, enabled=False)).status_code == 201
    took = asyncio.get_running_loop().time() - began
    await rig.vault.watch.listen()

    refused(await token(rig), 409, "disabled")
    assert took >= STALE_AFTER


@on_sqlite
async def test_whatever_is_said_of_a_path_makes_its_connection(rig: Rig, store: Store) -> None:
    """Notes and wishes are kept, and nothing is hidden by them; what says nothing, or of nothing, is refused."""
    grant = await inherited(rig)
    body: dict[str, Any]
    for body in (
        {"prefer": "inherited"},
        {"prefer": "own", "kind": "oauth2"},
        {"shared": True},
        {"metadata": {"crm": "17"}},
        {"settings": {}},
        {"enabled": True},
    ):
        answer = await put(rig, **body)
        assert answer.status_code == 201, answer.text
        assert {**answer.json(), "settings": {}}.items() >= body.items()
        assert await served(rig) == grant.access_token
        await rig.api.delete(path(CHILD))
    for nothing in ({}, {"verify": False}, {"kind": "oauth2"}):
        refused(await put(rig, **nothing), 422, "credentials_missing")
    refused(await put(rig, enabled=False, kind="api_key"), 422, "unknown_kind")
    refused(await put(rig, enabled=False, match={"If-Match": "*"}), 412, "precondition_failed")
    refused(await put(rig, "nowhere", enabled=False), 404, "not_found")
    unknown = f"/v1/connections/{CHILD}/unknown/c"
    refused(await rig.api.put(unknown, json={"enabled": False}), 404, "not_found")
    refused(await rig.api.get(path(CHILD)), 404, "not_found")


@on_sqlite
async def test_of_several_kinds_the_one_that_is_named_is_made(rig: Rig, store: Store) -> None:
    """By default the provider's usual one; what has to be entered for it can wait."""
    jwt = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    await rig.setup(grant_types=["client_credentials", jwt])
    for kind, made in ((None, "client_credentials"), ("jwt_bearer", "jwt_bearer")):
        body: dict[str, Any] = {"enabled": False, **({} if kind is None else {"kind": kind})}

        shown = (await put(rig, TENANT, **body)).json()

        assert (shown["kind"], shown["reason"]) == (made, "empty")
        await rig.api.delete(path(TENANT))


async def test_a_consent_fills_it_and_does_not_switch_it_on(rig: Rig) -> None:
    """Asked for, it waits for a person; connected, it is still off; on, it serves its own token."""
    await inherited(rig)
    await put(rig, enabled=False)
    asking = Asking(rig, tenant=CHILD)

    link = await asking.link()
    waiting = await asking.shown()
    await Person(rig).connect(link)
    connected = await asking.shown()

    assert (waiting["status"], waiting["reason"]) == ("unconfigured", "awaiting_consent")
    assert (connected["status"], connected["enabled"]) == ("verified", False)
    refused(await token(rig), 409, "disabled")
    await put(rig, enabled=True)
    assert (await token(rig)).json()["source"]["tenant"] == CHILD


@on_sqlite
async def test_nothing_is_done_with_it_until_it_is_filled(rig: Rig, store: Store) -> None:
    """The sweep passes it by, to renew or to verify it asks nobody, and it is listed as what it is."""
    await inherited(rig)
    await put(rig, enabled=False)

    await rig.vault.sweeper.once()
    refused(await rig.api.post(f"{path(CHILD)}/refresh"), 409, "not_renewable")
    assert (await rig.api.post(f"{path(CHILD)}/verify")).json()["reason"] == "empty"
    listed = (await rig.api.get("/v1/connections", params={"status": "unconfigured"})).json()["items"]

    assert [one["tenant"] for one in listed] == [CHILD]
    async for connection in everything(rig.vault, tenant=CHILD, status=None):
        assert line(connection).endswith("switched off (unconfigured) (empty: connect)")
    assert await rig.provider.counts() == {}
    expiring: dict[str, Any] = {"expiring_within": timedelta(days=1) // timedelta(seconds=1), "tenant": CHILD}
    assert (await rig.api.get("/v1/connections", params=expiring)).json()["items"] == []
