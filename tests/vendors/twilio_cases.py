"""What Twilio's answers mean: to an Auth Token, to the three sorts of API keys, and to an OAuth app."""

import json
from collections.abc import Mapping
from typing import Any

from integrations.contract import Answer, Root, Secret, Steps
from integrations.endpoints import TWILIO
from integrations.twilio.provider import Twilio
from tests.vendors.cases import Case

PROVIDER = Twilio(TWILIO)
ACCOUNT, KEY, APP = (f"{prefix}{1:032x}" for prefix in ("AC", "SK", "OQ"))
NUMBER = "+14155550100"
ENTERED: Mapping[str, Mapping[str, str]] = {
    "auth_token": {"account_sid": ACCOUNT, "auth_token": "canary-token"},
    "api_key": {"account_sid": ACCOUNT, "api_key_sid": KEY, "api_key_secret": "canary-secret"},
    "oauth_app": {"account_sid": ACCOUNT, "client_id": APP, "client_secret": "canary-app-secret"},
}
JSON = {"content-type": "application/json"}


def root(kind: str, **more: str) -> Root:
    return Root(kind=kind, credentials={name: Secret(value) for name, value in {**ENTERED[kind], **more}.items()})


def said(status: int, body: Any, headers: Mapping[str, str] = JSON) -> Answer:
    return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def refused(status: int, code: int | str) -> Answer:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return said(status, {"code": code, "message": "canary-message", "more_info": more, "status": status})


def account(**changed: Any) -> Answer:
    shown = {"sid": ACCOUNT, "auth_token": "canary-token", "friendly_name": "Acme", "status": "active"}
    return said(200, {**shown, "type": "Full", **changed})


def numbers(*owned: str) -> Answer:
    listed = [{"sid": f"PN{1:032x}", "phone_number": number} for number in owned]
    return said(200, {"incoming_phone_numbers": listed, "next_page_uri": None})


MESSAGES = said(200, {"messages": [], "page": 0, "next_page_uri": None})
DEAD = refused(401, 20003)
RESTRICTED = refused(403, 70051)
HTML = Answer(403, {"content-type": "text/html"}, b"<html>Blocked by a proxy</html>")
MINTED = {"access_token": "canary-at", "token_type": "Bearer", "expires_in": 3600}


def minted(**changed: Any) -> Answer:
    nulls = {"id_token": None, "refresh_token": None}
    return said(200, {**MINTED, **nulls, **changed})


def _token(what: str, expected: str, *answers: Answer, **more: str) -> Case:
    return Case(what, lambda: PROVIDER.prove(root("auth_token", **more)), answers, expected)


def _key(what: str, expected: str, *answers: Answer, **more: str) -> Case:
    return Case(what, lambda: PROVIDER.prove(root("api_key", **more)), answers, expected)


def _app(what: str, expected: str, *answers: Answer, **more: str) -> Case:
    return Case(what, lambda: PROVIDER.prove(root("oauth_app", **more)), answers, expected)


def _mint(what: str, expected: str, answer: Answer) -> Case:
    return Case(what, lambda: PROVIDER.renew(root("oauth_app")), (answer,), expected)


def _probe(what: str, expected: str, answer: Answer) -> Case:
    def steps() -> Steps[object]:
        return PROVIDER.probe(root("oauth_app"), Secret("canary-at"))

    return Case(what, steps, (answer,), expected)


