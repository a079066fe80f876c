"""The standard dialect: what a request looks like, byte for byte where it matters."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import JWKRegistry

from integrations.contract import (
    Account,
    Answer,
    AuthorizationRequest,
    Client,
    ClientRejected,
    Finding,
    Misused,
    Root,
    Secret,
    Unreadable,
)
from integrations.definition import Definition
from integrations.discovery import metadata_urls, read_metadata
from integrations.knobs import Probe, Revocation
from integrations.oauth import OAuthProvider
from tests.keys import ec_key, pem, public_jwk

ISSUER = "https://id.example"
CLIENT = Client("client 1", Secret("canary-secret&+%:ü"))
REFRESH = Secret("canary-rt+/=&?")
VERIFIER = Secret("v" * 43)


def provider(**changed: Any) -> OAuthProvider:
    fields = {
        "authorization_endpoint": f"{ISSUER}/authorize?tenant=a",
        "token_endpoint": f"{ISSUER}/token",
        "revocation_endpoint": f"{ISSUER}/revoke",
        "userinfo_endpoint": f"{ISSUER}/userinfo",
        "issuer": ISSUER,
        **changed,
    }
    return OAuthProvider("x", Definition(**fields))


def asked(*scopes: str) -> AuthorizationRequest:
    return AuthorizationRequest(
        client=CLIENT,
        redirect_uri="https://vault.example/oauth/callback/x",
        state="canary-state",
        nonce="canary-nonce",
        code_verifier=VERIFIER,
        scopes=scopes,
    )


def root(client: Client, refresh_token: Secret) -> Root:
    return Root(kind="oauth2", client=client, refresh_token=refresh_token)


def form(request: httpx.Request) -> dict[str, str]:
    pairs = parse_qsl(request.content.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def basic(request: httpx.Request) -> str:
    scheme, _, encoded = request.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(encoded, validate=True).decode("ascii")


def test_a_refresh_sends_the_token_and_asks_for_no_scope() -> None:
    """RFC 6749 section 6: without a scope, what was granted stays granted."""
    request = provider().renew_request(root(CLIENT, REFRESH))

    assert (request.method, str(request.url)) == ("POST", f"{ISSUER}/token")
    assert form(request) == {"grant_type": "refresh_token", "refresh_token": REFRESH.reveal()}
    assert request.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert request.headers["Accept"] == "application/json"


def test_basic_authentication_encodes_each_part_before_joining_them() -> None:
    """RFC 6749 section 2.3.1, which most libraries forget: a colon in a secret is not a separator."""
    request = provider().renew_request(root(CLIENT, REFRESH))

    assert basic(request) == "client+1:canary-secret%26%2B%25%3A%C3%BC"
    assert "client_secret" not in form(request)
    assert "client_id" not in form(request)


def test_post_authentication_puts_both_parts_into_the_form() -> None:
    """And nothing into a header."""
    request = provider(token_endpoint_auth_method="client_secret_post").renew_request(root(CLIENT, REFRESH))

    assert "Authorization" not in request.headers
    sent = form(request)
    assert sent["client_id"] == CLIENT.client_id
    assert sent["client_secret"] == "canary-secret&+%:ü"


def test_a_public_client_names_itself_and_sends_no_secret() -> None:
    """The method none: the client_id alone, in the form."""
    request = provider(token_endpoint_auth_method="none").renew_request(root(Client("public"), REFRESH))

    assert "Authorization" not in request.headers
    assert b"client_secret" not in request.content
    everywhere = form(request) | dict(parse_qsl(request.url.query.decode()))
    assert everywhere["client_id"] == "public"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_no_secret_is_in_an_address(method: Any) -> None:
    """Addresses are logged by everybody on the way."""
    speaks = provider(token_endpoint_auth_method=method)
    requests = [
        speaks.renew_request(root(CLIENT, REFRESH)),
        speaks.code_request(asked("openid"), Secret("canary-code")),
        speaks.revoke_request(CLIENT, REFRESH),
        speaks.probe_request(Secret("canary-at")),
    ]

    for request in requests:
        assert request is not None
        assert "canary" not in str(request.url)
    assert VERIFIER.reveal() not in speaks.authorization_url(asked("openid"))
    assert "canary-secret" not in speaks.authorization_url(asked("openid"))


def test_a_code_is_sent_with_its_verifier_and_address() -> None:
    """RFC 7636 section 4.5."""
    assert form(provider().code_request(asked(), Secret("canary-code"))) == {
        "grant_type": "authorization_code",
        "code": "canary-code",
        "redirect_uri": "https://vault.example/oauth/callback/x",
        "code_verifier": VERIFIER.reveal(),
    }


def test_an_authorization_asks_for_a_code_with_s256() -> None:
    """Always PKCE, never plain; what the endpoint had in its query stays."""
    url = urlsplit(provider().authorization_url(asked("read", "write")))
    sent = {name: values[0] for name, values in parse_qs(url.query, strict_parsing=True).items()}

    assert sent == {
        "tenant": "a",
        "response_type": "code",
        "client_id": "client 1",
        "redirect_uri": "https://vault.example/oauth/callback/x",
        "scope": "read write",
        "state": "canary-state",
        "code_challenge": create_s256_code_challenge(VERIFIER.reveal()),
        "code_challenge_method": "S256",
    }


@pytest.mark.parametrize(
    ("scopes", "parameters", "prompt", "nonce"),
    [
        (("read",), {}, None, False),
        (("openid",), {}, None, True),
        (("openid", "offline_access"), {}, "consent", True),
        (("offline_access",), {"prompt": "login consent"}, "login consent", False),
        (("read",), {"access_type": "offline"}, None, False),
    ],
)
def test_openid_scopes_bring_their_parameters(
    scopes: tuple[str, ...], parameters: dict[str, str], prompt: str | None, *, nonce: bool
) -> None:
    """A nonce with openid, a prompt for consent with offline_access unless the definition says another."""
    url = provider(authorization_parameters=parameters).authorization_url(asked(*scopes))
    sent = dict(parse_qsl(urlsplit(url).query))

    assert sent.get("prompt") == prompt
    assert ("nonce" in sent) is nonce
    assert parameters.items() <= sent.items()


def test_a_revocation_names_the_kind_of_token() -> None:
    """RFC 7009 section 2.1."""
    request = provider().revoke_request(CLIENT, REFRESH)

    assert request is not None
    assert str(request.url) == f"{ISSUER}/revoke"
    assert form(request) == {"token": REFRESH.reveal(), "token_type_hint": "refresh_token"}
    assert basic(request).startswith("client+1:")


def test_what_a_provider_has_not_is_not_asked_of_it() -> None:
    """Without the endpoint there is no request."""
    bare = provider(revocation_endpoint=None, userinfo_endpoint=None)

    assert bare.revoke_request(CLIENT, REFRESH) is None
    assert bare.probe_request(Secret("canary-at")) is None
    assert set(bare.endpoints) == {"authorization_endpoint", "token_endpoint"}


def test_a_probe_sends_the_access_token_and_nothing_else() -> None:
    """It asks who it is, in a way that spends nothing."""
    request = provider().probe_request(Secret("canary-at"))

    assert request is not None
    assert (request.method, str(request.url)) == ("GET", f"{ISSUER}/userinfo")
    assert request.headers["Authorization"] == "Bearer canary-at"


@pytest.mark.parametrize("kind", ["client_credentials", "jwt_bearer"])
def test_a_token_of_no_end_user_is_not_refused_by_userinfo(kind: str) -> None:
    """OpenID Connect Core 5.3: it works elsewhere, and what it would be answered there says nothing of it."""
    token = Secret("canary-at")
    by_itself = provider(probe_endpoint="https://api.example/me")

    with pytest.raises(StopIteration) as ended:
        next(provider().probe(Root(kind=kind), token))

    assert ended.value.value == Finding(verdict="unknown")
    asked_by_itself = next(by_itself.probe(Root(kind=kind), token))
    assert isinstance(asked_by_itself, httpx.Request)
    assert str(asked_by_itself.url) == "https://api.example/me"


@pytest.mark.parametrize(
    ("parameters", "promised", "problem"),
    [
        ({}, False, None),
        ({"iss": ISSUER}, False, None),
        ({"iss": ISSUER}, True, None),
        ({}, True, "iss_missing"),
        ({"iss": "https://evil.example"}, False, "iss_mismatch"),
        ({"iss": "https://evil.example"}, True, "iss_mismatch"),
        ({"iss": f"{ISSUER}/"}, True, "iss_mismatch"),
        ({"iss": ISSUER.upper()}, True, "iss_mismatch"),
        ({"iss": ""}, True, "iss_mismatch"),
    ],
)
def test_an_answer_says_which_server_it_is_from(
    parameters: dict[str, str], problem: str | None, *, promised: bool
) -> None:
    """RFC 9207: another issuer is refused, and so is none where the server promised to name itself."""
    speaks = provider(authorization_response_iss_parameter_supported=promised)
    if problem is None:
        speaks.check_authorization_answer(parameters)
        return
    with pytest.raises(Unreadable) as caught:
        speaks.check_authorization_answer(parameters)
    assert caught.value.code == problem


@given(
    token=st.text(min_size=1).filter(lambda text: text.isprintable()),
    client_id=st.text(min_size=1).filter(lambda text: text.isprintable()),
    secret=st.text(min_size=1).filter(lambda text: text.isprintable()),
    method=st.sampled_from(["client_secret_basic", "client_secret_post"]),
)
def test_any_token_and_secret_arrive_as_they_are(token: str, client_id: str, secret: str, method: Any) -> None:
    """Whatever characters they are made of, the server reads the same ones."""
    request = provider(token_endpoint_auth_method=method).renew_request(
        root(Client(client_id, Secret(secret)), Secret(token))
    )

    sent = form(request)
    assert sent["refresh_token"] == token
    if method == "client_secret_post":
        assert (sent["client_id"], sent["client_secret"]) == (client_id, secret)
    else:
        parts = [dict(parse_qsl(f"x={part}", keep_blank_values=True))["x"] for part in basic(request).split(":")]
        assert parts == [client_id, secret]


# ---- who the client is

PEM = Secret(pem(ec_key()))


def verified(request: httpx.Request, name: str) -> jwt.Token:
    """Return the assertion in the form, whose signature is good."""
    key = JWKRegistry.import_key(public_jwk(ec_key()))
    return jwt.decode(form(request)[name], key)


@pytest.mark.parametrize(
    ("knobs", "audience"),
    [({}, f"{ISSUER}/token"), ({"assertion_audience": "issuer", "assertion_lifetime": 60}, ISSUER)],
)
def test_a_client_with_a_key_signs_who_it_is(knobs: dict[str, Any], audience: str) -> None:
    """RFC 7523 section 2.2: an assertion about itself, for this server, and no secret."""
    client = Client("client 1", private_key=PEM, key_id="k1")
    speaks = provider(token_endpoint_auth_method="private_key_jwt", **knobs)
    request = speaks.renew_request(root(client, REFRESH))

    sent, assertion = form(request), verified(request, "client_assertion")
    assert sent["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert sent["client_id"] == "client 1"
    assert "client_secret" not in sent
    assert "Authorization" not in request.headers
    assert assertion.header["kid"] == "k1"
    claims = assertion.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("client 1", "client 1", audience)
    assert claims["exp"] - claims["iat"] == knobs.get("assertion_lifetime", 180) <= 300


@pytest.mark.parametrize(
    ("key", "problem"), [(None, "no_private_key"), (Secret("canary-key"), "key_malformed"), (PEM, None)]
)
def test_a_client_that_cannot_sign_is_what_is_wrong(key: Secret | None, problem: str | None) -> None:
    """Nobody's grant is to blame for the key of a client, and nothing of it is in the error."""
    client = Client("client 1", private_key=key, token_endpoint_auth_method="private_key_jwt")
    if problem is None:
        assert provider().renew_request(root(client, REFRESH))
        return
    with pytest.raises(ClientRejected) as caught:
        provider().renew_request(root(client, REFRESH))
    assert caught.value.code == problem
    assert caught.value.__context__ is None


