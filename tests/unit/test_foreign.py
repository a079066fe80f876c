"""Values from other vaults: what those make of a text opens, in every layout, and nothing else does.

They are made here with the standard library's scrypt and the cipher's low-level interface, as a vault
written for Node.js makes them: the code under test uses neither.
"""

import base64
import hashlib
import itertools
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.contract import Secret
from vault.errors import Invalid
from vault.moving import foreign
from vault.moving.foreign import Encrypted, Opener

SECRET = "canary-secret-of-the-other-vault, süß"
KEY = bytes(range(32))
TEXT = "canary-token, größer"
COST: dict[str, Any] = {"n": 2**10, "r": 8, "p": 1}  # cheap: the parameters of a real one are below
ORDERS = list(itertools.permutations(("salt", "iv", "tag", "ciphertext")))


def url_safe(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "HEX": lambda value: value.hex().upper(),
    "base64": lambda value: base64.b64encode(value).decode(),
    "base64url": url_safe,
}
opener = Opener(Secret(SECRET), Secret(KEY.hex()))


def parts_of(
    text: str | bytes = TEXT,
    *,
    key: bytes | None = None,
    salt: bytes = b"s" * 16,
    iv: bytes = b"i" * 12,
    **cost: int,
) -> dict[str, bytes]:
    """Return the parts that another vault makes of *text*: under *key*, or under one derived from SECRET."""
    if key is None:
        cost = {**COST, **cost}
        key = hashlib.scrypt(SECRET.encode(), salt=salt, dklen=32, maxmem=2**28, **cost)
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    plain = text if isinstance(text, bytes) else text.encode()
    ciphertext = encryptor.update(plain) + encryptor.finalize()
    return {"salt": salt, "iv": iv, "tag": encryptor.tag, "ciphertext": ciphertext}


def written(parts: dict[str, bytes], layout: str, encoding: str = "base64") -> str:
    """Return *parts* as the other vault writes them."""
    names = layout.replace("+", ":").split(":")
    encode = ENCODINGS[encoding]
    if "+" in layout:
        return encode(b"".join(parts[name] for name in names))
    return ":".join(encode(parts[name]) for name in names)


def refusal(value: Encrypted, by: Opener = opener) -> str:
    """Return the code with which *value* is refused, after seeing that the refusal holds nothing of it."""
    with pytest.raises(Invalid) as refused:
        by.open(value)
    assert "canary-" not in f"{refused.value!r} {refused.value.detail} {refused.value.members}"
    assert refused.value.__cause__ is None
    return refused.value.code


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("length", [12, 16])
@pytest.mark.parametrize("sign", [":", "+"])
def test_every_order_of_the_parts_opens(encoding: str, length: Literal[12, 16], sign: str) -> None:
    """In hex and in base64 of either alphabet, apart or joined, with an IV of 12 or 16 bytes."""
    parts = parts_of(iv=b"i" * length)
    for order in ORDERS:
        layout = sign.join(order)
        value = Encrypted(
            scheme="scrypt", text=written(parts, layout, encoding), layout=layout, iv_bytes=length, **COST
        )

        assert opener.open(value).reveal() == TEXT


@pytest.mark.parametrize("layout", ["iv+tag+ciphertext", "iv+ciphertext+tag", "iv:tag:ciphertext", None])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_raw_key_opens_its_values(layout: str | None, encoding: str) -> None:
    """The key is 64 hex digits; IV, tag and ciphertext in one text are what is usual."""
    text = written(parts_of(key=KEY), layout or "iv+tag+ciphertext", encoding)

    assert opener.open(Encrypted(scheme="key", text=text, layout=layout)).reveal() == TEXT


def test_the_usual_parameters_and_the_dearest_are_taken() -> None:
    """Without parameters those of Node.js count (N = 2^14); N = 2^17 is the most."""
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {"n": 2**14}), ({"n": 2**17}, {"n": 2**17})]
    for stated, cost in cases:
        text = written(parts_of(salt=b"x" * 32, **cost), "salt:iv:tag:ciphertext")

        assert opener.open(Encrypted(scheme="scrypt", text=text, **stated)).reveal() == TEXT


