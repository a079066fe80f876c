"""The generic dialect against the strict provider, over real sockets: each departure from the standards."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from integrations.contract import (
    Answer,
    AuthorizationRequest,
    Client,
    ClientRejected,
    GrantRejected,
    Misused,
    ProviderError,
    Root,
    Secret,
    TokenSet,
)
from integrations.definition import Definition
from integrations.oauth import OAuthProvider
from tests.keys import ec_key, pem, public_jwk, rsa_key
from tests.provider.client import FakeProvider
from vault.clock import uptime
from vault.outbound import Outbound

SECRET = "canary-client-secret-1"
SIGNING = Client("signer", private_key=Secret(pem(rsa_key())), key_id="k1")
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture(name="outbound")
async def _outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound(allow_local=True)
    yield outbound
    await outbound.close()


def speaking(provider: FakeProvider, **knobs: Any) -> OAuthProvider:
    fields: dict[str, Any] = {
        "issuer": provider.issuer,
        "authorization_endpoint": provider.authorization_endpoint,
        "token_endpoint": provider.token_endpoint,
        "device_authorization_endpoint": provider.device_authorization_endpoint,
        "revocation_endpoint": provider.revocation_endpoint,
        "userinfo_endpoint": provider.userinfo_endpoint,
        **knobs,
    }
    return OAuthProvider("x", Definition(**fields))


def client(provider: FakeProvider, secret: str = SECRET, **more: Any) -> Client:
    return Client(provider.client_id, Secret(secret), **more)


async def sent(outbound: Outbound, request: httpx.Request | None) -> Answer:
    assert request is not None
    return await outbound.send(request, deadline=uptime() + 10)


async def refreshed(outbound: Outbound, provider: FakeProvider, speaks: OAuthProvider, who: Client) -> TokenSet:
    """Return what a refresh of a new grant of *who* gives."""
    grant = await provider.mint(client_id=who.client_id)
    root = Root(kind="oauth2", client=who, refresh_token=Secret(grant.refresh_token))
    return speaks.read_tokens(await sent(outbound, speaks.renew_request(root)))


async def outcome(provider: FakeProvider, **of: Any) -> list[str]:
    """Return how the provider took each request to its token endpoint."""
    return [event["outcome"] for event in (await provider.ledger()).of("request", endpoint="token", **of)]


# ---- client authentication

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("client_secret_basic", {}),
    ("client_secret_post", {}),
    ("private_key_jwt", {}),
    ("private_key_jwt", {"assertion_audience": "issuer"}),
]


@pytest.mark.parametrize(("method", "knobs"), METHODS)
async def test_a_client_authenticates_in_the_way_that_is_registered(
    provider: FakeProvider, outbound: Outbound, method: Any, knobs: dict[str, Any]
) -> None:
    """The provider takes that one way and none of the others."""
    signs = method == "private_key_jwt"
    who = SIGNING if signs else client(provider)
    await provider.configure(
        auth_method=method,
        clients={provider.client_id: SECRET, "signer": None},
        client_keys={"signer": [public_jwk(rsa_key(), kid="k1")]},
        **knobs,
    )

    tokens = await refreshed(
        outbound, provider, speaking(provider, token_endpoint_auth_method=method, **knobs), who
    )

    assert tokens.refresh_token is not None
    assert (await provider.ledger()).of("request", endpoint="token", auth=method, outcome="ok")
    other = "client_secret_post" if method == "client_secret_basic" else "client_secret_basic"
    with pytest.raises(ClientRejected):
        await refreshed(outbound, provider, speaking(provider, token_endpoint_auth_method=other), client(provider))


async def test_another_key_or_another_audience_is_refused(provider: FakeProvider, outbound: Outbound) -> None:
    """What the provider is strict about: whose signature, and for whom."""
    await provider.configure(clients={"signer": None}, client_keys={"signer": [public_jwk(rsa_key(), kid="k1")]})
    stranger = Client("signer", private_key=Secret(pem(rsa_key(number=2))), key_id="k1")
    knobs: dict[str, Any] = {"token_endpoint_auth_method": "private_key_jwt"}

    for who, more in [(stranger, {}), (SIGNING, {"assertion_audience": "issuer"})]:
        with pytest.raises(ClientRejected):
            await refreshed(outbound, provider, speaking(provider, **knobs, **more), who)
    assert set(await outcome(provider)) == {"invalid_client"}


async def test_an_assertion_is_taken_once(provider: FakeProvider, outbound: Outbound) -> None:
    """The same bytes again are refused, so each request signs anew."""
    await provider.configure(clients={"signer": None}, client_keys={"signer": [public_jwk(rsa_key(), kid="k1")]})
    speaks = speaking(provider, token_endpoint_auth_method="private_key_jwt")
    grants = [await provider.mint(client_id="signer") for _ in range(2)]
    roots = [Root(kind="oauth2", client=SIGNING, refresh_token=Secret(grant.refresh_token)) for grant in grants]
    first = speaks.renew_request(roots[0])
    again = httpx.Request("POST", first.url, headers=first.headers, content=first.content)

    assert (await sent(outbound, first)).status == 200
    assert (await sent(outbound, again)).status == 401
    assert (await sent(outbound, speaks.renew_request(roots[1]))).status == 200


async def test_odd_secrets_reach_a_server_that_does_not_decode(provider: FakeProvider, outbound: Outbound) -> None:
    """With the knob they arrive there, without it they do not."""
    odd = "canary+/%41&ü"
    await provider.configure(clients={provider.client_id: odd}, basic_decoded=False)

    assert await refreshed(
        outbound, provider, speaking(provider, client_secret_basic_encoded=False), client(provider, odd)
    )
    with pytest.raises(ClientRejected):
        await refreshed(outbound, provider, speaking(provider), client(provider, odd))


# ---- how a token request is sent

ENCODINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"token_request_encoding": "json"}, {"token_encoding": "json"}),
    ({"token_request_method": "GET", "token_endpoint_auth_method": "client_secret_post"}, {"token_method": "GET"}),
]


@pytest.mark.parametrize(("knobs", "settings"), ENCODINGS)
async def test_a_token_request_is_sent_as_its_endpoint_takes_it(
    provider: FakeProvider, outbound: Outbound, knobs: dict[str, Any], settings: Any
) -> None:
    """As JSON or by GET, and the standard's form is refused there."""
    await provider.configure(**settings)

    assert (await refreshed(outbound, provider, speaking(provider, **knobs), client(provider))).refresh_token
    with pytest.raises(ProviderError):
        await refreshed(outbound, provider, speaking(provider), client(provider))
    await provider.configure(token_encoding="form", token_method="POST")
    with pytest.raises(ProviderError):
        await refreshed(outbound, provider, speaking(provider, **knobs), client(provider))


