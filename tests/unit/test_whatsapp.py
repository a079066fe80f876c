"""WhatsApp's dialect: what is sent, byte for byte, and what each answer means."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.advice import ADVICE
from integrations.contract import (
    Account,
    Answer,
    Client,
    Finding,
    GrantRejected,
    Misused,
    ProviderError,
    RateLimited,
    Root,
    Secret,
    Steps,
    TokenSet,
    Transient,
)
from integrations.whatsapp.refusals import DEAD, refusal
from tests.vendors import whatsapp_cases as table
from tests.vendors.cases import Case, outcome
from tests.vendors.whatsapp_cases import APP, CASES, DAY, EXCHANGED, META, SCOPES, answer, debugged

GRAPH = "https://graph.facebook.com/v25.0"


def proof(token: str) -> str:
    return hmac.new(b"canary-app-secret", token.encode(), hashlib.sha256).hexdigest()


def carried(steps: Steps[Any], answers: Iterable[Answer]) -> tuple[list[httpx.Request], Any]:
    """Return what *steps* sent, one after the other, and what they came to."""
    sent = list[httpx.Request]()
    try:
        call = next(steps)
        for each in answers:
            assert isinstance(call, httpx.Request)
            sent.append(call)
            call = steps.send(each)
    except StopIteration as done:
        return sent, done.value
    raise AssertionError("more was asked for")


def shown(request: httpx.Request) -> tuple[str, str, dict[str, str]]:
    url = urlsplit(str(request.url))
    return request.method, f"{url.scheme}://{url.netloc}{url.path}", dict(parse_qsl(url.query))


DEBUG = (
    "GET",
    f"{GRAPH}/debug_token",
    {
        "input_token": "EAA-canary-1",
        "access_token": "4711|canary-app-secret",
        "appsecret_proof": proof("4711|canary-app-secret"),
    },
)
EXCHANGE = {
    "grant_type": "fb_exchange_token",
    "client_id": "4711",
    "client_secret": "canary-app-secret",
    "fb_exchange_token": "EAA-canary-1",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_every_answer_has_its_meaning(case: Case) -> None:
    """By the numbers in the body, whatever the status."""
    assert outcome(case) == case.expected


@pytest.mark.parametrize(
    ("kind", "more"), [("SYSTEM_USER", {"set_token_expires_in_60_days": "true"}), ("USER", {}), (None, {})]
)
def test_a_renewal_asks_what_the_token_is_and_exchanges_it(kind: str | None, more: dict[str, str]) -> None:
    """Nothing is in a body or a header; a system user's keeps ending in 60 days; its successor is looked at."""
    after = {**DEBUG[2], "input_token": "EAA-canary-2"}

    sent, got = carried(
        table.renewing(),
        [debugged(type=kind), answer(EXCHANGED), debugged(expires_at=int(time.time()) + 60 * DAY)],
    )

    assert [shown(one) for one in sent] == [
        DEBUG,
        ("GET", f"{GRAPH}/oauth/access_token", {**EXCHANGE, **more}),
        (*DEBUG[:2], after),
    ]
    assert not any(one.content or "authorization" in one.headers for one in sent)
    assert got.access_token == got.refresh_token == Secret("EAA-canary-2")
    assert (got.scopes, got.account) == (tuple(SCOPES), Account("1001", "system user 88, WhatsApp account 1001"))
    assert abs(got.expires_in - 60 * DAY) < 5


def test_what_is_not_known_of_a_successor_is_what_was_known_of_the_former_one() -> None:
    """It lives no shorter; its scopes and account are the same."""
    answers = [debugged(), answer({"access_token": "EAA-canary-2"}), answer(b"", 500)]

    _, got = carried(table.renewing(), answers)

    assert got.access_token == Secret("EAA-canary-2")
    assert abs(got.expires_in - 10 * DAY) < 5
    assert (got.scopes, got.account.subject) == (tuple(SCOPES), "1001")


