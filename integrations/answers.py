"""Our own strict parser of token answers: nothing a provider sends is believed without a look.

Client libraries take `expires_in: 0` for "never", `refresh_token: null` for a new token, and a 429
for a token set. Here the minimum is an access token that is a non-empty string; every other field
is either what RFC 6749 section 5.1 says, or absent.
"""

import json
from typing import Any

from integrations.contract import Answer, Secret, TokenSet, encodable
from integrations.verdicts import OAUTH_ERRORS, Verdicts, judge

LONGEST_LIFETIME = 31_536_000  # seconds: a year; more is a unit mistake or a joke
LONGEST_TOKEN = 65_536  # characters


def read_tokens(answer: Answer, verdicts: Verdicts = OAUTH_ERRORS) -> TokenSet:
    """Return the token set in *answer*, or raise the ProviderError that it amounts to."""
    body = json_object(answer.body)
    error = text(body.get("error"))
    access_token = text(body.get("access_token"))
    if not 200 <= answer.status < 300 or error or access_token is None or len(access_token) > LONGEST_TOKEN:
        raise judge(answer, error, verdicts)
    return TokenSet(
        access_token=Secret(access_token),
        refresh_token=_secret(body.get("refresh_token")),
        token_type=text(body.get("token_type")) or "Bearer",
        expires_in=lifetime(body.get("expires_in")),
        refresh_expires_in=lifetime(body.get("refresh_token_expires_in", body.get("refresh_expires_in"))),
        scopes=_scopes(body.get("scope")),
        id_token=_secret(body.get("id_token")),
    )


def json_object(body: bytes) -> dict[str, Any]:
    """Return *body* as a JSON object; an empty one where it is anything else."""
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_int=_integer)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def lifetime(value: object) -> int | None:
    """Return whole seconds, or None where the provider gave none that can be believed.

    Zero and less mean *expired on arrival*. A float, a boolean, a word and more than a year mean
    nothing. Digits in a string are common and harmless.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value > LONGEST_LIFETIME:
        return None
    return max(value, 0)


def text(value: object) -> str | None:
    """Return *value* where it is a string with something in it that UTF-8 can hold."""
    return value if isinstance(value, str) and value and encodable(value) else None


def _integer(digits: str) -> int | float:
    """Return a JSON integer. Python refuses thousands of digits, and the token beside them would be lost."""
    return int(digits) if len(digits) < 100 else float(digits)


def _secret(value: object) -> Secret | None:
    found = text(value)
    return Secret(found) if found else None


def _scopes(value: object) -> tuple[str, ...] | None:
    found = text(value)
    return tuple(found.split()) if found else None
