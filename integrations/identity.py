"""Whose grant it is, read out of the ID token that came with it (OpenID Connect Core 3.1.3.7)."""

import base64
import binascii
import math
import time
from collections.abc import Collection
from typing import Any

from integrations import jwks
from integrations.answers import json_object, line
from integrations.contract import Account, Client, Jwks, Secret, Unreadable

CLOCK_SKEW = 300  # seconds that the provider's clock may be ahead or behind


def account_of(
    id_token: Secret, *, issuers: Collection[str], client: Client, nonce: str | None, keys: Jwks | None
) -> Account:
    """Return the subject of *id_token*. Raises Unreadable where it is not signed, or its claims not for us.

    No *issuers* are any; no *nonce* is none that was asked for. No *keys* are none that could be had:
    the token came straight from the token endpoint over TLS, which 3.1.3.7 item 6 accepts in place of
    its signature. It is never taken from anywhere else.
    """
    signed = keys is not None
    claims = jwks.signed_claims(id_token, keys or (), client.client_secret) if signed else _claims(id_token)
    if issuers and claims.get("iss") not in list(issuers):
        raise Unreadable("id_token_issuer")
    if client.client_id not in _audiences(claims):
        raise Unreadable("id_token_audience")
    if nonce is not None and claims.get("nonce") != nonce:
        raise Unreadable("id_token_nonce")
    expires = claims.get("exp")
    # Written so that NaN, which Python's JSON takes for a number, is no time at all.
    if not isinstance(expires, int | float) or not time.time() - CLOCK_SKEW <= expires < math.inf:
        raise Unreadable("id_token_expired")
    subject = line(claims.get("sub"))
    if subject is None:
        raise Unreadable("id_token_subject")
    return Account(subject, line(claims.get("email")) or line(claims.get("name")))


def _claims(id_token: Secret) -> dict[str, Any]:
    parts = id_token.reveal().split(".")
    if len(parts) != 3:
        raise Unreadable("id_token_malformed")
    try:
        return json_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        raise Unreadable("id_token_malformed") from None


def _audiences(claims: dict[str, Any]) -> list[object]:
    found = claims.get("aud")
    return found if isinstance(found, list) else [found]
