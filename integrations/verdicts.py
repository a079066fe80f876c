"""What a failed answer means: decided once, as data, by body before status.

Total: any status with any body has exactly one class. The default is Transient, because calling a
living grant dead asks a person for nothing, and an unknown 4xx is often a proxy's page.
Sources: RFC 6749 section 5.2, RFC 6750, RFC 8628, OpenID Connect Core 3.1.2.6.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from integrations.contract import (
    Answer,
    ClientRejected,
    GrantRejected,
    Misused,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Transient,
)

Verdicts = Mapping[str, type[ProviderError]]

# By the OAuth `error` word, whatever the status: some providers say it with 200, some with 500.
OAUTH_ERRORS: Verdicts = {
    "invalid_grant": GrantRejected,
    "access_denied": GrantRejected,
    "consent_required": GrantRejected,
    "interaction_required": GrantRejected,
    "login_required": GrantRejected,
    "invalid_client": ClientRejected,
    "unauthorized_client": ClientRejected,
    "deleted_client": ClientRejected,
    "invalid_request": Misused,
    "invalid_scope": Misused,
    "invalid_target": Misused,
    "unsupported_grant_type": Misused,
    "temporarily_unavailable": Transient,
    "server_error": Transient,
    "internal_failure": Transient,
    "slow_down": RateLimited,
    "rate_limit_exceeded": RateLimited,
}

# What a definition may say that a code of its provider means.
CLASSES: Verdicts = {
    "grant_rejected": GrantRejected,
    "client_rejected": ClientRejected,
    "rate_limited": RateLimited,
    "transient": Transient,
    "bug": Misused,
}

# A gateway that gave up on the real server: the request may have been carried out behind it.
_GATEWAY_LOST_IT = frozenset({502, 504})

SHORTEST_RETRY_AFTER = 1.0  # seconds
LONGEST_RETRY_AFTER = 6 * 3600.0  # seconds


def judge(answer: Answer, error: str | None, verdicts: Verdicts = OAUTH_ERRORS) -> ProviderError:
    """Return what *answer* means, where *error* is the OAuth error word found in its body, if any.

    Only words of *verdicts* are repeated in the result: anything else is the provider's free text.
    """
    wait = retry_after(answer.headers)
    if error is not None and error in verdicts:
        return verdicts[error](error, retry_after=wait)
    if answer.status == 429:
        return RateLimited("http_429", retry_after=wait)
    granted_or_garbled = 200 <= answer.status < 300 and error is None
    if answer.status in _GATEWAY_LOST_IT or granted_or_garbled:
        return OutcomeUnknown(f"http_{answer.status}", retry_after=wait)
    return Transient(f"http_{answer.status}", retry_after=wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After asks for (RFC 9110 10.2.3), clamped to 1 s to 6 h."""
    raw = headers.get("retry-after", "").strip()
    seconds = _delay(raw) if raw else None
    if seconds is None:
        return None
    return min(max(seconds, SHORTEST_RETRY_AFTER), LONGEST_RETRY_AFTER)


def _delay(raw: str) -> float | None:
    if raw.isascii() and raw.isdigit():
        return float(raw[:9])
    try:
        moment = parsedate_to_datetime(raw)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
