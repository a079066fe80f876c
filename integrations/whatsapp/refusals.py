"""What Meta's refusals mean: by the numbers in the body, for the status beside them may be any.

Sources: `https://developers.facebook.com/docs/graph-api/guides/error-handling` and
`https://developers.facebook.com/docs/graph-api/overview/rate-limiting`. Numbers that no table there has are what
Meta's API is known to answer with.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from integrations.answers import at, json_object, number, text
from integrations.contract import (
    Answer,
    ClientRejected,
    GrantRejected,
    Misused,
    ProviderError,
    RateLimited,
    Transient,
)
from integrations.verdicts import LONGEST_RETRY_AFTER, SHORTEST_RETRY_AFTER, judge, retry_after

Meaning = tuple[type[ProviderError], str]

# Why a token is dead, by the subcode.
DEAD: Mapping[int, str] = {
    458: "app_removed",
    459: "checkpoint",
    460: "password_changed",
    461: "app_reinstalled",
    462: "session_stale",
    463: "token_expired",
    464: "user_unconfirmed",
    465: "user_invalid",
    466: "token_revoked",
    467: "logged_out",
    468: "token_unused",
    492: "page_role_lost",
}
_DEAD_TOKEN = (GrantRejected, "token_invalid")
_NO_PERMISSION = (GrantRejected, "whatsapp_permission_missing")
_BUSY = (Transient, "whatsapp_busy")
_CODES: Mapping[int, Meaning] = {
    0: (GrantRejected, "not_authenticated"),
    1: (Transient, "unknown_error"),
    2: (Transient, "service_unavailable"),
    3: _NO_PERMISSION,
    4: (RateLimited, "app_throttled"),
    10: _NO_PERMISSION,
    17: (RateLimited, "user_throttled"),
    32: (RateLimited, "page_throttled"),
    100: (Misused, "invalid_parameter"),
    101: (ClientRejected, "app_unknown"),
    102: _DEAD_TOKEN,
    190: _DEAD_TOKEN,
    **dict.fromkeys(range(200, 300), _NO_PERMISSION),
    341: (RateLimited, "app_limit_reached"),
    368: (Transient, "policy_block"),
    613: (RateLimited, "call_limit_reached"),
    **dict.fromkeys(range(80_000, 80_015), (RateLimited, "business_throttled")),
    **dict.fromkeys((130_429, 131_000, 131_016, 131_056, 131_057), _BUSY),
}
# What counts more than the code: a part of the sentence, in lower case. Code 100 has many meanings, and 1 too.
_SENTENCES: Mapping[str, Meaning] = {
    "error validating client secret": (ClientRejected, "client_secret_invalid"),
    "error validating application": (ClientRejected, "app_unknown"),
    "appsecret_proof": (ClientRejected, "appsecret_proof_refused"),
    "did not match the viewing app": (GrantRejected, "other_app"),
}
# Of 100, where a code of the login dialog is exchanged.
_OF_A_CODE: Mapping[int, Meaning] = {
    36_007: (GrantRejected, "code_expired"),
    36_008: (ClientRejected, "redirect_uri_mismatch"),
    36_009: (GrantRejected, "code_used"),
}
_WINDOW = 3600.0  # seconds over which the calls of an app are counted: by then the oldest do not count any more
_BLOCKED = LONGEST_RETRY_AFTER  # a policy's block lasts hours at least


def refusal(answer: Answer) -> ProviderError:
    """Return what *answer*, which does not give what was asked for, means."""
    error = at(json_object(answer.body), "error")
    if not isinstance(error, dict):
        return judge(answer, None)
    meaning = _meaning(error)
    if meaning is None:
        # Whatever 2xx brings an error brings nothing else: nobody has to guess what became of it.
        return judge(answer, "error")
    kind, word = meaning
    if kind is RateLimited:
        return RateLimited(word, retry_after=_wait(answer.headers))
    return kind(word, retry_after=_BLOCKED if word == "policy_block" else retry_after(answer.headers))


def why_dead(error: object) -> str:
    """Return why a token is dead of which `debug_token` has this *error*."""
    subcode = number(at(error, "subcode")) or number(at(error, "error_subcode"))
    return DEAD.get(subcode or 0, "token_invalid")


def _meaning(error: Mapping[str, Any]) -> Meaning | None:
    code, subcode = number(error.get("code")), number(error.get("error_subcode"))
    message = (text(error.get("message")) or "").casefold()
    for sentence, meaning in _SENTENCES.items():
        if sentence in message:
            return meaning
    found = _CODES.get(code) if code is not None else _uncoded(error)
    if found is _DEAD_TOKEN:
        return (GrantRejected, DEAD.get(subcode or 0, "token_invalid"))
    if code == 100 and (of_a_code := _OF_A_CODE.get(subcode or 0)) is not None:
        return of_a_code
    if error.get("is_transient") is True and (found is None or found[0] is not RateLimited):
        return (Transient, "passing_error")
    return found


def _uncoded(error: Mapping[str, Any]) -> Meaning | None:
    """Meta's page on errors: without a code, this type says that the token is over."""
    return _DEAD_TOKEN if error.get("type") == "OAuthException" and error.get("code") is None else None


def _wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until calls are taken again, as far as the headers about usage say."""
    waits = [minutes * 60.0 for minutes in _minutes(headers)]
    used = json_object(headers.get("x-app-usage", "").encode(errors="replace")).values()
    if any((number(percent) or 0) >= 100 for percent in used):
        waits.append(_WINDOW)
    if (asked := retry_after(headers)) is not None:
        waits.append(asked)
    longest = max(waits, default=None)
    return None if longest is None else min(max(longest, SHORTEST_RETRY_AFTER), LONGEST_RETRY_AFTER)


def _minutes(headers: Mapping[str, str]) -> Iterator[int]:
    """Give the minutes after which each limit that a business has reached lets calls through again."""
    by_business = json_object(headers.get("x-business-use-case-usage", "").encode(errors="replace"))
    for uses in by_business.values():
        for use in uses if isinstance(uses, list) else ():
            minutes = number(at(use, "estimated_time_to_regain_access"))
            if minutes is not None and minutes > 0:
                yield minutes
