"""Deleting a tenant with all that hangs on it: at once, truthfully told, and to the end, whoever dies over it."""

import asyncio
import signal
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text

from integrations.contract import Secret, TokenSet
from tests import killable
from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import audited
from tests.integration.test_api import bearing, refused
from tests.integration.test_storage import away, terminate_all
from tests.killable import Order, Step
from tests.provider.orders import Grant
from tests.rig import PROVIDER, TENANT, Rig
from vault import offboarding
from vault.callers import OPERATOR
from vault.disconnect import bury, end
from vault.errors import NotFound
from vault.grants import Received, store_grant
from vault.store import offboarding as store_offboarding
from vault.store.writer import Transaction

CASCADE = f"/v1/tenants/{TENANT}?cascade=true"
TREE = {"acme-eu": TENANT, "acme-de": "acme-eu", "acme-us": TENANT, "globex": "platform"}
LEFT = {  # what may be left of a tenant that is gone: nothing
    "tenants": "id",
    "connections": "tenant_id",
    "clients": "tenant_id",
    "callers": "tenant_id",
}


async def connect(rig: Rig, tenant: str, name: str, *, provider: str = PROVIDER, **columns: Any) -> Grant:
    """Return the grant of a new connection of *tenant*, with *columns* as a consent would have set them."""
    grant = await rig.provider.mint()
    tokens = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
    path = f"/v1/connections/{tenant}/{provider}/{name}"
    made = await rig.api.put(path, json={"credentials": tokens, "verify": False})
    assert made.status_code == 201, made.text
    if columns:
        sets = ", ".join(f"{column} = :{column}" for column in columns)
        async with rig.vault.database.transaction() as tx:
            await tx.execute(text(f"UPDATE connections SET {sets} WHERE name = :of"), {**columns, "of": name})
    return grant


async def furnish(rig: Rig, *names: str) -> dict[str, Grant]:
    """Make the tree with a key, a registration and, for each of *names*, a connection on each of its tenants."""
    for tenant, parent in TREE.items():
        await rig.vault.tenants.put(OPERATOR, tenant, parent=parent, name=tenant, return_urls=[])
    grants = {}
    for tenant in (TENANT, *TREE):
        await rig.register(rig.provider.client_secret, tenant)
        await rig.key("tokens:read", tenant=tenant)
        for name in names:
            grants[f"{tenant}/{name}"] = await connect(rig, tenant, name)
    return grants


async def left(rig: Rig) -> dict[str, set[str]]:
    """Return, by table, of whom there is anything left."""
    async with rig.vault.database.read() as tx:
        return {
            table: set((await tx.execute(text(f"SELECT DISTINCT {column} FROM {table}"))).scalars())
            for table, column in LEFT.items()
        }


async def sealed(rig: Rig) -> int:
    async with rig.vault.database.read() as tx:
        return int(await tx.scalar(text("SELECT count(*) FROM sealed_values")) or 0)


async def revoked(rig: Rig) -> set[str]:
    return (await rig.provider.ledger()).revoked_families


async def test_a_tenant_goes_with_all_that_hangs_on_it(rig: Rig) -> None:
    """The whole subtree, counted; its grants end at the provider; whoever stands beside it notices nothing."""
    grants = await furnish(rig, "c", "d")
    key = await rig.key("tokens:read", tenant="acme-de")

    answer = await rig.api.delete(CASCADE)

    assert answer.status_code == 200
    assert answer.json() == {
        "complete": True,
        "tenants": 4,
        "connections": 8,
        "clients": 4,
        "callers": 5,
        "revocations": {"revoked": 8},
        "unrevoked": [],
    }
    beside = {grant.family for path, grant in grants.items() if path.startswith("globex/")}
    assert await revoked(rig) == {grant.family for grant in grants.values()} - beside
    assert await left(rig) == {
        "tenants": {"platform", "globex"},
        "connections": {"globex"},
        "clients": {"globex"},
        "callers": {"platform", "globex"},
    }
    assert await sealed(rig) == 2 * 2 + 1  # two connections and a client
    path = f"/v1/connections/acme-de/{PROVIDER}/c/token"
    refused(await rig.api.get(path, headers=bearing(key)), 401)
    refused(await rig.api.get(path), 404, "not_found")
    assert (await rig.api.get(f"/v1/connections/globex/{PROVIDER}/c/token")).status_code == 200
    refused(await rig.api.delete(CASCADE), 404, "not_found")
    assert len(await audited(rig, "connection.revoked")) == len(await audited(rig, "connection.deleted")) == 8
    assert len(await audited(rig, "tenant.deleted")) == 4