def test_how_a_client_authenticates_counts_more_than_how_its_provider_says() -> None:
    """A registration may be another one than the provider's usual ones."""
    client = Client("client 1", Secret("canary-secret"), "client_secret_post")

    assert form(provider().renew_request(root(client, REFRESH)))["client_secret"] == "canary-secret"


def test_basic_authentication_can_leave_both_parts_as_they_are() -> None:
    """Some servers do not decode what RFC 6749 section 2.3.1 has encoded."""
    request = provider(client_secret_basic_encoded=False).renew_request(root(CLIENT, REFRESH))

    raw = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
    assert raw == "client 1:canary-secret&+%:ü".encode()


# ---- a key that a person entered

ENTERED = {"private_key": PEM, "issuer": Secret("robot@example")}
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def by_key(speaks: OAuthProvider, client: Client | None = None, **entered: str) -> httpx.Request:
    credentials = {**ENTERED, **{name: Secret(value) for name, value in entered.items()}}
    return speaks.renew_request(Root(kind="jwt_bearer", client=client, credentials=credentials))


def test_an_assertion_is_a_grant() -> None:
    """RFC 7523 section 2.1, with the issuer as its own subject, and no client where there is none."""
    request = by_key(provider(scopes=("read", "write")))

    sent = form(request)
    assertion = verified(request, "assertion").claims
    assert set(sent) == {"grant_type", "assertion", "scope"}
    assert (sent["grant_type"], sent["scope"]) == (JWT_BEARER, "read write")
    assert "Authorization" not in request.headers
    assert (assertion["iss"], assertion["sub"], assertion["aud"]) == (
        "robot@example",
        "robot@example",
        f"{ISSUER}/token",
    )
    assert "scope" not in assertion


