"""Inheritance: whose token a path gets, and that nobody gets one that was withdrawn, or that is none of theirs."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import insert, select

from integrations.contract import Secret
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.judge import age, audited, eventually, queued
from tests.integration.test_api import bearing, refused
from tests.integration.test_memory import heard
from tests.processes import started
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant
from tests.rig import PROVIDER, TENANT, Rig, replica
from vault.memory import STALE_AFTER
from vault.sealing import Place, seal_all
from vault.store.schema import connections, sealed_values, tenants, token_states
from vault.store.writer import Transaction


def path(tenant: str, name: str = "c") -> str:
    return f"/v1/connections/{tenant}/{PROVIDER}/{name}"


async def tenant(rig: Rig, name: str, parent: str, **more: Any) -> None:
    answer = await rig.api.put(f"/v1/tenants/{name}", json={"name": name, "parent": parent, **more})
    assert answer.status_code in {200, 201}, answer.text


async def connected(rig: Rig, at: str, name: str = "c", *, expires_in: int = 3600, **more: Any) -> Grant:
    """Connect *at* a tenant; return the grant, whose access token has *expires_in* seconds left."""
    grant = await rig.provider.mint(access_lifetime=max(expires_in, 1))
    ends = (await rig.vault.connections.get((TENANT, PROVIDER, "clock"))).read_at + timedelta(seconds=expires_in)
    given = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
    body = {"credentials": {**given, "expires_at": ends.isoformat()}, "verify": False, **more}
    answer = await rig.api.put(path(at, name), json=body)
    assert answer.status_code in {200, 201}, answer.text
    return grant


async def token(rig: Rig, at: str, name: str = "c", key: str | None = None, **query: Any) -> httpx.Response:
    headers = {} if key is None else bearing(key)
    return await rig.api.get(f"{path(at, name)}/token", params=query, headers=headers)


async def patched(rig: Rig, address: str, **body: Any) -> httpx.Response:
    answer = await rig.api.patch(address, json=body)
    assert answer.status_code == 200, answer.text
    return answer


# --- every combination ------------------------------------------------------------------------------------

OWN = ("none", "disabled", "empty", "living", "failed", "put aside", "disabled, empty", "disabled, put aside")
ABOVE = ("none", "unshared", "disabled", "failed", "living")  # shared, unless it says not
PARENT = (*ABOVE, "empty", "put aside")


class Family(NamedTuple):
    """Three generations: what each has, and whether the younger two inherit."""

    own: str
    inherits: bool
    parent: str
    parent_inherits: bool
    grandparent: str


class Expected(NamedTuple):
    """What a request for the child's token is answered: 200 with whose it is, or 409 with the code."""

    code: str
    source: str | None = None  # which generation's connection decides


def expected(family: Family) -> Expected:
    """Say what the design says, in the plainest words there are."""
    if family.own.startswith("disabled"):
        return Expected("disabled", "child")
    if family.own == "living":
        return Expected("token", "child")
    if family.own == "failed":
        return Expected("reconnect_required", "child")
    # It has none, or none with credentials, or has put its own aside.
    if family.inherits:
        if family.parent == "living":
            return Expected("token", "parent")
        if family.parent == "failed":
            return Expected("reconnect_required", "parent")
        # The parent has nothing to pass on of its own.
        if family.parent_inherits:
            if family.grandparent == "living":
                return Expected("token", "grandparent")
            if family.grandparent == "failed":
                return Expected("reconnect_required", "grandparent")
    return Expected("not_connected")


class Rows(NamedTuple):
    """The rows of many tenants and their connections, to be stored at once."""

    tenants: list[dict[str, Any]]
    connections: list[dict[str, Any]]
    states: list[dict[str, Any]]
    values: list[dict[str, Any]]


