"""The fake provider is as strict, and as unkind, as the tests that rely on it believe."""

import asyncio
import base64
import gzip
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.keys import ec_key, public_jwk, rsa_key
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant

VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:1/oauth/callback/fake?tenant=a"


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[FakeProvider]:
    """A strict provider of its own for each test."""
    async with FakeProvider(tmp_path / "ledger.jsonl", fsync=False) as provider:
        yield provider


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens a connection for each request, so that none is silently tried again."""
    timeout = aiohttp.ClientTimeout(total=10)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


async def ask(http: aiohttp.ClientSession, provider: FakeProvider, form: Any, **options: Any) -> tuple[int, Any]:
    async with http.post(provider.token_endpoint, data=form, **options) as response:
        return response.status, await response.json()


def with_secret(provider: FakeProvider, **form: str) -> dict[str, str]:
    return {"client_id": provider.client_id, "client_secret": provider.client_secret, **form}


async def refresh(http: aiohttp.ClientSession, provider: FakeProvider, token: str) -> tuple[int, Any]:
    return await ask(http, provider, with_secret(provider, grant_type="refresh_token", refresh_token=token))


async def me(http: aiohttp.ClientSession, provider: FakeProvider, access_token: str) -> int:
    headers = {"Authorization": f"Bearer {access_token}"}
    async with http.get(provider.resource, headers=headers) as response:
        return response.status


async def authorize(http: aiohttp.ClientSession, provider: FakeProvider, **params: str) -> dict[str, str]:
    """Where the browser is sent, as query parameters."""
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": REDIRECT,
        "scope": "openid read",
        "state": "state-1",
        "nonce": "nonce-1",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    } | params
    url = provider.authorization_endpoint
    async with http.get(url, params=asked, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith(REDIRECT + "&")
        query = parse_qs(urlsplit(response.headers["Location"]).query)
    return {name: values[0] for name, values in query.items()}


def code_form(provider: FakeProvider, code: str, **other: str) -> dict[str, str]:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    return with_secret(provider, **form, **{"code_verifier": VERIFIER, **other})


async def test_the_process_says_where_it_listens_and_ends_when_told(tmp_path: Path) -> None:
    """The ledger can be read after the process has ended."""
    async with FakeProvider(tmp_path / "ledger.jsonl") as provider:
        grant = await provider.mint(subject="ann")
    ledger = await provider.ledger()

    assert grant.refresh_token == ledger.last_refresh_token(grant.family)
    assert "canary-rt-" in grant.refresh_token
    assert "canary-at-" in grant.access_token


async def test_a_ledger_is_never_continued(tmp_path: Path) -> None:
    """A second provider would mix its families with those of the first."""
    (tmp_path / "ledger.jsonl").touch()
    with pytest.raises(RuntimeError, match="did not start"):
        await FakeProvider(tmp_path / "ledger.jsonl").start()


async def test_single_tokens_and_families_can_be_ended(
    http: aiohttp.ClientSession, provider: FakeProvider
) -> None:
    """An access token may die alone, a family with all it has, and the ledger knows when."""
    one, other = await provider.mint_many(2)
    await provider.kill_access(one.access_token)
    await provider.revoke_family(other.family)
    ledger = await provider.ledger()

    assert [await me(http, provider, grant.access_token) for grant in (one, other)] == [401, 401]
    assert (await refresh(http, provider, one.refresh_token))[0] == 200
    assert (await refresh(http, provider, other.refresh_token))[0] == 400
    assert not any(ledger.is_alive_access(grant.access_token) for grant in (one, other))
    assert ledger.is_alive_access(one.access_token, at=ledger.of("issued", one.family)[0]["at"])


async def test_a_refresh_rotates_the_token(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """A good refresh answers with a living access token and a new refresh token."""
    grant = await provider.mint(access_lifetime=1)
    status, answer = await refresh(http, provider, grant.refresh_token)
    ledger = await provider.ledger()

    assert (status, answer["expires_in"]) == (200, 3600)
    assert await me(http, provider, answer["access_token"]) == 200
    assert answer["refresh_token"] == ledger.last_refresh_token(grant.family)
    assert answer["refresh_token"] == ledger.last_delivered_refresh_token(grant.family)
    assert ledger.is_alive_access(answer["access_token"])
    assert 1 == len(ledger.exchanges(grant.family)) == ledger.token_requests
    assert ledger.replays() == []


async def test_reuse_revokes_the_family(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Presenting a consumed token kills the new token and the access tokens too."""
    grant = await provider.mint()
    _, answer = await refresh(http, provider, grant.refresh_token)
    again = await refresh(http, provider, grant.refresh_token)
    successor = await refresh(http, provider, answer["refresh_token"])
    ledger = await provider.ledger()

    assert (again[0], again[1]["error"]) == (400, "invalid_grant")
    assert (successor[0], successor[1]["error"]) == (400, "invalid_grant")
    assert await me(http, provider, answer["access_token"]) == 401
    assert {grant.family} == ledger.revoked_families
    assert len(ledger.reuses(grant.family)) == 1
    assert not ledger.is_alive_access(answer["access_token"])


