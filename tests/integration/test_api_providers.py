"""The catalogue, and providers that are defined at run time: given whole, or discovered."""

import asyncio
from typing import Any

import pytest

from integrations.definition import ENDPOINTS, Definition
from integrations.endpoints import BUILT_IN
from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.test_api import always, refused
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, Rig
from vault.housekeeping import tidy
from vault.http.views.providers import PutProvider

OTHER = "/v1/providers/other"


def endpoints(provider: FakeProvider, **changed: Any) -> dict[str, Any]:
    return {
        "authorization_endpoint": provider.authorization_endpoint,
        "token_endpoint": provider.token_endpoint,
        **changed,
    }


def every_knob(provider: FakeProvider) -> dict[str, Any]:
    """Return a definition that sets all there is; but for POST, which JSON takes, each to something unusual."""
    return {
        **{name: f"{provider.issuer}/{name}" for name in ENDPOINTS},
        "name": "Other",
        "docs": "https://other.example/docs",
        "revocation_scope": "token",
        "scopes": ["openid", "read"],
        "token_endpoint_auth_method": "client_secret_post",
        "authorization_response_iss_parameter_supported": True,
        "authorization_parameters": {"access_type": "offline"},
        "rotation": "grace",
        "rotation_grace_seconds": 30,
        "default_lifetime": 600,
        "refresh_every": 86_400,
        "refresh_margin": 7_200,
        "min_refresh_interval": 3_600,
        "concurrency": 4,
        "requests_per_minute": 180,
        "client_concurrency": 2,
        "client_requests_per_minute": 30,
        "issuer": provider.issuer,
        "grant_types": [
            "authorization_code",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        "client_secret_basic_encoded": False,
        "assertion_audience": "issuer",
        "assertion_lifetime": 60,
        "assertion_scope_claim": True,
        "code_challenge_methods_supported": [],
        "redirect_uri_on_exchange": False,
        "scope_parameter": "user_scope",
        "scope_separator": ",",
        "token_request_method": "POST",
        "token_request_encoding": "json",
        "token_parameters": {"resource": "a"},
        "refresh_parameters": {"scope": "read"},
        "token_response": {"access_token": "data.token", "expires_as": "unix", "never": [0, "never"]},
        "client_errors_scope": "connection",
        "errors": {
            "codes": ["error.code"],
            "classes": {"grant_rejected": ["190"]},
            "messages": ["error.message"],
            "phrases": {"bug": ["canary"]},
        },
        "probe": {
            "method": "POST",
            "headers": {"X-Token": "{access_token}"},
            "rules": [{"verdict": "limited", "status": 401, "says": "restricted"}],
        },
        "revocation": {"method": "DELETE", "token_in": "header", "success": [204]},
    }


@on_sqlite
async def test_the_catalogue_shows_what_can_be_connected_and_how(rig: Rig) -> None:
    """Each provider with its endpoints and its ways of having credentials there."""
    listed = await rig.api.get("/v1/providers")
    shown = await rig.api.get(f"/v1/providers/{PROVIDER}")

    always(listed)
    google = await rig.api.get("/v1/providers/google")
    entry = shown.json()
    assert entry.pop("definition")["token_endpoint"] == rig.provider.token_endpoint
    items = {one["id"]: one for one in listed.json()["items"]}
    assert items.keys() == {PROVIDER, *BUILT_IN}  # what is built in is always there
    assert (items[PROVIDER], items["google"]) == (entry, google.json())
    assert entry["id"] == PROVIDER
    assert entry["endpoints"]["token_endpoint"] == rig.provider.token_endpoint
    assert [kind["how"] for kind in entry["kinds"]] == ["consent"]
    assert (entry["fields"], entry["renewal"]) == (entry["kinds"][0]["fields"], entry["kinds"][0]["renewal"])
    refused(await rig.api.get("/v1/providers/unknown"), 404, "not_found")


def test_every_knob_of_a_definition_can_be_sent() -> None:
    """And nothing that a definition has not."""
    assert set(PutProvider.__struct_fields__) == set(Definition.__struct_fields__)


async def test_a_provider_is_defined_changed_and_forgotten(rig: Rig) -> None:
    """201, then 200, then 204, then 404; every knob is taken."""
    body = every_knob(rig.provider)

    assert body.keys() == set(PutProvider.__struct_fields__)
    made = await rig.api.put(OTHER, json=body)
    changed = await rig.api.put(OTHER, json=endpoints(rig.provider, name="Another"))

    assert (made.status_code, changed.status_code) == (201, 200), made.text
    assert (made.json()["name"], made.json()["docs"]) == ("Other", "https://other.example/docs")
    assert [kind["id"] for kind in made.json()["kinds"]] == ["oauth2", "client_credentials", "jwt_bearer"]
    assert made.json()["kinds"][0]["abilities"] == ["device"]
    assert changed.json()["name"] == "Another"
    assert "docs" not in changed.json()
    assert (await rig.api.delete(OTHER)).status_code == 204
    refused(await rig.api.get(OTHER), 404, "not_found")
    refused(await rig.api.delete(OTHER), 404, "not_found")


@on_sqlite
async def test_a_definition_is_shown_as_it_can_be_put_back(rig: Rig, store: Store) -> None:
    """Every knob that was set, by the name and the value that it was set with; of what is built in, none."""
    body = every_knob(rig.provider)
    await rig.api.put(OTHER, json=body)

    shown = (await rig.api.get(OTHER)).json()
    again = await rig.api.put(f"{OTHER}-again", json=shown["definition"])

    assert {**shown["definition"], "token_request_method": "POST"} == body
    assert again.status_code == 201, again.text
    assert (await rig.api.get(f"{OTHER}-again")).json() == {**shown, "id": "other-again"}
    assert "definition" not in (await rig.api.get("/v1/providers/google")).json()


@on_sqlite
async def test_the_catalogue_is_read_in_pages(rig: Rig, store: Store) -> None:
    """Each provider that the key reaches once, by their ids; the last page is the one without a `next`."""
    for name in ("a", "zz-9", "other"):
        await rig.api.put(f"/v1/providers/{name}", json=endpoints(rig.provider))
    key = {"Authorization": f"Bearer {await rig.key(providers=['a', 'google', 'zz-9'])}"}

    async def pages(limit: int, **headers: Any) -> list[list[str]]:
        found: list[list[str]] = []
        asked: dict[str, Any] = {"limit": limit}
        while not found or "cursor" in asked:
            page = (await rig.api.get("/v1/providers", params=asked, **headers)).json()
            found.append([one["id"] for one in page["items"]])
            asked = {"limit": limit, **({"cursor": page["next"]} if "next" in page else {})}
        return found

    everything = sorted(["a", PROVIDER, "other", "zz-9", *BUILT_IN])
    assert await pages(2) == [everything[start : start + 2] for start in range(0, len(everything), 2)]
    assert await pages(len(everything)) == [everything]
    assert await pages(2, headers=key) == [["a", "google"], ["zz-9"]]
    refused(await rig.api.get("/v1/providers?cursor=canary-"), 422, "invalid_cursor")
    refused(await rig.api.get("/v1/providers?limit=0"), 400, "invalid_request")


@on_sqlite
async def test_an_issuer_is_all_that_a_standard_provider_needs(rig: Rig, store: Store) -> None:
    """The rest is published; what is given beside it counts more than what is found."""
    made = await rig.api.put(OTHER, json={"issuer": rig.provider.issuer, "name": "Found", "scopes": ["openid"]})

    assert made.status_code == 201, made.text
    assert made.json()["name"] == "Found"
    assert made.json()["endpoints"] == {
        "authorization_endpoint": rig.provider.authorization_endpoint,
        "token_endpoint": rig.provider.token_endpoint,
        "device_authorization_endpoint": rig.provider.device_authorization_endpoint,
        "revocation_endpoint": rig.provider.revocation_endpoint,
        "userinfo_endpoint": rig.provider.userinfo_endpoint,
        "jwks_uri": rig.provider.endpoints["jwks_uri"],
    }
    assert (await rig.provider.counts())["discovery_requests"] == 1


@on_sqlite
async def test_the_second_well_known_address_is_tried_where_the_first_has_nothing(rig: Rig, store: Store) -> None:
    """OpenID's form, then RFC 8414's."""
    firsts: list[dict[str, Any]] = [{"status": 404}, {"status": 500}, {"status": 200, "body": "<html>canary"}]
    for number, first in enumerate(firsts, start=1):
        await rig.provider.fault("discovery", **first)

        made = await rig.api.put(f"{OTHER}{number}", json={"issuer": rig.provider.issuer})

        assert made.status_code == 201, made.text
        assert (await rig.provider.counts())["discovery_requests"] == 2 * number


NO_DEFINITION: list[tuple[dict[str, Any], int, str, str | None]] = [
    # another's word, no S256, no way to authenticate, no endpoints
    ({"patch": {"issuer": "https://evil.example"}}, 422, "discovery_failed", "issuer_mismatch"),
    ({"patch": {"code_challenge_methods_supported": ["plain"]}}, 422, "discovery_failed", "pkce_unsupported"),
    (
        {"patch": {"token_endpoint_auth_methods_supported": ["tls_client_auth"]}},
        422,
        "discovery_failed",
        "client_auth_unsupported",
    ),
    ({"patch": {"token_endpoint": None}}, 422, "discovery_failed", "endpoints_missing"),
    # nothing there
    ({"status": 404}, 422, "discovery_failed", "no_metadata"),
    ({"status": 302, "headers": {"Location": "/"}}, 422, "discovery_failed", "no_metadata"),
    # what may pass
    ({"huge_body": 300_000}, 503, "provider_unavailable", "answer_too_long"),
    ({"reset": "before"}, 503, "provider_unavailable", None),
]


@on_sqlite
async def test_metadata_that_cannot_be_used_defines_nothing(rig: Rig, store: Store) -> None:
    """A word says why, and what may pass is told from what will not."""
    for fault, status, code, reason in NO_DEFINITION:
        await rig.provider.fault("discovery", times=None, **fault)

        problem = refused(await rig.api.put(OTHER, json={"issuer": rig.provider.issuer}), status, code)

        assert reason is None or problem["reason"] == reason
        refused(await rig.api.get(OTHER), 404)
        await rig.provider.clear_faults()


@on_sqlite
async def test_discovery_and_definitions_stay_outside_the_own_network(
    replicas: Replicas, provider: FakeProvider, store: Store
) -> None:
    """Where local providers are not allowed, no way of naming one is, and nothing is sent to it."""
    rig = await replicas()
    guarded = await replicas(allow_local_providers=False)
    for body in [
        {"issuer": provider.issuer},
        {"issuer": "https://127.0.0.1"},
        {"issuer": "https://localhost"},
        endpoints(provider),
        endpoints(provider, authorization_endpoint="https://id.example/a", token_endpoint="https://[::1]/t"),
        {
            "authorization_endpoint": "https://id.example/a",
            "token_endpoint": "https://id.example/t",
            "userinfo_endpoint": "https://169.254.169.254/latest",
        },
    ]:
        refused(await guarded.api.put(OTHER, json=body), 422, "invalid_url")
    assert (await provider.counts()).get("discovery_requests", 0) == 0
    refused(await rig.api.get(OTHER), 404)


async def test_tokens_are_only_ever_sent_where_they_came_from(rig: Rig) -> None:
    """While connections exist, no other origin and no deletion; anything else may change, and all without them."""
    await rig.a_connection("c")
    path = f"/v1/providers/{PROVIDER}"
    other = {"token_endpoint": rig.provider.token_endpoint.replace("127.0.0.1", "localhost")}

    refused(await rig.api.put(path, json=endpoints(rig.provider, **other)), 409, "provider_in_use")
    refused(await rig.api.delete(path), 409, "provider_in_use")
    same = endpoints(rig.provider, token_endpoint=f"{rig.provider.issuer}/other/token")
    assert (await rig.api.put(path, json=same)).status_code == 200
    await rig.api.delete(f"/v1/connections/acme/{PROVIDER}/c")
    await rig.api.delete(f"/v1/clients/acme/{PROVIDER}")
    # The tombstone still has the client, and whoever registers that again has its former secret live.
    refused(await rig.api.put(path, json=endpoints(rig.provider, **other)), 409, "provider_in_use")
    await asyncio.sleep(0.01)
    await tidy(rig.vault.writer, rig.vault.gates, lease=0)
    assert (await rig.api.put(path, json=endpoints(rig.provider, **other))).status_code == 200
    assert (await rig.api.delete(path)).status_code == 204


@on_sqlite
async def test_secrets_of_clients_are_only_ever_sent_where_they_were_meant_for(rig: Rig) -> None:
    """While there are clients, a provider neither moves to another origin nor goes to come back at one."""
    path, client = f"/v1/providers/{PROVIDER}", f"/v1/clients/acme/{PROVIDER}"
    other = {"token_endpoint": rig.provider.token_endpoint.replace("127.0.0.1", "localhost")}

    refused(await rig.api.put(path, json=endpoints(rig.provider, **other)), 409, "provider_in_use")
    refused(await rig.api.delete(path), 409, "provider_in_use")
    assert (await rig.api.put(path, json=endpoints(rig.provider))).status_code == 200
    assert (await rig.api.delete(client)).status_code == 204
    assert (await rig.api.put(path, json=endpoints(rig.provider, **other))).status_code == 200
    assert (await rig.api.delete(path)).status_code == 204


@pytest.mark.parametrize(
    "field", ["revocation_endpoint", "userinfo_endpoint", "probe_endpoint", "device_authorization_endpoint"]
)
@on_sqlite
async def test_no_endpoint_that_gets_tokens_moves_away_from_them(rig: Rig, store: Store, field: str) -> None:
    """Refresh tokens go to the revocation endpoint too, access tokens where they are probed, secrets to all."""
    await rig.a_connection("c")
    moved = endpoints(rig.provider, **{field: "http://localhost:1/x"})

    refused(await rig.api.put(f"/v1/providers/{PROVIDER}", json=moved), 409, "provider_in_use")


@on_sqlite
async def test_a_built_in_provider_is_not_defined_anew(replicas: Replicas, store: Store) -> None:
    """Code is not changed by a row."""
    rig = await replicas(sandbox=True)

    refused(await rig.api.put("/v1/providers/sandbox", json=endpoints(rig.provider)), 409, "provider_built_in")
    refused(await rig.api.delete("/v1/providers/sandbox"), 409, "provider_built_in")


NONE_AT_ALL: list[tuple[dict[str, Any], int, str]] = [
    ({"token_endpoint": None}, 422, "invalid_definition"),
    ({"authorization_endpoint": None}, 422, "invalid_definition"),
    ({"token_endpoint": "id.example"}, 422, "invalid_url"),
    ({"token_endpoint": "https://canary@id.example/"}, 422, "invalid_url"),
    ({"docs": "javascript:alert(1)"}, 422, "invalid_url"),
    ({"issuer": 5}, 400, "invalid_request"),
    ({"issuer": ["canary"]}, 400, "invalid_request"),
    ({"rotation": "canary"}, 400, "invalid_request"),
    ({"canary": "canary"}, 400, "invalid_request"),
    ({"name": "line\nbreak"}, 400, "invalid_request"),
    ({"default_lifetime": 0}, 400, "invalid_request"),
    ({"default_lifetime": 10**40}, 400, "invalid_request"),
    ({"rotation_grace_seconds": -1}, 400, "invalid_request"),
    ({"scopes": ["two words"]}, 400, "invalid_request"),
    ({"scopes": "canary"}, 400, "invalid_request"),
    ({"authorization_parameters": {"a": 1}}, 400, "invalid_request"),
    ({"authorization_parameters": {"state": "canary"}}, 400, "invalid_request"),
    ({"authorization_parameters": {"redirect_uri": "https://evil.example"}}, 400, "invalid_request"),
    ({"authorization_parameters": {"code_challenge_method": "plain"}}, 400, "invalid_request"),
    ({"token_parameters": {"client_id": "canary"}}, 400, "invalid_request"),
    ({"refresh_parameters": {"refresh_token": "canary"}}, 400, "invalid_request"),
    ({"scope_parameter": "state"}, 400, "invalid_request"),
    ({"scope_separator": "\n"}, 400, "invalid_request"),
    ({"code_challenge_methods_supported": ["plain"]}, 400, "invalid_request"),
    ({"grant_types": ["password"]}, 400, "invalid_request"),
    ({"assertion_lifetime": 301}, 400, "invalid_request"),
    ({"assertion_audience": "issuer"}, 422, "invalid_definition"),
    ({"token_request_method": "GET", "token_request_encoding": "json"}, 422, "invalid_definition"),
    ({"concurrency": 0}, 400, "invalid_request"),
    ({"client_requests_per_minute": 60_001}, 400, "invalid_request"),
    ({"refresh_margin": 0}, 400, "invalid_request"),
    ({"min_refresh_interval": 61, "refresh_every": 60}, 422, "invalid_definition"),
    ({"token_response": {"canary": "x"}}, 400, "invalid_request"),
    ({"token_response": {"access_token": "a..b"}}, 400, "invalid_request"),
    ({"errors": {"classes": {"canary": ["x"]}}}, 400, "invalid_request"),
    ({"probe_endpoint": "https://canary@id.example/"}, 422, "invalid_url"),
    ({"probe": {"headers": {"X-A": "line\nbreak"}}}, 400, "invalid_request"),
    ({"probe": {"headers": {"X A": "x"}}}, 400, "invalid_request"),
    ({"probe": {"rules": [{"verdict": "canary"}]}}, 400, "invalid_request"),
    ({"revocation": {"method": "GET"}}, 400, "invalid_request"),
    ({"revocation": {"success": [99]}}, 400, "invalid_request"),
]


@on_sqlite
async def test_a_definition_that_is_none_is_refused(rig: Rig, store: Store, leaks: Leaks) -> None:
    """What is missing or wrong is told by our names for it, never by what was written."""
    for changed, status, code in NONE_AT_ALL:
        body = {name: value for name, value in endpoints(rig.provider, **changed).items() if value is not None}
        answer = await rig.api.put(OTHER, json=body)
        refused(answer, status, code)
        leaks.check(answer.text)
    refused(await rig.api.get(OTHER), 404)
