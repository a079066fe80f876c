"""The standard dialect: what a request looks like, byte for byte where it matters."""

import base64
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from hypothesis import given
from hypothesis import strategies as st

from integrations.contract import Answer, AuthorizationRequest, Client, Root, Secret, Unreadable
from integrations.definition import Definition
from integrations.discovery import metadata_urls, read_metadata
from integrations.oauth import OAuthProvider

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
    assert read(revocation_endpoint=f"{ISSUER}/revoke", jwks_uri=f"{ISSUER}/jwks", extra="x") == {
        **METADATA,
        "revocation_endpoint": f"{ISSUER}/revoke",
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
        ({"authorization_endpoint": None}, "endpoints_missing"),
        ({"token_endpoint": ""}, "endpoints_missing"),
        ({"token_endpoint": 5}, "endpoints_missing"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "client_auth_unsupported"),
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
    ],
)
def test_the_best_way_to_authenticate_that_is_offered_is_chosen(offered: list[str], chosen: str) -> None:
    """Basic before post before none, whatever their order."""
    assert read(token_endpoint_auth_methods_supported=offered)["token_endpoint_auth_method"] == chosen
