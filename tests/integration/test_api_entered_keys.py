"""Credentials that a person enters and a provider renews on: a private key, and the client's own access."""

from typing import Any

import httpx

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.test_api import refused
from tests.keys import ec_key, pem, public_jwk, rsa_key
from tests.rig import PROVIDER, TENANT, Rig

ROBOTS = "/v1/providers/robots"
PATH = f"/v1/connections/{TENANT}/robots/robot"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def define(rig: Rig, **knobs: Any) -> None:
    """Define a provider that takes signed assertions of the issuer `robot`, and no clients."""
    await rig.provider.configure(issuer_keys={"robot": [public_jwk(rsa_key(), kid="k1")]})
    body = {
        "token_endpoint": rig.provider.token_endpoint,
        "userinfo_endpoint": rig.provider.userinfo_endpoint,
        "grant_types": [JWT_BEARER],
        "token_endpoint_auth_method": "none",
        "scopes": ["read"],
        **knobs,
    }
    made = await rig.api.put(ROBOTS, json=body)
    assert made.status_code == 201, made.text


async def enter(rig: Rig, **changed: str) -> httpx.Response:
    entered = {"private_key": pem(rsa_key()), "issuer": "robot", "key_id": "k1", **changed}
    return await rig.api.put(PATH, json={"kind": "jwt_bearer", "credentials": entered})


async def token(rig: Rig) -> httpx.Response:
    return await rig.api.get(f"{PATH}/token", params={"min_ttl": 0, "wait": 10})


async def test_a_key_is_entered_and_its_tokens_are_renewed(rig: Rig, leaks: Leaks) -> None:
    """Tried before it is stored; and when the token of the try has run out, the key signs for another."""
    await define(rig)
    await rig.provider.configure(access_lifetime=0)

    stored = await enter(rig, subject="ann")

    assert stored.status_code == 201, stored.text
    body = stored.json()
    assert (body["status"], body["renewal"], body["kind"]) == ("verified", "jwt_bearer", "jwt_bearer")
    assert (body["account"], body["account_label"]) == ("ann", "robot")
    assert "PRIVATE" not in stored.text
    await rig.provider.configure(access_lifetime=3600)
    first = await token(rig)
    assert first.status_code == 200, first.text
    assert (first.json()["generation"], first.json()["scopes"]) == (body["generation"] + 1, ["read"])
    assert (await token(rig)).json()["access_token"] == first.json()["access_token"]
    issued = (await rig.provider.ledger()).of("issued", via="jwt_bearer", subject="ann")
    assert [event["access_token"] for event in issued][1:] == [first.json()["access_token"]]


@on_sqlite
async def test_a_key_that_the_provider_refuses_is_not_stored(rig: Rig) -> None:
    """Another one than it knows, an issuer that it does not, a subject for somebody else's server."""
    await define(rig)

    for changed in [
        {"private_key": pem(rsa_key(number=2))},
        {"issuer": "stranger"},
        {"audience": "https://other"},
    ]:
        problem = refused(await enter(rig, **changed), 422, "credentials_rejected")
        assert problem["reason"] == "invalid_grant"
    refused(await rig.api.get(PATH), 404, "not_found")


@on_sqlite
async def test_a_key_that_cannot_sign_is_refused_without_asking(rig: Rig, store: Store, leaks: Leaks) -> None:
    """What is wrong with it is said in a word, and nothing is sent or stored."""
    await define(rig)

    for changed, reason in [
        ({"private_key": "canary-key"}, "key_malformed"),
        ({"private_key": pem(rsa_key(), b"canary")}, "key_encrypted"),
        ({"private_key": pem(rsa_key(bits=1024))}, "key_too_short"),
        ({"algorithm": "HS256"}, "algorithm_unsupported"),
    ]:
        answer = await enter(rig, **changed)
        assert refused(answer, 422, "credentials_rejected")["reason"] == reason
        leaks.check(answer.text)
    refused(await enter(rig, private_key=""), 422, "credentials_missing")
    assert (await rig.provider.counts()).get("token_requests", 0) == 0
    refused(await rig.api.get(PATH), 404, "not_found")


@on_sqlite
async def test_where_no_client_takes_part_none_is_to_blame(rig: Rig, store: Store) -> None:
    """A provider's `invalid_client` is then said of the key: it is not stored, or its connection has failed."""
    await define(rig)
    await rig.provider.fault(status=401, body={"error": "invalid_client"})
    refused(await enter(rig), 422, "credentials_rejected")

    await rig.provider.configure(access_lifetime=0)
    assert (await enter(rig)).status_code == 201
    await rig.provider.fault(status=401, body={"error": "invalid_client"})
    refused(await token(rig), 409)
    shown = (await rig.api.get(PATH)).json()
    assert (shown["status"], shown["reason"]) == ("failed", "credentials_rejected")


