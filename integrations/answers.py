"""Our own strict parser of token answers: nothing a provider sends is believed without a look.

Client libraries take `expires_in: 0` for "never", `refresh_token: null` for a new token, and a 429
for a token set. Here the minimum is an access token that is a non-empty string; every other field
is either what RFC 6749 section 5.1 says, or absent.
"""

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from integrations.contract import Answer, Secret, TokenSet, Verdict, encodable
from integrations.knobs import Errors, Probe, TokenFields
from integrations.verdicts import OAUTH_ERRORS, Verdicts, judge

_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, halves of characters
LONGEST_LIFETIME = 31_536_000  # seconds: a year; more is a unit mistake or a joke
LONGEST_TOKEN = 65_536  # characters

STANDARD = TokenFields()
NOTHING_SPECIAL = Errors()


def read_tokens(
    answer: Answer,
    verdicts: Verdicts = OAUTH_ERRORS,
    *,
    fields: TokenFields = STANDARD,
    errors: Errors = NOTHING_SPECIAL,
    scope_separator: str = " ",
) -> TokenSet:
    """Return the token set in *answer*, or raise the ProviderError that it amounts to.

    *fields* and *errors* say where its parts are; *verdicts* what the codes of a refusal mean.
    """
    body = json_object(answer.body)
    error = refusal(answer, body, verdicts, errors)
    access_token = text(at(body, fields.access_token))
    if not 200 <= answer.status < 300 or error or access_token is None or len(access_token) > LONGEST_TOKEN:
        raise judge(answer, error, verdicts)
    return TokenSet(
        access_token=Secret(access_token),
        refresh_token=_secret(at(body, fields.refresh_token)),
        token_type=text(at(body, fields.token_type)) or "Bearer",
        expires_in=_expires_in(at(body, fields.expires_in), fields),
        refresh_expires_in=_refresh_expires_in(body, fields),
        scopes=_scopes(at(body, fields.scope), scope_separator),
        id_token=_secret(at(body, fields.id_token)),
    )


def refusal(answer: Answer, body: dict[str, Any], verdicts: Verdicts, errors: Errors) -> str | None:
    """Return the code with which *answer* refuses: the most telling that *verdicts* knows.

    Of others only the standard's own `error` counts: a provider may have a code for success as well, and a
    token that came with it would be lost.
    """
    telling = [_code(at(body, path)) for path in errors.codes]
    telling += _phrased(body, errors)
    if not 200 <= answer.status < 300:
        telling.append(f"http_{answer.status}")
    known = (code for code in telling if code in verdicts)
    return next(known, text(body.get("error")))


def read_probe(answer: Answer, probe: Probe) -> Verdict:
    """Return what *answer* says of the access token that *probe* went with.

    Where no rule says it, RFC 6750 section 3.1 does: 401 refuses the token, and 403 only what was wanted with it.
    """
    said = answer.body.decode(errors="replace")
    for rule in probe.rules:
        if rule.status in (None, answer.status) and (rule.says is None or rule.says in said):
            return rule.verdict
    if 200 <= answer.status < 300:
        return "valid"
    return "invalid" if answer.status == 401 else "unknown"


def at(body: object, path: str) -> object:
    """Return what stands at *path* in *body*, None where nothing does."""
    for name in path.split("."):
        if not isinstance(body, dict):
            return None
        body = body.get(name)
    return body


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
    seconds = number(value)
    return None if seconds is None or seconds > LONGEST_LIFETIME else max(seconds, 0)


def number(value: object) -> int | None:
    """Return a whole number, which some give in digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return value if type(value) is int else None


def text(value: object) -> str | None:
    """Return *value* where it is a string with something in it that UTF-8 can hold."""
    return value if isinstance(value, str) and value and encodable(value) else None


def line(value: object) -> str | None:
    """Return *value* where it is one line of text that every database takes."""
    found = text(value)
    return None if found is None or _UNUSABLE.search(found) else found


def _integer(digits: str) -> int | float:
    """Return a JSON integer. Python refuses thousands of digits, and the token beside them would be lost."""
    return int(digits) if len(digits) < 100 else float(digits)


def _code(value: object) -> str | None:
    """Return a code in words. Zero, null and an empty text are how many say that nothing is wrong."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value else None
    return text(value)


def _phrased(body: dict[str, Any], errors: Errors) -> Iterator[str]:
    """Give the classes whose phrases are in the texts of a refusal."""
    texts = [found.casefold() for path in errors.messages if (found := text(at(body, path)))]
    for name, phrases in errors.phrases.items():
        if any(phrase.casefold() in found for phrase in phrases for found in texts):
            yield name


def _expires_in(value: object, fields: TokenFields) -> int | None:
    """Return the seconds that an access token lives, None where *value* does not say that."""
    if type(value) in {int, str} and str(value) in {str(word) for word in fields.never}:
        return LONGEST_LIFETIME
    if fields.expires_as == "seconds":
        return lifetime(value)
    ends = _moment(value) if fields.expires_as == "iso_8601" else _unix(value)
    if ends is None:
        return None
    return lifetime(int(ends / (1000 if fields.expires_as == "unix_ms" else 1) - time.time()))


def _refresh_expires_in(body: dict[str, Any], fields: TokenFields) -> int | None:
    """Return the seconds that a refresh token lives. Zero is Keycloak's word for one that does not end."""
    found = at(body, fields.refresh_token_expires_in)
    return lifetime(body.get("refresh_expires_in") if found is None else found) or None


def _unix(value: object) -> int | None:
    """Return a count since 1970, None where *value* is none of this age of the world."""
    moment = number(value)
    return moment if moment is not None and 0 < moment < 10**15 else None


def _moment(value: object) -> float | None:
    """Return the Unix time of an ISO 8601 date; None where it has no offset, for it could be of any place."""
    try:
        moment = datetime.fromisoformat(text(value) or "")
        return moment.timestamp() if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _secret(value: object) -> Secret | None:
    found = text(value)
    return Secret(found) if found else None


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    found = text(value)
    return tuple(found.replace(separator, " ").split()) if found else None