def test_a_token_that_never_ends_is_never_exchanged() -> None:
    """`expires_at: 0` is no moment of 1970."""
    sent, got = carried(table.renewing(), [debugged(expires_at=0)])

    assert len(sent) == 1
    assert (got.ends, got.refresh_token, got.expires_in) == (False, None, None)


@pytest.mark.parametrize(
    ("client", "sent_address"), [(APP, True), (replace(APP, embedded_signup=True, config_id="900"), False)]
)
def test_a_code_is_exchanged_as_what_gave_it_wants(client: Client, *, sent_address: bool) -> None:
    """By GET without a grant_type: with the dialog's address, and with none after an Embedded Signup."""
    sent, _ = carried(META.redeem(table.asked(client), Secret("AQ-canary")), [answer(EXCHANGED), debugged()])

    address = {"redirect_uri": "https://vault.example/oauth/callback/whatsapp"} if sent_address else {}
    credentials = {"client_id": "4711", "client_secret": "canary-app-secret", "code": "AQ-canary"}
    assert shown(sent[0]) == ("GET", f"{GRAPH}/oauth/access_token", {**credentials, **address})


@pytest.mark.parametrize(
    ("client", "wanted"),
    [(APP, {"scope": ",".join(SCOPES)}), (replace(APP, config_id="900"), {"config_id": "900"})],
)
def test_the_dialog_is_asked_for_scopes_or_for_a_configuration(client: Client, wanted: dict[str, str]) -> None:
    """Scopes are parted by commas; a configuration has its own."""
    url = httpx.URL(META.authorization_url(table.asked(replace(client, client_secret=None))))

    assert str(url.copy_with(query=None)) == "https://www.facebook.com/v25.0/dialog/oauth"
    assert dict(url.params) == {
        "client_id": "4711",
        "redirect_uri": "https://vault.example/oauth/callback/whatsapp",
        "state": "s",
        "response_type": "code",
        **wanted,
    }


def test_a_persons_short_token_is_exchanged_at_once() -> None:
    """What is stored of a login lives two months, and renews itself."""
    short = debugged(type="USER", expires_at=int(time.time()) + 5400)
    long = debugged(type="USER", expires_at=int(time.time()) + 60 * DAY)
    answers = [answer({**EXCHANGED, "access_token": "EAA-canary-1"}), short, answer(EXCHANGED), long]

    sent, got = carried(table.redeeming(), answers)

    assert shown(sent[2])[2] == EXCHANGE
    assert (got.access_token, got.refresh_token) == (Secret("EAA-canary-2"), Secret("EAA-canary-2"))
    assert got.account == Account("88", "user 88, WhatsApp account 1001")  # a person's grant ends as a whole


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("USER", ("DELETE", f"{GRAPH}/me/permissions", {})),
        (
            "SYSTEM_USER",
            (
                "GET",
                f"{GRAPH}/oauth/revoke",
                {"client_id": "4711", "client_secret": "canary-app-secret", "revoke_token": "EAA-canary-1"},
            ),
        ),
    ],
)
def test_a_token_is_revoked_in_its_own_way(kind: str, expected: tuple[str, str, dict[str, str]]) -> None:
    """A person's grant to the app, or the system user's one token, with the proof that it is the app."""
    sent, dead = carried(table.revoking(), [debugged(type=kind), answer({"success": True})])

    method, url, more = expected
    asks = {"access_token": "EAA-canary-1", "appsecret_proof": proof("EAA-canary-1"), **more}
    assert (shown(sent[1]), dead) == ((method, url, asks), True)


@pytest.mark.parametrize("client", [None, Client("4711")])
def test_without_an_app_secret_nothing_is_revoked(client: Client | None) -> None:
    """There is no way to, and it says so."""
    assert META.revoke(Root(kind="access_token", client=client), table.TOKEN) is None


def test_granted_accounts_are_read_however_they_are_written() -> None:
    """Numbers, text, nothing, nonsense; several are none that the token is made for."""
    targets = [
        {"scope": SCOPES[0], "target_ids": [1002, "1001", None, {}]},
        {"scope": SCOPES[1]},
        {"scope": "pages", "target_ids": ["5"]},
        7,
    ]

    _, found = carried(table.proving(), [debugged(granular_scopes=targets)])

    assert found.account == Account("88", "system user 88, WhatsApp account 1001, WhatsApp account 1002")


