"""The keys with which a provider signs its ID tokens (RFC 7517), and what one of them has signed (RFC 7515)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, import_key

from integrations.answers import json_object
from integrations.contract import Answer, Jwks, Secret, Unreadable

# What a JWKS has keys for, and what a client's secret signs (OpenID Connect Core 10.1). Never "none".
PUBLIC_KEY = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
SECRET = ["HS256", "HS384", "HS512"]

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,10})")
_UNSTORED = re.compile(r"(?:^|[\s,])no-(?:store|cache)\b")


def read_keys(answer: Answer) -> Jwks:
    """Return the keys in *answer*. Raises Unreadable where it has none."""
    found = json_object(answer.body).get("keys")
    keys = [key for key in found if isinstance(key, dict)] if isinstance(found, list) else []
    if answer.status != 200 or not keys:
        raise Unreadable("no_keys")
    return keys


def max_age(answer: Answer) -> int | None:
    """Return for how many seconds *answer* says that it may be kept; None where it does not (RFC 9111 5.2.2)."""
    said = answer.headers.get("cache-control", "").lower()
    if _UNSTORED.search(said):
        return 0
    found = _MAX_AGE.search(said)
    return int(found[1]) if found else None


def has_key_of(keys: Jwks, token: Secret) -> bool:
    """Say whether *keys* have the one that *token* names; one that names none may be signed with any."""
    kid = _header(token).get("kid")
    return kid is None or any(key.get("kid") == kid for key in keys)


def signed_claims(token: Secret, keys: Jwks, secret: Secret | None) -> dict[str, Any]:
    """Return the claims that *token* carries under a signature of one of *keys*, or of the client's *secret*.

    Raises Unreadable: a token without a good signature says nothing.
    """
    for key, algorithms in _candidates(_header(token), keys, secret):
        try:
            found = OctKey.import_key(key.reveal()) if isinstance(key, Secret) else import_key(dict(key))
            return json_object(jws.deserialize_compact(token.reveal(), found, algorithms=algorithms).payload)
        except (JoseError, ValueError, TypeError):
            continue  # a key of a sort that we do not know, or damaged, or another one: the next may fit
    raise Unreadable("id_token_signature")


def _candidates(
    header: Mapping[str, Any], keys: Jwks, secret: Secret | None
) -> Iterator[tuple[Secret | Mapping[str, Any], list[str]]]:
    """Give what may have signed a token with that *header*, each with the algorithms that it is good for.

    A public key is never taken for a secret: what an algorithm is verified with follows from its kind.
    """
    if header.get("alg") in SECRET:
        if secret:
            yield secret, SECRET
        return
    kid = header.get("kid")
    for key in keys:
        if kid is None or key.get("kid") == kid:
            yield key, PUBLIC_KEY


def _header(token: Secret) -> Mapping[str, Any]:
    try:
        return jws.extract_compact(token.reveal().encode()).headers()
    except (JoseError, ValueError):
        raise Unreadable("id_token_malformed") from None
