"""Voicenter's dialect: what it sends, and what it makes of each answer."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt

from integrations.advice import ADVICE
from integrations.contract import Account, Answer, Finding, OutcomeUnknown, Root, Secret, Steps, TokenSet
from tests.vendors.cases import Case, outcome
from tests.vendors.fake import driven
from tests.vendors.voicenter import SIGNS, FakeVoicenter
from tests.vendors.voicenter_cases import BEARER, CASES, CODE, REFRESH, TOKEN, VENDOR, Stack, login, session

HOUR = 3600
PASSING = {"Transient", "OutcomeUnknown", "RateLimited", "Misused", "unknown"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_an_answer_means(case: Case) -> None:
    """What is documented, row by row, and what else may come."""
    assert outcome(case) == case.expected


WORDS: st.SearchStrategy[Any] = st.sampled_from([1, 4, 5, 9, "1", "x", "", None, [], {}, 1.5, True, 10**90])
BODIES = st.binary(max_size=40) | st.fixed_dictionaries(
    {"ERROR_NUMBER": WORDS, "error": WORDS, "Data": st.fixed_dictionaries({"Socket": WORDS, "AccessToken": WORDS})}
).map(lambda body: json.dumps(body).encode())
CALLS = st.sampled_from(
    [lambda: VENDOR.probe(CODE, None), lambda: VENDOR.renew(login("old")), lambda: VENDOR.renew(login("new"))]
)


@given(st.sampled_from([*range(100, 401), 402, *range(404, 600)]), BODIES, CALLS)
def test_any_answer_has_a_meaning(status: int, body: bytes, call: Any) -> None:
    """Nothing but a ProviderError is raised, and only its own words condemn anything."""
    found = outcome(Case("any", call, (Answer(status, body=body),), ""))

    assert found == "tokens" or found.partition(" ")[0] in PASSING


@given(st.integers(100, 599), st.binary(max_size=40))
def test_bytes_condemn_nothing(status: int, body: bytes) -> None:
    """Whatever the status is that they come with."""
    for steps in (lambda: VENDOR.renew(login("old")), lambda: VENDOR.probe(login("new"), TOKEN)):
        found = outcome(Case("any", steps, (Answer(status, body=body),), ""))

        assert found.partition(" ")[0] in PASSING


# ---- what is sent


def sent(steps: Steps[Any]) -> httpx.Request:
    request = next(steps)
    assert isinstance(request, httpx.Request)
    return request


def test_a_code_is_tried_by_a_past_minute_of_the_call_log() -> None:
    """In the body, in lower case, with dates in UTC that do not say so; it changes nothing there."""
    request = sent(VENDOR.probe(CODE, None))

    assert (request.method, str(request.url)) == ("POST", "https://api.voicenter.com/hub/cdr/")
    body = json.loads(request.content)
    begin, end = (datetime.fromisoformat(body["search"].pop(name)) for name in ("fromdate", "todate"))
    assert body == {
        "code": "canary-code",
        "fields": ["CallID"],
        "search": {},
        "sort": [{"field": "date", "order": "desc"}],
    }
    assert (begin.tzinfo, end - begin) == (None, timedelta(minutes=1))
    assert timedelta(minutes=58) < datetime.now(UTC) - end.replace(tzinfo=UTC) < timedelta(minutes=61)


@pytest.mark.parametrize(
    ("root", "address", "body"),
    [
        (
            login("old", by="token"),
            "https://loginapi.voicenter.co.il/monitorAPI/Login/Token",
            {"token": "canary-login-token"},
        ),
        (
            login("old"),
            "https://loginapi.voicenter.co.il/monitorAPI/Login/User",
            {"email": "ann@acme.example", "pin": "canary-pin"},
        ),
        (
            login("new", by="token"),
            "https://loginapi.voicenter.com/Auth/Login/Voicenter/Monitor",
            {"identityType": "Token", "token": "canary-login-token"},
        ),
        (
            login("new"),
            "https://loginapi.voicenter.com/Auth/Login/Voicenter/Monitor",
            {"identityType": "User", "username": "ann@acme.example", "password": "canary-pin"},
        ),
    ],
)
def test_each_stack_has_a_login_of_its_own(root: Root, address: str, body: dict[str, str]) -> None:
    """The password is a `pin` on the one and a `password` on the other."""
    request = sent(VENDOR.renew(root))

    assert (request.method, str(request.url)) == ("POST", address)
    assert json.loads(request.content) == body
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("stack", "address"),
    [
        ("old", "https://loginapi.voicenter.co.il/monitorAPI/RefreshIdentityToken"),
        ("new", "https://loginapi.voicenter.com/Auth/RefreshToken"),
    ],
)
def test_a_refresh_is_a_get_with_the_refresh_token_as_bearer(stack: Stack, address: str) -> None:
    """Without a body, and without what was entered."""
    request = sent(VENDOR.renew(login(stack, refresh=REFRESH)))

    assert (request.method, str(request.url), request.content) == ("GET", address, b"")
    assert request.headers["Authorization"] == "Bearer canary-refresh"


@pytest.mark.parametrize("refresh", [Secret("canary\r\nX: 1"), Secret("canary-ü")])
def test_a_refresh_token_that_fits_no_header_is_not_sent(refresh: Secret) -> None:
    """There is still the login."""
    assert sent(VENDOR.renew(login("old", refresh=refresh))).method == "POST"


def test_a_refresh_whose_answer_is_lost_is_not_followed_by_a_login() -> None:
    """Nobody knows whether it was spent; the next one finds out, and logs in if it was."""
    steps = VENDOR.renew(login("old", refresh=REFRESH))
    next(steps)

    with pytest.raises(OutcomeUnknown):
        steps.throw(OutcomeUnknown("timeout"))


# ---- what comes of it


@pytest.mark.parametrize("stack", ["old", "new"])
def test_a_login_says_whose_it_is(stack: Stack) -> None:
    """By the person's number, with the e-mail address for people to know it by; of settings no more is taken."""
    fake = FakeVoicenter()
    fake.users["ann@acme.example"] = "canary-pin"

    found, exchanged = driven(VENDOR.prove(login(stack)), fake)

    known = Finding(verdict="valid", account=Account("4711", "ann@acme.example"))
    assert replace(found, tokens=None) == known
    assert found.tokens is not None
    assert found.tokens.refresh_token == Secret("canary-refresh-1")
    assert (len(exchanged), fake.strange) == (1 if stack == "old" else 2, [])


