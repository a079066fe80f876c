"""The sandbox is a whole authorization server, and no more than that: it sends nobody elsewhere."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from litestar import Litestar, asgi

from integrations import sandbox
from integrations.contract import (
    Account,
    Answer,
    AuthorizationRequest,
    Client,
    ClientRejected,
    GrantRejected,
    Root,
    Secret,
    TokenSet,
)

PUBLIC = "http://127.0.0.1:8000"
KEY = b"canary-key-of-the-sandbox"
PROVIDER = sandbox.provider(PUBLIC)
CLIENT = Client(sandbox.CLIENT_ID, sandbox.client_secret(KEY))
ASKED = AuthorizationRequest(
    client=CLIENT,
    redirect_uri=f"{PUBLIC}/oauth/callback/sandbox",
    state="state&<1>",
    nonce="nonce-1",
    code_verifier=Secret("canary-verifier-" + "v" * 43),
    scopes=("openid", "profile"),
)


class Clock:
    """The sandbox's clock, which a test puts forward."""

    def __init__(self) -> None:
        self.time = 2_000_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    """A clock far from now, so that nothing passes for being looked at by the real one."""
    return Clock()


def mounted(clock: Clock) -> Litestar:
    """Return the sandbox where the vault has it for a person's browser."""
    served = asgi("/sandbox", is_mount=True, copy_scope=False)
    return Litestar([served(sandbox.application(PUBLIC, KEY, clock))])