CASES: tuple[Case, ...] = (
    # ---- an Auth Token
    _token("an Auth Token of an active account", "valid", account()),
    _token("of a trial account", "valid", account(type="Trial")),
    _token("of a suspended account", "invalid account_suspended", account(status="suspended")),
    _token("of a closed account", "invalid account_suspended", account(status="closed")),
    _token("of an account that is something new", "OutcomeUnknown http_200", account(status="thawing")),
    _token("an account without its SID", "OutcomeUnknown http_200", account(sid=None)),
    _token("a token that is none", "invalid 20003", DEAD),
    _token("the code as text, under another status", "invalid 20003", refused(403, "20003")),
    _token("an account that is not active", "invalid account_suspended", refused(403, 20005)),
    _token("an account that is suspended or closed", "invalid account_suspended", refused(403, 20403)),
    _token("a Connect app that was revoked", "invalid 20006", refused(403, 20006)),
    _token("no account of this SID", "invalid account_not_found", refused(404, 20404)),
    _token("test credentials", "limited 20008", refused(403, 20008)),
    _token("one code for two reasons", "limited 70051", RESTRICTED),
    _token("too many at a time", "Transient 20429", refused(429, 20429)),
    _token("too many, by a proxy", "RateLimited http_429", said(429, b"slow down", {})),
    _token("an internal error", "Transient 20500", refused(500, 20500)),
    _token("an overload", "Transient 20503", refused(503, 20503)),
    _token("an outage in HTML", "Transient http_503", Answer(503, {}, b"<html></html>")),
    _token("a gateway that gave up", "OutcomeUnknown http_504", Answer(504, {}, b"")),
    _token("a refusal that says nothing", "Transient http_401", said(401, {})),
    _token("a proxy's page", "Transient http_403", HTML),
    _token("a code of no error that we know", "Transient http_400", refused(400, 99999)),
    _token("a wrong parameter", "Misused 21211", refused(400, 21211)),
    _token("the number of a wrong parameter under another status", "Transient http_404", refused(404, 21211)),
    _token("a parameter of no kind", "Misused 20001", refused(400, 20001)),
    _token("a list where an object should be", "OutcomeUnknown http_200", said(200, [])),
    _token("a code that is true", "Transient http_401", said(401, {"code": True})),
    # ---- its phone number
    _token("a number that the account has", "valid", account(), numbers(NUMBER), phone_number=NUMBER),
    _token("one that it has not", "limited phone_number_missing", account(), numbers(), phone_number=NUMBER),
    _token(
        "one with more digits is another",
        "limited phone_number_missing",
        account(),
        numbers(f"{NUMBER}1"),
        phone_number=NUMBER,
    ),
    _token("numbers that are no list", "OutcomeUnknown http_200", account(), said(200, {}), phone_number=NUMBER),
    _token("numbers during an outage", "Transient 20503", account(), refused(503, 20503), phone_number=NUMBER),
    _token(
        "numbers of a suspended account",
        "invalid account_suspended",
        account(status="closed"),
        phone_number=NUMBER,
    ),
    # ---- API keys
    _key("a Main key", "valid", account()),
    _key("a Main key of a suspended account", "invalid account_suspended", account(status="suspended")),
    _key("a Standard key, whom the account is closed to", "valid", DEAD, MESSAGES),
    _key("a key that is dead, or of another region", "invalid 20003", DEAD, DEAD),
    _key("a Standard key of a suspended account", "invalid account_suspended", DEAD, refused(403, 20403)),
    _key("a Restricted key, known by its first answer", "limited 70051", RESTRICTED),
    _key("a Restricted key, known by its second", "limited 70051", DEAD, RESTRICTED),
    _key("a Standard key during an outage", "Transient 20500", DEAD, refused(500, 20500)),
    _key("a Standard key, and nonsense", "OutcomeUnknown http_200", DEAD, said(200, {"messages": None})),
    _key("a Standard key behind a proxy", "Transient http_403", DEAD, HTML),
    _key("a Standard key's number", "valid", DEAD, MESSAGES, numbers(NUMBER), phone_number=NUMBER),
    _key(
        "a Restricted key that may look at numbers, of which this is none",
        "limited phone_number_missing",
        RESTRICTED,
        numbers(),
        phone_number=NUMBER,
    ),
    _key("a Restricted key's own number", "limited 70051", RESTRICTED, numbers(NUMBER), phone_number=NUMBER),
    _key("one that may look at nothing", "limited 70051", RESTRICTED, RESTRICTED, phone_number=NUMBER),
    _key(
        "one that may read messages alone",
        "limited phone_number_unreadable",
        DEAD,
        MESSAGES,
        RESTRICTED,
        phone_number=NUMBER,
    ),
    # ---- OAuth apps: a token proves one
    _mint("a token", "tokens", minted()),
    _mint("a token with 201", "tokens", said(201, MINTED)),
    _mint("without a lifetime", "tokens", minted(expires_in=None)),
    _mint("no token", "OutcomeUnknown http_200", minted(access_token=None)),
    _mint("a secret that is wrong", "GrantRejected invalid_client", said(401, {"error": "invalid_client"})),
    _mint("the same in Twilio's words", "GrantRejected 20003", DEAD),
    _mint("an app that may not", "GrantRejected unauthorized_client", said(400, {"error": "unauthorized_client"})),
    _mint("a scope that is none", "Misused invalid_scope", said(400, {"error": "invalid_scope"})),
    _mint("an account that is suspended", "GrantRejected account_suspended", refused(403, 20403)),
    _mint("too many at a time", "Transient 20429", refused(429, 20429)),
    _mint("an internal error", "Transient http_500", said(500, {})),
    _mint("a proxy's page", "Transient http_403", HTML),
    _app("an app", "valid", minted(), MESSAGES),
    _app("an app that may not read messages", "limited 70051", minted(), RESTRICTED),
    _app("an app of another account", "limited account_refuses_app", minted(), DEAD),
    _app("an app, and then an outage", "valid", minted(), refused(503, 20503)),
    _app("an app's number", "valid", minted(), MESSAGES, numbers(NUMBER), phone_number=NUMBER),
    _app("not its number", "limited phone_number_missing", minted(), MESSAGES, numbers(), phone_number=NUMBER),
    _app("an app that is none", "GrantRejected invalid_client", said(401, {"error": "invalid_client"})),
    _probe("an app's token", "valid", MESSAGES),
    _probe("an app's token that is over", "invalid 20003", DEAD),
)