class Builder:
    """Makes rows like those of one real connection."""

    def __init__(self, rig: Rig, connection: Any, state: Any, parent: Any) -> None:
        self._rig = rig
        self._connection, self._state, self._tenant = connection._mapping, state._mapping, parent._mapping
        self.rows = Rows([], [], [], [])

    def tenant(self, name: str, parent: str, *, inherit: bool = True) -> None:
        self.rows.tenants.append({**self._tenant, "id": name, "parent_id": parent, "inherit": inherit})

    def connection(self, at: str, what: str, *, shared: bool) -> None:
        """Add the connection of tenant *at* that *what* says, with an access token that says whose it is."""
        if what == "none":
            return
        made = secrets.token_hex(16)
        edited = {"enabled": not what.startswith("disabled"), "shared": shared and what != "unshared"}
        prefer = "inherited" if what.endswith("put aside") else "own"
        self.rows.connections.append({**self._connection, "id": made, "tenant_id": at, "prefer": prefer, **edited})
        self.rows.states.append({**self._state, "connection_id": made, **self._health(what)})
        if not what.endswith("empty"):
            place = Place(at, PROVIDER, "connection", made)
            token = {"access_token": Secret(f"canary-{at}")}
            sealed = seal_all(self._rig.vault.keyring, place, self._state["generation"], token)["access_token"]
            owner = {"owner_kind": "connection", "owner_id": made, "field": "access_token"}
            self.rows.values.append({**owner, "generation": self._state["generation"], **vars(sealed)})

    def _health(self, what: str) -> dict[str, Any]:
        if what.endswith("empty"):
            return {"status": "unconfigured", "reason": "awaiting_consent", "access_expires_at": None}
        if what == "failed":
            ended = self._state["refreshed_at"] - timedelta(hours=1)
            return {"status": "failed", "reason": "grant_rejected", "access_expires_at": ended}
        return {}


async def builder(rig: Rig) -> Builder:
    made, _ = await rig.a_connection("c", expires_in=3600)
    async with rig.vault.database.read() as tx:
        connection = (await tx.execute(select(connections).where(connections.c.id == made.id))).one()
        state = (await tx.execute(select(token_states).where(token_states.c.connection_id == made.id))).one()
        parent = (await tx.execute(select(tenants).where(tenants.c.id == TENANT))).one()
    return Builder(rig, connection, state, parent)


def families(build: Builder) -> Iterator[tuple[str, Family]]:
    """Build every combination under TENANT, whose own is not shared; give each child and its family."""
    for g, grandparent in enumerate(ABOVE):
        build.tenant(f"g{g}", TENANT)
        build.connection(f"g{g}", grandparent, shared=True)
        for p, (parent, parent_inherits) in enumerate(product(PARENT, (True, False))):
            build.tenant(f"g{g}p{p}", f"g{g}", inherit=parent_inherits)
            build.connection(f"g{g}p{p}", parent, shared=True)
            for c, (own, inherits) in enumerate(product(OWN, (True, False))):
                child = f"g{g}p{p}c{c}"
                build.tenant(child, f"g{g}p{p}", inherit=inherits)
                build.connection(child, own, shared=False)
                yield child, Family(own, inherits, parent, parent_inherits, grandparent)


async def stored(rig: Rig, rows: Rows) -> None:
    async def unit(tx: Transaction) -> None:
        for table, made in (
            (tenants, rows.tenants),
            (connections, rows.connections),
            (token_states, rows.states),
            (sealed_values, rows.values),
        ):
            await tx.execute(insert(table), made)

    await rig.vault.writer.submit(unit, alone=True)


def named(child: str, generation: str | None) -> str | None:
    """Return the tenant of that *generation* in *child*'s family: g0p1c2, g0p1 or g0."""
    parent, grandparent = child.partition("c")[0], child.partition("p")[0]
    return {None: None, "child": child, "parent": parent, "grandparent": grandparent}[generation]


