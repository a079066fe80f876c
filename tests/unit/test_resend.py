"""Resend's dialect: what it sends, and what it makes of each answer."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.advice import ADVICE
from integrations.contract import Answer, Finding, Secret
from tests.vendors import specs
from tests.vendors.cases import Case, outcome
from tests.vendors.fake import driven
from tests.vendors.resend import ACCEPTS, DEAD, FakeResend
from tests.vendors.resend_cases import CASES, KEY, VENDOR, a_root, probing

FILE = "resend/resend.json"
PASSING = {"Transient", "OutcomeUnknown", "RateLimited"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_an_answer_means(case: Case) -> None:
    """What is documented, row by row, and what else may come."""
    assert outcome(case) == case.expected


WORDS: st.SearchStrategy[Any] = st.sampled_from(
    ["restricted_api_key", "validation_error", "API key is wrong", "x", "", None, 7, {}]
)
BODIES = st.binary(max_size=40) | st.fixed_dictionaries({"name": WORDS, "message": WORDS, "data": WORDS}).map(
    lambda body: json.dumps(body).encode()
)


@given(st.integers(100, 599), BODIES)
def test_any_answer_has_a_meaning(status: int, body: bytes) -> None:
    """Nothing but a ProviderError is raised, and only its own words condemn a key."""
    found = outcome(Case("any", probing("mail@acme.example"), (Answer(status, body=body),), ""))

    assert found == "limited sending_only" or found.partition(" ")[0] in PASSING


def test_a_page_of_domains_is_asked_for_as_a_whole() -> None:
    """One call tells about the key, a hundred domains at a time."""
    request = next(VENDOR.probe(a_root(), None))

    assert isinstance(request, httpx.Request)
    assert (request.method, str(request.url)) == ("GET", "https://api.resend.com/domains?limit=100")
    assert request.headers["Authorization"] == "Bearer re_canary_key"
    assert request.content == b""


def a_team(*names: str, right: Any = "full_access") -> FakeResend:
    team = FakeResend(*names)
    team.keys[KEY.reveal()] = right
    return team


def test_a_sender_is_found_among_hundreds_of_domains() -> None:
    """Pages are followed, each from the last of the one before."""
    team = a_team(*(f"d{number}.example" for number in range(250)))

    assert driven(VENDOR.probe(a_root("mail@d249.example"), None), team)[0] == Finding(verdict="valid")
    assert [request.query for request in team.ledger] == [
        "limit=100",
        "limit=100&after=domain-99",
        "limit=100&after=domain-199",
    ]
    assert not team.strange


@pytest.mark.parametrize("dead", DEAD)
def test_a_dead_key_is_told_in_whatever_spelling(dead: tuple[int, str]) -> None:
    """The book and the API differ."""
    team = FakeResend()
    team.dead = dead

    found, _ = driven(VENDOR.probe(a_root(), None), team)

    assert found == Finding(verdict="invalid", code="invalid_api_key")


def test_what_a_limited_key_lacks_is_named() -> None:
    """Reading, for a sending key; the sender, where its domain is not ready."""
    sending, _ = driven(VENDOR.probe(a_root(), None), a_team(right="sending_access"))
    stranger, _ = driven(VENDOR.probe(a_root("mail@b.example"), None), a_team("a.example"))

    assert sending.lacks == ("read",)
    assert stranger.lacks == ("send_from",)
    assert {sending.code, stranger.code} <= ADVICE.keys()


def test_a_program_gets_the_key_and_the_header() -> None:
    """As the API takes it."""
    given_out = VENDOR.handout("api_key", {"api_key": KEY, "from_email": Secret("mail@a.example")})

    assert given_out.credentials["api_key"] == KEY
    assert given_out.authorization == Secret("Bearer re_canary_key")
    assert VENDOR.revoke(a_root(), None) is None


def test_requests_and_the_fake_are_as_resend_describes_them() -> None:
    """The fake takes what the OpenAPI file has and nothing else, and what it answers is of its shape."""
    described = specs.described(FILE)
    if described is None:
        return
    for operation, names in ACCEPTS.items():
        assert described.accepted(*operation) == names
    domains = [f"d{number}.example" for number in range(101)]
    steps = probing("mail@elsewhere.example")()
    _, exchanged = driven(steps, a_team(*domains))
    for request, answer in exchanged:
        described.check(request)
        described.check_answer(request, answer)
    assert len(exchanged) == 2