@pytest.fixture(params=["whole path", "mounted"])
async def http(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the sandbox, asked by its whole path and as a mount in Litestar."""
    app: Any = sandbox.application(PUBLIC, KEY, clock) if request.param == "whole path" else mounted(clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=PUBLIC) as http:
        yield http


def hidden(page: httpx.Response) -> str:
    found = re.search(r'name="request" value="([^"]*)"', page.text)
    assert found is not None
    return unescape(found[1])


def parameters(answer: httpx.Response) -> dict[str, str]:
    """Return what the callback is told."""
    assert answer.status_code == 303
    address = urlsplit(answer.headers["location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == ASKED.redirect_uri
    return dict(parse_qsl(address.query))


async def decide(
    http: httpx.AsyncClient, asked: AuthorizationRequest = ASKED, choice: str = "approve", account: str = ""
) -> dict[str, str]:
    page = await http.get(PROVIDER.authorization_url(asked))
    assert page.status_code == 200
    form = {"request": hidden(page), "choice": choice, "account": account}
    return parameters(await http.post("/sandbox/authorize", data=form))


async def send(http: httpx.AsyncClient, request: httpx.Request) -> Answer:
    response = await http.send(request)
    return Answer(response.status_code, dict(response.headers), response.content)


async def redeem(http: httpx.AsyncClient, code: str, asked: AuthorizationRequest = ASKED) -> TokenSet:
    return PROVIDER.read_tokens(await send(http, PROVIDER.code_request(asked, Secret(code))))


async def refresh(http: httpx.AsyncClient, token: Secret, client: Client = CLIENT) -> TokenSet:
    return PROVIDER.read_tokens(
        await send(http, PROVIDER.renew_request(Root(kind="oauth2", client=client, refresh_token=token)))
    )


async def connect(http: httpx.AsyncClient, asked: AuthorizationRequest = ASKED) -> TokenSet:
    return await redeem(http, (await decide(http, asked))["code"], asked)


async def probe(http: httpx.AsyncClient, access_token: Secret) -> Answer:
    request = PROVIDER.probe_request(access_token)
    assert request is not None
    return await send(http, request)


async def test_consent_becomes_tokens(http: httpx.AsyncClient) -> None:
    """Approving gives a code, the code a token set, and the token an answer, all read by our own dialect."""
    told = await decide(http, account="Dana <dana>")
    PROVIDER.check_authorization_answer(told)
    assert told["state"] == ASKED.state
    tokens = await redeem(http, told["code"])
    assert (tokens.expires_in, tokens.scopes) == (sandbox.ACCESS, ASKED.scopes)
    account = PROVIDER.account(tokens, client=CLIENT, nonce=ASKED.nonce, keys=None)
    assert account == Account("Dana <dana>", "Dana <dana>")
    assert b'"sub":"Dana <dana>"' in (await probe(http, tokens.access_token)).body
    resource = await http.get(
        "/sandbox/resource", headers={"Authorization": f"Bearer {tokens.access_token.reveal()}"}
    )
    assert resource.json() == {"sub": "Dana <dana>", "name": "Dana <dana>"}


async def test_an_account_has_a_name_without_one(http: httpx.AsyncClient) -> None:
    """An empty account name is the default one."""
    account = PROVIDER.account(await connect(http), client=CLIENT, nonce=ASKED.nonce, keys=None)
    assert account is not None
    assert account.subject == "sandbox-user"


async def test_the_id_token_is_signed(http: httpx.AsyncClient, clock: Clock) -> None:
    """The ID token's signature is the client secret's (OpenID Connect Core 10.1), its claims ours."""
    tokens = await connect(http)
    assert tokens.id_token is not None
    secret = OctKey.import_key(sandbox.client_secret(KEY).reveal())
    claims = jwt.decode(tokens.id_token.reveal(), secret, algorithms=["HS256"]).claims
    assert claims == {
        "iss": f"{PUBLIC}/sandbox",
        "aud": CLIENT.client_id,
        "sub": "sandbox-user",
        "name": "sandbox-user",
        "nonce": ASKED.nonce,
        "iat": clock.time,
        "exp": clock.time + sandbox.ACCESS,
    }


async def test_no_openid_no_id_token(http: httpx.AsyncClient) -> None:
    """Without the scope `openid` there is no ID token."""
    tokens = await connect(http, replace(ASKED, scopes=("profile",)))
    assert tokens.id_token is None


async def test_refresh_tokens_rotate(http: httpx.AsyncClient) -> None:
    """Each refresh gives new tokens, and the old refresh token goes on working."""
    first = await connect(http)
    assert first.refresh_token is not None
    second, third = await refresh(http, first.refresh_token), await refresh(http, first.refresh_token)
    assert len({t.refresh_token for t in (first, second, third)}) == 3
    assert len({t.access_token for t in (first, second, third)}) == 3
    assert PROVIDER.account(second, client=CLIENT, nonce=None, keys=None) == Account(
        "sandbox-user", "sandbox-user"
    )
    assert PROVIDER.rotation == "never"


async def test_short_lived_tokens(http: httpx.AsyncClient, clock: Clock) -> None:
    """The scope `expires:N` makes access tokens that live N seconds, over refreshes too."""
    tokens = await connect(http, replace(ASKED, scopes=("openid", "expires:6")))
    assert tokens.refresh_token is not None
    for each in (tokens, await refresh(http, tokens.refresh_token)):
        assert each.expires_in == 6
    clock.time += 5.9
    assert (await probe(http, tokens.access_token)).status == 200
    clock.time += 0.1
    assert (await probe(http, tokens.access_token)).status == 401


async def test_denial(http: httpx.AsyncClient) -> None:
    """Whoever presses Deny, or neither button, is sent back without a code."""
    for choice in ("deny", ""):
        told = await decide(http, choice=choice)
        assert told == {"error": "access_denied", "state": ASKED.state, "iss": f"{PUBLIC}/sandbox"}


async def test_code_of_another_verifier(http: httpx.AsyncClient) -> None:
    """A code is worth nothing without the verifier that its request committed to."""
    code = (await decide(http))["code"]
    with pytest.raises(GrantRejected):
        await redeem(http, code, replace(ASKED, code_verifier=Secret("w" * 43)))


async def test_code_of_another_redirect(http: httpx.AsyncClient) -> None:
    """A code is redeemed with the redirect_uri that it was sent to, or not at all."""
    code = (await decide(http))["code"]
    with pytest.raises(GrantRejected):
        await redeem(http, code, replace(ASKED, redirect_uri=f"{PUBLIC}/oauth/callback/other"))


async def test_codes_expire(http: httpx.AsyncClient, clock: Clock) -> None:
    """A code works for a minute."""
    code = (await decide(http))["code"]
    clock.time += sandbox.CODE - 1
    await redeem(http, code)
    clock.time += 1
    with pytest.raises(GrantRejected):
        await redeem(http, code)


async def test_wrong_secret(http: httpx.AsyncClient) -> None:
    """A wrong client secret is invalid_client, whatever the grant, at revocation too."""
    tokens, wrong = await connect(http), Client(CLIENT.client_id, Secret("wrong"))
    assert tokens.refresh_token is not None
    with pytest.raises(ClientRejected):
        await refresh(http, tokens.refresh_token, wrong)
    request = PROVIDER.revoke_request(wrong, tokens.refresh_token)
    assert request is not None
    answer = await send(http, request)
    assert (answer.status, answer.body) == (401, b'{"error":"invalid_client"}')
    assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("authorization", ["", "Basic", "Basic ####", "Basic /w==", "Basic YQ==", "Bearer x"])
async def test_unreadable_client(http: httpx.AsyncClient, authorization: str) -> None:
    """Client credentials that cannot be read are wrong ones, not a crash."""
    headers = {"Authorization": authorization} if authorization else {}
    answer = await http.post("/sandbox/token", data={"grant_type": "refresh_token"}, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


async def test_a_tokens_client(http: httpx.AsyncClient) -> None:
    """Grants belong to the client they were given to."""
    tokens = await connect(http)
    assert tokens.refresh_token is not None
    with pytest.raises(GrantRejected):
        await refresh(http, tokens.refresh_token, replace(CLIENT, client_id="another"))


async def test_client_secret_in_the_body(http: httpx.AsyncClient) -> None:
    """client_secret_post is as good as client_secret_basic."""
    tokens = await connect(http)
    assert tokens.refresh_token is not None
    form = {
        "grant_type": "refresh_token",
        "refresh_token": tokens.refresh_token.reveal(),
        "client_id": CLIENT.client_id,
        "client_secret": sandbox.client_secret(KEY).reveal(),
    }
    assert (await http.post("/sandbox/token", data=form)).status_code == 200
    answer = await http.post("/sandbox/token", data={**form, "grant_type": "password"})
    assert (answer.status_code, answer.json()) == (400, {"error": "unsupported_grant_type"})


async def test_tampered_tokens(http: httpx.AsyncClient) -> None:
    """No token survives a changed, missing or added character, nor another word in front."""
    tokens = await connect(http)
    assert tokens.refresh_token is not None
    for token in tampered(tokens.refresh_token.reveal(), tokens.access_token.reveal(), "rt"):
        with pytest.raises(GrantRejected):
            await refresh(http, Secret(token))
    for token in tampered(tokens.access_token.reveal(), tokens.refresh_token.reveal(), "at"):
        answer = await probe(http, Secret(token))
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert (await http.get("/sandbox/userinfo")).status_code == 401


def tampered(token: str, other: str, word: str) -> list[str]:
    middle = len(token) // 2
    swapped = "B" if token[middle] == "A" else "A"
    text, _, mac = token.partition(".")
    return [
        token[:middle] + swapped + token[middle + 1 :],
        token[:-1],
        token + "A",
        text,
        f"{text}.",
        f".{mac}",
        other,
        re.sub(r"sandbox-\w\w", f"sandbox-{word}", other),
        "-",
    ]


async def test_another_key(http: httpx.AsyncClient, clock: Clock) -> None:
    """Another vault's sandbox neither believes these tokens nor shares the client secret."""
    tokens = await connect(http)
    assert sandbox.client_secret(KEY) != sandbox.client_secret(b"another")
    other = httpx.ASGITransport(sandbox.application(PUBLIC, b"another", clock))
    async with httpx.AsyncClient(transport=other) as elsewhere:
        assert (await probe(elsewhere, tokens.access_token)).status == 401


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "",
        "https://elsewhere.test/oauth/callback/sandbox",
        f"{PUBLIC}.elsewhere.test/oauth/callback/sandbox",
        f"{PUBLIC}@elsewhere.test/oauth/callback/sandbox",
        f"{PUBLIC}/elsewhere",
        f"{PUBLIC}/oauth/callback/",
        f"{PUBLIC}/oauth/callback/..",
        f"{PUBLIC}/oauth/callback/../../elsewhere",
        f"{PUBLIC}/oauth/callback/%2e%2e/elsewhere",
        f"{PUBLIC}/oauth/callback/a\\..\\elsewhere",
        f"{PUBLIC}/oauth/callback/sandbox#part",
        f"{PUBLIC}/oauth/callback/sandbox\r\nSet-Cookie: a=b",
        f"{PUBLIC}/oauth/callback/sandbox\n",
    ],
)
async def test_nobody_is_sent_elsewhere(http: httpx.AsyncClient, redirect_uri: str) -> None:
    """A redirect_uri that is no callback of this vault is a page that says so."""
    url = httpx.URL(PROVIDER.authorization_url(ASKED)).copy_set_param("redirect_uri", redirect_uri)
    answer = await http.get(url)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "elsewhere" not in answer.text