@on_sqlite  # the others here are of the same question on both
async def test_every_combination_is_answered_as_the_design_says(rig: Rig) -> None:
    """Own, parent's and grandparent's connection in every state, with and without inheriting.

    What gets a token is asked for twice, so that what is remembered is judged too; and what is shown
    of a connection says where its token comes from.
    """
    build = await builder(rig)
    every = list(families(build))
    await stored(rig, build.rows)
    assert len(every) == len(OWN) * 2 * len(PARENT) * 2 * len(ABOVE)

    again = [each for each in every if expected(each[1]).code == "token"]
    for some in chunks(every + again, 24):
        answers = await asyncio.gather(*(token(rig, child) for child, _ in some))
        for (child, family), answer in zip(some, answers, strict=True):
            judge(answer, child, family)
    for child, family in every[:: 2 * len(OWN) + 1]:  # each of the own states, and of those above
        shown = await rig.api.get(path(child))
        assert (shown.status_code == 404) is (family.own == "none"), family
        if family.own != "none":
            source = named(child, expected(family).source)
            assert (shown.json().get("source") or {}).get("tenant") == source, family
    handed = {child: named(child, expected(family).source) for child, family in every}
    for row in await audited(rig, "token.handed_out"):
        whose = handed[row["tenant"]]
        assert row["detail"] == ({} if whose == row["tenant"] else {"source": whose})


def chunks(every: list[tuple[str, Family]], length: int) -> Iterator[list[tuple[str, Family]]]:
    for start in range(0, len(every), length):
        yield every[start : start + length]


def judge(answer: httpx.Response, child: str, family: Family) -> None:
    """Check what one request for *child*'s token was answered."""
    wanted, body = expected(family), answer.json()
    source = named(child, wanted.source)
    told = {"tenant": source, "provider": PROVIDER, "name": "c"}
    if wanted.code == "token":
        assert answer.status_code == 200, (family, answer.text)
        assert body["source"] == told, family
        assert body["access_token"] == f"canary-{source}", family
        return
    assert (answer.status_code, body["code"]) == (409, wanted.code), (family, answer.text)
    # A link is for whoever's connection it is; of another's there is told whose it is, as with a token.
    links = wanted.code == "reconnect_required" and source == child
    assert ("connect_url" in body) is links, family
    elsewhere = wanted.code == "reconnect_required" and source != child
    assert body.get("source") == (told if elsewhere else None), family


# --- whose it is ------------------------------------------------------------------------------------------


@pytest.fixture(name="tree")
async def _tree(rig: Rig) -> Rig:
    """Give a tree: acme-eu and acme-us below acme, acme-eu-x below acme-eu; and globex beside acme."""
    await rig.a_connection("clock")
    await branches(rig)
    return rig


async def branches(rig: Rig) -> None:
    for name, parent in (("acme-eu", TENANT), ("acme-us", TENANT), ("acme-eu-x", "acme-eu")):
        await tenant(rig, name, parent)
    await tenant(rig, "globex", "platform")
    await rig.register(rig.provider.client_secret, "platform")


async def test_a_key_gets_what_is_shared_on_its_own_path_only(tree: Rig) -> None:
    """The child's key has its own path and not its parent's; a sibling's has neither, nor has one from beside."""
    grant = await connected(tree, TENANT, shared=True)
    await connected(tree, "acme-us")
    keys = {name: await tree.key("tokens:read", tenant=name) for name in ("acme-eu", "acme-us", "globex")}
    for _ in range(2):  # the second time, all of it is remembered
        handed = await token(tree, "acme-eu", key=keys["acme-eu"])
        assert handed.json()["access_token"] == grant.access_token
        assert handed.json()["source"]["tenant"] == TENANT
        refused(await token(tree, TENANT, key=keys["acme-eu"]), 404, "not_found")
        refused(await token(tree, "acme-us", key=keys["acme-eu"]), 404, "not_found")
        for stranger in ("acme-us", "globex"):
            for place in (TENANT, "acme-eu", "acme-eu-x"):
                refused(await token(tree, place, key=keys[stranger]), 404, "not_found")
        refused(await token(tree, "globex", key=keys["globex"]), 409, "not_connected")
        await heard(tree)