def test_what_was_entered_beside_a_key_is_in_the_assertion() -> None:
    """On whose behalf, for whom, with which key and which scopes; and the client authenticates besides."""
    request = by_key(
        provider(scopes=("read",)),
        CLIENT,
        subject="ann@example",
        audience="https://other.example",
        scope="write more",
        key_id="k7",
        algorithm="ES256",
    )

    assertion = verified(request, "assertion")
    assert (assertion.claims["sub"], assertion.claims["aud"]) == ("ann@example", "https://other.example")
    assert assertion.header == {"typ": "JWT", "alg": "ES256", "kid": "k7"}
    assert form(request)["scope"] == "write more"
    assert basic(request).startswith("client+1:")


def test_scopes_can_be_claimed_in_the_assertion() -> None:
    """Where the server looks for them there."""
    request = by_key(provider(scopes=("read", "write"), assertion_scope_claim=True))

    assert verified(request, "assertion").claims["scope"] == "read write"
    assert "scope" not in form(request)


def test_a_key_is_looked_at_when_it_is_entered() -> None:
    """Before anything is sent: what is wrong with it has a word; what is right says whose it is."""
    speaks = provider()

    account = speaks.entered("jwt_bearer", {**ENTERED, "subject": Secret("ann@example")})
    assert account == Account("ann@example", "robot@example")
    assert speaks.entered("jwt_bearer", ENTERED) == Account("robot@example", "robot@example")
    for entered, problem in [
        ({"private_key": Secret("canary")}, "key_malformed"),
        ({"algorithm": Secret("HS256")}, "algorithm_unsupported"),
    ]:
        with pytest.raises(Unreadable) as caught:
            speaks.entered("jwt_bearer", {**ENTERED, **entered})
        assert caught.value.code == problem
    assert speaks.entered("client_credentials", {}) is None


