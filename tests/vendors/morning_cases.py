"""What Morning's answers mean."""

import json
import time
from collections.abc import Mapping
from typing import Any

from integrations.contract import Answer, Root, Secret
from integrations.endpoints import MORNING
from integrations.morning import Morning
from tests.vendors.cases import Case

FORMER = "https://api.greeninvoice.co.il/api/v1/account/token"
VENDOR = Morning(MORNING)
LEGACY = Morning({**MORNING, "legacy_token_endpoint": FORMER})
KEY = Root(
    kind="api_key",
    credentials={
        "client_id": Secret("11111111-2222-3333-4444-555555555555"),
        "client_secret": Secret("canary-secret"),
    },
)
TOKEN = Secret("canary-jwt")
HTML = b"<html><title>Access to this network</title></html>"
BUSINESS = {"id": "business-1", "name": "Ann's Bakery", "taxId": "123456789"}


def said(status: int, body: Mapping[str, Any] | bytes) -> Answer:
    return Answer(status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def got(ends: object = 0) -> Answer:
    """Return a token that *ends* then; in an hour where nothing is said."""
    ends = int(time.time()) + 3600 if ends == 0 else ends
    return said(200, {"accessToken": "canary-jwt", "tokenType": "Bearer", "expiresAt": ends})


def minting(what: str, answer: Answer, expected: str) -> Case:
    return Case(what, lambda: VENDOR.renew(KEY), (answer,), expected)


def former(what: str, answer: Answer, expected: str) -> Case:
    return Case(f"formerly, {what}", lambda: LEGACY.renew(KEY), (answer,), expected)


def probing(what: str, status: int, body: Mapping[str, Any] | bytes, expected: str) -> Case:
    return Case(what, lambda: VENDOR.probe(KEY, TOKEN), (said(status, body),), expected)


def code(number: object) -> dict[str, Any]:
    return {"errorCode": number, "errorMessage": "הבקשה נדחתה"}


def proving(what: str, *answers: Answer, expected: str) -> Case:
    return Case(f"entered, {what}", lambda: VENDOR.prove(KEY), answers, expected)


CASES = (
    minting("a token", got(), "tokens"),
    minting("a token whose end is in milliseconds", got(1_900_000_000_000), "tokens"),
    minting("in digits", got("1900000000"), "tokens"),
    minting("a token with no end", got(None), "tokens"),
    minting("a token with an absurd one", got(10**30), "tokens"),
    minting(
        "a token in the standard's spelling", said(200, {"access_token": "canary-at"}), "OutcomeUnknown http_200"
    ),
    minting("no token", said(200, {"accessToken": None}), "OutcomeUnknown http_200"),
    minting("a page", said(200, HTML), "OutcomeUnknown http_200"),
    minting("no grant type", said(400, {"error": "invalid_request"}), "Misused invalid_request"),
    minting("another one", said(400, {"error": "unsupported_grant_type"}), "Misused unsupported_grant_type"),
    minting("key revoked or pending", said(400, {"error": "invalid_grant"}), "GrantRejected key_inactive"),
    minting("no plan", said(400, {"error": "unauthorized_client"}), "GrantRejected plan_without_api"),
    minting("wrong id or secret", said(401, {"error": "invalid_client"}), "GrantRejected key_details_wrong"),
    minting("so, with 200", said(200, {"error": "invalid_client"}), "GrantRejected key_details_wrong"),
    minting("an error nobody knows", said(400, {"error": "odd"}), "Transient http_400"),
    minting(
        "errors that are none", said(400, {"error": ["invalid_client"], "errorCode": {}}), "Transient http_400"
    ),
    minting("a proxy's page with 401", said(401, HTML), "Transient http_401"),
    minting("the gate is closed", said(403, HTML), "Transient http_403"),
    minting("gone, as one has seen it", said(404, HTML), "Transient http_404"),
    minting("too fast", said(429, b""), "RateLimited http_429"),
    minting("broken", said(500, code(500)), "Transient http_500"),
    minting("a gateway that gave up", said(504, HTML), "OutcomeUnknown http_504"),
    former("a token", said(200, {"token": "canary-jwt", "expires": 1_900_000_000}), "tokens"),
    former("wrong details", said(401, code(2014)), "GrantRejected key_details_wrong"),
    former("blocked", said(403, code(2001)), "GrantRejected user_blocked"),
    former("not active", said(400, code(2000)), "GrantRejected account_inactive"),
    former("subscription over", said(400, code(1006)), "GrantRejected subscription_ended"),
    former("plan too small", said(403, code(1012)), "GrantRejected plan_without_api"),
    former("log in again", said(401, code(401)), "Transient http_401"),
    former("retired", said(410, HTML), "Transient http_410"),
    former("the new spelling", said(200, {"accessToken": "canary-jwt"}), "OutcomeUnknown http_200"),
    probing("a business", 200, BUSINESS, "valid"),
    probing("a business without a name", 200, {"id": "business-1", "name": None}, "valid"),
    probing("nobody's business", 200, {"name": "Ann's Bakery"}, "valid"),
    probing("log in again", 401, code(401), "invalid token_refused"),
    probing("in digits", 401, code("401"), "invalid token_refused"),
    probing("no active business", 403, code(1003), "limited no_active_business"),
    probing("subscription over", 403, code(1006), "limited subscription_ended"),
    probing("permission missing", 403, code(1007), "limited permission_missing"),
    probing("plan too small", 403, code(1012), "limited plan_without_api"),
    probing("debt", 403, code(1015), "limited account_in_debt"),
    probing("account not active", 403, code(2000), "invalid account_inactive"),
    probing("user blocked", 403, code(2001), "invalid user_blocked"),
    probing("key details wrong", 401, code(2014), "invalid key_details_wrong"),
    probing("a code nobody knows", 404, code(9999), "Transient http_404"),
    probing("a bare 401", 401, b"", "Transient http_401"),
    probing("a page", 200, HTML, "OutcomeUnknown http_200"),
    probing("too fast", 429, code(429), "RateLimited http_429"),
    probing("broken", 500, code(500), "Transient http_500"),
    proving("and good", got(), said(200, BUSINESS), expected="valid"),
    proving("and the API is away", got(), said(503, b""), expected="valid"),
    proving("and there is debt", got(), said(403, code(1015)), expected="limited account_in_debt"),
    proving("and refused", said(401, {"error": "invalid_client"}), expected="GrantRejected key_details_wrong"),
    proving("for another environment", got(), said(401, code(401)), expected="invalid token_refused"),
)
