"""Twilio's dialect: what it sends, what it makes of each answer, and the tokens that it signs."""

import json
import time
from base64 import b64encode, urlsafe_b64encode
from typing import Any, cast
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.jwt import JwtDecodeError
from twilio.jwt.access_token import AccessToken

from integrations.answers import json_object
from integrations.contract import (
    Answer,
    ClientTokenRequest,
    Finding,
    GrantRejected,
    ProviderError,
    Root,
    Secret,
    Steps,
    Unreadable,
)
from integrations.endpoints import TWILIO
from integrations.twilio.errors import VERDICTS, refusal
from integrations.twilio.provider import Twilio
from tests.vendors.cases import Case, outcome
from tests.vendors.twilio_cases import (
    ACCOUNT,
    APP,
    CASES,
    DEAD,
    KEY,
    MESSAGES,
    NUMBER,
    account,
    minted,
    numbers,
    root,
)

PROVIDER = Twilio(TWILIO)
ADDRESS = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}"
WORDS = [20003, "20003", 20404, 70051, 20403, 21211, 10**400, "invalid_grant", "suspended", "active"]
VOICE = {"voice": {"outgoing": {"application_sid": f"AP{1:032x}", "params": {"room": 7}}}}


def sent(steps: Steps[Any], *answers: Answer) -> list[httpx.Request]:
    """Return the requests of *steps*, which get *answers* one after the other."""
    requests = [next(steps)]
    for answer in answers:
        try:
            requests.append(steps.send(answer))
        except StopIteration:
            break
    assert all(isinstance(request, httpx.Request) for request in requests)
    return cast(list[httpx.Request], requests)


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def result(steps: Steps[Any], *answers: Answer) -> Any:
    """Return what *steps* come to, which get *answers*, the last as often as they ask."""
    next(steps)
    for answer in (*answers, *answers[-1:] * 4):
        try:
            steps.send(answer)
        except StopIteration as done:
            return done.value
    raise AssertionError("it never ends")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_every_answer_has_its_meaning(case: Case) -> None:
    """What the table says of each."""
    assert outcome(case) == case.expected


@given(
    status=st.integers(100, 599),
    body=st.one_of(
        st.binary(max_size=50),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(WORDS),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["code", "error", "status", "sid", "messages"]), inner, max_size=4
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    kind=st.sampled_from(["auth_token", "api_key", "oauth_app"]),
)
def test_any_answer_has_a_meaning(status: int, body: bytes, kind: str) -> None:
    """A finding, tokens or a ProviderError comes of it, and nothing dies of what cannot be read."""
    answer = Answer(status, {}, body)
    steps = PROVIDER.renew(root(kind)) if kind == "oauth_app" else PROVIDER.probe(root(kind), None)
    try:
        found = result(steps, answer)
        verdict = found.verdict if isinstance(found, Finding) else "tokens"
    except ProviderError as error:
        verdict = "invalid" if isinstance(error, GrantRejected) else "unknown"

    read = json_object(body)
    telling = str(read.get("code")) in VERDICTS or str(read.get("error")) in VERDICTS
    assert verdict != "invalid" or telling or read.get("status") in {"suspended", "closed"}


# ---- what is sent


def test_an_auth_token_looks_at_its_account_and_its_number() -> None:
    """Basic with the account's SID, the number as it was entered."""
    first, second = sent(PROVIDER.probe(root("auth_token", phone_number=NUMBER), None), account(), numbers(NUMBER))

    assert (first.method, str(first.url), first.content) == ("GET", f"{ADDRESS}.json", b"")
    assert first.headers["Authorization"] == basic(ACCOUNT, "canary-token")
    assert str(second.url) == f"{ADDRESS}/IncomingPhoneNumbers.json?PhoneNumber=%2B14155550100&PageSize=20"