def test_grant_types_are_the_kinds_there_are() -> None:
    """In their order; a key takes a client along unless clients do not authenticate there."""
    both = provider(grant_types=(JWT_BEARER, "client_credentials", "refresh_token"))

    assert [(kind.id, kind.how, kind.renewal, kind.uses_client) for kind in both.kinds] == [
        ("jwt_bearer", "enter", "jwt_bearer", True),
        ("client_credentials", "enter", "client_credentials", True),
    ]
    alone = provider(grant_types=(JWT_BEARER,), token_endpoint_auth_method="none")
    assert [kind.uses_client for kind in alone.kinds] == [False]
    secret = {field.name for field in alone.kinds[0].fields if field.secret}
    required = {field.name for field in alone.kinds[0].fields if field.required}
    assert (secret, required) == ({"private_key"}, {"private_key", "issuer"})
    assert [kind.abilities for kind in provider().kinds] == [()]
    assert [kind.abilities for kind in provider(device_authorization_endpoint=f"{ISSUER}/d").kinds] == [
        ("device",)
    ]


def test_the_clients_own_access_asks_for_scopes() -> None:
    """Those that were entered, by default the provider's."""
    speaks = provider(scopes=("read", "write"))
    asks = Root(kind="client_credentials", client=CLIENT)

    assert form(speaks.renew_request(asks)) == {"grant_type": "client_credentials", "scope": "read write"}
    entered = Root(kind="client_credentials", client=CLIENT, credentials={"scope": Secret("more")})
    assert form(speaks.renew_request(entered))["scope"] == "more"