@pytest.mark.parametrize(
    ("knobs", "settings"),
    [
        ({"code_challenge_methods_supported": ()}, {"pkce": False}),
        ({"redirect_uri_on_exchange": False}, {"redirect_uri_on_exchange": False}),
    ],
)
async def test_a_code_is_exchanged_without_what_the_provider_refuses(
    provider: FakeProvider, outbound: Outbound, knobs: dict[str, Any], settings: Any
) -> None:
    """No verifier without a challenge; no redirect_uri where it must not be."""
    await provider.configure(**settings)

    assert (await exchanged(outbound, speaking(provider, **knobs), client(provider))).refresh_token
    if "pkce" not in settings:
        with pytest.raises(Misused):
            await exchanged(outbound, speaking(provider), client(provider))
    await provider.configure(pkce=True, redirect_uri_on_exchange=True)
    with pytest.raises(ProviderError):
        await exchanged(outbound, speaking(provider, **knobs), client(provider))


async def exchanged(outbound: Outbound, speaks: OAuthProvider, who: Client) -> TokenSet:
    """Return what a person's yes gives."""
    asked = AuthorizationRequest(
        client=who,
        redirect_uri="http://127.0.0.1:1/oauth/callback/x",
        state="state",
        nonce="nonce",
        code_verifier=Secret("v" * 43),
        scopes=["read"],
    )
    visit = await sent(outbound, httpx.Request("GET", speaks.authorization_url(asked)))
    back = dict(parse_qsl(urlsplit(visit.headers["location"]).query))
    answer = await sent(outbound, speaks.code_request(asked, Secret(back.get("code", "none"))))
    return speaks.read_tokens(answer)