async def test_without_cascade_nothing_goes(rig: Rig) -> None:
    """A tenant with children or connections is refused as it was, and so is the root, cascade or not."""
    await furnish(rig, "c")
    before = await left(rig)

    refused(await rig.api.delete(f"/v1/tenants/{TENANT}"), 409, "tenant_not_empty")
    refused(await rig.api.delete(f"/v1/tenants/{TENANT}?cascade=false&revoke=all"), 409, "tenant_not_empty")
    refused(await rig.api.delete("/v1/tenants/platform?cascade=true"), 409, "tenant_is_root")

    assert (await left(rig), await revoked(rig)) == (before, set())
    assert (await rig.token("c")).status_code == 200


@on_sqlite
async def test_only_a_key_that_reaches_all_of_it_deletes_it(rig: Rig) -> None:
    """Not its own tenant's, a neighbour's, or one that is limited to providers or names."""
    await furnish(rig, "c")
    before = await left(rig)
    for limits in (
        {"tenant": TENANT},
        {"tenant": "acme-eu"},
        {"tenant": "globex"},
        {"providers": [PROVIDER]},
        {"names": ["c"]},
    ):
        key = await rig.key("tenants:write", **limits)
        refused(await rig.api.delete(CASCADE, headers=bearing(key)), 404, "not_found")
        await rig.api.delete(f"/v1/callers/{key.split('_')[1]}")

    assert (await left(rig), await revoked(rig)) == (before, set())
    key = await rig.key("tenants:write", tenant=TENANT)
    below = await rig.api.delete("/v1/tenants/acme-eu?cascade=true", headers=bearing(key))
    assert (below.status_code, below.json()["tenants"]) == (200, 2)


async def test_the_report_names_what_lives_on(rig: Rig) -> None:
    """What the provider refused, what cannot be opened any more, and what held nothing, each for what it is."""
    await furnish(rig)
    await connect(rig, TENANT, "a")
    broken = await connect(rig, "acme-eu", "b")
    await connect(rig, "acme-us", "c")
    await rig.api.post(f"/v1/connections/acme-de/{PROVIDER}/d/authorize", json={})
    async with rig.vault.database.transaction() as tx:
        owner = "(SELECT id FROM connections WHERE name = 'b')"
        await tx.execute(text(f"UPDATE sealed_values SET salt = :s WHERE owner_id = {owner}"), {"s": b"x" * 32})
    await rig.provider.fault("revoke", status=503, times=1)

    report = (await rig.api.delete(CASCADE)).json()

    assert report["revocations"] == {"failed": 2, "revoked": 1, "not_asked": 1}
    named = [(one["tenant"], one["name"], one["revoked"]) for one in report["unrevoked"]]
    assert len(named) == 2
    assert ("acme-eu", "b", "failed") in named
    assert broken.family not in await revoked(rig)
    assert (report["complete"], report["connections"]) == (True, 4)
    assert len((await rig.provider.ledger()).requests("revoke")) == 2


@on_sqlite
async def test_nobody_is_asked_where_nothing_is_to_be_revoked(rig: Rig, store: Store) -> None:
    """`revoke=false` leaves all grants alone, and says that they live on."""
    grants = await furnish(rig, "c")

    report = (await rig.api.delete(f"{CASCADE}&revoke=false")).json()

    assert report["revocations"] == {"not_asked": 4}
    assert {one["tenant"] for one in report["unrevoked"]} == {path[:-2] for path in grants if path != "globex/c"}
    assert (await rig.provider.ledger()).requests("revoke") == []


async def test_a_registration_that_others_live_on_stays(rig: Rig) -> None:
    """A tenant that was moved away took its grants along: nothing is done that would end them."""
    await furnish(rig, "c")
    await rig.api.delete(f"/v1/clients/acme-us/{PROVIDER}")
    await connect(rig, "acme-us", "theirs")  # got with acme's registration
    await rig.vault.tenants.put(OPERATOR, "acme-us", parent="platform", name="x", return_urls=[])
    before = await left(rig)

    refused(await rig.api.delete(CASCADE), 409, "client_in_use")

    assert (await left(rig), await revoked(rig)) == (before, set())
    assert (await rig.token("c")).status_code == 200
    await rig.api.delete(f"/v1/connections/acme-us/{PROVIDER}/theirs")
    assert (await rig.api.delete(CASCADE)).json()["complete"] is True  # tombstones hold nobody up