@pytest.mark.parametrize(
    ("parameter", "value", "error"),
    [
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
    ],
)
async def test_requests_that_cannot_be_met(
    http: httpx.AsyncClient, parameter: str, value: str, error: str
) -> None:
    """What is wrong with a request is told to its callback (RFC 6749 section 4.1.2.1)."""
    url = httpx.URL(PROVIDER.authorization_url(ASKED)).copy_set_param(parameter, value)
    assert parameters(await http.get(url))["error"] == error


async def test_the_form_is_sealed(http: httpx.AsyncClient, clock: Clock) -> None:
    """What the person saw is what is approved: no changed, foreign or old form is believed."""
    page = await http.get(PROVIDER.authorization_url(ASKED))
    code = (await decide(http))["code"]
    for request in tampered(hidden(page), code, "form"):
        answer = await http.post("/sandbox/authorize", data={"request": request, "choice": "approve"})
        assert (answer.status_code, "location" in answer.headers) == (400, False)
    clock.time += sandbox.FORM
    answer = await http.post("/sandbox/authorize", data={"request": hidden(page), "choice": "approve"})
    assert answer.status_code == 400


async def test_the_page_is_inert(http: httpx.AsyncClient) -> None:
    """Nothing in a request becomes markup, and the page may load and run nothing."""
    client = Client("<script>alert(1)</script>", CLIENT.client_secret)
    asked = replace(ASKED, client=client, scopes=('"><img src=x>',), state='"><b>')
    page = await http.get(PROVIDER.authorization_url(asked))
    assert page.status_code == 200
    assert not re.search(r"<script|<img|<b>", page.text)
    assert "&lt;script&gt;" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