@on_sqlite
async def test_a_key_that_nobody_can_judge_now_is_stored_as_it_is(rig: Rig, store: Store) -> None:
    """The provider is down; once it is back, the key is good."""
    await define(rig)
    await rig.provider.fault(status=503)

    stored = await enter(rig)

    assert (stored.status_code, stored.json()["status"]) == (201, "configured")
    fetched = await token(rig)
    assert (fetched.status_code, fetched.json()["status"]) == (200, "verified")


@on_sqlite
async def test_a_key_may_need_a_client_besides(rig: Rig, store: Store) -> None:
    """Where clients authenticate, the nearest registration takes part, and without one there is nothing to try."""
    await define(rig, token_endpoint_auth_method="client_secret_basic")
    refused(await enter(rig), 409, "no_client")
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    await rig.api.put(f"/v1/clients/{TENANT}/robots", json=client)

    assert (await enter(rig)).status_code == 201

    issued = (await rig.provider.ledger()).of("issued", via="jwt_bearer")
    assert [event["client_id"] for event in issued] == [rig.provider.client_id]


@on_sqlite
async def test_a_curve_and_the_issuers_name_do_as_well(rig: Rig, store: Store) -> None:
    """The definition says whom assertions address; the key, how they are signed."""
    await define(rig, assertion_audience="issuer", issuer=rig.provider.issuer, assertion_scope_claim=True)
    await rig.provider.configure(
        issuer_keys={"robot": [public_jwk(ec_key(), kid="k1")]}, assertion_audience="issuer"
    )

    assert (await enter(rig, private_key=pem(ec_key()))).status_code == 201
    assert (await token(rig)).json()["scopes"] == ["read"]


@on_sqlite
async def test_the_clients_own_access_is_got_and_renewed(rig: Rig) -> None:
    """Nothing has to be entered but that it is wanted; a refused secret stops the client, and no connection."""
    path = f"/v1/connections/{TENANT}/robots/own"
    await define(rig, grant_types=["client_credentials"], token_endpoint_auth_method="client_secret_post")
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    await rig.api.put(f"/v1/clients/{TENANT}/robots", json=client)
    await rig.provider.configure(access_lifetime=0, auth_method="client_secret_post")

    stored = await rig.api.put(path, json={"kind": "client_credentials", "credentials": {"scope": "read write"}})

    assert (stored.status_code, stored.json()["status"]) == (201, "verified"), stored.text
    await rig.provider.configure(access_lifetime=3600)
    fetched = await rig.api.get(f"{path}/token")
    assert (fetched.status_code, fetched.json()["scopes"]) == (200, ["read", "write"])
    await rig.provider.configure(clients={rig.provider.client_id: "another"})
    refused(await rig.api.put(path, json={"credentials": {"scope": "read"}}), 409, "client_misconfigured")


@on_sqlite
async def test_a_provider_may_mean_the_connection_by_a_bad_client(rig: Rig, store: Store) -> None:
    """Then what was entered is refused, or has failed, and the client goes on; its other secret is tried first."""
    path, registration = f"/v1/connections/{TENANT}/robots/own", f"/v1/clients/{TENANT}/robots"
    client = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    await define(
        rig,
        grant_types=["client_credentials"],
        token_endpoint_auth_method="client_secret_basic",
        client_errors_scope="connection",
    )
    await rig.api.put(registration, json={**client, "client_secret": "canary-wrong"})
    entered = {"kind": "client_credentials", "credentials": {"scope": "read"}}
    refused(await rig.api.put(path, json=entered), 422, "credentials_rejected")

    await rig.api.put(registration, json=client)
    await rig.provider.configure(access_lifetime=0)
    assert (await rig.api.put(path, json=entered)).status_code == 201
    await rig.api.put(registration, json={**client, "client_secret": "canary-wrong"})
    assert (await rig.api.post(f"{path}/refresh")).json()["status"] == "verified"
    await rig.provider.configure(clients={rig.provider.client_id: "another"})
    assert (await rig.api.post(f"{path}/refresh")).status_code == 200

    shown = (await rig.api.get(path)).json()
    assert (shown["status"], shown["reason"]) == ("failed", "credentials_rejected")
    assert (await rig.api.get(registration)).json()["state"] == "active"


@on_sqlite
async def test_a_client_without_the_key_that_it_needs_is_what_is_wrong(replicas: Replicas, store: Store) -> None:
    """Nothing is sent; the connection is not to blame, whomever the provider would mean by a bad client.

    To end its grant fails in a word.
    """
    knobs = {"token_endpoint_auth_method": "private_key_jwt", "client_errors_scope": "connection"}
    rig = await replicas(knobs)
    await rig.a_connection("c", expires_in=0)

    refused(await rig.token("c"), 503)
    connection = await rig.look("c")
    assert (connection.state.status, connection.state.reason) == ("degraded", "client_rejected")
    assert connection.state.last_error_code == "no_private_key"
    ended = await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c", params={"revoke": True})
    assert (ended.status_code, ended.json()["revoked"]) == (200, "failed")
    assert (await rig.provider.counts()).get("token_requests", 0) == 0
