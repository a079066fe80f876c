"""What Voicenter's answers mean."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from integrations.builtin import providers
from integrations.contract import Answer, Root, Secret
from tests.vendors.cases import Case
from tests.vendors.voicenter import call_log

VENDOR = providers({})["voicenter"]
HTML = b"<html><title>Access to this network</title></html>"
TOKEN, REFRESH = Secret("canary-token"), Secret("canary-refresh")
CODE = Root(kind="code", credentials={"code": Secret("canary-code")})
BEARER = Root(kind="bearer_token", credentials={"token": TOKEN})

Stack = Literal["old", "new"]


def login(stack: Stack, *, by: Literal["token", "user"] = "user", refresh: Secret | None = None) -> Root:
    """Return what tokens are got with, with a *refresh* token where a login has given one."""
    user = {"email": Secret("ann@acme.example"), "pin": Secret("canary-pin")}
    given = user if by == "user" else {"token": Secret("canary-login-token")}
    # Where nothing is entered, it is the old one.
    entered = given if stack == "old" else {**given, "stack": Secret("new")}
    return Root(kind=f"login_{by}", credentials=entered, refresh_token=refresh)


def said(status: int, body: Mapping[str, Any] | bytes) -> Answer:
    return Answer(status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def session(stack: Stack, **more: Any) -> Answer:
    """Return what a good login or refresh gives, with some of it changed."""
    if stack == "old":
        socket = {"Token": "canary-t", "RefreshToken": "canary-r", "PersonId": 4711, **more}
        return said(200, {"StatusCode": 200, "Status": "OK", "Data": {"Socket": socket}})
    return said(200, {"StatusCode": 200, "Data": {"AccessToken": "canary-t", "RefreshToken": "canary-r", **more}})


def coded(what: str, answer: Answer, expected: str) -> Case:
    return Case(f"code, {what}", lambda: VENDOR.probe(CODE, None), (answer,), expected)


def number(value: object, status: int) -> Answer:
    answer = call_log(value, status)
    return Answer(answer.status, body=answer.body)


def logging_in(what: str, answer: Answer, expected: str, stack: Stack = "old") -> Case:
    return Case(f"login ({stack}), {what}", lambda: VENDOR.renew(login(stack)), (answer,), expected)


def refreshing(what: str, *answers: Answer, expected: str, stack: Stack = "old") -> Case:
    root = login(stack, refresh=REFRESH)
    return Case(f"refresh ({stack}), {what}", lambda: VENDOR.renew(root), answers, expected)


def probing(what: str, answer: Answer, expected: str) -> Case:
    return Case(f"settings, {what}", lambda: VENDOR.probe(login("new"), TOKEN), (answer,), expected)


NO = said(401, {"StatusCode": 401, "Status": "Unauthorized"})
ERROR_BESIDE = said(200, {"error": "Invalid", "Data": {"Socket": {"Token": "canary-t"}}})
SETTINGS = {"IdentityCode": "canary-i", "PersonID": 4711, "WebRTCData": {"extension_pass": "canary-sip-password"}}
CASES = (
    coded("no calls", number(0, 200), "valid"),
    coded("in digits", number("0", 200), "valid"),
    coded("wrong", number(2, 403), "invalid code_rejected"),
    coded("wrong, with 200", number("2", 200), "invalid code_rejected"),
    coded("from here it is nobody's", number(4, 403), "unknown ip_not_authorized"),
    coded("a bare 403", Answer(403), "unknown ip_not_authorized"),
    coded("a page with 403", Answer(403, body=HTML), "unknown ip_not_authorized"),
    coded("throttled", number(1, 403), "RateLimited call_log_throttled"),
    coded("dates that are none", number(5, 404), "unknown clock_skew"),
    coded("a number nobody knows", number(9, 400), "Transient http_400"),
    coded("the words of success, and 403", number(0, 403), "unknown ip_not_authorized"),
    coded("no number", said(200, {"CDR_LIST": []}), "OutcomeUnknown http_200"),
    coded(
        "the answer of a list of extensions", said(200, {"ERR": 0, "EXTENSIONS": []}), "OutcomeUnknown http_200"
    ),
    coded("a page with 401", Answer(401, body=HTML), "Transient http_401"),
    coded("too fast for a proxy", Answer(429), "RateLimited http_429"),
    coded("broken", Answer(500), "Transient http_500"),
    coded("a gateway that gave up", Answer(502, body=HTML), "OutcomeUnknown http_502"),
    Case("a bearer token", lambda: VENDOR.probe(BEARER, None), (), "unknown cannot_be_tried"),
    *(logging_in("tokens", session(stack), "tokens", stack) for stack in ("old", "new")),
    *(logging_in("refused", NO, "GrantRejected login_refused", stack) for stack in ("old", "new")),
    logging_in("the other stack's tokens", session("new"), "OutcomeUnknown http_200"),
    logging_in("the other stack's, too", session("old"), "OutcomeUnknown http_200", "new"),
    logging_in("forbidden", said(403, {"Status": "Forbidden"}), "GrantRejected login_refused"),
    logging_in("refused with 200", said(200, {"StatusCode": 401}), "GrantRejected login_refused"),
    logging_in("so in digits", said(200, {"StatusCode": "403"}), "GrantRejected login_refused"),
    logging_in(
        "an error that says so", said(200, {"error": "Invalid credentials"}), "GrantRejected login_refused"
    ),
    logging_in("an error that does not", said(200, {"error": "Try later"}), "Transient login_failed"),
    logging_in("an error that is none", said(200, {"error": {"a": 1}}), "OutcomeUnknown http_200"),
    logging_in("an error beside a token", ERROR_BESIDE, "GrantRejected login_refused"),
    logging_in("a wrong sort", said(400, {"StatusCode": 400}), "Misused login_malformed"),
    logging_in("no token", session("old", Token=""), "OutcomeUnknown http_200"),
    logging_in("a token that is none", session("old", Token=7), "OutcomeUnknown http_200"),
    logging_in("no session", said(200, {"Data": {"Socket": None}}), "OutcomeUnknown http_200"),
    logging_in("no data", said(200, {"Data": []}), "OutcomeUnknown http_200"),
    logging_in("no refresh token", session("old", RefreshToken=None), "tokens"),
    logging_in("a bare 401", Answer(401), "Transient http_401"),
    logging_in("a page with 401", Answer(401, body=HTML), "Transient http_401"),
    logging_in("a page with 403", Answer(403, body=HTML), "Transient http_403"),
    logging_in("a page with 200", Answer(200, body=HTML), "OutcomeUnknown http_200"),
    logging_in("nothing there", said(404, {"Message": "No"}), "Transient http_404"),
    logging_in("too fast", Answer(429), "RateLimited http_429"),
    logging_in("broken", said(500, {"StatusCode": 401}), "Transient http_500"),
    *(refreshing("tokens", session(stack), expected="tokens", stack=stack) for stack in ("old", "new")),
    *(
        refreshing(f"{status}, then a login", Answer(status), session("old"), expected="tokens")
        for status in (400, 401, 403, 404)
    ),
    refreshing("an error, then a login", said(200, {"error": "Invalid"}), session("old"), expected="tokens"),
    refreshing("refused, and the login too", NO, NO, expected="GrantRejected login_refused"),
    refreshing("refused, and the login is away", NO, Answer(503), expected="Transient http_503"),
    refreshing("refused, and a page", Answer(401), Answer(401, body=HTML), expected="Transient http_401"),
    refreshing("broken: no login for that", Answer(500), expected="Transient http_500"),
    refreshing("too fast: no login either", Answer(429), expected="RateLimited http_429"),
    refreshing("lost behind a gateway", Answer(504), expected="OutcomeUnknown http_504"),
    refreshing("no token in it", session("old", Token=None), expected="OutcomeUnknown http_200"),
    probing("good", said(200, SETTINGS), "valid"),
    probing("of nobody", said(200, {"IdentityCode": "canary-i"}), "valid"),
    probing("dead", NO, "invalid token_dead"),
    probing("a bare 401", Answer(401), "Transient http_401"),
    probing("other settings", said(200, {"a": 1}), "OutcomeUnknown http_200"),
    probing("a page", Answer(200, body=HTML), "OutcomeUnknown http_200"),
    probing("broken", Answer(500), "Transient http_500"),
    Case("a token of the old stack", lambda: VENDOR.probe(login("old"), TOKEN), (), "unknown cannot_be_tried"),
    Case("entered (old)", lambda: VENDOR.prove(login("old")), (session("old"),), "valid"),
    Case("entered (new)", lambda: VENDOR.prove(login("new")), (session("new"), said(200, SETTINGS)), "valid"),
    Case("entered, no settings", lambda: VENDOR.prove(login("new")), (session("new"), Answer(503)), "valid"),
    Case("entered, settings refused", lambda: VENDOR.prove(login("new")), (session("new"), NO), "valid"),
    Case("entered, refused", lambda: VENDOR.prove(login("new")), (NO,), "GrantRejected login_refused"),
    Case("entered, a code", lambda: VENDOR.prove(CODE), (number(2, 403),), "invalid code_rejected"),
)
