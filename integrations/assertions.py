"""Assertions that a private key signs (RFC 7523): as the grant itself, and as a client's authentication."""

import base64
import binascii
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from integrations.contract import Secret, Unreadable

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_SHORTEST, _LONGEST = 2048, 4096  # bits of an RSA key; checking a longer one holds up everybody for seconds
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EC = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}
_MANY = 10_000

# Digests of the keys that were found sound: OpenSSL takes 35 ms for that look, and a signature less than one.
_sound: set[bytes] = set()


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A private key that has been looked at, and how it signs."""

    key: PrivateKey = field(repr=False)
    algorithm: str
    key_id: str | None

    def assertion(
        self,
        *,
        issuer: str,
        subject: str,
        audience: str,
        lifetime: int,
        more: Mapping[str, Any] | None = None,
    ) -> Secret:
        """Return a JWT like no other (`jti`), good for *lifetime* seconds from now, with *more* claims."""
        now = int(time.time())
        claims: dict[str, Any] = {**(more or {}), "iss": issuer, "sub": subject, "aud": audience}
        claims |= {"iat": now, "exp": now + lifetime, "jti": secrets.token_urlsafe(16)}
        return self.signed(claims)

    def signed(self, claims: Mapping[str, Any]) -> Secret:
        """Return a JWT of just these *claims*."""
        header = {"alg": self.algorithm} | ({"kid": self.key_id} if self.key_id else {})
        key = RSAKey(self.key, self.key) if isinstance(self.key, rsa.RSAPrivateKey) else ECKey(self.key, self.key)
        return Secret(jwt.encode(header, dict(claims), key, algorithms=[self.algorithm]))


def signer(private_key: Secret, *, key_id: str | None = None, algorithm: str | None = None) -> Signer:
    """Return what signs with *private_key*, a PEM file or a JWK; *key_id* and *algorithm* count more than a JWK's.

    Raises Unreadable, whose code says what is wrong: `key_malformed`, `key_not_private`, `key_encrypted`,
    `key_unsupported` (neither RSA nor a NIST curve), `key_too_short`, `key_too_long`, `algorithm_unsupported`
    (not one of this key's).
    """
    key, described = _looked_at(private_key)
    fitting = _algorithms(key)
    chosen = algorithm or described.get("alg") or fitting[0]
    if chosen not in fitting:
        raise Unreadable("algorithm_unsupported")
    named = key_id or described.get("kid")
    return Signer(key=key, algorithm=chosen, key_id=named if isinstance(named, str) else None)


def _looked_at(private_key: Secret) -> tuple[PrivateKey, dict[str, Any]]:
    """Return the key and what its JWK says of it. Raises Unreadable."""
    text = private_key.reveal()
    digest = hashlib.sha256(text.encode()).digest()
    known = digest in _sound
    # A first time without checking the numbers, to see how long a check would take.
    found, described = _read(text, unchecked=True)
    problem = found if isinstance(found, str) else None if known else _misfit(found)
    if problem is None and not known:
        found, described = _read(text, unchecked=False)
    # Raised out here, where no other exception is around whose text could hold a piece of the key.
    if problem is not None or isinstance(found, str):
        raise Unreadable(problem or str(found))
    if len(_sound) >= _MANY:
        _sound.clear()
    _sound.add(digest)
    return found, described


def _misfit(key: PrivateKey) -> str | None:
    """Return what speaks against a key of this size or curve."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return None if key.curve.name in _EC else "key_unsupported"
    if key.key_size < _SHORTEST:
        return "key_too_short"
    return "key_too_long" if key.key_size > _LONGEST else None


def _algorithms(key: PrivateKey) -> tuple[str, ...]:
    return _RSA if isinstance(key, rsa.RSAPrivateKey) else _EC[key.curve.name]


def _read(text: str, *, unchecked: bool) -> tuple[PrivateKey | str, dict[str, Any]]:
    """Return the key in *text*, or the word for what is wrong; and what it says of itself."""
    if not text.lstrip().startswith("{"):
        return _from_pem(text, unchecked=unchecked), {}
    try:
        described = json.loads(text)
        return _from_jwk(described, unchecked=unchecked), described
    except (ValueError, TypeError, KeyError, RecursionError, JoseError, UnsupportedAlgorithm):
        return "key_malformed", {}


def _from_pem(text: str, *, unchecked: bool) -> PrivateKey | str:
    if "-----BEGIN " in text and "PRIVATE KEY-----" not in text:
        return "key_not_private"
    try:
        key = load_pem_private_key(text.encode(), None, unsafe_skip_rsa_key_validation=unchecked)
    except TypeError:  # theirs for a missing passphrase
        return "key_encrypted"
    except (ValueError, UnsupportedAlgorithm):
        return "key_malformed"
    return key if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else "key_unsupported"


def _from_jwk(jwk: dict[str, Any], *, unchecked: bool) -> PrivateKey | str:
    """Return the key in *jwk* (RFC 7518 section 6). Raises whatever the libraries make of a bad one."""
    if jwk.get("kty") not in {"RSA", "EC"}:
        return "key_unsupported" if "kty" in jwk else "key_malformed"
    if "d" not in jwk:
        return "key_not_private"
    if jwk["kty"] == "EC":
        return ECKey.import_key(jwk).private_key or "key_not_private"
    n, e, d, p, q, dp, dq, qi = (_number(jwk[name]) for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi"))
    public = rsa.RSAPublicNumbers(e, n)
    numbers = rsa.RSAPrivateNumbers(p=p, q=q, d=d, dmp1=dp, dmq1=dq, iqmp=qi, public_numbers=public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=unchecked)


def _number(encoded: str) -> int:
    try:
        return int.from_bytes(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except binascii.Error:
        raise ValueError("no number") from None
