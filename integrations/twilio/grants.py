"""Twilio's Access Tokens: JWTs for the SDKs in browsers and phones, signed here with the secret of an API key.

Source: `https://www.twilio.com/docs/iam/access-tokens`, and the grants of Twilio's own libraries
(`https://github.com/twilio/twilio-python`, `twilio/jwt/access_token`). No REST call takes them.
"""

import json
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry
from joserfc.registry import HeaderParameter

from integrations.contract import ClientTokenRequest, Secret, Unreadable

# What Twilio's libraries know. Another name is a misspelt one: the token would only fail in somebody's browser.
GRANTS = frozenset({"voice", "video", "chat", "data_sync", "task_router", "player"})
LONGEST = 86_400  # seconds: a longer one is refused (`https://www.twilio.com/docs/api/errors/20104`)
LARGEST = 4096  # bytes of grants: tokens travel in headers and addresses
_LONGEST_IDENTITY = 256  # characters
_HEADER = JWSRegistry(header_registry={"twr": HeaderParameter("Twilio region", "str")})


def signed(credentials: Mapping[str, Secret], asked: ClientTokenRequest, issued_at: int) -> Secret:
    """Return the token that is *asked* for, as of that Unix time.

    Raises Unreadable, whose code says what is wrong with it.
    """
    key = credentials["api_key_sid"].reveal()
    header = {"alg": "HS256", "typ": "JWT", "cty": "twilio-fpa;v=1"}
    if "region" in credentials:
        header["twr"] = credentials["region"].reveal()
    claims = {
        "jti": f"{key}-{issued_at}",
        "iss": key,
        "sub": credentials["account_sid"].reveal(),
        "nbf": issued_at,
        "exp": issued_at + _lifetime(asked.ttl),
        "grants": _grants(asked),
    }
    secret = OctKey.import_key(credentials["api_key_secret"].reveal())
    return Secret(jwt.encode(header, claims, secret, algorithms=["HS256"], registry=_HEADER))


def _lifetime(seconds: int) -> int:
    if not 0 < seconds <= LONGEST:
        raise Unreadable("ttl_too_long")
    return seconds


def _grants(asked: ClientTokenRequest) -> dict[str, Any]:
    if not asked.grants:
        raise Unreadable("no_grants")
    if not asked.grants.keys() <= GRANTS:
        raise Unreadable("unknown_grant")
    if not all(isinstance(grant, dict) for grant in asked.grants.values()):
        raise Unreadable("grant_malformed")
    found = dict(asked.grants)
    if asked.identity is not None:
        if not 0 < len(asked.identity) <= _LONGEST_IDENTITY or not asked.identity.isprintable():
            raise Unreadable("identity_malformed")
        found["identity"] = asked.identity
    if len(json.dumps(found)) > LARGEST:
        raise Unreadable("grants_too_large")
    return found