@on_sqlite
async def test_the_limits_of_a_key_are_those_of_the_path(tree: Rig) -> None:
    """A key for other providers or names gets nothing by way of a parent; another name is another connection."""
    await connected(tree, TENANT, shared=True)
    for limits in ({"providers": ["other"]}, {"names": ["d"]}):
        key = await tree.key("tokens:read", tenant="acme-eu", **limits)
        refused(await token(tree, "acme-eu", key=key), 404, "not_found")
    refused(await token(tree, "acme-eu", "d"), 409, "not_connected")


@on_sqlite
async def test_of_what_is_inherited_only_the_source_is_told(tree: Rig) -> None:
    """A row of one's own says whose token it gets; nothing else of that connection is in it."""
    await connected(tree, TENANT, shared=True, metadata={"secret": "plan"})
    await tree.api.post(f"{path('acme-eu')}/authorize", json={})
    key = await tree.key("connections:read", "connections:write", tenant="acme-eu")

    shown = await tree.api.get(path("acme-eu"), headers=bearing(key))
    listed = await tree.api.get("/v1/connections", headers=bearing(key))

    body = shown.json()
    assert body["source"] == {"tenant": TENANT, "provider": PROVIDER, "name": "c"}
    assert (body["status"], body["prefer"], body["shared"]) == ("unconfigured", "own", False)
    assert {"account", "expires_at", "refreshed_at"}.isdisjoint(body)
    assert body["metadata"] == {}
    assert [one["tenant"] for one in listed.json()["items"]] == ["acme-eu"]
    for what in (tree.api.get, tree.api.delete):
        refused(await what(path(TENANT), headers=bearing(key)), 404, "not_found")
    refused(await tree.api.patch(path(TENANT), json={"shared": False}, headers=bearing(key)), 404, "not_found")


@on_sqlite
async def test_a_failed_source_is_told_without_the_link_to_it(tree: Rig) -> None:
    """Only whoever's path it is gets the link: with it, a child could put its account in its parent's place."""
    grant = await connected(tree, TENANT, shared=True, expires_in=0)
    await tree.provider.revoke_family(grant.family)

    child = refused(await token(tree, "acme-eu"), 409, "reconnect_required")
    parent = refused(await token(tree, TENANT), 409, "reconnect_required")

    source = {"tenant": TENANT, "provider": PROVIDER, "name": "c"}
    assert (child["reason"], child["source"]) == ("grant_rejected", source)
    assert "connect_url" not in child
    assert parent["connect_url"].startswith("http")
    assert "source" not in parent


async def test_putting_aside_loses_nothing(tree: Rig) -> None:
    """Back to what is inherited and forth again, and the own tokens are renewed all the while."""
    theirs = await connected(tree, TENANT, shared=True)
    mine = await connected(tree, "acme-eu", expires_in=0)

    aside = await patched(tree, path("acme-eu"), prefer="inherited")
    inherited = await token(tree, "acme-eu")
    await tree.vault.sweeper.once()
    back = await patched(tree, path("acme-eu"), prefer="own")
    own = await token(tree, "acme-eu")

    assert (aside.json()["prefer"], aside.json()["source"]["tenant"]) == ("inherited", TENANT)
    assert inherited.json()["access_token"] == theirs.access_token
    assert (back.json()["prefer"], back.json()["source"]["tenant"]) == ("own", "acme-eu")
    assert own.json()["source"]["tenant"] == "acme-eu"
    assert len((await tree.provider.ledger()).exchanges(mine.family)) == 1


# --- refreshes and rejections -----------------------------------------------------------------------------


async def test_all_who_inherit_have_it_refreshed_once(tree: Rig) -> None:
    """An expired source is refreshed through the one function, whoever of them asks and however many."""
    grant = await connected(tree, TENANT, shared=True, expires_in=0)
    places = [TENANT, "acme-eu", "acme-us", "acme-eu-x"] * 4

    answers = await asyncio.gather(*(token(tree, place) for place in places))

    assert [answer.status_code for answer in answers] == [200] * len(places)
    assert len({answer.json()["access_token"] for answer in answers}) == 1
    assert {answer.json()["generation"] for answer in answers} == {2}
    assert len((await tree.provider.ledger()).exchanges(grant.family)) == 1


