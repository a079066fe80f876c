"""Private keys for tests, made once: whoever signs with one registers its public half at the provider."""

import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc.jwk import ECKey, RSAKey

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(number: int = 1, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the RSA key of this *number*."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def pem(key: Any, password: bytes | None = None) -> str:
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden).decode())


def public_pem(key: Key) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(key: Key, **more: Any) -> str:
    """Return the private JWK of *key*."""
    return json.dumps({**_joined(key).as_dict(private=True), **more})


def public_jwk(key: Key, **more: Any) -> dict[str, Any]:
    return {**_joined(key).as_dict(private=False), **more}


def _joined(key: Key) -> RSAKey | ECKey:
    return RSAKey(key, key) if isinstance(key, rsa.RSAPrivateKey) else ECKey(key, key)