def test_a_salt_may_be_one_for_all_or_be_meant_as_text() -> None:
    """Beside the text, where a vault has a constant one; and as the characters of its hex digits."""
    constant = written(parts_of(salt=b"salt"), "iv:tag:ciphertext")
    digits = b"5a" * 16
    as_text = f"{digits.decode()}:{written(parts_of(salt=digits), 'iv:tag:ciphertext', 'hex')}"

    shared = Encrypted(
        scheme="scrypt", text=constant, layout="iv:tag:ciphertext", salt="salt", salt_as="text", **COST
    )
    spelled = Encrypted(scheme="scrypt", text=constant, layout="iv:tag:ciphertext", salt=b"salt".hex(), **COST)
    assert opener.open(shared).reveal() == opener.open(spelled).reveal() == TEXT
    assert opener.open(Encrypted(scheme="scrypt", text=as_text, salt_as="text", **COST)).reveal() == TEXT
    assert refusal(Encrypted(scheme="scrypt", text=as_text, **COST)) == "does_not_open"


@given(text=st.text(max_size=50), salt=st.binary(min_size=1, max_size=128), length=st.sampled_from([12, 16]))
@settings(max_examples=40)
def test_whatever_was_encrypted_comes_back(text: str, salt: bytes, length: int) -> None:
    """Any text, salt and IV, in either encoding: the empty text too, and short ones that look like hex."""
    parts = parts_of(text, salt=salt, iv=salt.ljust(length, b"-")[:length], n=2)
    for encoding in ENCODINGS:
        found = written(parts, "salt:iv:tag:ciphertext", encoding)

        assert opener.open(Encrypted(scheme="scrypt", text=found, n=2)).reveal() == text


@given(
    n=st.one_of(st.integers(-5, 2**20), st.integers(0, 25).map(lambda power: 2**power)),
    r=st.integers(-1, 40),
    p=st.integers(-1, 40),
)
@settings(max_examples=300)
def test_no_parameters_cost_more_than_is_allowed(n: int, r: int, p: int) -> None:
    """Whatever a file asks for is refused before scrypt runs, or is within 128 MiB and the bound of work."""
    asked = {"scheme": "scrypt", "text": "", "n": n, "r": r, "p": p}
    try:
        value = msgspec.convert(asked, Encrypted)
    except msgspec.ValidationError:
        assert not (2 <= n <= 2**17 and 1 <= r <= 16 and 1 <= p <= 16)
        return
    allowed = foreign._affordable(value)

    assert allowed == (n & (n - 1) == 0 and 128 * n * r <= 128 * 2**20 and n * r * p <= 2**22)


@pytest.mark.parametrize("cost", [{"n": 2**17, "r": 16}, {"n": 2**17, "p": 5}, {"n": 2**16, "p": 16}, {"n": 3}])
def test_what_costs_too_much_is_refused_at_once(cost: dict[str, Any]) -> None:
    """Nothing is derived for it: a hostile file does not occupy the machine."""
    text = written(parts_of(), "salt:iv:tag:ciphertext")
    began = time.process_time()

    assert refusal(Encrypted(scheme="scrypt", text=text, **cost)) == "too_costly"
    assert time.process_time() - began < 0.1


def altered(text: str) -> list[str]:
    """Return *text* with each part flipped in its first byte, and cut."""
    parts = text.split(":")
    flipped = [f"{int(part[:2], 16) ^ 1:02x}{part[2:]}" for part in parts]
    one_each = [":".join([*parts[:number], flipped[number], *parts[number + 1 :]]) for number in range(len(parts))]
    return [*one_each, text[:-2]]


