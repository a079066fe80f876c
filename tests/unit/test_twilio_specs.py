"""Our requests and the fake's own table, held against Twilio's OpenAPI files; and how strict the fake is."""

from typing import Any

import httpx
import pytest

from integrations.calls import basic, call
from integrations.contract import Answer, Root, Secret
from tests.vendors.specs import Described, described
from tests.vendors.twilio import CALLS, Twilio
from tests.vendors.twilio_accounts import Account
from tests.vendors.twilio_cases import NUMBER, PROVIDER

FILES = {"api": "twilio/twilio_api_v2010.json", "oauth": "twilio/twilio_oauth_v2.json"}


def of(host: str) -> Described | None:
    return described(FILES[host])


def everybody(twilio: Twilio) -> list[Root]:
    """Return credentials of every kind and sort at *twilio*, each with a number."""
    account = twilio.an_account(numbers=[NUMBER])
    app = account.an_app()
    entered = [
        ("auth_token", {"auth_token": account.auth_token}),
        *(("api_key", _of_key(account, sort)) for sort in ("Main", "Standard", "Restricted")),
        ("oauth_app", {"client_id": app.client_id, "client_secret": app.secrets[0]}),
    ]
    more = {"account_sid": account.sid, "phone_number": NUMBER}
    return [
        Root(kind=kind, credentials={name: Secret(value) for name, value in {**fields, **more}.items()})
        for kind, fields in entered
    ]


def _of_key(account: Account, sort: Any) -> dict[str, str]:
    key = account.a_key(sort)
    return {"api_key_sid": key.sid, "api_key_secret": key.secret}


def conversation(twilio: Twilio, root: Root) -> list[tuple[httpx.Request, Answer]]:
    """Return every request that proving *root* takes, with the answer of *twilio*."""
    steps, found = PROVIDER.prove(root), list[tuple[httpx.Request, Answer]]()
    try:
        request = next(steps)
        while True:
            assert isinstance(request, httpx.Request)
            found.append((request, twilio.said(request)))
            request = steps.send(found[-1][1])
    except StopIteration:
        return found


@pytest.mark.parametrize("name", CALLS)
def test_the_fakes_table_is_that_of_the_descriptions(name: str) -> None:
    """Each call is one of Twilio's, and takes nothing that Twilio's does not."""
    known = CALLS[name]
    theirs = of(known.host)
    if theirs is None:
        return

    assert (known.method, known.path) in theirs.operations()
    accepted = theirs.accepted(known.method, known.path)
    assert known.query | set(known.form or ()) <= accepted
    assert known.form or known.query == accepted


def test_every_request_and_every_answer_is_as_described() -> None:
    """All that is sent to prove credentials of any kind, and all that the fake says to it.

    The descriptions know Basic alone; that a token comes as a bearer is in Twilio's documents of OAuth apps.
    """
    twilio = Twilio()
    seen = set[str]()
    for request, answer in (pair for root in everybody(twilio) for pair in conversation(twilio, root)):
        if request.headers.get("Authorization", "").startswith("Bearer "):
            request.headers["Authorization"] = basic("user", Secret("password")).reveal()
        seen.add(f"{request.method} {request.url.host}")
        theirs = of(request.url.host.partition(".")[0])
        if theirs is None:
            continue
        theirs.check(request)
        if answer.status == 200:  # refusals are not described
            theirs.check_answer(request, answer)

    assert seen == {"GET api.twilio.com", "POST oauth.twilio.com"}
    assert twilio.misfits == []
    assert {line.call for line in twilio.ledger} == set(CALLS)


# ---- what the fake takes for a mistake

_MINTING = "https://oauth.twilio.com/v2/token"
MINT = {"grant_type": "client_credentials", "client_id": "OQ", "client_secret": "canary"}


def _at(sid: str, host: str = "api") -> str:
    return f"https://{host}.twilio.com/2010-04-01/Accounts/{sid}"


@pytest.mark.parametrize(
    ("what", "request_of"),
    [
        ("another host", lambda sid, by: call("GET", _at(sid, "iam"), authorization=by)),
        ("a path that is none", lambda sid, by: call("GET", f"{_at(sid)}/Message.json", authorization=by)),
        ("another method", lambda sid, by: call("POST", f"{_at(sid)}.json", authorization=by, form={})),
        ("another casing", lambda sid, by: call("GET", f"{_at(sid)}/Messages.json?pageSize=1", authorization=by)),
        ("no credentials", lambda sid, by: call("GET", f"{_at(sid)}.json")),
        ("a form as JSON", lambda sid, by: call("POST", _MINTING, body=MINT)),
        ("PascalCase", lambda sid, by: call("POST", _MINTING, form={"GrantType": "client_credentials"})),
        ("Basic beside the body", lambda sid, by: call("POST", _MINTING, authorization=by, form=MINT)),
        ("a field less", lambda sid, by: call("POST", _MINTING, form={"grant_type": "client_credentials"})),
        ("a grant type of another kind", lambda sid, by: call("POST", _MINTING, form={**MINT, "grant_type": "x"})),
        (
            "a parameter twice",
            lambda sid, by: call("GET", f"{_at(sid)}/Messages.json?Page=1&Page=2", authorization=by),
        ),
    ],
)
def test_the_fake_takes_nothing_else(what: str, request_of: Any) -> None:
    """What is wrong with a request is refused, and found at the end of a test."""
    twilio = Twilio()
    account = twilio.an_account()

    answer = twilio.said(request_of(account.sid, basic(account.sid, Secret(account.auth_token))))

    assert answer.status in {400, 404, 405}
    assert len(twilio.misfits) == 1
