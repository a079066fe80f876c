"""Whose grant it is, read out of the ID token that came with it (OpenID Connect Core 3.1.3.7)."""

import math
import time
from collections.abc import Collection
from typing import Any

from integrations import jwks
from integrations.answers import line
from integrations.contract import Account, Client, Jwks, Secret, Unreadable
from integrations.jwt_claims import unproven_claims

CLOCK_SKEW = 300  # seconds that the provider's clock may be ahead or behind


def account_of(
    id_token: Secret, *, issuers: Collection[str], client: Client, nonce: str | None, keys: Jwks | None
) -> Account:
    """Return the subject of *id_token*. Raises Unreadable where it is not signed, or its claims not for us.

    No *issuers* are any; no *nonce* is none that was asked for. No *keys* are none that could be had:
    the token came straight from the token endpoint over TLS, which 3.1.3.7 item 6 accepts in place of
    its signature. It is never taken from anywhere else.
    """
    if keys is None:
        claims = unproven_claims(id_token)
    else:
        claims = jwks.signed_claims(id_token, keys, client.client_secret)
    if claims is None:
        raise Unreadable("id_token_malformed")
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


def _audiences(claims: dict[str, Any]) -> list[object]:
    found = claims.get("aud")
    return found if isinstance(found, list) else [found]