async def test_revocations_go_out_side_by_side_and_not_all_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as one transaction deletes; the next ones wait until those are answered."""
    monkeypatch.setattr(offboarding, "ABREAST", 3)
    for number in range(7):
        await connect(rig, TENANT, f"c{number}")
    await rig.provider.hold("revoke", times=3, when="before")

    deleting = asyncio.create_task(rig.api.delete(CASCADE))
    await rig.provider.wait_for_held(3)
    waiting = len(await audited(rig, "connection.deleted"))
    refused(await rig.token("c6"), 409)  # not deleted yet, and served no more
    await rig.provider.release()

    assert waiting == 3
    assert (await deleting).json()["revocations"] == {"revoked": 7}


async def test_a_call_that_takes_too_long_is_gone_on_with(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is not complete; the next call does the rest, and counts only that."""
    monkeypatch.setattr(offboarding, "ABREAST", 3)
    monkeypatch.setattr(store_offboarding, "MOST_LEAVES", 1)
    await furnish(rig, "c")
    with monkeypatch.context() as hurried:
        hurried.setattr(offboarding, "BUDGET", 0.0)
        first = (await rig.api.delete(CASCADE)).json()

    refused(await rig.token("c"), 409)
    assert (await rig.api.get(f"/v1/tenants/{TENANT}")).json()["paused_at"]
    second = (await rig.api.delete(CASCADE)).json()

    assert (first["complete"], first["callers"], first["connections"]) == (False, 4, 0)
    assert (second["complete"], second["callers"], second["connections"], second["tenants"]) == (True, 0, 4, 4)


@pytest.mark.parametrize(
    ("store", "step"),
    [("sqlite", "send"), *(("postgres", step) for step in ("bury.commit", "bury.committed", "send"))],
    indirect=["store"],
)
async def test_who_is_killed_over_it_is_gone_on_with(replicas: Replicas, store: Store, step: Step) -> None:
    """Nothing of it is served in between. A second call deletes and revokes what is left, and names the rest."""
    rig = await replicas()
    grants = await furnish(rig, *(f"c{number}" for number in range(3)))
    key = await rig.key("tenants:write")
    order = Order(url=store.url, keyring=store.keyring, key=key, path=CASCADE, step=step, method="DELETE")

    with killable.started(order) as child:
        assert await child.ended() == -signal.SIGKILL
    rig.vault.memory.forget_all()  # a process of its own would have heard
    for path in grants:
        tenant, name = path.split("/")
        answer = await rig.api.get(f"/v1/connections/{tenant}/{PROVIDER}/{name}/token")
        assert answer.status_code == 200 if tenant == "globex" else answer.status_code in {404, 409}, path
    buried = len(await audited(rig, "connection.deleted"))
    report = (await rig.api.delete(CASCADE)).json()

    assert buried == (0 if step == "bury.commit" else offboarding.ABREAST)
    assert report["complete"] is True
    assert report["revocations"] == {"revoked": 12 - buried, **({"unknown": buried} if buried else {})}
    assert {one["revoked"] for one in report["unrevoked"]} == ({"unknown"} if buried else set())
    assert len(report["unrevoked"]) == buried
    outcomes = Counter(one["outcome"] for one in await audited(rig, "connection.revoked"))
    assert outcomes == Counter(report["revocations"])
    assert len(await revoked(rig)) == 12 - buried
    assert (await left(rig))["tenants"] == {"platform", "globex"}


@pytest.mark.parametrize("noticed_by", ["housekeeping", "deletion of the tenant"])
async def test_a_revocation_that_a_process_died_over_is_not_lost(
    replicas: Replicas, store: Store, noticed_by: str
) -> None:
    """The audit says that nobody knows what came of it: after a day, or when the tenant goes."""
    rig = await replicas()
    await rig.vault.tenants.put(OPERATOR, "globex", parent="platform", name="x", return_urls=[])
    await rig.register(rig.provider.client_secret, "globex")
    await connect(rig, "globex", "c")
    key = await rig.key("connections:write")
    path = f"/v1/connections/globex/{PROVIDER}/c?revoke=true"
    order = Order(url=store.url, keyring=store.keyring, key=key, path=path, step="send", method="DELETE")
    with killable.started(order) as child:
        assert await child.ended() == -signal.SIGKILL

    await age(rig, minutes=23 * 60)
    await rig.vault.tidy()
    early = await audited(rig, "connection.revoked")
    if noticed_by == "housekeeping":
        await age(rig, minutes=2 * 60)
        await rig.vault.tidy()
    else:
        await rig.api.delete(f"/v1/clients/globex/{PROVIDER}")
        assert (await rig.api.delete("/v1/tenants/globex")).status_code == 204
    await rig.vault.tidy()

    assert early == []
    assert [(one["outcome"], one["name"]) for one in await audited(rig, "connection.revoked")] == [
        ("unknown", "c")
    ]
    async with rig.vault.database.read() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM connections")) == 0


