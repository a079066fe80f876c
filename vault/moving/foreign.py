"""Values that were encrypted elsewhere, each opened once, to be sealed here.

All are AES-256-GCM (SP 800-38D) with a tag of 16 bytes and an IV of 12 or 16. The key is one of two:

    scrypt  derived from a secret for each value, with a salt (RFC 7914)
    key     32 bytes, the same for all

A value is a text of parts, in base64 (either alphabet, padded or not) or in hex, as its *layout* names
them: `salt:iv:tag:ciphertext`. The order is free, and the sign between two is one of `:.$|`; with `+`
the bytes of the parts follow each other in one text, and their lengths have to be known. What scrypt
may cost is bounded before it is run: whoever wrote the file chose the parameters.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Meta, Struct

from integrations.contract import Secret
from vault.errors import Invalid

KEY_BYTES = 32
TAG_BYTES = 16
IV_BYTES = (12, 16)
LONGEST_SALT = 128  # bytes
MOST_MEMORY = 128 * 2**20  # bytes: N = 2^17 with r = 8
MOST_WORK = 4 * 8 * 2**17  # N * r * p: about two seconds
_LAYOUT = re.compile(r"[a-z]+([:.$|+])[a-z]+(?:\1[a-z]+)*")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_USUAL = {"scrypt": "salt:iv:tag:ciphertext", "key": "iv+tag+ciphertext"}


class Encrypted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value as it was found. *n*, *r* and *p* are those of scrypt, by default what Node.js takes.

    *salt* is one that all values share, outside of the text. With *salt_as* `text` the salt is the
    characters as they stand, and not the bytes that they spell. *iv_bytes* and *salt_bytes* matter to
    layouts with `+`.
    """

    scheme: Literal["scrypt", "key"]
    text: str
    layout: str | None = None
    iv_bytes: Literal[12, 16] = 12
    salt_bytes: Annotated[int, Meta(ge=1, le=LONGEST_SALT)] = 16
    salt: Annotated[str, Meta(min_length=1, max_length=4 * LONGEST_SALT)] | None = None
    salt_as: Literal["bytes", "text"] = "bytes"
    n: Annotated[int, Meta(ge=2, le=2**17)] = 2**14
    r: Annotated[int, Meta(ge=1, le=16)] = 8
    p: Annotated[int, Meta(ge=1, le=16)] = 1


class Opener:
    """Opens values that were encrypted with *secret*, or under *key*; None where there is no such thing."""

    def __init__(self, secret: Secret | None = None, key: Secret | None = None) -> None:
        self._secret = secret
        self._cipher = None if key is None else AESGCM(_key(key))
        self._derived: dict[tuple[bytes, int, int, int], AESGCM] = {}

    def open(self, value: Encrypted) -> Secret:
        """Return what *value* holds; up to two seconds of work. Raises Invalid, with a code of what is wrong."""
        parts = _parts(value)
        cipher = self._scrypt(value, parts) if value.scheme == "scrypt" else self._cipher
        if cipher is None:
            needed = "secret" if value.scheme == "scrypt" else "key"
            raise Invalid(f"The {needed} that this was encrypted with is needed.", code=f"no_{needed}")
        text = _decrypted(cipher, parts)
        if text is None:
            raise Invalid("This does not open: another secret or key, or it was altered.", code="does_not_open")
        return Secret(text)

    def _scrypt(self, value: Encrypted, parts: Mapping[str, bytes]) -> AESGCM | None:
        """Return the cipher of *value*, derived anew unless another one had its salt."""
        if self._secret is None:
            return None
        about = (_salt(value, parts), value.n, value.r, value.p)
        if about not in self._derived:
            salt, n, r, p = about
            derived = Scrypt(salt=salt, length=KEY_BYTES, n=n, r=r, p=p).derive(self._secret.reveal().encode())
            self._derived[about] = AESGCM(derived)
        return self._derived[about]


def _key(text: Secret) -> bytes:
    """Return the 32 bytes that *text* spells in hex. Raises Invalid."""
    digits = text.reveal().strip()
    if len(digits) != 2 * KEY_BYTES or not _HEX.fullmatch(digits):
        raise Invalid("A key is 64 hex digits.", code="invalid_key")
    return bytes.fromhex(digits)


