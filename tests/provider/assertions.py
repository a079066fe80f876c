"""Assertions that a key has signed (RFC 7523 section 3): whose, for whom, how long, and never twice."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from tests.provider.tokens import GrantError

LONGEST = 300  # seconds that an assertion may be good for
SKEW = 5
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
_REQUIRED = ("iss", "sub", "aud", "iat", "exp", "jti")

Keys = dict[str, list[dict[str, Any]]]


@dataclass
class Assertions:
    """Judges them, and remembers each."""

    seen: set[tuple[str, str]] = field(default_factory=set)

    def judge(self, text: str, registered: Keys, audience: str, refusal: str) -> dict[str, Any]:
        """The claims of an assertion that a *registered* key of its issuer has signed, or a *refusal*."""
        header, claims = self._claims(text, registered, refusal)
        now = time.time()
        if missing := [name for name in _REQUIRED if name not in claims]:
            raise GrantError(refusal, f"the assertion lacks {', '.join(missing)}")
        if header.get("typ", "JWT") != "JWT" or claims["aud"] != audience:
            raise GrantError(refusal, "the assertion is for somebody else")
        if not now - SKEW < claims["exp"] <= now + LONGEST + SKEW or not claims["iat"] <= now + SKEW:
            raise GrantError(refusal, "the assertion is not of this time")
        if (claims["iss"], claims["jti"]) in self.seen:
            raise GrantError(refusal, "the assertion was used before")
        self.seen.add((claims["iss"], claims["jti"]))
        return claims

    def _claims(self, text: str, registered: Keys, refusal: str) -> tuple[dict[str, Any], dict[str, Any]]:
        # A third of the start-up time, and few tests sign anything.
        from joserfc import jws, jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import JWKRegistry

        try:
            told = jws.extract_compact(text.encode())
            claims = json.loads(told.payload)
            keys = registered.get(claims.get("iss"), [])
            kid = told.headers().get("kid")
            fitting = [key for key in keys if key.get("kid") == kid or (len(keys) == 1 and kid is None)]
            if not fitting:
                raise GrantError(refusal, "no such key is registered")
            token = jwt.decode(text, JWKRegistry.import_key(fitting[0]), algorithms=_ALGORITHMS)
        except (JoseError, ValueError, AttributeError):
            raise GrantError(refusal, "the assertion's signature is not one of its issuer's") from None
        return token.header, token.claims
