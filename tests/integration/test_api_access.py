"""Who may call what: 401, then 403 by route and key alone, then 404 for missing and foreign alike."""

import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from integrations.contract import Client, Secret
from tests.declared import document
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.test_api import anonymous, bearing, refused, routes
from tests.rig import PROVIDER, Rig
from vault.access import SCOPES, new_key
from vault.callers import OPERATOR
from vault.connections import Change

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/v1/tenants/{tenant}"): {"name": "A", "parent": "acme"},
    ("PUT", "/v1/providers/{provider}"): {"issuer": "https://id.example"},
    ("PUT", "/v1/clients/{tenant}/{provider}"): {"client_id": "client-1", "client_secret": "canary-cs"},
    ("PUT", "/v1/connections/{tenant}/{provider}/{name}"): {"enabled": True},
    ("PATCH", "/v1/tenants/{tenant}"): {"name": "B"},
    ("PATCH", "/v1/connections/{tenant}/{provider}/{name}"): {"enabled": True},
    ("POST", "/v1/connections/{tenant}/{provider}/{name}/authorize"): {},
    ("POST", "/v1/connections/{tenant}/{provider}/{name}/rejections"): {"generation": 1},
    ("POST", "/v1/callers"): {"name": "made", "scopes": ["callers:write"], "tenant": "{tenant}"},
}


class Cell:
    """One route, aimed at one tenant."""

    def __init__(self, method: str, path: str, names: dict[str, str]) -> None:
        template = path.replace(":str", "")
        body = BODIES.get((method, template), example_of(method, template))
        self.method, self.template = method, template
        self.body = None if body is None else _filled(body, names)
        self.path = template
        for name, value in names.items():
            self.path = self.path.replace(f"{{{name}}}", value)

    async def ask(self, rig: Rig, key: str | None) -> httpx.Response:
        headers = {"Authorization": ""} if key is None else bearing(key)
        more: dict[str, Any] = {} if self.body is None else {"json": self.body}
        return await rig.api.request(self.method, self.path, headers=headers, **more)