# ---- knobs of requests


def test_token_requests_can_be_json() -> None:
    """The same members, in an object."""
    speaks = provider(token_request_encoding="json", token_endpoint_auth_method="client_secret_post")
    request = speaks.renew_request(root(CLIENT, REFRESH))

    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content) == {
        "grant_type": "refresh_token",
        "refresh_token": REFRESH.reveal(),
        "client_id": "client 1",
        "client_secret": "canary-secret&+%:ü",
    }


def test_token_requests_can_be_a_get() -> None:
    """Everything is in the query then, behind what the endpoint has there."""
    speaks = provider(
        token_endpoint=f"{ISSUER}/token?v=2",
        token_request_method="GET",
        token_endpoint_auth_method="client_secret_post",
    )
    request = speaks.renew_request(root(CLIENT, REFRESH))

    assert (request.method, request.content) == ("GET", b"")
    assert dict(parse_qsl(request.url.query.decode(), strict_parsing=True)) == {
        "v": "2",
        "grant_type": "refresh_token",
        "refresh_token": REFRESH.reveal(),
        "client_id": "client 1",
        "client_secret": "canary-secret&+%:ü",
    }


def test_an_address_that_would_be_too_long_is_in_no_error() -> None:
    """The library's own complaint is not passed on."""
    with pytest.raises(Misused) as caught:
        provider(token_request_method="GET").renew_request(root(CLIENT, Secret("canary-" + "r" * 70_000)))

    assert caught.value.code == "address_too_long"
    assert caught.value.__context__ is None


def test_scopes_are_joined_and_named_as_the_provider_wants_them() -> None:
    """At the authorization endpoint, and in what is asked for without a person."""
    speaks = provider(scope_separator=",", scope_parameter="user_scope", scopes=("a", "b"))
    url = speaks.authorization_url(asked("read", "write"))

    assert dict(parse_qsl(urlsplit(url).query))["user_scope"] == "read,write"
    assert "&scope=" not in url
    sent = form(speaks.renew_request(Root(kind="client_credentials", client=CLIENT)))
    assert sent == {"grant_type": "client_credentials", "user_scope": "a,b"}


def test_parameters_can_be_added_but_none_of_ours_replaced() -> None:
    """To the address, to every token request, and to refreshes."""
    speaks = provider(
        authorization_parameters={"access_type": "offline"},
        token_parameters={"tenant": "a", "grant_type": "canary"},
        refresh_parameters={"scope": "read", "refresh_token": "canary"},
    )

    assert "access_type=offline" in speaks.authorization_url(asked())
    assert form(speaks.renew_request(root(CLIENT, REFRESH))) == {
        "tenant": "a",
        "grant_type": "refresh_token",
        "scope": "read",
        "refresh_token": REFRESH.reveal(),
    }
    exchange = form(speaks.code_request(asked(), Secret("canary-code")))
    assert (exchange["tenant"], exchange["grant_type"]) == ("a", "authorization_code")
    assert "scope" not in exchange