async def test_revoking_says_what_it_is_worth(http: httpx.AsyncClient) -> None:
    """A revocation is answered with 200, and the token goes on working: nothing is remembered."""
    tokens = await connect(http)
    assert tokens.refresh_token is not None
    request = PROVIDER.revoke_request(CLIENT, tokens.refresh_token)
    assert request is not None
    answer = await send(http, request)
    assert answer.status == 200
    assert b"Nothing is remembered" in answer.body
    await refresh(http, tokens.refresh_token)


@pytest.mark.parametrize("path", ["/sandbox", "/sandbox/", "/sandbox/elsewhere", "/sandbox/token/more"])
async def test_other_addresses(http: httpx.AsyncClient, path: str) -> None:
    """There is nothing at any other address."""
    assert (await http.get(path)).status_code == 404


async def test_a_public_url_with_a_path(clock: Clock) -> None:
    """A PUBLIC_URL that has a path of its own does not lead astray."""
    public = f"{PUBLIC}/vault"
    app = sandbox.application(public, KEY, clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        asked = replace(ASKED, redirect_uri=f"{public}/oauth/callback/sandbox")
        answer = await http.get(sandbox.provider(public).authorization_url(asked))
    assert answer.status_code == 200


async def test_a_body_without_end(clock: Clock) -> None:
    """An endless body is not read to its end."""
    app, said = sandbox.application(PUBLIC, KEY, clock), list[Any]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"a" * 4096, "more_body": True}

    async def keep(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/sandbox/token", "headers": []}
    async with asyncio.timeout(5):
        await app(scope, receive, keep)
    assert said[0]["status"] == 401


async def test_tokens_without_a_person(http: httpx.AsyncClient, clock: Clock) -> None:
    """The quickstart's token set is one that the sandbox itself would have given."""
    tokens = sandbox.tokens(PUBLIC, KEY)
    assert PROVIDER.account(tokens, client=CLIENT, nonce=None, keys=None) == Account(
        "sandbox-user", "sandbox-user"
    )
    assert tokens.refresh_token is not None
    clock.time = time.time()
    assert (await probe(http, tokens.access_token)).status == 200
    assert (await refresh(http, tokens.refresh_token)).scopes == tokens.scopes == ("openid", "profile")