def test_an_api_key_authenticates_with_its_own_sid_and_names_the_account() -> None:
    """What is closed to a Standard key is asked for first, what is open to it next."""
    first, second = sent(PROVIDER.probe(root("api_key"), None), DEAD, MESSAGES)

    assert [str(one.url) for one in (first, second)] == [f"{ADDRESS}.json", f"{ADDRESS}/Messages.json?PageSize=1"]
    assert {one.headers["Authorization"] for one in (first, second)} == {basic(KEY, "canary-secret")}


def test_an_app_authenticates_in_the_body_and_its_token_as_a_bearer() -> None:
    """The names are those of RFC 6749, in lower case."""
    mint, look = sent(PROVIDER.prove(root("oauth_app")), minted(), MESSAGES)

    assert (mint.method, str(mint.url)) == ("POST", "https://oauth.twilio.com/v2/token")
    assert mint.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert "Authorization" not in mint.headers
    assert dict(parse_qsl(mint.content.decode())) == {
        "grant_type": "client_credentials",
        "client_id": APP,
        "client_secret": "canary-app-secret",
    }
    assert look.headers["Authorization"] == "Bearer canary-at"


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ({}, "api.twilio.com"),
        ({"region": "ie1"}, "api.ie1.twilio.com"),
        ({"region": "au1", "edge": "sydney"}, "api.sydney.au1.twilio.com"),
        ({"edge": "dublin"}, "api.dublin.us1.twilio.com"),
    ],
)
def test_a_region_and_an_edge_are_in_the_host(where: dict[str, str], host: str) -> None:
    """As Twilio's own libraries spell it; an edge alone is one of us1."""
    (request,) = sent(PROVIDER.probe(root("api_key", **where), None))

    assert request.url.host == host


def test_an_endpoint_that_was_moved_stays_where_it_is() -> None:
    """Whoever moved it has said where."""
    moved = Twilio({**TWILIO, "api_url": "http://127.0.0.1:9999"})

    (request,) = sent(moved.probe(root("api_key", region="ie1"), None))

    assert (request.url.host, request.url.port) == ("127.0.0.1", 9999)


# ---- what is found out


def test_the_account_is_named_and_its_token_is_not_kept() -> None:
    """Of what Twilio shows of an account there are its SID and its name in a finding."""
    found = result(PROVIDER.prove(root("auth_token")), account(auth_token="canary-shown"))

    assert found.account is not None
    assert (found.account.subject, found.account.label) == (ACCOUNT, "Acme")
    assert "canary" not in repr(found)


def test_a_restricted_key_lacks_what_it_cannot_do() -> None:
    """It signs no tokens; and where the number is not the account's, nothing is sent from it."""
    restricted = Answer(403, {}, b'{"code": 70051}')

    found = result(PROVIDER.prove(root("api_key", phone_number=NUMBER)), restricted, numbers())

    assert found.lacks == ("client_tokens", "send_from")


@pytest.mark.parametrize(
    ("claimed", "said", "expected"),
    [
        (None, 3600, 3600),
        (None, "3600", 3600),
        (None, 1438315200000, None),
        (None, None, None),
        (600, 1438315200000, 600),
        (600, None, 600),
        (600, 3600, 3600),
        ("soon", None, None),
        (True, None, None),
        (float("nan"), None, None),
        (10**400, None, None),
    ],
)
def test_a_lifetime_is_that_of_the_answer_or_else_of_the_token(
    claimed: Any, said: Any, expected: int | None
) -> None:
    """An absurd one counts as none; then the token's own `exp` does, where it is a JWT."""
    later = claimed + time.time() if claimed == 600 else claimed
    token = "canary-at" if claimed is None else a_jwt({"exp": later})

    tokens = result(PROVIDER.renew(root("oauth_app")), minted(access_token=token, expires_in=said))

    assert tokens.refresh_token is None
    assert tokens.expires_in == expected or (expected == 600 and tokens.expires_in in {598, 599})


def a_jwt(claims: dict[str, Any]) -> str:
    encoded = (urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({}, claims))
    return f"{'.'.join(encoded)}.c2ln"


def test_no_error_has_a_word_of_twilios_in_it() -> None:
    """Codes are numbers that we know, or words of ours."""
    error = refusal(Answer(400, {}, b'{"code": "canary-code", "error": "canary-error", "message": "canary"}'))

    assert "canary" not in f"{error.code} {error!r}"


