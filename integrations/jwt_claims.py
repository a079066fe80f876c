"""What a JWT says of itself (RFC 7519), unproven: for who got it from the signer, or only guesses when it ends."""

import base64
import time
from typing import Any

from integrations.answers import json_object, lifetime
from integrations.contract import Secret

_NEVER = 10**12  # seconds: no time of this age of the world


def unproven_claims(token: Secret) -> dict[str, Any] | None:
    """Return the claims of *token*, none of which is proven by anything; None where it is no JWT."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        return json_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None


def lifetime_of_jwt(token: Secret) -> int | None:
    """Return the seconds until *token* ends by its own `exp`; None where it is no JWT, or does not say."""
    ends = (unproven_claims(token) or {}).get("exp")
    # Written so that NaN, which Python's JSON takes for a number, is no time at all.
    if isinstance(ends, bool) or not isinstance(ends, int | float) or not abs(ends) < _NEVER:
        return None
    return lifetime(int(ends - time.time()))