async def report(rig: Rig, at: str, generation: int, source: str | None = None) -> httpx.Response:
    whose = {} if source is None else {"source": {"tenant": source, "provider": PROVIDER, "name": "c"}}
    return await rig.api.post(f"{path(at)}/rejections", json={"generation": generation, **whose})


async def test_a_report_is_about_the_source(tree: Rig) -> None:
    """Children and parent report one generation: one refresh; the audit names the path and whose token it was."""
    grant = await connected(tree, TENANT, shared=True)
    await age(tree, timedelta(seconds=10), "refreshed_at")

    first = await report(tree, "acme-eu", 1, TENANT)
    others = [await report(tree, place, 1, TENANT) for place in ("acme-us", TENANT)]

    assert [answer.json()["generation"] for answer in (first, *others)] == [2, 2, 2]
    assert len((await tree.provider.ledger()).exchanges(grant.family)) == 1
    told = [(row["tenant"], row["outcome"], row["detail"]) for row in await audited(tree, "token.rejected")]
    assert told == [
        ("acme-eu", "ok", {"source": TENANT}),
        ("acme-us", "outdated", {"source": TENANT}),
        (TENANT, "outdated", {}),
    ]


async def test_a_report_about_a_former_source_is_not_one_about_the_present(tree: Rig) -> None:
    """Connected itself since, a tenant gets its own token for the report, and nothing is refreshed; a source that
    it cannot have had is refused."""
    theirs = await connected(tree, TENANT, shared=True)
    mine = await connected(tree, "acme-eu")

    answer = await report(tree, "acme-eu", 1, TENANT)
    later = await report(tree, "acme-eu", 9, TENANT)

    assert answer.json()["access_token"] == later.json()["access_token"] == mine.access_token
    for stranger in ("acme-us", "globex", "acme-eu-x"):
        refused(await report(tree, "acme-eu", 1, stranger), 422, "wrong_source")
    ledger = await tree.provider.ledger()
    assert ledger.exchanges(theirs.family) == ledger.exchanges(mine.family) == []


@pytest.mark.parametrize("how", ["asks", "reports"])
async def test_who_waits_for_a_source_gets_what_serves_it_then(tree: Rig, how: str) -> None:
    """Connected while its request waits for its parent's refresh, a tenant gets its own token, as it is."""
    await connected(tree, TENANT, shared=True, expires_in=0 if how == "asks" else 3600)
    await age(tree, timedelta(seconds=10), "refreshed_at")
    await tree.provider.hold()
    request = token(tree, "acme-eu", wait=20) if how == "asks" else report(tree, "acme-eu", 1, TENANT)
    waiting = asyncio.create_task(request)
    await tree.provider.wait_for_held()
    mine = await connected(tree, "acme-eu")
    await tree.provider.release()

    answer = await waiting

    assert (answer.json()["access_token"], answer.json()["source"]["tenant"]) == (mine.access_token, "acme-eu")
    assert (await tree.provider.ledger()).exchanges(mine.family) == []


async def test_who_waits_for_a_source_has_its_own_refreshed_then(tree: Rig) -> None:
    """Taken back from being put aside meanwhile, its own old token is renewed, whatever generation each is of."""
    await connected(tree, TENANT, shared=True, expires_in=0)
    for _ in range(2):
        await connected(tree, "acme-eu")
    mine = await connected(tree, "acme-eu", expires_in=0, prefer="inherited")
    await tree.provider.hold()
    waiting = asyncio.create_task(token(tree, "acme-eu", wait=20))
    await tree.provider.wait_for_held()
    await patched(tree, path("acme-eu"), prefer="own")
    await tree.provider.release()

    answer = await waiting

    assert (answer.json()["source"]["tenant"], answer.json()["generation"]) == ("acme-eu", 4)
    assert len((await tree.provider.ledger()).exchanges(mine.family)) == 1


