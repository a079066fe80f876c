"""What is signed by a key of the provider is believed, and by nobody else's."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from integrations.contract import Account, Answer, Client, Secret, Unreadable
from integrations.identity import account_of
from integrations.jwks import PUBLIC_KEY, has_key_of, max_age, read_keys

ISSUER, NONCE = "https://id.example.test", "canary-nonce"
SECRET = "canary-client-secret"
CLIENT = Client("client-1", Secret(SECRET))
KEY, OTHER = (RSAKey.generate_key(2048, {"kid": "a", "use": "sig"}) for _ in range(2))
CURVE = ECKey.generate_key("P-256", {"kid": "b"})
KEYS = [key.as_dict(private=False) for key in (KEY, CURVE)]


def claims(**changed: Any) -> dict[str, Any]:
    known = {"iss": ISSUER, "aud": "client-1", "sub": "account-1", "exp": int(time.time()) + 600, "nonce": NONCE}
    return known | changed


def signed(key: Any = KEY, **header: Any) -> Secret:
    return Secret(jwt.encode({"alg": "RS256", "kid": "a", **header}, claims(), key, algorithms=PUBLIC_KEY))


def by_hand(header: dict[str, Any], mac_key: bytes | None) -> Secret:
    """Return a token with any header at all, signed with a MAC or with nothing."""
    text = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims())
    )
    mac = b"" if mac_key is None else hmac.digest(mac_key, text.encode(), hashlib.sha256)
    return Secret(f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def account(token: Secret, keys: Any = KEYS, client: Client = CLIENT) -> Account:
    return account_of(token, issuers=[ISSUER], client=client, nonce=NONCE, keys=keys)


def refusal(token: Secret, keys: Any = KEYS, client: Client = CLIENT) -> str:
    with pytest.raises(Unreadable) as caught:
        account(token, keys, client)
    assert "canary-" not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(
    "token",
    [
        signed(),
        signed(alg="PS256"),
        signed(CURVE, alg="ES256", kid="b"),
        Secret(
            jwt.encode({"alg": "RS256"}, claims(), RSAKey.import_key(KEY.as_pem(private=True)))
        ),  # names no key
        by_hand({"alg": "HS256"}, SECRET.encode()),  # OpenID Connect Core 10.1: the client's secret
    ],
)
def test_what_a_key_of_the_provider_signed_is_believed(token: Secret) -> None:
    """RSA, elliptic curves, a token that names no key, and the secret that both sides share."""
    assert account(token).subject == "account-1"


PUBLIC_PEM = KEY.as_pem(private=False)
FORGED = [
    signed(OTHER),
    signed(kid="c"),
    signed(CURVE, alg="ES256", kid="a"),
    Secret(signed().reveal().rpartition(".")[0] + "."),
    Secret(signed().reveal()[:-8] + "AAAAAAAA"),
    by_hand({"alg": "none"}, None),
    by_hand({"alg": "None", "kid": "a"}, None),
    by_hand({"alg": "HS256", "kid": "a"}, PUBLIC_PEM),
    by_hand({"alg": "HS256", "kid": "a"}, b"canary-wrong"),
    by_hand({"alg": "HS256"}, b""),
    by_hand({"alg": "RS256", "kid": "a"}, PUBLIC_PEM),
    by_hand({"alg": ["RS256"], "kid": {"a": 1}}, None),
    by_hand({"alg": "RS256", "kid": "a", "crit": ["x"], "x": 1}, None),
    by_hand({"alg": "RS256", "jwk": OTHER.as_dict(private=False)}, None),
]


@pytest.mark.parametrize("token", FORGED)
def test_what_nobody_of_theirs_signed_is_refused(token: Secret) -> None:
    """A wrong key, none at all, a public key taken for a secret, a key that the token brings along."""
    assert refusal(token) in {"id_token_signature", "id_token_malformed"}


def test_a_client_without_a_secret_shares_none() -> None:
    """An empty MAC key is no secret."""
    assert refusal(by_hand({"alg": "HS256"}, b""), client=Client("client-1")) == "id_token_signature"


@pytest.mark.parametrize("odd", [{"kty": "XX"}, {"kty": "RSA", "n": 5}, {"kid": "a"}, {"kty": "oct", "k": ""}])
def test_a_key_that_we_do_not_know_is_in_nobodys_way(odd: dict[str, Any]) -> None:
    """Of a sort to come, or damaged: the next one may fit."""
    assert account(signed(), [{"kid": "a", **odd}, *KEYS]).subject == "account-1"


def test_a_good_signature_makes_no_bad_claim_good() -> None:
    """The claims are judged all the same."""
    token = Secret(jwt.encode({"alg": "RS256", "kid": "a"}, claims(aud="other"), KEY))
    assert refusal(token) == "id_token_audience"


def test_the_key_of_a_token_is_known_by_its_name() -> None:
    """A token that names none may be signed with any."""
    assert has_key_of(KEYS, signed())
    assert not has_key_of(KEYS, signed(kid="c"))
    assert has_key_of(KEYS, by_hand({"alg": "HS256"}, b""))
    with pytest.raises(Unreadable):
        has_key_of(KEYS, Secret("canary-x"))


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 200), ("{}", 200), ('{"keys": []}', 200), ('{"keys": 5}', 200), ('{"keys": [{}]}', 500)],
)
def test_what_has_no_keys_is_refused(body: str, status: int) -> None:
    """An error page is no set of keys."""
    with pytest.raises(Unreadable):
        read_keys(Answer(status, body=body.encode()))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("public, max-age=19204, must-revalidate, no-transform", 19204),
        ("MAX-AGE = 60", 60),
        ('max-age="60"', 60),
        ("s-maxage=60", None),
        ("", None),
        ("max-age=soon", None),
        ("max-age=60, no-store", 0),
        ("no-cache", 0),
    ],
)
def test_how_long_keys_may_be_kept(said: str, seconds: int | None) -> None:
    """RFC 9111: what the answer says, and None where it says nothing that we understand."""
    assert max_age(Answer(200, {"cache-control": said})) == seconds