# ---- a device

Begun = tuple[OAuthProvider, Client, Any]


async def begun(provider: FakeProvider, outbound: Outbound, **settings: Any) -> Begun:
    """Return a dialect, its client, and a device that a person is told about."""
    await provider.configure(device_interval=1, device_slow_down=0.0, **settings)
    speaks, who = speaking(provider), client(provider)
    return speaks, who, speaks.read_device(await sent(outbound, speaks.device_request(who, ["read"])))


async def polled(outbound: Outbound, begun: Begun) -> TokenSet | str:
    speaks, who, device = begun
    return speaks.read_device_tokens(await sent(outbound, speaks.device_token_request(who, device.device_code)))


async def test_a_device_waits_until_the_person_has_said_yes(provider: FakeProvider, outbound: Outbound) -> None:
    """Pending, too early, then tokens, once; as RFC 8628 has it."""
    device = await begun(provider, outbound)

    assert device[2].verification_uri_complete.endswith(device[2].user_code)
    assert await polled(outbound, device) == "authorization_pending"
    assert await polled(outbound, device) == "slow_down"
    await provider.decide_device(device[2].user_code, subject="ann")
    await asyncio.sleep(device[2].interval)  # which the protocol demands
    tokens = await polled(outbound, device)

    assert isinstance(tokens, TokenSet)
    assert tokens.refresh_token is not None
    assert (await provider.ledger()).of("issued", via="device", subject="ann")
    with pytest.raises(GrantRejected):
        await polled(outbound, device)


async def test_a_device_is_over_when_the_person_says_no_or_nothing(
    provider: FakeProvider, outbound: Outbound
) -> None:
    """Each with its own word."""
    device = await begun(provider, outbound)
    await provider.decide_device(device[2].user_code, approved=False)
    with pytest.raises(GrantRejected, match="access_denied"):
        await polled(outbound, device)

    late = await begun(provider, outbound, device_lifetime=0.0)
    with pytest.raises(GrantRejected, match="expired_token"):
        await polled(outbound, late)


# ---- a key that a person entered


async def test_a_signed_assertion_gets_tokens(provider: FakeProvider, outbound: Outbound) -> None:
    """On behalf of its subject, with a client or without, and for the scopes that it claims."""
    await provider.configure(issuer_keys={"robot": [public_jwk(ec_key())]})
    entered = {"private_key": pem(ec_key()), "issuer": "robot", "subject": "ann"}
    credentials = {name: Secret(value) for name, value in entered.items()}
    for who, knobs in [(None, {}), (client(provider), {}), (None, {"assertion_scope_claim": True})]:
        speaks = speaking(provider, grant_types=(JWT_BEARER,), scopes=("read", "write"), **knobs)
        root = Root(kind="jwt_bearer", client=who, credentials=credentials)
        tokens = speaks.read_tokens(await sent(outbound, speaks.renew_request(root)))
        assert tokens.scopes == ("read", "write")
        assert tokens.refresh_token is None

    issued = (await provider.ledger()).of("issued", via="jwt_bearer")
    assert [event["subject"] for event in issued] == ["ann"] * 3
    assert [event["client_id"] for event in issued] == ["robot", provider.client_id, "robot"]