# --- kill switches on the way -----------------------------------------------------------------------------

SWITCHES = {
    "provider": f"/v1/providers/{PROVIDER}",
    "client": f"/v1/clients/{TENANT}/{PROVIDER}",
    "the source's tenant": f"/v1/tenants/{TENANT}",
    "a tenant between": "/v1/tenants/acme-eu",
    "the tenant that asks": "/v1/tenants/acme-eu-x",
    "the root": "/v1/tenants/platform",
}


async def test_a_kill_switch_on_the_way_stops_it(tree: Rig) -> None:
    """Paused anywhere from the path up, no token is handed out, remembered or not, and none from further above."""
    await connected(tree, "platform", shared=True)
    await connected(tree, TENANT, shared=True)
    for switch, address in SWITCHES.items():
        assert (await token(tree, "acme-eu-x")).json()["source"]["tenant"] == TENANT
        await heard(tree)

        await tree.api.post(f"{address}/pause")
        problem = refused(await token(tree, "acme-eu-x"), 409, "disabled")
        await tree.api.post(f"{address}/resume")

        assert problem["paused"] == (switch if switch in {"provider", "client"} else "tenant"), switch
        assert (await token(tree, "acme-eu-x")).json()["source"]["tenant"] == TENANT, switch


# --- what is remembered -----------------------------------------------------------------------------------


class Names(NamedTuple):
    """Three tenants below the root. The last one asks, and gets what the first one shares, until a change."""

    top: str
    between: str
    asking: str


Change = Callable[[Rig, Names], Awaitable[Any]]


async def begin_and_connect(rig: Rig, names: Names) -> None:
    """Make the row first, and let it be heard of, before there are credentials in it."""
    assert (await rig.api.post(f"{path(names.asking)}/authorize", json={})).status_code == 201
    await rig.vault.watch.listen()
    await connected(rig, names.asking)


# Each change on the way, and whose token is handed out after it.
CHANGES: dict[str, tuple[Change, str | None]] = {
    "it is connected itself": (lambda rig, names: connected(rig, names.asking), "asking"),
    "it is connected by and by": (begin_and_connect, "asking"),
    "a nearer one is shared": (lambda rig, names: connected(rig, names.between, shared=True), "between"),
    "a nearer one is none": (lambda rig, names: connected(rig, names.between), "top"),
    "it is shared no more": (lambda rig, names: patched(rig, path(names.top), shared=False), "platform"),
    "it is switched off": (lambda rig, names: patched(rig, path(names.top), enabled=False), "platform"),
    "it is put aside": (lambda rig, names: patched(rig, path(names.top), prefer="inherited"), "platform"),
    "it is deleted": (lambda rig, names: rig.api.delete(path(names.top)), "platform"),
    "who asks inherits no more": (lambda rig, names: patched(rig, at(names.asking), inherit=False), None),
    "one between inherits no more": (lambda rig, names: patched(rig, at(names.between), inherit=False), None),
    "who asks moves": (lambda rig, names: patched(rig, at(names.asking), parent="platform"), "platform"),
    "one between moves": (lambda rig, names: patched(rig, at(names.between), parent="platform"), "platform"),
}


def at(tenant: str) -> str:
    return f"/v1/tenants/{tenant}"


async def test_each_change_on_the_way_is_seen_by_the_other_replica(replicas: Replicas) -> None:
    """One replica serves from memory what another one changes: with the next hearing, it serves that no more."""
    rig, other = await replicas(), await replicas()
    for each in (rig, other):
        each.vault.memory._alone = True  # nobody waits: the hearing is called for
    await rig.a_connection("clock")
    await rig.register(rig.provider.client_secret, "platform")
    await connected(rig, "platform", shared=True)
    for number, (change, (make, after)) in enumerate(CHANGES.items()):
        names = Names(f"top{number}", f"between{number}", f"asking{number}")
        for name, parent in zip(names, ("platform", *names), strict=False):
            await tenant(rig, name, parent)
        await connected(rig, names.top, shared=True)
        await rig.vault.watch.listen()  # of all that was made until now
        assert (await token(rig, names.asking)).json()["source"]["tenant"] == names.top
        assert rig.vault.memory.recall(("connection", names.asking, PROVIDER, "c")) is not None

        await make(other, names)
        await rig.vault.watch.listen()
        answer = (await token(rig, names.asking)).json()

        source = names._asdict().get(after, after) if after else None
        assert answer.get("source", {}).get("tenant") == source, change
        assert answer.get("code") == (None if source else "not_connected"), change


