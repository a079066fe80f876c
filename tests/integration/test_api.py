"""What holds for every answer of the API, whoever makes it; and how a refusal looks."""

import re
from typing import Any

import httpx
from litestar.routes import HTTPRoute

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.rig import Rig
from vault.http.server import litestar

PATH = "/v1/connections/acme/acme-id/c"


def refused(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Return the problem in *answer*, after a look at all that a refusal has to have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    always(answer)
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", body["code"])
    assert body["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    assert all(value is not None for value in body.values())
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    if code is not None:
        assert body["code"] == code
    return body


def always(answer: httpx.Response) -> None:
    """Check what every answer carries."""
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,64}", answer.headers["x-request-id"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers


def anonymous(problem: dict[str, Any]) -> dict[str, Any]:
    """Return *problem* without what tells one request from another."""
    return {name: value for name, value in problem.items() if name != "instance"}


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def routes(rig: Rig) -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and options of every route of the app, without the framework's OPTIONS."""
    found = []
    for route in litestar(sandbox=rig.vault.sandbox is not None).routes:
        handlers = route.route_handlers if isinstance(route, HTTPRoute) else [route.route_handler]
        for handler in handlers:
            methods = getattr(handler, "http_methods", None) or {"*"}
            found += [(method, route.path, handler.opt) for method in methods if method != "OPTIONS"]
    return sorted(found, key=lambda each: (each[0] == "DELETE", each[1], each[0]))


@on_sqlite
async def test_every_route_says_who_may_call_it(replicas: Replicas, store: Store) -> None:
    """A route declares a scope or that it is public; none is forgotten, and none is public by mistake."""
    rig = await replicas(sandbox=True)
    undeclared = [(method, path) for method, path, opt in routes(rig) if not {"scope", "public"} & set(opt)]
    public = {path for _, path, opt in routes(rig) if opt.get("public")}

    assert undeclared == [], "each needs `scope` or `public` in its opt"
    assert {path for path in public if path.startswith("/v1")} == set()
    assert {path.split("/")[1] for path in public} <= {
        "",
        "connect",
        "healthz",
        "login",
        "logout",
        "metrics",
        "oauth",
        "readyz",
        "sandbox",
        "schema",
        "static",
    }


CONNECTION = "/v1/connections/{tenant}/{provider}/{name}"
# Who may call what, as DESIGN section 9 has it; None is any key. A new route is written down here.
SCOPES: dict[tuple[str, str], str | None] = {
    ("GET", f"{CONNECTION}/token"): "tokens:read",
    ("POST", f"{CONNECTION}/authorize"): "connections:write",
    ("POST", f"{CONNECTION}/device"): "connections:write",
    ("POST", f"{CONNECTION}/rejections"): "tokens:read",
    ("POST", f"{CONNECTION}/client-tokens"): "tokens:read",
    ("POST", f"{CONNECTION}/refresh"): "connections:write",
    ("POST", f"{CONNECTION}/verify"): "connections:write",
    ("POST", f"{CONNECTION}/rotate"): "connections:write",
    ("POST", f"{CONNECTION}/repair"): "connections:write",
    ("PUT", CONNECTION): "connections:write",
    ("PATCH", CONNECTION): "connections:write",
    ("DELETE", CONNECTION): "connections:write",
    ("GET", CONNECTION): "connections:read",
    ("GET", "/v1/connections"): "connections:read",
    ("GET", "/v1/audit"): "audit:read",
    ("GET", "/v1/usage"): "audit:read",
    ("GET", "/v1/tenants"): "tenants:write",
    ("GET", "/v1/tenants/{tenant}"): "tenants:write",
    ("PUT", "/v1/tenants/{tenant}"): "tenants:write",
    ("PATCH", "/v1/tenants/{tenant}"): "tenants:write",
    ("DELETE", "/v1/tenants/{tenant}"): "tenants:write",
    ("GET", "/v1/clients/{tenant}/{provider}"): "clients:write",
    ("PUT", "/v1/clients/{tenant}/{provider}"): "clients:write",
    ("DELETE", "/v1/clients/{tenant}/{provider}"): "clients:write",
    ("DELETE", "/v1/clients/{tenant}/{provider}/secrets/previous"): "clients:write",
    ("GET", "/v1/providers"): None,
    ("GET", "/v1/providers/{provider}"): None,
    ("PUT", "/v1/providers/{provider}"): "providers:write",
    ("DELETE", "/v1/providers/{provider}"): "providers:write",
    ("POST", "/v1/providers/{provider}/pause"): "providers:write",
    ("POST", "/v1/providers/{provider}/resume"): "providers:write",
    ("POST", "/v1/clients/{tenant}/{provider}/pause"): "clients:write",
    ("POST", "/v1/clients/{tenant}/{provider}/resume"): "clients:write",
    ("POST", "/v1/tenants/{tenant}/pause"): "tenants:write",
    ("POST", "/v1/tenants/{tenant}/resume"): "tenants:write",
    ("GET", "/v1/callers"): "callers:write",
    ("POST", "/v1/callers"): "callers:write",
    ("GET", "/v1/callers/{caller_id}"): "callers:write",
    ("DELETE", "/v1/callers/{caller_id}"): "callers:write",
}


@on_sqlite
async def test_every_route_takes_the_scope_that_the_design_gives_it(rig: Rig, store: Store) -> None:
    """What the matrix of refusals is generated from is itself held to a table."""
    declared = {
        (method, path.replace(":str", "")): opt["scope"] for method, path, opt in routes(rig) if "scope" in opt
    }

    assert declared == SCOPES


@on_sqlite
async def test_every_answer_has_an_id_and_is_not_to_be_stored(rig: Rig, store: Store) -> None:
    """Successes, refusals, public pages, unknown addresses and wrong methods alike."""
    await rig.a_connection("c")

    for method, path in [
        ("GET", f"{PATH}/token"),
        ("GET", PATH),
        ("GET", "/v1/connections"),
        ("GET", "/v1/providers"),
        ("GET", "/v1/callers"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/schema/openapi.json"),
        ("GET", "/nowhere"),
        ("POST", PATH),
        ("BREW", PATH),
        ("GET", f"{PATH}x"),
        ("GET", "/connect/canary.x"),
        ("GET", "/oauth/callback/acme-id"),
        ("GET", "/"),
        ("GET", "/login/canary"),
        ("POST", "/login/canary"),
        ("POST", "/logout"),
        ("OPTIONS", PATH),
        ("HEAD", PATH),
        ("DELETE", PATH),
    ]:
        always(await rig.api.request(method, path))


@on_sqlite
async def test_a_senders_request_id_is_kept_where_it_is_harmless(rig: Rig, store: Store) -> None:
    """It goes into headers, answers, logs and the audit: only plain characters do."""
    kept = ["abcdefgh", "a.b_c-D9" * 8]
    replaced = ["short", "a" * 65, "with space", 'quote"quote', "<script>alert", "tab\tin-it-x"]

    for sent in kept + replaced:
        answer = await rig.api.get("/healthz", headers={"X-Request-ID": sent})
        assert (answer.headers["x-request-id"] == sent) is (sent in kept)


@on_sqlite
async def test_a_method_that_an_address_does_not_take_is_told_which_it_does(rig: Rig, store: Store) -> None:
    """405 with Allow (RFC 9110 15.5.6)."""
    answer = await rig.api.request("POST", "/v1/tenants/acme")

    refused(answer, 405, "method_not_allowed")
    assert {"GET", "PUT", "PATCH", "DELETE"} <= set(answer.headers["allow"].replace(" ", "").split(","))


@on_sqlite
async def test_head_is_get_without_content(rig: Rig, store: Store) -> None:
    """At every address that takes GET, pages and health too: the same status and type, and no content."""
    await rig.a_connection("c")
    for method, path, _ in routes(rig):
        if method != "GET" or "{" in path.replace("{tenant:str}", "").replace("{provider:str}", "").replace(
            "{name:str}", ""
        ):
            continue
        path = path.replace("{tenant:str}", "acme").replace("{provider:str}", "acme-id").replace("{name:str}", "c")
        answer, head = await rig.api.get(path), await rig.api.head(path)
        assert (head.status_code, head.content) == (answer.status_code, b""), path
        assert head.headers["content-type"] == answer.headers["content-type"]
        assert int(head.headers["content-length"]) > 0
        always(head)
    refused_bare = await rig.api.head(f"{PATH}/refresh")
    assert (refused_bare.status_code, refused_bare.content) == (405, b"")


@on_sqlite
async def test_options_tells_anybody_every_method(rig: Rig, store: Store) -> None:
    """All that the address takes, whatever the order in which its routes came to be, and nothing else."""
    methods: dict[str, set[str]] = {}
    for method, path, _ in routes(rig):
        if path.startswith("/v1/"):
            methods.setdefault(re.sub(r"{\w+:str}", "x", path), set()).add(method)
    for path, offered in methods.items():
        answer = await rig.api.options(path, headers={"Authorization": ""})
        told = set(answer.headers["allow"].split(", "))
        assert (answer.status_code, answer.content) == (204, b"")
        assert told == offered | {"OPTIONS"} | ({"HEAD"} if "GET" in offered else set()), path


async def test_no_answer_holds_a_refresh_token_or_a_client_secret(rig: Rig, leaks: Leaks) -> None:
    """Whatever is asked, with the key that may do everything: only the token request has a token in it."""
    _, grant = await rig.a_connection("c")
    filled = {"{tenant:str}": "acme", "{provider:str}": "acme-id", "{name:str}": "c"}

    for method, path, opt in routes(rig):
        if method != "GET" or opt.get("public"):
            continue
        for name, value in filled.items():
            path = path.replace(name, value)
        answer = await rig.api.get(path)
        assert grant.refresh_token not in answer.text
        assert rig.provider.client_secret not in answer.text
        if not path.endswith("/token"):
            leaks.check(answer.text)