def test_pkce_is_left_out_only_where_the_provider_has_none() -> None:
    """Neither the challenge nor its verifier is sent then."""
    speaks = provider(code_challenge_methods_supported=())

    assert "code_challenge" not in speaks.authorization_url(asked("read"))
    assert "code_verifier" not in form(speaks.code_request(asked(), Secret("canary-code")))


def test_the_redirect_uri_can_be_left_out_of_the_exchange() -> None:
    """Some providers refuse it there; the address still has it."""
    speaks = provider(redirect_uri_on_exchange=False)

    assert "redirect_uri" not in form(speaks.code_request(asked(), Secret("canary-code")))
    assert "redirect_uri=" in speaks.authorization_url(asked())


def test_a_probe_is_what_the_definition_says() -> None:
    """Where, how, and in which header the token goes."""
    speaks = provider(
        probe_endpoint="https://api.example/me",
        probe=Probe(method="POST", headers={"X-Token": "tok {access_token}", "X-Version": "2"}),
    )
    request = speaks.probe_request(Secret("canary-~"))

    assert speaks.probe_request(Secret("canary-ü")) is None  # of no token that fits into a header
    assert request is not None
    assert (request.method, str(request.url)) == ("POST", "https://api.example/me")
    assert request.headers.raw[-1] == (b"X-Version", b"2")
    assert dict(request.headers.raw)[b"X-Token"] == b"tok canary-~"
    assert "Authorization" not in request.headers


REVOCATIONS: list[tuple[dict[str, Any], str, str, dict[str, str], str | None]] = [
    ({"token_in": "query", "method": "GET"}, "GET", f"{ISSUER}/revoke?token=canary-rt", {}, None),
    (
        {"token_in": "query", "token_parameter": "access_token", "method": "DELETE"},
        "DELETE",
        f"{ISSUER}/revoke?access_token=canary-rt",
        {},
        None,
    ),
    ({"token_in": "header", "method": "DELETE"}, "DELETE", f"{ISSUER}/revoke", {}, "Bearer canary-rt"),
    (
        {"token_parameter": "refresh"},
        "POST",
        f"{ISSUER}/revoke",
        {"refresh": "canary-rt", "token_type_hint": "refresh_token"},
        "Basic",
    ),
]


@pytest.mark.parametrize(("knob", "method", "url", "sent", "authorization"), REVOCATIONS)
def test_a_token_is_ended_in_the_providers_way(
    knob: dict[str, Any], method: str, url: str, sent: dict[str, str], authorization: str | None
) -> None:
    """In the body with the client, or by itself in the query or a header."""
    request = provider(revocation=Revocation(**knob)).revoke_request(CLIENT, Secret("canary-rt"))

    assert request is not None
    assert (request.method, str(request.url)) == (method, url)
    assert (form(request) if request.content else {}) == sent
    assert (request.headers.get("Authorization") or "").startswith(authorization or "")
    assert ("Authorization" in request.headers) is (authorization is not None)


def test_a_token_that_speaks_for_itself_is_ended_without_a_client() -> None:
    """RFC 7009 takes one, and without it there is nothing to send."""
    assert provider().revoke_request(None, REFRESH) is None
    assert provider(revocation=Revocation(token_in="header")).revoke_request(None, REFRESH) is not None


def test_which_answers_mean_that_a_token_is_dead() -> None:
    """200 by the standard, and what the definition says instead."""
    assert [provider().revoked(Answer(status)) for status in (200, 204, 400)] == [True, False, False]
    own = provider(revocation=Revocation(success=(204, 404)))
    assert [own.revoked(Answer(status)) for status in (200, 204, 404)] == [False, True, True]


