"""ID tokens: RS256, with a key made when the first one is asked for."""

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tests.provider.tokens import Family

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey


class IdTokens:
    @cached_property
    def _key(self) -> "RSAKey":
        # A third of the start-up time, and few tests look at an ID token.
        from joserfc.jwk import RSAKey

        return RSAKey.generate_key(2048, {"kid": "fake-1", "use": "sig", "alg": "RS256"})

    def issue(self, family: Family, issuer: str, lifetime: int) -> str:
        from joserfc import jwt

        now = int(time.time())
        claims = {
            "iss": issuer,
            "aud": family.client_id,
            "sub": family.subject,
            "email": f"{family.subject}@example.test",
            "iat": now,
            "exp": now + lifetime,
        }
        if family.nonce is not None:
            claims["nonce"] = family.nonce
        return jwt.encode({"alg": "RS256", "kid": "fake-1"}, claims, self._key)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [self._key.as_dict(private=False)]}