async def test_a_refreshed_source_is_served_anew_to_all(replicas: Replicas) -> None:
    """Each replica forgets what its children inherit when another one refreshes the source."""
    rig, other = await replicas(), await replicas()
    await rig.a_connection("clock")
    await branches(rig)
    await connected(rig, TENANT, shared=True)
    before = await token(rig, "acme-eu")
    await heard(rig)

    await age(other, timedelta(seconds=10), "refreshed_at")
    renewed = await report(other, "acme-eu-x", 1, TENANT)
    await rig.vault.watch.listen()

    after = await token(rig, "acme-eu")
    assert before.json()["generation"] == 1
    assert after.json()["access_token"] == renewed.json()["access_token"]


async def test_what_others_connect_leaves_what_is_remembered(tree: Rig) -> None:
    """A tenant that connects itself is no news for the siblings that go on inheriting."""
    await connected(tree, TENANT, shared=True)
    await tree.vault.watch.listen()  # of all that was made until now
    await token(tree, "acme-eu")

    await connected(tree, "acme-us")
    await tree.api.post(f"{path('acme-eu-x')}/authorize", json={})

    assert tree.vault.memory.recall(("connection", "acme-eu", PROVIDER, "c")) is not None


@pytest.mark.parametrize("what", ["shared", "enabled"])
async def test_done_means_done_for_whoever_inherits(
    store: Store, provider: FakeProvider, tmp_path: Path, what: str
) -> None:
    """Once it is answered that a connection is shared no more, or off, no process gives its token to a child."""
    async with replica(store.url, store.keyring, provider) as rig:
        await rig.setup()
        await rig.a_connection("clock")
        await branches(rig)
        await connected(rig, TENANT, shared=True)
        key = await rig.key("tokens:read", tenant="acme-eu")
        rig.vault.memory._alone = False  # this process only stands beside the one that serves
        async with started("serve", store.url, tmp_path) as server, server.api(key) as api:

            async def served() -> bool:
                return (await api.get(f"{path('acme-eu')}/token")).status_code == 200

            await eventually(served)
            began = asyncio.get_running_loop().time()
            await patched(rig, path(TENANT), **{what: False})
            took = asyncio.get_running_loop().time() - began
            after = await api.get(f"{path('acme-eu')}/token")

    assert (after.status_code, after.json()["code"]) == (409, "not_connected")
    assert took >= STALE_AFTER


async def test_a_record_that_took_long_is_not_the_last_look(tree: Rig) -> None:
    """Connected itself while the audit record of its parent's token waits, a tenant is not given that one."""
    await connected(tree, TENANT, shared=True)
    await token(tree, "acme-eu")
    await heard(tree)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def blocking(_tx: Transaction) -> None:
        begun.set()
        await go_on.wait()

    blocked = asyncio.create_task(tree.vault.writer.submit(blocking, alone=True))
    await begun.wait()
    connecting = asyncio.create_task(connected(tree, "acme-eu"))
    await eventually(queued(tree, 2))  # before the record; the watch is one of them
    asking = asyncio.create_task(token(tree, "acme-eu"))
    await eventually(queued(tree, 3))
    await asyncio.sleep(STALE_AFTER + 0.1)
    go_on.set()
    await blocked
    mine = await connecting

    answer = await asking
    assert answer.status_code == 503 or answer.json()["access_token"] == mine.access_token
