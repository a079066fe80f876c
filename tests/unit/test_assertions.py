"""Signed assertions: which keys are taken, what is wrong with the others, and what is signed."""

import json
import secrets
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import JWKRegistry
from joserfc.util import int_to_base64

from integrations import assertions
from integrations.assertions import signer
from integrations.contract import Secret, Unreadable
from tests.conftest import Leaks
from tests.keys import ec_key, jwk, pem, public_jwk, public_pem, rsa_key


def signed(private_key: str, **how: Any) -> str:
    sign = signer(Secret(private_key), **how)
    made = sign.assertion(issuer="iss-1", subject="sub-1", audience="https://id.example/token", lifetime=120)
    return made.reveal()


KEYS: list[tuple[Any, str | None, str]] = [
    (rsa_key(), None, "RS256"),
    (rsa_key(), "RS512", "RS512"),
    (rsa_key(), "PS256", "PS256"),
    (ec_key(), None, "ES256"),
    (ec_key(ec.SECP384R1), None, "ES384"),
    (ec_key(ec.SECP521R1), None, "ES512"),
]


@pytest.mark.parametrize(("key", "asked", "used"), KEYS)
@pytest.mark.parametrize("form", [pem, jwk])
def test_a_key_signs_what_its_public_half_verifies(key: Any, asked: str | None, used: str, form: Any) -> None:
    """As PEM and as JWK, with the algorithm that is usual for it or the one that was asked for."""
    before = int(time.time())

    token = jwt.decode(
        signed(form(key), algorithm=asked, key_id="k1"),
        JWKRegistry.import_key(public_jwk(key)),
        algorithms=[used],
    )

    assert token.header == {"typ": "JWT", "alg": used, "kid": "k1"}
    claims = token.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("iss-1", "sub-1", "https://id.example/token")
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 120


def test_no_two_assertions_are_the_same() -> None:
    """Each has an identity of its own, so that the provider can take each once."""
    ids = {jwt.decode(signed(pem(ec_key())), _public()).claims["jti"] for _ in range(20)}

    assert len(ids) == 20
    assert min(map(len, ids)) >= 20


def test_a_jwk_may_name_itself_and_its_algorithm() -> None:
    """What was entered beside it counts more."""
    own = jwk(rsa_key(), kid="own", alg="RS384")

    assert (signer(Secret(own)).key_id, signer(Secret(own)).algorithm) == ("own", "RS384")
    entered = signer(Secret(own), key_id="given", algorithm="RS256")
    assert (entered.key_id, entered.algorithm) == ("given", "RS256")


PRIVATE = json.loads(jwk(rsa_key()))
CURVED = json.loads(jwk(ec_key()))


def without(members: dict[str, Any], *names: str, **other: Any) -> str:
    return json.dumps({name: value for name, value in {**members, **other}.items() if name not in names})


UNUSABLE: list[tuple[str, str | None, str]] = [
    ("", None, "key_malformed"),
    ("canary-key", None, "key_malformed"),
    ("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", None, "key_malformed"),
    (pem(rsa_key())[:-200], None, "key_malformed"),
    (pem(rsa_key(), b"canary"), None, "key_encrypted"),
    (public_pem(rsa_key()), None, "key_not_private"),
    (pem(rsa_key(bits=1024)), None, "key_too_short"),
    (pem(ec_key(ec.SECP256K1)), None, "key_unsupported"),
    (pem(ed25519.Ed25519PrivateKey.generate()), None, "key_unsupported"),
    (pem(dsa.generate_private_key(1024)), None, "key_unsupported"),
    (pem(rsa_key()), "ES256", "algorithm_unsupported"),
    (pem(ec_key()), "ES384", "algorithm_unsupported"),
    (pem(rsa_key()), "HS256", "algorithm_unsupported"),
    (pem(rsa_key()), "none", "algorithm_unsupported"),
    ("{", None, "key_malformed"),
    ('{"canary": 1}', None, "key_malformed"),
    ('{"kty": "oct", "k": "canary"}', None, "key_unsupported"),
    ('{"kty": "RSA", "d": 5}', None, "key_malformed"),
    (without(PRIVATE, "d"), None, "key_not_private"),
    (without(PRIVATE, "p"), None, "key_malformed"),
    (without(PRIVATE, n="AAAA"), None, "key_malformed"),
    (without(PRIVATE, d=PRIVATE["dp"]), None, "key_malformed"),
    (without(PRIVATE, q=PRIVATE["p"]), None, "key_malformed"),
    (without(PRIVATE, alg="HS256"), None, "algorithm_unsupported"),
    (without(PRIVATE, alg=["RS256"]), None, "algorithm_unsupported"),
    (without(CURVED, "d"), None, "key_not_private"),
    (without(CURVED, crv="P-384"), None, "key_malformed"),
    (without(CURVED, y=CURVED["x"]), None, "key_malformed"),
]


@pytest.mark.parametrize(("key", "algorithm", "problem"), UNUSABLE)
def test_a_key_that_cannot_be_used_says_what_is_wrong_with_it(
    key: str, algorithm: str | None, problem: str, leaks: Leaks
) -> None:
    """In a word of ours, with nothing of the key in it or around it."""
    with pytest.raises(Unreadable) as caught:
        signer(Secret(key), algorithm=algorithm)

    assert caught.value.code == problem
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    leaks.check(repr(caught.value))


def test_an_enormous_key_is_refused_before_it_is_checked() -> None:
    """The check of 16,384 bits would hold up everybody for the better part of a minute."""
    p, d = (secrets.randbits(8192) | 1 << 8191 | 1 for _ in range(2))
    q = p + 2  # neither is a prime, which only a check would find
    members = {"n": p * q, "e": 65537, "d": d, "p": p, "q": q, "dp": d % (p - 1), "dq": d % (q - 1)}
    enormous = {name: int_to_base64(value) for name, value in {**members, "qi": pow(q, -1, p)}.items()}
    started = time.monotonic()

    with pytest.raises(Unreadable) as caught:
        signer(Secret(json.dumps({"kty": "RSA", **enormous})))

    assert caught.value.code == "key_too_long"
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("form", [pem, jwk])
def test_a_key_is_checked_once(form: Any) -> None:
    """The look takes as long as a hundred signatures, on the thread that serves everybody."""
    text = form(rsa_key(number=7))

    first, *later = [looked(text) for _ in range(6)]

    assert min(later) * 5 < first
    assert text.encode() not in b"".join(assertions._sound)


def looked(text: str) -> float:
    """Return the seconds that a look at a key took."""
    started = time.perf_counter()
    signer(Secret(text))
    return time.perf_counter() - started


def test_a_signer_does_not_show_its_key() -> None:
    """It can be printed."""
    assert "RSAPrivateKey" not in repr(signer(Secret(pem(rsa_key()))))


@given(
    st.text(max_size=300)
    | st.dictionaries(st.sampled_from(["kty", "d", "n", "crv", "x"]), st.text()).map(json.dumps)
)
@example("[" * 100_000)
@example('{"kty": "EC", "crv": "P-256", "x": "\\u00e9", "y": "", "d": "="}')
def test_any_text_is_a_key_or_says_what_is_wrong(text: str) -> None:
    """Total: nothing that is entered breaks anything."""
    with pytest.raises(Unreadable) as caught:
        signer(Secret(text))
    assert caught.value.__context__ is None


def _public() -> Any:
    return JWKRegistry.import_key(public_jwk(ec_key()))