def test_the_end_of_what_a_person_lets_the_app_see_is_known() -> None:
    """It passes while the token goes on: shown as the end of what only a person can renew."""
    seen = debugged(type="USER", data_access_expires_at=int(time.time()) + 90 * DAY)

    _, found = carried(table.proving(), [seen])

    assert abs(found.tokens.refresh_expires_in - 90 * DAY) < 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-app-usage": '{"call_count":28,"total_time":25,"total_cputime":25}'}, None),
        ({"x-app-usage": '{"call_count":100,"total_time":25}'}, 3600),
        (
            {
                "x-business-use-case-usage": '{"1":[{"type":"w","estimated_time_to_regain_access":19},'
                '{"estimated_time_to_regain_access":"3"}],"2":[{"estimated_time_to_regain_access":0}]}'
            },
            19 * 60,
        ),
        ({"x-business-use-case-usage": '{"1":[{"estimated_time_to_regain_access":9999}]}'}, 21_600),
        ({"x-business-use-case-usage": '{"1":[7],"2":null}', "x-app-usage": "[]"}, None),
        ({"x-app-usage": '{"call_count":100}', "retry-after": "7200"}, 7200),
    ],
)
def test_a_throttled_app_waits_as_the_usage_headers_say(headers: dict[str, str], seconds: float | None) -> None:
    """Minutes of a business, the hour over which an app's calls are counted, or what else is asked for."""
    error = refusal(Answer(400, headers, b'{"error":{"code":80007}}'))

    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


def test_a_block_is_waited_out() -> None:
    """A policy's block lasts hours; asking meanwhile helps nobody."""
    error = refusal(Answer(400, {}, b'{"error":{"code":368}}'))

    assert (type(error), error.retry_after) == (Transient, 21_600)


def test_whoever_has_a_dead_token_is_told_what_to_do() -> None:
    """Every reason has a sentence of its own."""
    words = {*DEAD.values(), "token_invalid", "data_access_expired", "other_app", "code_expired", "policy_block"}

    assert words <= ADVICE.keys()


codes: st.SearchStrategy[Any] = (
    st.integers(-10, 700) | st.integers(80_000, 80_015) | st.sampled_from([None, "190", True, 1.5, {}, 10**30])
)
bodies = st.binary(max_size=40) | st.builds(
    lambda error: json.dumps(error).encode(),
    st.fixed_dictionaries(
        {},
        optional={
            "error": st.none()
            | st.text()
            | st.fixed_dictionaries(
                {}, optional={"code": codes, "error_subcode": codes, "message": st.text(), "type": st.text()}
            ),
            "data": st.none() | st.fixed_dictionaries({}, optional={"is_valid": st.booleans(), "error": codes}),
            "access_token": st.none() | st.text(min_size=1, max_size=5) | codes,
        },
    ),
)


@given(
    status=st.integers(200, 599),
    body=bodies,
    headers=st.dictionaries(
        st.sampled_from(["x-app-usage", "x-business-use-case-usage", "retry-after"]), st.text()
    ),
    steps=st.sampled_from([table.renewing, table.proving, table.probing, table.redeeming, table.signing_up]),
)
def test_every_answer_means_something(status: int, body: bytes, headers: dict[str, str], steps: Any) -> None:
    """Nothing but our own errors comes of it, and only Meta's own words condemn a token."""
    try:
        found = _always(steps(), Answer(status, headers, body))
    except ProviderError as error:
        condemns = isinstance(error, GrantRejected | Misused) and error.code != "code_not_exchanged"
        assert not condemns or b'"error"' in body or b'"data"' in body
    else:
        assert isinstance(found, TokenSet | Finding)


def _always(steps: Steps[Any], answer: Answer) -> Any:
    """Return what *steps* come to where each call gets the same *answer*."""
    try:
        next(steps)
        while True:
            steps.send(answer)
    except StopIteration as done:
        return done.value