@cache
def example_of(method: str, template: str) -> dict[str, Any] | None:
    """Return the example of the body that a route takes, None where it takes none."""
    known = document()
    sent = known["paths"][template][method.lower()].get("requestBody")
    if sent is None:
        return None
    name = sent["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return dict(known["components"]["examples"][name]["value"])


def _filled(body: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {
        field: names["tenant"] if value == "{tenant}" else value
        for field, value in body.items()
        if value != "{tenant}" or "tenant" in names
    }


async def furnish(rig: Rig, tenant: str) -> str:
    """Make everything there is to reach under *tenant*, where it is not there; return a caller's id."""
    parent = "acme" if tenant.startswith("acme-") else "platform"
    await rig.vault.tenants.put(OPERATOR, tenant, parent=parent, name=tenant, return_urls=[])
    for secret in ("canary-former", rig.provider.client_secret):
        await rig.vault.clients.put(tenant, PROVIDER, Client(rig.provider.client_id, Secret(secret)), "operator")
    change = Change(credentials=await tokens(rig), verify=False)
    await rig.vault.connections.put("operator", (tenant, PROVIDER, "c"), [tenant, parent], change)
    wanted = {"name": "x", "scopes": ["tokens:read"], "tenant": tenant}
    limits = {"providers": None, "names": None, "expires_at": None}
    caller, _ = await rig.vault.callers.create(OPERATOR, {**wanted, **limits})
    return caller.id


async def tokens(rig: Rig) -> dict[str, str]:
    grant = await rig.provider.mint()
    return {"access_token": grant.access_token, "refresh_token": grant.refresh_token}


def aimed(tenant: str, caller: str) -> dict[str, str]:
    return {"tenant": tenant, "provider": PROVIDER, "name": "c", "caller_id": caller}


@on_sqlite
async def test_every_route_refuses_in_the_same_order(rig: Rig, store: Store) -> None:
    """The matrix of all routes by all scopes by own, foreign and missing tenants, generated from the app."""
    await furnish(rig, "acme")
    foreign_caller = await furnish(rig, "globex")
    keys = {scope: await rig.key(scope, tenant="acme") for scope in SCOPES}
    cells = 0
    for method, path, opt in routes(rig):
        if opt.get("public"):
            continue
        foreign = Cell(method, path, aimed("globex", foreign_caller))
        missing = Cell(method, path, aimed("nowhere", "a" * 12))
        refused(await foreign.ask(rig, None), 401, "unauthenticated")
        for scope, key in keys.items():
            cells += 1
            if opt["scope"] not in (None, scope) and scope != "admin":
                cell = (foreign, missing, Cell(method, path, aimed("acme-eu", "b" * 12)))[cells % 3]
                problem = refused(await cell.ask(rig, key), 403, "insufficient_scope")
                assert problem["scope"] == opt["scope"]
                continue
            await look(rig, key, method, path, foreign, missing)

    assert cells >= 20 * len(SCOPES)


async def look(rig: Rig, key: str, method: str, path: str, foreign: Cell, missing: Cell) -> None:
    """Ask with a key of acme's that has the scope."""
    own = Cell(method, path, aimed("acme-eu", await furnish(rig, "acme-eu")))
    answer = await own.ask(rig, key)
    if own.template.startswith("/v1/providers") and method != "GET":
        refused(answer, 404, "not_found")  # defined for all, so only with a key for all
        return
    assert answer.status_code not in {401, 403, 404}, (own.path, answer.text)
    assert answer.status_code < 500, answer.text
    if foreign.path == own.path and foreign.body == own.body:
        return  # a list, or the catalogue
    hidden = refused(await foreign.ask(rig, key), 404, "not_found")
    if own.template != "/v1/tenants/{tenant}" or method != "PUT":  # which makes what is missing
        assert anonymous(refused(await missing.ask(rig, key), 404)) == anonymous(hidden)


def private(rig: Rig, *parts: str) -> Iterator[tuple[str, str]]:
    """Give method and path of every route that is not public and has one of *parts* in its path."""
    for method, path, opt in routes(rig):
        if not opt.get("public") and any(f"{{{part}:str}}" in path for part in parts):
            yield method, path


def alike(problems: list[dict[str, Any]]) -> bool:
    return len({str(sorted(anonymous(problem).items())) for problem in problems}) == 1


@on_sqlite
async def test_beside_above_and_nowhere_look_the_same(rig: Rig, store: Store) -> None:
    """On every route that names a tenant or a caller: a sibling, the parent, the root, a stranger, nobody."""
    tenants = ("acme", "acme-eu", "acme-us", "globex")
    callers = {tenant: await furnish(rig, tenant) for tenant in tenants}
    key = await rig.key("admin", tenant="acme-eu")
    asked = 0
    for method, path in private(rig, "tenant", "caller_id"):
        problems = []
        for tenant in ("acme-us", "acme", "platform", "globex", "nowhere"):
            cell = Cell(method, path, aimed(tenant, callers.get(tenant, "a" * 12)))
            problems.append(refused(await cell.ask(rig, key), 404, "not_found"))
            asked += 1
        # Of a tenant that could be made, the parent is what cannot be reached.
        assert alike(problems) or (method, path) == ("PUT", "/v1/tenants/{tenant:str}"), (path, problems)
    for tenant in ("acme-us", "acme", "platform", "globex", "nowhere"):
        listed = await rig.api.get("/v1/connections", params={"tenant": tenant}, headers=bearing(key))
        refused(listed, 404, "not_found")

    assert asked >= 5 * 20


@on_sqlite
async def test_the_limits_of_a_key_hold_on_every_route(rig: Rig, store: Store) -> None:
    """With a key for other providers or other names, what exists and what does not look the same everywhere."""
    caller = await furnish(rig, "acme")
    for limits, part, limited in [
        ({"providers": ["other"]}, "provider", {"provider": "unknown"}),
        ({"names": ["other"]}, "name", {"name": "unknown"}),
    ]:
        key = await rig.key("admin", **limits)
        for method, path in private(rig, part):
            here, nowhere = aimed("acme", caller), {**aimed("acme", caller), **limited}
            problems = [
                refused(await Cell(method, path, names).ask(rig, key), 404, "not_found")
                for names in (here, nowhere)
            ]
            assert alike(problems), (path, problems)


@on_sqlite
async def test_a_key_for_the_whole_tree_defines_providers(rig: Rig) -> None:
    """What is defined for all takes the scope and a key that stands at the root."""
    key = await rig.key("providers:write")
    body = {
        "authorization_endpoint": rig.provider.authorization_endpoint,
        "token_endpoint": rig.provider.token_endpoint,
    }

    made = await rig.api.put("/v1/providers/other", json=body, headers=bearing(key))
    gone = await rig.api.delete("/v1/providers/other", headers=bearing(key))

    assert (made.status_code, gone.status_code) == (201, 204)


def spoilt(key: str) -> dict[str, str]:
    """Return headers that are not the key's, each wrong in one way."""
    other = key[:-1] + ("0" if key[-1] != "0" else "1")
    middle = key[:30] + ("0" if key[30] != "0" else "1") + key[31:]
    return {
        "nothing": "",
        "scheme alone": "Bearer",
        "another scheme": f"Basic {key}",
        "no scheme": key,
        "no key": "Bearer ",
        "no prefix": f"Bearer {key[3:]}",
        "another prefix": f"Bearer tw{key[2:]}",
        "checksum": f"Bearer {other}",
        "typing error": f"Bearer {middle}",
        "cut": f"Bearer {key[:-9]}",
        "longer": f"Bearer {key}0",
        "upper case": f"Bearer {key.upper()}",
        "two keys": f"Bearer {key} {key}",
        "very long": f"Bearer tv_{'a' * 60_000}",
    }


@on_sqlite
async def test_a_key_that_is_mistyped_is_refused_without_a_look_into_the_database(rig: Rig, store: Store) -> None:
    """The prefix and the checksum decide: even without a table of callers, the answer is the same 401."""
    good = await rig.key()
    await execute(rig, "ALTER TABLE callers RENAME TO callers_elsewhere")

    answers = [await rig.api.get("/v1/providers", headers={"Authorization": h}) for h in spoilt(good).values()]
    looked = await rig.api.get("/v1/providers", headers=bearing(good))

    assert len({str(anonymous(refused(answer, 401, "unauthenticated"))) for answer in answers}) == 1
    assert looked.status_code >= 500  # so a look would have been noticed


async def execute(rig: Rig, statement: str) -> None:
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text(statement))


@on_sqlite
async def test_every_reason_for_a_401_looks_the_same(rig: Rig) -> None:
    """Unknown id, right id with another secret, expired and revoked are not told apart."""
    good = await rig.key()
    _, unknown = new_key()
    identity, stolen = new_key()
    expired = await rig.key(expires_at=datetime.now(UTC) + timedelta(hours=1))
    await execute(rig, f"UPDATE callers SET expires_at = 1000 WHERE id = '{expired.split('_')[1]}'")
    revoked = await rig.key()
    gone = await rig.api.delete(f"/v1/callers/{revoked.split('_')[1]}")
    swapped = wearing(good.split("_")[1], stolen.reveal())

    answers = [
        await rig.api.get("/v1/providers", headers=bearing(key))
        for key in (unknown.reveal(), swapped, expired, revoked)
    ]

    assert gone.status_code == 204
    assert len({str(anonymous(refused(answer, 401, "unauthenticated"))) for answer in answers}) == 1
    assert (await rig.api.get("/v1/providers", headers=bearing(good))).status_code == 200
    assert identity != good.split("_")[1]


def wearing(identity: str, key: str) -> str:
    """Return *key* under another caller's id, with the checksum that anybody can work out."""
    body = f"tv_{identity}_{key.split('_')[2]}"
    return f"{body}_{zlib.crc32(body.encode()):08x}"


@on_sqlite
async def test_two_authorization_headers_are_none(rig: Rig) -> None:
    """Readers differ in which of the two they believe."""
    headers = [("Authorization", rig.api.headers["Authorization"])] * 2
    async with httpx.AsyncClient(transport=rig.api._transport, base_url=rig.api.base_url) as plain:
        refused(await plain.get("/v1/providers", headers=headers), 401)


async def test_a_key_reaches_its_subtree_and_nothing_beside_or_above_it(rig: Rig) -> None:
    """A tenant's key covers the tenants below it; a child's key does not cover its parent or siblings."""
    for tenant in ("acme", "acme-eu", "acme-us", "globex"):
        await furnish(rig, tenant)
    parent, child = await rig.key("tokens:read", tenant="acme"), await rig.key("tokens:read", tenant="acme-eu")

    async def statuses(key: str) -> dict[str, int]:
        return {
            tenant: (
                await rig.api.get(f"/v1/connections/{tenant}/{PROVIDER}/c/token", headers=bearing(key))
            ).status_code
            for tenant in ("acme", "acme-eu", "acme-us", "globex")
        }

    assert await statuses(parent) == {"acme": 200, "acme-eu": 200, "acme-us": 200, "globex": 404}
    assert await statuses(child) == {"acme": 404, "acme-eu": 200, "acme-us": 404, "globex": 404}


async def test_a_key_is_limited_to_providers_and_names(rig: Rig) -> None:
    """Outside of them, what exists and what does not look the same, in lists too."""
    await furnish(rig, "acme")
    await rig.a_connection("d")
    by_provider = await rig.key(providers=["other"])
    by_name = await rig.key(names=["c"])

    async def get(path: str, key: str) -> httpx.Response:
        return await rig.api.get(path, headers=bearing(key))

    here, nowhere = f"/v1/connections/acme/{PROVIDER}", "/v1/connections/acme/unknown"
    problems = [
        refused(await get(path, key), 404, "not_found")
        for path, key in [
            (f"{here}/c", by_provider),
            (f"{here}/none", by_provider),
            (f"{nowhere}/c", by_provider),
            (f"{here}/d", by_name),
            (f"{here}/none", by_name),
            (f"/v1/providers/{PROVIDER}", by_provider),
            ("/v1/providers/unknown", by_provider),
        ]
    ]

    assert len({str(anonymous(problem)) for problem in problems}) == 1
    assert (await get(f"{here}/c", by_name)).status_code == 200
    assert (await get("/v1/connections", by_provider)).json()["items"] == []
    assert (await get(f"/v1/connections?provider={PROVIDER}", by_provider)).json()["items"] == []
    assert [item["name"] for item in (await get("/v1/connections", by_name)).json()["items"]] == ["c"]
    assert (await get("/v1/providers", by_provider)).json()["items"] == []


async def test_a_key_that_is_limited_to_nothing_lists_nothing(rig: Rig) -> None:
    """An empty limit, as older rows may have it, is a limit."""
    await furnish(rig, "acme")
    key = await rig.key(providers=[])

    assert (await rig.api.get("/v1/connections", headers=bearing(key))).json()["items"] == []
    listed = await rig.api.get(f"/v1/connections?provider={PROVIDER}", headers=bearing(key))
    assert listed.json()["items"] == []


@on_sqlite
async def test_nobody_makes_a_key_that_can_do_more_than_their_own(rig: Rig) -> None:
    """Scopes, subtree, providers, names and expiry of a made key are within its maker's."""
    await furnish(rig, "acme")
    await furnish(rig, "globex")
    soon = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    limits = {"tenant": "acme", "providers": [PROVIDER], "names": ["c", "d"], "expires_at": soon}
    maker = await rig.key("callers:write", "tokens:read", **limits)
    within = {
        "name": "made",
        "scopes": ["tokens:read"],
        "providers": [PROVIDER],
        "names": ["c"],
        "expires_at": soon.isoformat(),
    }

    async def make(**changed: Any) -> httpx.Response:
        body = {name: value for name, value in {**within, **changed}.items() if value is not None}
        return await rig.api.post("/v1/callers", json=body, headers=bearing(maker))

    for field, value in [
        ("scopes", ["admin"]),
        ("scopes", ["connections:read"]),
        ("scopes", ["tokens:read", "connections:write"]),
        ("providers", None),
        ("providers", [PROVIDER, "other"]),
        ("names", None),
        ("names", ["c", "e"]),
        ("expires_at", None),
        ("expires_at", (soon + timedelta(seconds=2)).isoformat()),
    ]:
        problem = refused(await make(**{field: value}), 403, "insufficient_scope")
        assert problem["field"] == field
    for tenant in ("globex", "platform", "nowhere"):
        refused(await make(tenant=tenant), 404, "not_found")
    made = await make()
    assert made.status_code == 201
    assert made.json()["tenant"] == "acme"
    path = f"/v1/connections/acme/{PROVIDER}"
    assert (await rig.api.get(f"{path}/c/token", headers=bearing(made.json()["key"]))).status_code == 200
    refused(await rig.api.get(f"{path}/d/token", headers=bearing(made.json()["key"])), 404)
    refused(await rig.api.get("/v1/callers", headers=bearing(made.json()["key"])), 403)


@on_sqlite
async def test_admin_makes_any_key_below_and_none_above(rig: Rig) -> None:
    """An administrator of a tenant is one of that tenant only."""
    await furnish(rig, "acme-eu")
    boss = await rig.key("admin", tenant="acme")

    below = await rig.api.post(
        "/v1/callers", json={"name": "x", "scopes": ["admin"], "tenant": "acme-eu"}, headers=bearing(boss)
    )

    assert below.status_code == 201
    for tenant in ("platform", "globex"):
        body = {"name": "x", "scopes": ["admin"], "tenant": tenant}
        refused(await rig.api.post("/v1/callers", json=body, headers=bearing(boss)), 404)


@on_sqlite
async def test_a_missing_scope_is_told_before_anything_about_the_address(rig: Rig) -> None:
    """403 depends on route and key alone: an existing, a foreign and an impossible path give the same."""
    await furnish(rig, "globex")
    key = await rig.key("connections:read", tenant="acme")

    problems = [
        anonymous(
            refused(
                await rig.api.get(f"/v1/connections/{path}/token", headers=bearing(key)), 403, "insufficient_scope"
            )
        )
        for path in (f"acme/{PROVIDER}/c", f"globex/{PROVIDER}/c", "nowhere/x/y", "a%00b/X/%20")
    ]

    assert len({str(problem) for problem in problems}) == 1


@on_sqlite
async def test_a_404_comes_before_what_is_wrong_with_the_connection(replicas: Replicas) -> None:
    """Only who may see a connection learns that it is switched off, rejected or waiting."""
    rig = await replicas()
    await furnish(rig, "globex")
    await rig.vault.connections.put("operator", ("globex", PROVIDER, "c"), ["globex"], Change(enabled=False))
    key = await rig.key("tokens:read", tenant="acme")

    refused(
        await rig.api.get(f"/v1/connections/globex/{PROVIDER}/c/token", headers=bearing(key)), 404, "not_found"
    )
    refused(await rig.api.get(f"/v1/connections/globex/{PROVIDER}/c/token"), 409, "disabled")


@pytest.mark.parametrize(
    "limits", [{"names": ["one"]}, {"providers": ["another"]}, {"providers": [PROVIDER], "names": ["one"]}]
)
@on_sqlite
async def test_a_limited_key_changes_nothing_that_reaches_further(
    rig: Rig, store: Store, limits: dict[str, Any]
) -> None:
    """What changes all of a tenant, a client or a provider is as far out of its reach as their kill switches."""
    await rig.vault.tenants.put(OPERATOR, "below", parent="acme", name="x", return_urls=[])
    key = bearing(await rig.key("admin", **limits))
    cells = [
        ("PUT", "/v1/tenants/below", {"name": "A", "parent": "acme", "inherit": False}),
        ("PATCH", "/v1/tenants/below", {"inherit": False}),
        ("DELETE", "/v1/tenants/below", None),
        ("PUT", f"/v1/clients/acme/{PROVIDER}", {"client_id": "client-1", "client_secret": "canary-other"}),
        ("DELETE", f"/v1/clients/acme/{PROVIDER}/secrets/previous", None),
        ("DELETE", f"/v1/clients/acme/{PROVIDER}", None),
        ("PUT", f"/v1/providers/{PROVIDER}", {"issuer": "https://id.example"}),
        ("DELETE", f"/v1/providers/{PROVIDER}", None),
    ]

    for method, path, body in cells:
        refused(await rig.api.request(method, path, json=body, headers=key), 404, "not_found")


@on_sqlite
async def test_a_limited_key_sees_only_keys_that_are_as_limited(rig: Rig, store: Store) -> None:
    """It neither lists, shows nor withdraws one that can do more than it can itself."""
    limits = {"providers": [PROVIDER, "another"], "names": ["one", "two"]}
    key = bearing(await rig.key("callers:write", **limits))
    for wider in ({}, {**limits, "names": None}, {**limits, "providers": [PROVIDER, "third"]}):
        made = (await rig.key("tokens:read", **wider)).split("_")[1]
        for method in ("GET", "DELETE"):
            refused(await rig.api.request(method, f"/v1/callers/{made}", headers=key), 404, "not_found")
    narrower = (await rig.key("tokens:read", providers=[PROVIDER], names=["two"])).split("_")[1]

    listed = (await rig.api.get("/v1/callers", headers=key)).json()["items"]
    assert narrower in {one["id"] for one in listed}
    assert len(listed) == 2  # and itself
    assert (await rig.api.delete(f"/v1/callers/{narrower}", headers=key)).status_code == 204
