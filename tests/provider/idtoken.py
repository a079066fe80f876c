"""ID tokens: RS256, with keys made when they are first asked for."""

import time
from typing import TYPE_CHECKING, Any

from tests.provider.tokens import Family

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey


class IdTokens:
    def __init__(self) -> None:
        self._keys: dict[str, RSAKey] = {}

    def _key(self, kid: str) -> "RSAKey":
        # A third of the start-up time, and few tests look at an ID token.
        from joserfc.jwk import RSAKey

        if kid not in self._keys:
            self._keys[kid] = RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})
        return self._keys[kid]

    def issue(self, family: Family, issuer: str, lifetime: int, kid: str) -> str:
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
        return jwt.encode({"alg": "RS256", "kid": kid}, claims, self._key(kid))

    def jwks(self, kid: str) -> dict[str, Any]:
        return {"keys": [self._key(kid).as_dict(private=False)]}