@pytest.mark.parametrize("person", [None, True, "", "a\nb", [4711], {}, 1.5])
def test_a_person_that_is_none_is_nobody(person: object) -> None:
    """A number or a line of text names one; the login is as good."""
    assert tokens("old", PersonId=person).account is None
    assert tokens("old", PersonId="p-1").account == Account("p-1", "ann@acme.example")


def tokens(stack: Stack, **more: Any) -> TokenSet:
    steps = VENDOR.renew(login(stack))
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(session(stack, **more))
    found: TokenSet = done.value.value
    return found


def lives(stated: object, token: str = "canary-t") -> int | None:
    return tokens("old", TokenExpiry=stated, Token=token).expires_in


def in_an_hour(zone: timezone = UTC) -> datetime:
    return datetime.now(zone) + timedelta(hours=1)


def a_jwt(ends: object) -> str:
    return jwt.encode({"alg": "HS256"}, {"exp": ends}, SIGNS)


def test_a_date_with_its_zone_is_taken_at_its_word() -> None:
    """Whichever zone that is, and however fine; over a claim of the token itself."""
    israel = timezone(timedelta(hours=3))

    for stated in (
        in_an_hour().isoformat(),
        in_an_hour(israel).isoformat(),
        in_an_hour().strftime("%Y-%m-%dT%H:%M:%S.1234567Z"),
    ):
        assert HOUR - 5 <= (lives(stated) or 0) <= HOUR + 1
    assert HOUR - 5 <= (lives(in_an_hour().isoformat(), a_jwt(int(time.time()) + 60)) or 0) <= HOUR
    assert lives((datetime.now(UTC) - timedelta(hours=1)).isoformat()) == 0


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
def test_a_date_without_a_zone_is_not_relied_on(form: str) -> None:
    """Were it Israel's, it would promise up to three hours too much: so much of it does not count."""
    now = datetime.now(UTC)

    day = lives((now + timedelta(days=1)).strftime(form))
    assert 21 * HOUR - 5 <= (day or 0) <= 21 * HOUR
    assert lives((now + timedelta(hours=1)).strftime(form)) == 600
    assert 290 <= (lives((now + timedelta(minutes=5)).strftime(form)) or 0) <= 300
    assert lives((now - timedelta(minutes=5)).strftime(form)) == 0


def test_what_a_token_claims_counts_where_no_date_does() -> None:
    """On the new stack that is all there is; a date without a zone counts less than it."""
    claims = a_jwt(int(time.time()) + HOUR)

    new = tokens("new", AccessToken=claims)
    assert HOUR - 5 <= (new.expires_in or 0) <= HOUR
    assert HOUR - 5 <= (lives(None, claims) or 0) <= HOUR
    assert HOUR - 5 <= (lives("2030-01-01T00:00:00", claims) or 0) <= HOUR


@pytest.mark.parametrize(
    "stated",
    [None, "", "soon", 7, "0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-13-01"],
)
@pytest.mark.parametrize(
    "token", ["canary-t", "a.b.c", "..", "é.é.é", a_jwt("soon"), a_jwt(10**40), a_jwt(None), a_jwt(float("nan"))]
)
def test_what_says_nothing_leaves_it_to_the_default(stated: object, token: str) -> None:
    """A quarter of an hour: nobody says how long."""
    assert lives(stated, token) is None
    assert VENDOR.default_lifetime == 900


def test_when_the_refresh_token_ends_is_read_alike() -> None:
    """Where it is not said, nobody knows."""
    month = (datetime.now(UTC) + timedelta(days=30)).isoformat()

    assert 2_591_990 <= (tokens("old", RefreshTokenExpiry=month).refresh_expires_in or 0) <= 2_592_000
    assert tokens("old").refresh_expires_in is None
    assert tokens("new").refresh_expires_in is None


def test_a_static_token_goes_into_a_header_and_a_code_does_not() -> None:
    """Mixed up, they fail without a word."""
    bearer, code = (VENDOR.handout(root.kind, root.credentials) for root in (BEARER, CODE))

    assert bearer.authorization == Secret("Bearer canary-token")
    assert (code.authorization, code.credentials) == (None, {"code": Secret("canary-code")})


def test_every_code_has_advice() -> None:
    """A code of ours helps nobody by itself; a dead token is renewed by the vault."""
    telling = ("unknown", "invalid", "GrantRejected", "RateLimited call")
    codes = {case.expected.split()[1] for case in CASES if case.expected.startswith(telling)}

    assert codes - {"token_dead"} <= ADVICE.keys()


def test_nothing_is_revoked() -> None:
    """There is no call for it."""
    assert VENDOR.revoke(CODE, None) is None