async def age(rig: Rig, *, minutes: int) -> None:
    """Have every tombstone be *minutes* older."""
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text(f"UPDATE connections SET deleted_at = deleted_at - {minutes * 60_000}"))


async def test_two_who_delete_the_same_count_each_thing_once(replicas: Replicas) -> None:
    """Replicas that are told to at once share the work, and its counts."""
    one, two = await replicas(), await replicas()
    await furnish(one, "c", "d", "e")

    answers = await asyncio.gather(one.api.delete(CASCADE), two.api.delete(CASCADE))

    reports = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 404}
    for what, count in (("connections", 12), ("tenants", 4), ("callers", 4), ("clients", 4)):
        assert sum(report[what] for report in reports) == count, what
    assert len(await revoked(one)) == 12


async def test_a_tenant_that_got_a_connection_meanwhile_waits_for_it(rig: Rig) -> None:
    """Only what nothing hangs on any more is taken off the tree, so that the rest is not held up."""
    await furnish(rig)
    await connect(rig, "acme-de", "late")

    async def unit(tx: Transaction) -> list[str]:
        felled = await store_offboarding.fell(tx.connection, TENANT)
        return list(felled.tenants)

    felled = [await rig.vault.writer.submit(unit, alone=True) for _ in range(2)]

    assert felled == [["acme-us"], []]
    assert (await rig.api.delete(CASCADE)).json()["connections"] == 1


async def test_tenants_are_listed_within_the_subtree(rig: Rig) -> None:
    """By id, page by page; those right under one of them if that is asked for."""
    await furnish(rig)
    key = await rig.key("tenants:write", tenant=TENANT)

    async def seen(key: str | None = None, **query: Any) -> list[str]:
        headers = {} if key is None else bearing(key)
        found, query = list[str](), {"limit": 2, **query}
        while True:
            page = (await rig.api.get("/v1/tenants", params=query, headers=headers)).json()
            found += [one["id"] for one in page["items"]]
            if "next" not in page:
                return found
            query["cursor"] = page["next"]

    assert await seen() == sorted([TENANT, *TREE, "platform"])
    assert await seen(parent="platform") == [TENANT, "globex"]
    assert await seen(key) == [TENANT, "acme-de", "acme-eu", "acme-us"]
    assert await seen(key, parent=TENANT) == ["acme-eu", "acme-us"]
    assert await seen(key, parent="acme-de") == []
    for parent in ("platform", "globex", "nowhere"):
        refused(await rig.api.get(f"/v1/tenants?parent={parent}", headers=bearing(key)), 404, "not_found")
    (shown,) = (await rig.api.get("/v1/tenants?parent=acme-eu")).json()["items"]
    assert shown == (await rig.api.get("/v1/tenants/acme-de")).json()


# ---- what a revocation takes with it