@pytest.mark.parametrize(
    "knobs",
    [
        {"authorization_endpoint": None},
        {"issuer": None, "assertion_audience": "issuer"},
        {"token_request_method": "GET", "token_request_encoding": "json"},
    ],
)
def test_knobs_that_contradict_each_other_are_refused(knobs: dict[str, Any]) -> None:
    """A definition that could not work is none."""
    with pytest.raises(ValueError, match=r"needs|has no"):
        provider(**knobs)


def test_a_provider_without_people_needs_no_authorization_endpoint() -> None:
    """RFC 8414 section 2; nobody can be sent there then."""
    alone = provider(authorization_endpoint=None, grant_types=("client_credentials",))

    with pytest.raises(Unreadable) as caught:
        alone.authorization_url(asked())
    assert caught.value.code == "no_authorization_endpoint"


# ---- discovery

METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
}


def read(issuer: str = ISSUER, status: int = 200, **members: Any) -> dict[str, Any]:
    body = httpx.Response(200, json={**METADATA, **members}).content
    return read_metadata(issuer, Answer(status, {}, body))


@pytest.mark.parametrize(
    ("issuer", "openid", "rfc8414"),
    [
        (ISSUER, "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
        (f"{ISSUER}/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
        (f"{ISSUER}/a/b", "/a/b/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a/b"),
        (f"{ISSUER}/a/", "/a/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a"),
    ],
)
def test_metadata_is_looked_for_where_the_two_standards_put_it(issuer: str, openid: str, rfc8414: str) -> None:
    """OpenID appends its path to the issuer; RFC 8414 section 3.1 inserts one."""
    assert metadata_urls(issuer) == (f"{ISSUER}{openid}", f"{ISSUER}{rfc8414}")


def test_metadata_gives_the_endpoints_and_how_to_authenticate() -> None:
    """What a definition needs, and nothing else of what is published."""
    there = {name: f"{ISSUER}/{name}" for name in ("revocation_endpoint", "device_authorization_endpoint")}
    assert read(ISSUER, 200, **there, jwks_uri=f"{ISSUER}/jwks", extra="x") == {
        **METADATA,
        **there,
        "jwks_uri": f"{ISSUER}/jwks",
        "token_endpoint_auth_method": "client_secret_basic",
        "authorization_response_iss_parameter_supported": False,
    }


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"issuer": "https://evil.example"}, "issuer_mismatch"),
        ({"issuer": f"{ISSUER}/"}, "issuer_mismatch"),
        ({"issuer": None}, "issuer_mismatch"),
        ({"code_challenge_methods_supported": ["plain"]}, "pkce_unsupported"),
        ({"code_challenge_methods_supported": []}, "pkce_unsupported"),
        ({"token_endpoint": ""}, "endpoints_missing"),
        ({"token_endpoint": 5}, "endpoints_missing"),
        ({"token_endpoint_auth_methods_supported": ["tls_client_auth"]}, "client_auth_unsupported"),
        ({"token_endpoint_auth_methods_supported": "client_secret_basic"}, "client_auth_unsupported"),
        ({"status": 404}, "no_metadata"),
        ({"status": 301}, "no_metadata"),
    ],
)
def test_metadata_that_cannot_be_used_says_why(members: dict[str, Any], problem: str) -> None:
    """Another issuer's word, no S256, no endpoints, no way to authenticate: nothing is guessed."""
    with pytest.raises(Unreadable) as caught:
        read(**members)
    assert caught.value.code == problem


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["private_key_jwt", "client_secret_post"], "client_secret_post"),
        (["none"], "none"),
        (["private_key_jwt", "none"], "none"),
        (["tls_client_auth", "private_key_jwt"], "private_key_jwt"),
    ],
)
def test_the_best_way_to_authenticate_that_is_offered_is_chosen(offered: list[str], chosen: str) -> None:
    """Basic before post before none, whatever their order; a key only where nothing else will do."""
    assert read(token_endpoint_auth_methods_supported=offered)["token_endpoint_auth_method"] == chosen
