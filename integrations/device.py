"""What a device authorization is answered with, and what its polling is (RFC 8628)."""

import re
from urllib.parse import urlsplit

from integrations.answers import json_object, lifetime, refusal, text
from integrations.contract import Answer, DeviceAuthorization, DeviceWaiting, GrantRejected, Secret, Unreadable
from integrations.knobs import Errors
from integrations.verdicts import Verdicts, judge

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

_INTERVAL = 5  # seconds, where the answer does not say (section 3.2)
_LONGEST_INTERVAL = 60
_LIFETIME = 600  # seconds, where it does not say that either
_LONGEST_LINE = 2048
_LINE = re.compile(r"[^\x00-\x1f\x7f]+")


def read_device(answer: Answer, verdicts: Verdicts, errors: Errors) -> DeviceAuthorization:
    """Return what the person has to be told, and what is polled with.

    Raises Unreadable where a code or an address that a person could follow is missing, or the ProviderError that
    a refusal amounts to.
    """
    body = json_object(answer.body)
    error = refusal(answer, body, verdicts, errors)
    if not 200 <= answer.status < 300 or error:
        raise judge(answer, error, verdicts)
    device_code, user_code = text(body.get("device_code")), _line(body.get("user_code"))
    # The last draft called it verification_url, and so do some to this day.
    address = _address(body.get("verification_uri", body.get("verification_url")))
    if device_code is None or user_code is None or address is None:
        raise Unreadable("device_authorization_malformed")
    interval = lifetime(body.get("interval"))
    return DeviceAuthorization(
        device_code=Secret(device_code),
        user_code=user_code,
        verification_uri=address,
        verification_uri_complete=_address(body.get("verification_uri_complete")),
        expires_in=lifetime(body.get("expires_in")) or _LIFETIME,
        interval=min(max(interval or _INTERVAL, 1), _LONGEST_INTERVAL),
    )


def waiting(answer: Answer, verdicts: Verdicts, errors: Errors) -> DeviceWaiting | None:
    """Return what a poll is told while the person has not decided, None where it is told anything else.

    Raises GrantRejected where the code has run out.
    """
    told: Verdicts = {**verdicts, "authorization_pending": GrantRejected, "expired_token": GrantRejected}
    match refusal(answer, json_object(answer.body), told, errors):
        case "authorization_pending" | "slow_down" as said:
            return said
        case "expired_token":
            raise GrantRejected("expired_token")
    return None


def _line(value: object) -> str | None:
    found = text(value)
    return found if found and len(found) <= _LONGEST_LINE and _LINE.fullmatch(found) else None


def _address(value: object) -> str | None:
    """Return an address that can be shown as a link: a page of the web, and no script."""
    found = _line(value)
    try:
        parts = urlsplit(found or "")
    except ValueError:
        return None
    return found if parts.scheme in {"https", "http"} and parts.netloc else None