@pytest.mark.parametrize(
    ("scope", "other", "withheld"),
    [
        ("token", {"account": "a"}, False),
        ("grant", {"account": "a"}, True),
        ("grant", {"account": "b"}, False),
        ("grant", {}, True),  # whose it is, is not known: it may be the same
        ("grant", {"account": "a", "tenant": "globex"}, True),
        ("grant", {"account": "a", "client": "client-2"}, False),
        ("project", {"account": "a", "client": "client-2"}, True),
        ("project", {"account": "b", "client": "client-2"}, False),
        ("grant", {"account": "a", "deleted_at": 1}, False),
        ("grant", {"account": "a", "status": "failed", "reason": "grant_rejected"}, False),
        ("grant", {"account": "a", "status": "failed", "reason": "undecryptable"}, True),
    ],
)
async def test_a_revocation_takes_no_other_connection_with_it(
    replicas: Replicas, store: Store, scope: str, other: dict[str, Any], withheld: bool
) -> None:
    """It is withheld exactly where another connection lives on what would end, unless that is asked for."""
    rig = await replicas({"revocation_scope": scope})
    await rig.vault.tenants.put(OPERATOR, "globex", parent="platform", name="x", return_urls=[])
    await rig.register(rig.provider.client_secret, "globex")  # the same client, registered once more
    columns = {name: other[name] for name in ("account", "deleted_at") if name in other}
    state: dict[str, Any] = {name: other[name] for name in ("status", "reason") if name in other}
    tenant, client = other.get("tenant", TENANT), other.get("client")
    if client is not None:
        registered = {"client_id": client, "client_secret": "canary-x"}
        await rig.api.put(f"/v1/clients/{TENANT}/{PROVIDER}", json=registered)
    await connect(rig, tenant, "other", **columns)
    await rig.register(rig.provider.client_secret)
    grant = await connect(rig, TENANT, "c", account="a")
    again = await connect(rig, TENANT, "d", account="a")
    if state:
        async with rig.vault.database.transaction() as tx:
            owner = "(SELECT id FROM connections WHERE name = 'other')"
            await tx.execute(
                text(f"UPDATE token_states SET status = :status, reason = :reason WHERE connection_id = {owner}"),
                state,
            )

    first = (await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/d?revoke=all")).json()
    second = (await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c?revoke=true")).json()

    assert first == {"revoked": "revoked"}
    assert again.family in await revoked(rig)
    assert second == {"revoked": "withheld" if withheld else "revoked"}
    assert (grant.family in await revoked(rig)) is not withheld
    outcomes = [one["outcome"] for one in await audited(rig, "connection.revoked")]
    assert outcomes == ["revoked", second["revoked"]]
    refused(await rig.token("c"), 409, "not_connected")


@on_sqlite
@pytest.mark.parametrize(
    ("changed", "withheld"),
    [
        ({"token_endpoint": "http://127.0.0.1:1/token"}, True),  # moved, and yet the same issuer's
        ({"issuer": "http://127.0.0.1:1"}, True),  # named otherwise, and yet the tokens come from there
        ({"issuer": None}, True),
        ({"issuer": "http://127.0.0.1:1", "token_endpoint": "http://127.0.0.1:1/token"}, False),
        ({"issuer": None, "token_endpoint": "http://127.0.0.1:1/token"}, False),
    ],
)
async def test_a_server_that_is_defined_twice_is_one(
    replicas: Replicas, store: Store, changed: dict[str, Any], withheld: bool
) -> None:
    """Another connection of the account counts, whatever the provider is called under which it was made."""
    rig = await replicas({"revocation_scope": "grant"})
    known = {"issuer": rig.provider.issuer, "token_endpoint": rig.provider.token_endpoint}
    fields = {"authorization_endpoint": rig.provider.authorization_endpoint, **known, **changed}
    assert (await rig.api.put("/v1/providers/again", json=fields)).status_code == 201
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    assert (await rig.api.put(f"/v1/clients/{TENANT}/again", json=client)).status_code == 200
    await connect(rig, TENANT, "other", provider="again", account="a")
    await connect(rig, TENANT, "c", account="a")

    answer = await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c?revoke=true")

    assert answer.json() == {"revoked": "withheld" if withheld else "revoked"}


@on_sqlite
async def test_accounts_that_are_unknown_may_be_the_same(replicas: Replicas, store: Store) -> None:
    """Two of one client that never said whose they are hold each other back; one that never connected does not."""
    rig = await replicas({"revocation_scope": "grant"})
    await connect(rig, TENANT, "c")
    await connect(rig, TENANT, "d")
    await rig.api.post(f"/v1/connections/{TENANT}/{PROVIDER}/waiting/authorize", json={})

    answers = [await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/{n}?revoke=true") for n in "cd"]

    assert [answer.json()["revoked"] for answer in answers] == ["withheld", "revoked"]


async def test_what_goes_together_holds_nobody_back(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offboarding revokes what only its own tenants live on, and withholds what somebody else does."""
    monkeypatch.setattr(offboarding, "ABREAST", 1)
    rig = await replicas({"revocation_scope": "grant"})
    await furnish(rig)
    for tenant, name, account in [
        (TENANT, "a", "ours"),
        ("acme-eu", "b", "ours"),
        ("acme-us", "c", "both"),
        ("globex", "d", "both"),
    ]:
        await connect(rig, tenant, name, account=account)

    report = (await rig.api.delete(CASCADE)).json()

    assert report["revocations"] == {"revoked": 2, "withheld": 1}
    assert report["unrevoked"] == [{"tenant": "acme-us", "provider": PROVIDER, "name": "c", "revoked": "withheld"}]
    assert (await rig.api.get(f"/v1/connections/globex/{PROVIDER}/d/token")).status_code == 200
    everything = (await rig.api.delete("/v1/tenants/globex?cascade=true&revoke=all")).json()
    assert everything["revocations"] == {"revoked": 1}


@on_sqlite
async def test_a_late_successor_is_not_revoked_over_the_new_grant(replicas: Replicas, store: Store) -> None:
    """Connected anew while a refresh is out: its answer is thrown away, and what it is of may be the new grant."""
    rig = await replicas({"revocation_scope": "grant"})
    await rig.a_connection("c", expires_in=0)
    await rig.provider.hold()

    asking = asyncio.create_task(rig.token("c"))
    await rig.provider.wait_for_held()
    await rig.adopt(await rig.provider.mint(), "c", expires_in=3600)
    await rig.provider.release()
    await asking
    await rig.vault.refresher.settled()

    assert [one["outcome"] for one in await audited(rig, "token.refreshed")] == ["superseded"]
    assert (await rig.provider.ledger()).requests("revoke") == []


async def test_a_tenant_is_taken_away_over_what_was_seen_only(rig: Rig) -> None:
    """With an ETag of before a change, cascade is refused like any other, and nothing is paused or deleted."""
    await furnish(rig, "c")
    seen = (await rig.api.get(f"/v1/tenants/{TENANT}")).headers["ETag"]
    await rig.api.patch(f"/v1/tenants/{TENANT}", json={"name": "Another"})
    before = await left(rig)

    answer = await rig.api.delete(CASCADE, headers={"If-Match": seen})

    refused(answer, 412, "precondition_failed")
    assert await left(rig) == before
    assert "paused_at" not in (await rig.api.get(f"/v1/tenants/{TENANT}")).json()


@on_postgres
async def test_a_revocation_that_cannot_be_judged_has_failed(
    replicas: Replicas, store: Store, postgres_cluster: Any
) -> None:
    """Once a connection is deleted its token is nowhere else: an outage is an outcome, and not lost with it."""
    rig = await replicas({"revocation_scope": "grant"})
    await connect(rig, TENANT, "c")
    connection = await rig.look("c")
    means = rig.vault.connections._means
    last = await rig.vault.writer.submit(lambda tx: bury(tx, means, "operator", connection, "true"), alone=True)

    async with away(store, postgres_cluster):
        terminate_all(postgres_cluster, store)
        assert await end(means, "operator", last, "true") == "failed"


async def test_nothing_is_stored_for_a_connection_that_is_deleted(rig: Rig) -> None:
    """Whoever comes with new tokens after another replica has deleted it is told, and leaves nothing sealed."""
    await connect(rig, TENANT, "c")
    before, means = await rig.look("c"), rig.vault.connections._means
    await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c")
    tokens = TokenSet(Secret("canary-at"), Secret("canary-rt"), expires_in=3600)
    received = Received(
        tokens=tokens, account=None, client=None, scopes=(), age=0.0, consented=True, kind="oauth2"
    )

    async def unit(tx: Transaction) -> int | None:
        provider = await means.providers.get(PROVIDER, tx.connection)
        return await store_grant(tx, means, before, provider, received)

    with pytest.raises(NotFound):
        await rig.vault.writer.submit(unit, alone=True)

    async with rig.vault.database.read() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM sealed_values WHERE owner_kind = 'connection'")) == 0


@on_sqlite
async def test_nobody_gets_rid_of_a_pause_with_the_tenant(rig: Rig) -> None:
    """What somebody above has paused would come back without the pause: refused, and nothing is deleted."""
    await furnish(rig, "c")
    below = "acme-eu"
    assert (await rig.api.post(f"/v1/clients/{below}/{PROVIDER}/pause")).status_code == 200
    key = bearing(await rig.key("admin", tenant=TENANT))
    before = await left(rig)

    refused(await rig.api.delete(f"/v1/tenants/{below}?cascade=true", headers=key), 409, "paused_above")
    assert await left(rig) == before
    assert (await rig.api.delete(f"/v1/tenants/{below}?cascade=true")).json()["complete"] is True