async def test_of_eight_parallel_refreshes_one_wins_and_is_dead(
    http: aiohttp.ClientSession, provider: FakeProvider
) -> None:
    """A race on one strict token costs the grant."""
    grant = await provider.mint()
    answers = await asyncio.gather(*(refresh(http, provider, grant.refresh_token) for _ in range(8)))
    winner = next(answer for status, answer in answers if status == 200)

    assert sorted(status for status, _ in answers) == [200] + [400] * 7
    assert (await refresh(http, provider, winner["refresh_token"]))[0] == 400
    assert len((await provider.ledger()).reuses()) == 7


async def test_grace_forgives_for_a_while(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Within grace a consumed token gets a sibling, and later it is reuse."""
    await provider.configure(rotation="grace")
    grant = await provider.mint()
    _, first = await refresh(http, provider, grant.refresh_token)
    status, sibling = await refresh(http, provider, grant.refresh_token)

    assert status == 200
    assert first["refresh_token"] != sibling["refresh_token"]
    assert (await refresh(http, provider, first["refresh_token"]))[0] == 200

    await provider.configure(grace_seconds=0)

    assert (await refresh(http, provider, grant.refresh_token))[0] == 400
    assert (len((ledger := await provider.ledger()).replays()), len(ledger.reuses())) == (2, 1)


async def test_grace_can_repeat_the_same_successor(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Some vendors answer a retry with the successor they issued before."""
    await provider.configure(rotation="grace", grace_answer="same")
    grant = await provider.mint()
    _, first = await refresh(http, provider, grant.refresh_token)
    _, again = await refresh(http, provider, grant.refresh_token)

    assert first["refresh_token"] == again["refresh_token"]
    assert first["access_token"] != again["access_token"]


async def test_never_and_lax_go_on_taking_the_old_token(
    http: aiohttp.ClientSession, provider: FakeProvider
) -> None:
    """Without rotation the answer has no refresh token; lax rotation has one, and minds nothing."""
    grant = await provider.mint()
    await provider.configure(rotation="never")
    fixed = [await refresh(http, provider, grant.refresh_token) for _ in range(2)]
    await provider.configure(rotation="lax")
    lax = [await refresh(http, provider, grant.refresh_token) for _ in range(2)]

    assert [status for status, _ in fixed + lax] == [200] * 4
    assert ["refresh_token" in answer for _, answer in fixed + lax] == [False, False, True, True]
    assert len((await provider.ledger()).replays()) == 1


async def test_consent_to_tokens(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """The whole way: code, state and iss; tokens; a signed id_token; userinfo."""
    back = await authorize(http, provider)
    status, answer = await ask(http, provider, code_form(provider, back["code"]))
    async with http.get(f"{provider.issuer}/jwks") as response:
        keys = KeySet.import_key_set(await response.json())
    claims = jwt.decode(answer["id_token"], keys, algorithms=["RS256"]).claims

    assert ("state-1", provider.issuer, 200) == (back["state"], back["iss"], status)
    assert (provider.issuer, "client-1", "nonce-1") == (claims["iss"], claims["aud"], claims["nonce"])
    assert claims["sub"] == "account-1"
    assert await me(http, provider, answer["access_token"]) == 200


async def test_a_code_is_good_once(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """The second redemption is refused and takes the tokens of the first along."""
    code = (await authorize(http, provider))["code"]
    _, answer = await ask(http, provider, code_form(provider, code))
    status, refusal = await ask(http, provider, code_form(provider, code))

    assert (status, refusal["error"]) == (400, "invalid_grant")
    assert await me(http, provider, answer["access_token"]) == 401
    assert len((await provider.ledger()).of("code_reused")) == 1


@pytest.mark.parametrize(
    "wrong", [{"code_verifier": "w" * 43}, {"code_verifier": "short"}, {"redirect_uri": REDIRECT + "x"}]
)
async def test_a_code_is_bound(http: aiohttp.ClientSession, provider: FakeProvider, wrong: dict[str, str]) -> None:
    """Another verifier or redirect_uri is refused, and burns the code."""
    code = (await authorize(http, provider))["code"]
    refused = await ask(http, provider, code_form(provider, code) | wrong)
    late = await ask(http, provider, code_form(provider, code))

    assert (refused[0], refused[1]["error"]) == (400, "invalid_grant")
    assert late[0] == 400


async def test_authorization_requires_pkce(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Plain challenges and missing ones are sent back as errors."""
    plain = await authorize(http, provider, code_challenge_method="plain")
    missing = await authorize(http, provider, code_challenge="")

    assert [plain["error"], missing["error"]] == ["invalid_request"] * 2


async def test_the_next_consent_can_be_told(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Refusals and missing or false `iss` are one-shot."""
    await provider.consent(error="access_denied")
    await provider.consent(iss="")
    await provider.consent(iss="https://evil.example", subject="bob")
    backs = [await authorize(http, provider) for _ in range(4)]

    assert backs[0]["error"] == "access_denied"
    assert [provider.issuer, None, "https://evil.example", provider.issuer] == [back.get("iss") for back in backs]


async def test_clients_authenticate(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Basic parts are form-decoded; a wrong secret is a 401 that consumes nothing."""
    await provider.configure(clients={"a client": ["canary-client-secret:%+", "canary-client-secret-2"]})
    grant = await provider.mint()
    form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}

    def basic(secret: str) -> dict[str, str]:
        pair = f"{quote_plus('a client')}:{quote_plus(secret)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    wrong = await ask(http, provider, form, headers=basic("guess"))
    both = await ask(http, provider, form | {"client_secret": "x"}, headers=basic("canary-client-secret-2"))
    right = await ask(http, provider, form, headers=basic("canary-client-secret:%+"))

    assert (wrong[0], wrong[1]["error"]) == (401, "invalid_client")
    assert (both[0], both[1]["error"]) == (400, "invalid_request")
    assert right[0] == 200


async def test_a_repeated_parameter_is_refused(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """RFC 6749 allows each parameter once."""
    grant = await provider.mint()
    form = with_secret(provider, grant_type="refresh_token", refresh_token=grant.refresh_token)
    status, answer = await ask(http, provider, [*form.items(), ("grant_type", "refresh_token")])

    assert (status, answer["error"]) == (400, "invalid_request")
    assert (await provider.ledger()).of("consumed") == []


async def test_revocation(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Revoking a refresh token ends its family; an unknown token is fine."""
    grant = await provider.mint()
    for token in (grant.refresh_token, "unknown"):
        form = with_secret(provider, token=token)
        async with http.post(provider.revocation_endpoint, data=form) as response:
            assert response.status == 200

    assert await me(http, provider, grant.access_token) == 401
    assert {grant.family} == (await provider.ledger()).revoked_families


async def test_a_status_fault_comes_instead(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Counted faults come in order, with headers and any body, and consume nothing."""
    grant = await provider.mint()
    await provider.fault(status=429, headers={"Retry-After": "7"}, body={"error": "slow_down"})
    await provider.fault(status=503, body=b"<html>\xff")
    form = with_secret(provider, grant_type="refresh_token", refresh_token=grant.refresh_token)
    seen = []
    for _ in range(2):
        async with http.post(provider.token_endpoint, data=form) as response:
            seen.append((response.status, response.headers.get("Retry-After"), await response.read()))

    assert seen == [(429, "7", b'{"error": "slow_down"}'), (503, None, b"<html>\xff")]
    assert (await provider.ledger()).of("consumed") == []
    assert (await refresh(http, provider, grant.refresh_token))[0] == 200


@pytest.mark.parametrize(
    ("fault", "consumed"),
    [
        ({"reset": "before"}, 0),
        ({"reset": "after"}, 1),
        ({"reset_after_bytes": 150}, 1),
        ({"close_after_bytes": 150}, 1),
        ({"answer_raw": b"\x00\xff garbage"}, 1),
    ],
)
async def test_a_broken_connection_says_nothing_of_the_token(
    http: aiohttp.ClientSession, provider: FakeProvider, fault: dict[str, Any], consumed: int
) -> None:
    """The client sees an error either way; only the ledger knows whether the token is spent."""
    grant = await provider.mint()
    await provider.fault(**fault)
    with pytest.raises(aiohttp.ClientError):
        await refresh(http, provider, grant.refresh_token)
    ledger = await provider.ledger()

    assert consumed == len(ledger.of("consumed")) == len(ledger.exchanges())
    assert len(ledger.of("undelivered")) == 1
    assert ({grant.family} if consumed else set()) == ledger.lost_deliveries


@pytest.mark.parametrize(
    ("fault", "lost"),
    [
        ({"answer_body": "<html>sorry</html>"}, True),
        ({"answer_status": 502}, True),
        ({"drop": ["refresh_token"]}, True),
        ({"patch": {"expires_in": "soon"}}, False),
        ({"chunked": True, "close": True}, False),
        ({"slow_body": 0.0001}, False),
    ],
)
async def test_an_altered_answer_comes_after_consumption(
    http: aiohttp.ClientSession, provider: FakeProvider, fault: dict[str, Any], lost: bool
) -> None:
    """Whether the successor got through is known to the ledger."""
    grant = await provider.mint()
    await provider.fault(**fault)
    form = with_secret(provider, grant_type="refresh_token", refresh_token=grant.refresh_token)
    async with http.post(provider.token_endpoint, data=form) as response:
        body = await response.read()
    ledger = await provider.ledger()

    assert len(ledger.of("consumed")) == 1
    assert lost == (grant.family in ledger.lost_deliveries)
    assert fault.get("answer_body", "").encode() in body


async def test_large_bodies(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Huge answers and bombs still hold the good answer at their end."""
    grant = await provider.mint()
    await provider.fault("me", huge_body=1 << 20)
    await provider.fault("me", gzip_bomb=1 << 20)
    headers = {"Authorization": f"Bearer {grant.access_token}", "Accept-Encoding": "identity"}
    async with http.get(provider.resource, headers=headers) as response:
        huge = await response.read()
    async with (
        aiohttp.ClientSession(auto_decompress=False) as plain,
        plain.get(provider.resource, headers=headers) as response,
    ):
        bomb = await response.read()

    assert len(bomb) < 1 << 13
    assert json.loads(gzip.decompress(bomb)) == json.loads(huge)
    assert len(huge) > 1 << 20


async def test_a_held_answer_waits_for_release(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """The token is spent while the answer is held, and the test knows without sleeping."""
    grant = await provider.mint()
    await provider.hold()
    asking = asyncio.create_task(refresh(http, provider, grant.refresh_token))
    await provider.wait_for_token_requests(1)
    await provider.wait_for_held()
    ledger = await provider.ledger()

    assert len(ledger.of("consumed")) == 1
    assert ledger.of("delivered") == []
    assert not asking.done()
    assert await provider.release() == 1
    assert (await asking)[0] == 200


async def test_a_client_that_left_got_nothing(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """An answer to a client that gave up is not counted as delivered."""
    grant = await provider.mint()
    await provider.hold()
    asking = asyncio.create_task(refresh(http, provider, grant.refresh_token))
    await provider.wait_for_held()
    asking.cancel()
    await asyncio.wait([asking])
    await provider.release()

    assert {grant.family} == (await provider.ledger()).lost_deliveries


async def test_a_hanging_request_is_not_processed(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Hanging before costs nothing but patience; waiting for what never comes times out."""
    grant = await provider.mint()
    await provider.fault("any", hang="before", times=None)
    asking = asyncio.create_task(refresh(http, provider, grant.refresh_token))
    await provider.wait_for("hung", 1)
    with pytest.raises(TimeoutError):
        await provider.wait_for_token_requests(2, timeout=0.05)
    asking.cancel()
    await asyncio.wait([asking])
    await provider.clear_faults()

    assert (await refresh(http, provider, grant.refresh_token))[0] == 200


async def test_latency_on_either_side(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """A lasting fault and a counted one add up."""
    grant = await provider.mint()
    await provider.fault(latency=0.05, times=None)
    await provider.fault(latency_after=0.05)
    start = asyncio.get_running_loop().time()
    await refresh(http, provider, grant.refresh_token)

    assert asyncio.get_running_loop().time() - start >= 0.1


async def test_unknown_orders_are_refused(provider: FakeProvider) -> None:
    """A misspelt fault or setting fails the test instead of doing nothing."""
    with pytest.raises(ValueError, match="latencyy"):
        await provider.fault(latencyy=1)  # type: ignore[call-arg]  # no such fault
    with pytest.raises(ValueError, match="endpoint"):
        await provider.fault("tokens", status=500)
    with pytest.raises(ValueError, match="colour"):
        await provider.configure(colour="red")  # type: ignore[call-arg]  # no such setting
    with pytest.raises(ValueError, match="rotation"):
        await provider.configure(rotation="strickt")  # type: ignore[arg-type]  # no such rotation


async def test_a_thousand_grants_at_once(provider: FakeProvider) -> None:
    """Seeding is one call, and each grant may have its own account."""
    grants = await provider.mint_many(1000, subject="account-{n}")

    assert all(isinstance(grant, Grant) for grant in grants)
    assert 1000 == len({grant.subject for grant in grants}) == len((await provider.ledger()).families)


# ---- assertions, devices, other encodings

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def assertion(provider: FakeProvider, key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Return a good assertion of `signer`, but for what is changed; a claim that is None is left out."""
    now = int(time.time())
    usual = {"iss": "signer", "sub": "signer", "aud": provider.token_endpoint, "iat": now, "exp": now + 60}
    said = {name: value for name, value in {**usual, "jti": secrets.token_hex(8), **claims}.items() if value}
    return jwt.encode({"alg": "ES256", "kid": "k1", **(header or {})}, said, key or ECKey(ec_key(), ec_key()))


WRONG: list[dict[str, Any]] = [
    {"aud": "https://other.example/token"},
    {"aud": ["https://other.example/token"]},
    {"iss": "stranger"},
    {"exp": 1},
    {"exp": int(time.time()) + 3600},
    {"iat": int(time.time()) + 3600},
    {"sub": None},
    {"exp": None},
    {"jti": None},
    {"header": {"kid": "k2"}},
    {"header": {"typ": "other"}},
]


async def signer(provider: FakeProvider) -> None:
    keys = {"signer": [public_jwk(ec_key(), kid="k1"), public_jwk(rsa_key(), kid="k3")]}
    await provider.configure(client_keys=keys, issuer_keys=keys, clients={"signer": None})


@pytest.mark.parametrize("wrong", WRONG, ids="-".join)
async def test_an_assertion_that_is_not_right_is_refused(
    http: aiohttp.ClientSession, provider: FakeProvider, wrong: dict[str, Any]
) -> None:
    """For somebody else, of somebody else, of another time, or without an identity: as grant and as client."""
    await signer(provider)
    granted = {"grant_type": JWT_BEARER, "scope": "read"}
    refused = {**granted, "assertion": assertion(provider, **wrong)}
    other = {"client_assertion_type": ASSERTION, "client_assertion": assertion(provider, **wrong)}

    assert (await ask(http, provider, refused))[1]["error"] == "invalid_grant"
    own = {"grant_type": "client_credentials", **other}
    assert (await ask(http, provider, own))[1]["error"] == "invalid_client"


async def test_an_assertion_is_good_once(http: aiohttp.ClientSession, provider: FakeProvider) -> None:
    """Whether as grant or as client: its jti is remembered, and the ledger says whose it was."""
    await signer(provider)
    said = assertion(provider)
    form = {"grant_type": JWT_BEARER, "assertion": said, "scope": "read"}

    status, words = await ask(http, provider, form)
    assert (status, "refresh_token" in words) == (200, False)
    assert (await ask(http, provider, form))[1]["error"] == "invalid_grant"
    grant = await provider.mint(client_id="signer")
    own = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
    again = {**own, "client_assertion_type": ASSERTION, "client_assertion": said}
    assert (await ask(http, provider, again))[1]["error"] == "invalid_client"
    fresh = {**again, "client_assertion": assertion(provider)}
    assert (await ask(http, provider, {**fresh, "client_id": "other"}))[1]["error"] == "invalid_client"
    fresh["client_assertion"] = assertion(provider)
    assert (await ask(http, provider, fresh))[0] == 200
    assert (await provider.ledger()).of("request", auth="private_key_jwt", client_id="signer", outcome="ok")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_assertion_type": "other"}, "invalid_client"),
        ({"client_assertion": "canary"}, "invalid_client"),
        ({"client_assertion": "a.b.c"}, "invalid_client"),
        ({"client_secret": "canary"}, "invalid_request"),
    ],
)
async def test_a_client_that_signs_does_nothing_else(
    http: aiohttp.ClientSession, provider: FakeProvider, change: dict[str, str], error: str
) -> None:
    """No other type, no nonsense, no secret besides, and never its bare name."""
    await signer(provider)
    good = {"client_assertion_type": ASSERTION, "client_assertion": assertion(provider)}
    form = {"grant_type": "refresh_token", "refresh_token": "x"}

    assert (await ask(http, provider, {**form, **good, **change}))[1]["error"] == error
    assert (await ask(http, provider, {**form, "client_id": "signer"}))[1]["error"] == "invalid_client"


async def test_a_device_code_is_of_its_client_and_good_once(
    http: aiohttp.ClientSession, provider: FakeProvider
) -> None:
    """Polled by nobody else, decided once, spent once; a secret is asked for at both endpoints."""
    await provider.configure(device_interval=0, clients={provider.client_id: provider.client_secret, "b": "b"})
    url = provider.device_authorization_endpoint
    async with http.post(url, data={"client_id": provider.client_id}) as response:
        assert response.status == 401
    async with http.post(url, data=with_secret(provider, scope="read")) as response:
        device = await response.json()
    poll = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device["device_code"]}
    mine = with_secret(provider, **poll)

    assert (await ask(http, provider, mine))[1]["error"] == "authorization_pending"
    await provider.decide_device(device["user_code"])
    with pytest.raises(ValueError, match="no such user code"):
        await provider.decide_device(device["user_code"], approved=False)
    other = {**poll, "client_id": "b", "client_secret": "b"}
    assert (await ask(http, provider, other))[1]["error"] == "invalid_grant"
    status, words = await ask(http, provider, mine)
    assert (status, words["scope"]) == (200, "read")
    assert (await ask(http, provider, mine))[1]["error"] == "invalid_grant"
    assert [event["approved"] for event in (await provider.ledger()).of("device_decided")] == [True]


async def test_polling_too_early_makes_the_interval_longer(
    http: aiohttp.ClientSession, provider: FakeProvider
) -> None:
    """Even a decision is not told to a client that does not wait."""
    await provider.configure(device_interval=60)
    url = provider.device_authorization_endpoint
    async with http.post(url, data=with_secret(provider)) as response:
        device = await response.json()
    poll = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device["device_code"]}
    await ask(http, provider, with_secret(provider, **poll))
    await provider.decide_device(device["user_code"])

    assert (await ask(http, provider, with_secret(provider, **poll)))[1]["error"] == "slow_down"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"grant_type": 5}', "application/json"),
        ('[["grant_type", "refresh_token"]]', "application/json"),
        ('{"grant_type": "refresh_token", "grant_type": "refresh_token"}', "application/json"),
        ("{", "application/json"),
        ("grant_type=refresh_token", "application/x-www-form-urlencoded"),
        ('{"grant_type": "refresh_token"}', "text/plain"),
    ],
)
async def test_a_json_endpoint_takes_an_object_of_texts(
    http: aiohttp.ClientSession, provider: FakeProvider, body: str, kind: str
) -> None:
    """And nothing that only looks like one."""
    await provider.configure(token_encoding="json")

    status, words = await ask(http, provider, body.encode(), headers={"Content-Type": kind})
    assert (status, words["error"]) == (400, "invalid_request")
