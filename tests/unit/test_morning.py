"""Morning's dialect: what it sends, and what it makes of each answer."""

import json
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.contract import Account, Answer, Root, Secret, Steps, TokenSet
from integrations.morning import Morning
from tests.vendors.cases import Case, outcome
from tests.vendors.fake import driven
from tests.vendors.morning import FakeMorning, Key
from tests.vendors.morning_cases import CASES, FORMER, KEY, LEGACY, TOKEN, VENDOR

ID = KEY.credentials["client_id"].reveal()
PASSING = {"Transient", "OutcomeUnknown", "RateLimited", "Misused"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_an_answer_means(case: Case) -> None:
    """What is documented, row by row, and what else may come."""
    assert outcome(case) == case.expected


WORDS: st.SearchStrategy[Any] = st.sampled_from(
    ["invalid_request", "odd", "", 404, 500, 12, None, [], {}, 1.5, True]
)
BODIES = st.binary(max_size=40) | st.fixed_dictionaries({"error": WORDS, "errorCode": WORDS, "id": WORDS}).map(
    lambda body: json.dumps(body).encode()
)


@given(st.integers(100, 599), BODIES, st.sampled_from([VENDOR, LEGACY]))
def test_any_answer_has_a_meaning(status: int, body: bytes, vendor: Morning) -> None:
    """Nothing but a ProviderError is raised, and only its own words condemn a key."""
    answers = (Answer(status, body=body),)

    assert outcome(Case("any", lambda: vendor.renew(KEY), answers, "")).partition(" ")[0] in PASSING
    assert outcome(Case("any", lambda: vendor.probe(KEY, TOKEN), answers, "")).partition(" ")[0] in {
        *PASSING,
        "valid",
    }


def sent(steps: Steps[Any]) -> httpx.Request:
    request = next(steps)
    assert isinstance(request, httpx.Request)
    return request


def test_a_token_is_asked_for_in_json() -> None:
    """At the endpoint of 2026, with nothing but what it declares."""
    request = sent(VENDOR.renew(KEY))

    assert (request.method, str(request.url)) == ("POST", "https://api.morning.co/idp/v1/oauth/token")
    assert request.headers["Content-Type"] == "application/json"
    assert "Authorization" not in request.headers
    assert json.loads(request.content) == {
        "grant_type": "client_credentials",
        "client_id": ID,
        "client_secret": "canary-secret",
    }


def test_the_former_endpoint_is_used_where_it_is_set_and_alone() -> None:
    """One request, there; a refusal is not tried elsewhere."""
    request = sent(LEGACY.renew(KEY))

    assert str(request.url) == FORMER
    assert json.loads(request.content) == {"id": ID, "secret": "canary-secret"}
    assert "legacy_token_endpoint" not in VENDOR.endpoints


def test_whose_key_it_is_is_asked_with_the_token() -> None:
    """Read-only, and at the API that has not moved."""
    request = sent(VENDOR.probe(KEY, TOKEN))

    assert (request.method, str(request.url)) == ("GET", "https://api.greeninvoice.co.il/api/v1/businesses/me")
    assert request.headers["Authorization"] == "Bearer canary-jwt"


@pytest.mark.parametrize("token", [None, Secret("canary\r\n"), Secret("canary-ü")])
def test_a_token_that_fits_no_header_is_not_sent(token: Secret | None) -> None:
    """Nobody can tell then."""
    assert outcome(Case("any", lambda: VENDOR.probe(KEY, token), (), "")) == "unknown"


def tokens(
    ends: object, *, vendor: Morning = VENDOR, name: str = "accessToken", end: str = "expiresAt"
) -> TokenSet:
    steps = vendor.renew(KEY)
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(Answer(200, body=json.dumps({name: "canary-jwt", end: ends}).encode()))
    found: TokenSet = done.value.value
    return found


def test_an_absolute_end_becomes_a_lifetime() -> None:
    """In seconds or in milliseconds, as a number or in digits; what has passed is no life at all."""
    now = int(time.time())

    for end in (now + 3600, str(now + 3600), (now + 3600) * 1000, str((now + 3600) * 1000)):
        assert 3590 <= (tokens(end).expires_in or 0) <= 3600
    former = tokens(now + 1800, vendor=LEGACY, name="token", end="expires")
    assert 1790 <= (former.expires_in or 0) <= 1800
    assert tokens(now - 60).expires_in == 0


@pytest.mark.parametrize("ends", [None, "soon", 1.9e9, True, 10**30, [], 0])
def test_an_end_that_says_nothing_leaves_it_to_the_default(ends: object) -> None:
    """Half an hour, which tokens of either endpoint live."""
    assert tokens(ends).expires_in is None
    assert VENDOR.default_lifetime == 1800


def test_entering_a_key_brings_tokens_and_whose_it_is() -> None:
    """The business, by its id and its name, from the fake as from the real one."""
    fake = FakeMorning()
    fake.keys[ID] = Key("canary-secret")

    found, exchanged = driven(VENDOR.prove(KEY), fake)

    assert (found.verdict, found.account) == ("valid", Account("business-1", "Ann's Bakery"))
    assert found.tokens is not None
    assert found.tokens.access_token == Secret("canary-jwt-1")
    assert (len(exchanged), fake.strange) == (2, [])


def test_a_name_that_no_database_takes_is_no_label() -> None:
    """Nor is one of several lines."""
    steps = VENDOR.probe(KEY, TOKEN)
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(Answer(200, body=b'{"id": "b-1", "name": "a\\u0000b"}'))

    assert done.value.value.account == Account("b-1", None)


def test_what_blocks_a_good_key_is_an_ability_that_it_lacks() -> None:
    """The key stays, and so does what a person can do about it."""
    steps = VENDOR.probe(KEY, TOKEN)
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(Answer(403, body=b'{"errorCode": 1015}'))

    assert done.value.value.lacks == ("businesses",)


def test_nothing_is_revoked() -> None:
    """Keys are deleted by a person, in the dashboard."""
    assert VENDOR.revoke(Root(kind="api_key"), TOKEN) is None