def test_what_was_altered_does_not_open() -> None:
    """Neither does anything under another secret, or another key; and nobody is told which it was."""
    text = written(parts_of(), "salt:iv:tag:ciphertext", "hex")
    others = Opener(Secret("canary-another"), Secret("ff" * 32))

    for each in altered(text):
        assert refusal(Encrypted(scheme="scrypt", text=each, **COST)) == "does_not_open"
    assert refusal(Encrypted(scheme="scrypt", text=text, **COST), others) == "does_not_open"
    under_key = Encrypted(scheme="key", text=written(parts_of(key=KEY), "iv+tag+ciphertext"))
    assert refusal(under_key, others) == "does_not_open"
    binary = Encrypted(
        scheme="key", text=written(parts_of(key=KEY, iv=b"j" * 12), "iv+tag+ciphertext"), iv_bytes=16
    )
    assert refusal(binary) == "does_not_open"


def of(salt: str = "aa" * 16, iv: str = "bb" * 12, tag: str = "cc" * 16, ciphertext: str = "dd") -> dict[str, Any]:
    return {"text": f"{salt}:{iv}:{tag}:{ciphertext}"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({**of(), "layout": "salt:iv:ciphertext"}, "invalid_layout"),
        ({**of(), "layout": "salt:iv:tag:ciphertext:ciphertext"}, "invalid_layout"),
        ({**of(), "layout": "salt:iv.tag:ciphertext"}, "invalid_layout"),
        ({**of(), "layout": "salt/iv/tag/ciphertext"}, "invalid_layout"),
        ({**of(), "layout": "canary-layout"}, "invalid_layout"),
        ({**of(), "salt": "73616c74"}, "invalid_layout"),  # the usual layout has one in it
        ({"text": "canary"}, "invalid_encrypted"),
        (of(salt="canary-!"), "invalid_encrypted"),
        (of(iv="bb" * 13), "invalid_encrypted"),
        (of(tag="cc" * 12), "invalid_encrypted"),
        (of(salt="aa" * 129), "invalid_encrypted"),
        (of(salt=""), "invalid_encrypted"),
        (of(salt="A"), "invalid_encrypted"),
        ({"text": "aa" * 43, "layout": "salt+iv+tag+ciphertext"}, "invalid_encrypted"),
        ({"text": "bb:cc:dd", "layout": "iv:tag:ciphertext", "salt": "aa"}, "invalid_encrypted"),
        (
            {"text": f"{'bb' * 12}:{'cc' * 16}:dd", "layout": "iv:tag:ciphertext", "salt": "canary-!"},
            "invalid_encrypted",
        ),
        (of(), "does_not_open"),
        (of(ciphertext=""), "does_not_open"),
    ],
)
def test_what_is_no_such_value_is_refused_by_what_is_wrong(value: dict[str, Any], code: str) -> None:
    """A tag of 12 bytes too, which the cipher would take: it can be forged."""
    assert refusal(Encrypted(scheme="scrypt", **value, **COST)) == code


def test_what_is_needed_is_asked_for() -> None:
    """Without the secret, or the key, a value is refused by what is missing; a wrong key before all."""
    nothing = Opener()

    assert (
        refusal(Encrypted(scheme="scrypt", text=written(parts_of(), "salt:iv:tag:ciphertext")), nothing)
        == "no_secret"
    )
    assert (
        refusal(Encrypted(scheme="key", text=written(parts_of(key=KEY), "iv+tag+ciphertext")), nothing) == "no_key"
    )
    for wrong in ("", "zz" * 32, "aa" * 31, "aa" * 33):
        with pytest.raises(Invalid, match="invalid_key"):
            Opener(key=Secret(wrong))


def test_what_is_no_text_is_not_told() -> None:
    """A value that opens and is not UTF-8 is refused without it: Python's error would carry it along."""
    text = written(parts_of(b"canary-\xff", key=KEY), "iv+tag+ciphertext")

    assert refusal(Encrypted(scheme="key", text=text)) == "does_not_open"


def test_one_salt_is_derived_once() -> None:
    """A vault with one salt for all pays for scrypt once, not for every value."""
    value = Encrypted(scheme="scrypt", text=written(parts_of(n=2**16), "salt:iv:tag:ciphertext"), n=2**16)
    ours = Opener(Secret(SECRET))
    began = time.process_time()
    ours.open(value)
    first = time.process_time() - began
    began = time.process_time()
    for _ in range(5):
        ours.open(value)

    assert time.process_time() - began < first / 2