# ---- what is handed out


@pytest.mark.parametrize(
    ("kind", "user", "password"),
    [("auth_token", ACCOUNT, "canary-token"), ("api_key", KEY, "canary-secret")],
)
def test_a_program_gets_the_fields_and_a_header(kind: str, user: str, password: str) -> None:
    """The account's SID is among them, for it stands in every path."""
    entered = root(kind).credentials

    handed = PROVIDER.handout(kind, entered)

    assert (handed.credentials, handed.credentials["account_sid"].reveal()) == (entered, ACCOUNT)
    assert handed.authorization == Secret(basic(user, password))


@pytest.mark.parametrize("kind", ["auth_token", "api_key", "oauth_app"])
def test_whose_credentials_they_are_is_in_them(kind: str) -> None:
    """The account's SID is entered with all of them."""
    whose = PROVIDER.entered(kind, root(kind).credentials)

    assert whose is not None
    assert whose.subject == ACCOUNT
    assert [one.name for one in PROVIDER.kind(kind).fields if not one.secret and "sid" in one.name]


# ---- tokens for apps


def asked(**changed: Any) -> ClientTokenRequest:
    return ClientTokenRequest(**{"grants": VOICE, "ttl": 600, **changed})


def signed(from_root: Root | None = None, **changed: Any) -> str:
    return PROVIDER.client_token(from_root or root("api_key"), asked(**changed), int(time.time())).reveal()


SIGNING = root("api_key", api_key_secret="canary-secret-of-32-characters--")


def test_twilios_own_library_reads_what_we_sign() -> None:
    """Header and claims as its own tokens have them, and the signature that of the key's secret."""
    read = AccessToken.from_jwt(signed(SIGNING, identity="ann"), "canary-secret-of-32-characters--")

    assert read.headers == {"typ": "JWT", "alg": "HS256", "cty": "twilio-fpa;v=1"}
    now = read.payload["nbf"]
    assert time.time() - 5 < now <= time.time()
    assert read.payload == {
        "jti": f"{KEY}-{now}",
        "iss": KEY,
        "sub": ACCOUNT,
        "nbf": now,
        "exp": now + 600,
        "grants": {**VOICE, "identity": "ann"},
    }


def test_a_token_of_another_secret_is_none() -> None:
    """So that the test above says something."""
    with pytest.raises(JwtDecodeError):
        AccessToken.from_jwt(signed(SIGNING), "canary-another-secret-of-32-chars")


def test_a_region_is_in_the_header() -> None:
    """Twilio looks there for where the key is."""
    there = Root(kind="api_key", credentials={**SIGNING.credentials, "region": Secret("ie1")})

    assert AccessToken.from_jwt(signed(there)).headers["twr"] == "ie1"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ttl": 86_401}, "ttl_too_long"),
        ({"ttl": 0}, "ttl_too_long"),
        ({"grants": {}}, "no_grants"),
        ({"grants": {"vioce": {}}}, "unknown_grant"),
        ({"grants": {"identity": "ann"}}, "unknown_grant"),
        ({"grants": {"voice": True}}, "grant_malformed"),
        ({"grants": {"voice": {"outgoing": "x" * 4096}}}, "grants_too_large"),
        ({"identity": ""}, "identity_malformed"),
        ({"identity": "x" * 257}, "identity_malformed"),
        ({"identity": "a\nb"}, "identity_malformed"),
    ],
)
def test_what_no_app_could_use_is_not_signed(changed: dict[str, Any], code: str) -> None:
    """Longer than a day, grants that Twilio does not know, or that fit into no header."""
    with pytest.raises(Unreadable, match=code):
        signed(SIGNING, **changed)


def test_a_token_may_live_a_whole_day() -> None:
    """That is the longest."""
    read = AccessToken.from_jwt(signed(SIGNING, ttl=86_400)).payload

    assert read["exp"] - read["nbf"] == 86_400
