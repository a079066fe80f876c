"""Morning (GreenInvoice): an API key's id and secret, with which tokens of an hour are got.

Sources: Morning's OpenAPI description 2.0.0 (`https://developers.morning.co/docs/openapi.bundled.json`), its help
article on the changes of 2026 (`https://www.greeninvoice.co.il/help-center/api-updates-26/`), and the table of
error codes in the older Apiary description of the same API.

The key is a tenant's own. What the standard says of a client (`invalid_client`) is said of that key here, and so
condemns it alone.
"""

from collections.abc import Mapping
from typing import Literal

import httpx
from msgspec import structs

from integrations.answers import json_object, line, read_tokens, text
from integrations.calls import bearer, call
from integrations.contract import (
    Account,
    Answer,
    Field,
    Finding,
    GrantRejected,
    Kind,
    Root,
    Secret,
    Steps,
    TokenSet,
    fits_a_header,
)
from integrations.endpoints import Endpoints
from integrations.knobs import TokenFields
from integrations.vendor import Vendor
from integrations.verdicts import OAUTH_ERRORS, Verdicts, judge

API_KEY = Kind(
    id="api_key",
    label="API key",
    how="enter",
    renewal="client_credentials",
    uses_client=False,
    abilities=("businesses",),
    fields=(
        Field(
            name="client_id",
            label="API key ID",
            secret=False,
            pattern=r"[!-~]+",
            help="Settings, Developer tools, API keys. Needs a plan with API access.",
        ),
        Field(
            name="client_secret",
            label="API key secret",
            pattern=r"[!-~]+",
            help="Shown once, where the key is made.",
        ),
    ),
)

# Our words for what Morning says: at the token endpoint in `error`, elsewhere as a number in `errorCode`.
_WORDS: Mapping[str, str] = {
    "invalid_client": "key_details_wrong",
    "invalid_grant": "key_inactive",
    "unauthorized_client": "plan_without_api",
    "401": "token_refused",
    "1003": "no_active_business",
    "1006": "subscription_ended",
    "1007": "permission_missing",
    "1012": "plan_without_api",
    "1015": "account_in_debt",
    "2000": "account_inactive",
    "2001": "user_blocked",
    "2014": "key_details_wrong",
}
_OF_THE_KEY = ("key_details_wrong", "key_inactive", "account_inactive", "user_blocked")
# The key is good, and of use again once a person has put something else right.
_OF_THE_PLAN = (
    *("plan_without_api", "no_active_business", "subscription_ended"),
    *("permission_missing", "account_in_debt"),
)
_AT_TOKENS: Verdicts = {**OAUTH_ERRORS, **dict.fromkeys((*_OF_THE_KEY, *_OF_THE_PLAN), GrantRejected)}
_CURRENT = TokenFields(access_token="accessToken", token_type="tokenType", expires_in="expiresAt")  # noqa: S106
_LEGACY = TokenFields(access_token="token", expires_in="expires")  # noqa: S106


_ADVICE: Mapping[str, str] = {
    "key_details_wrong": "Morning does not know this key ID with this secret, or has blocked its account: make"
    " another key (Settings, Developer tools, API keys) and enter both parts.",
    "key_inactive": "The API key has expired, was revoked, or still waits for its approval: look at it in Morning"
    " (Settings, Developer tools, API keys), or make another one.",
    "plan_without_api": "The subscription at Morning does not include the API, or is not active: change it to a"
    ' plan with API access ("Best" or higher), then have the key tried again. The key itself may be right.',
    "subscription_ended": "The subscription at Morning has ended: renew it, then have the key tried again.",
    "no_active_business": "The Morning account has no active business: activate one.",
    "permission_missing": "The user who made the key may not see the business: have its role changed in Morning,"
    " or make a key as another user.",
    "account_in_debt": "Morning wants a debt settled first: pay it in Morning.",
    "account_inactive": "The Morning account is not active: activate it, then have the key tried again.",
    "user_blocked": "Morning has blocked the user who made the key: ask its support, then have the key tried"
    " again.",
    "token_refused": "Morning's API refuses a token that its token endpoint has just given: the vault's"
    " TOKENVAULT_MORNING_ endpoints are of two environments, production and sandbox.",
}


class Morning(Vendor):
    """The built-in provider `morning`.

    Where a `legacy_token_endpoint` is set, tokens are got there and nowhere else: never at both, for each refusal
    counts as a failed login.
    """

    id, name = "morning", "Morning (GreenInvoice)"
    docs = "https://developers.morning.co/docs"
    advice = _ADVICE
    kinds = (API_KEY,)
    client_errors_scope = "connection"
    default_lifetime = 1800  # what the legacy endpoint gives; the other one says an hour, always

    def __init__(self, endpoints: Endpoints) -> None:
        super().__init__({name: url for name, url in endpoints.items() if url})
        self._legacy = self.endpoints.get("legacy_token_endpoint")

    def renew(self, root: Root) -> Steps[TokenSet]:
        fields = _LEGACY if self._legacy else _CURRENT
        return _tokens((yield self._token_request(root)), fields)

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        if access_token is None or not fits_a_header(access_token.reveal()):
            return Finding(verdict="unknown")
        address = f"{self.endpoints['api_url']}/businesses/me"
        return _business((yield call("GET", address, authorization=bearer(access_token))))

    def _token_request(self, root: Root) -> httpx.Request:
        key, secret = (root.credentials[name].reveal() for name in ("client_id", "client_secret"))
        if self._legacy:
            return call("POST", self._legacy, body={"id": key, "secret": secret})
        asked = {"grant_type": "client_credentials", "client_id": key, "client_secret": secret}
        return call("POST", self.endpoints["token_endpoint"], body=asked)


def _tokens(answer: Answer, fields: TokenFields) -> TokenSet:
    """Return the tokens in *answer*. Raises the ProviderError that it amounts to."""
    body = json_object(answer.body)
    word = _word(body)
    if word is not None:
        raise judge(answer, word, _AT_TOKENS)
    # When it ends is in seconds as documented, and in milliseconds as some have seen it. Which, the digits tell.
    unit: Literal["unix", "unix_ms"] = "unix" if len(str(body.get(fields.expires_in))) < 12 else "unix_ms"
    return read_tokens(answer, _AT_TOKENS, fields=structs.replace(fields, expires_as=unit))


def _business(answer: Answer) -> Finding:
    """Return what *answer* says of a token, and whose it is. Raises the ProviderError that it amounts to."""
    body = json_object(answer.body)
    word = _word(body)
    if word in _OF_THE_PLAN:
        return Finding(verdict="limited", code=word, lacks=("businesses",))
    if word is not None:
        return Finding(verdict="invalid", code=word)
    if answer.status != 200 or not body:
        raise judge(answer, None)
    subject = line(body.get("id"))
    return Finding(verdict="valid", account=Account(subject, line(body.get("name"))) if subject else None)


def _word(body: Mapping[str, object]) -> str | None:
    """Return our word for what *body* refuses with; None where that is nothing that we know."""
    return _WORDS.get(text(body.get("error")) or str(body.get("errorCode")))