def _parts(value: Encrypted) -> dict[str, bytes]:
    """Return the parts of *value* by name, once nothing is wrong with them. Raises Invalid."""
    if not _affordable(value):
        raise Invalid("These scrypt parameters cost more than is spent on a value.", code="too_costly")
    names, sign = _layout(value)
    parts = _joined(value, names) if sign == "+" else _separate(value, names, value.text.split(sign))
    if parts is None or not _well_formed(parts):
        raise Invalid("This text is not of its layout.", code="invalid_encrypted")
    return parts


def _affordable(value: Encrypted) -> bool:
    power_of_two = value.n & (value.n - 1) == 0
    return power_of_two and 128 * value.n * value.r <= MOST_MEMORY and value.n * value.r * value.p <= MOST_WORK


def _layout(value: Encrypted) -> tuple[list[str], str]:
    """Return the names of the parts in their order, and the sign between them. Raises Invalid."""
    layout = value.layout or _USUAL[value.scheme]
    found = _LAYOUT.fullmatch(layout)
    names = layout.split(found[1]) if found else []
    needed = ["ciphertext", "iv", "tag"]
    if value.scheme == "scrypt" and value.salt is None:
        needed.append("salt")
    if found is None or sorted(names) != sorted(needed):
        raise Invalid(f"A layout names {', '.join(sorted(needed))}, each once.", code="invalid_layout")
    return names, found[1]


def _separate(value: Encrypted, names: list[str], texts: list[str]) -> dict[str, bytes] | None:
    if len(texts) != len(names):
        return None
    written = dict(zip(names, texts, strict=True))
    as_it_stands = {"salt": written.pop("salt").encode()} if value.salt_as == "text" and "salt" in written else {}
    decoded = _decoded(list(written.values()))
    return None if decoded is None else {**dict(zip(written, decoded, strict=True)), **as_it_stands}


def _joined(value: Encrypted, names: Iterable[str]) -> dict[str, bytes] | None:
    """Return the parts of one text: all lengths are known but that of the ciphertext, which takes the rest."""
    decoded = _decoded([value.text])
    if decoded is None:
        return None
    whole, parts = decoded[0], {}
    lengths = {"salt": value.salt_bytes, "iv": value.iv_bytes, "tag": TAG_BYTES}
    rest = len(whole) - sum(lengths[name] for name in names if name != "ciphertext")
    for name in names:
        length = lengths.get(name, max(rest, 0))
        parts[name], whole = whole[:length], whole[length:]
    return parts if rest >= 0 else None


def _decoded(texts: list[str]) -> list[bytes] | None:
    """Return the bytes of *texts*, which are all hex where all of them can be, else base64; None for neither.

    IV and tag are among them: that many characters of base64 are never hex digits only.
    """
    if all(_HEX.fullmatch(text) for text in texts):
        return [bytes.fromhex(text) for text in texts]
    if not all(_BASE64.fullmatch(text) for text in texts):
        return None
    try:
        return [_base64(text) for text in texts]
    except binascii.Error:
        return None


def _base64(text: str) -> bytes:
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


def _well_formed(parts: Mapping[str, bytes]) -> bool:
    salted = 1 <= len(parts.get("salt", b"-")) <= LONGEST_SALT
    return salted and len(parts["iv"]) in IV_BYTES and len(parts["tag"]) == TAG_BYTES


def _salt(value: Encrypted, parts: Mapping[str, bytes]) -> bytes:
    """Return the salt of *value*, whether it stands in the text or beside it. Raises Invalid."""
    if value.salt is None:
        return parts["salt"]
    if value.salt_as == "text":
        return value.salt.encode()
    decoded = _decoded([value.salt])
    if decoded is None:
        raise Invalid("This salt is neither base64 nor hex.", code="invalid_encrypted")
    return decoded[0]


def _decrypted(cipher: AESGCM, parts: Mapping[str, bytes]) -> str | None:
    """Return the text, None where there is none: an error that holds the plaintext must not leave here."""
    try:
        return cipher.decrypt(parts["iv"], parts["ciphertext"] + parts["tag"], None).decode()
    except (InvalidTag, UnicodeDecodeError):
        return None
