"""The file that an export is: records under a passphrase, whole or not at all.

    first line  `tokenvault-export/1 SALT COMMITMENT` and a line feed; both base64url without padding
    keys        HKDF-SHA256(scrypt(passphrase, SALT, N=2^17 r=8 p=1), no salt,
                            info = "tokenvault/export/1", 64 bytes)
                first 32 bytes: encryption key; last 32 bytes: COMMITMENT
    the rest    chunks of the text, 65,536 bytes each and what is left in the last, which is never empty
                unless the text is: AES-256-GCM(encryption key,
                iv = number of the chunk u88 from 0, big-endian | 1 if it is the last else 0 u8,
                AAD = first line), each with its 16-byte tag at its end

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015) as the age file format uses it. The
number keeps chunks in their order, the mark on the last one shows that none is missing, and the
commitment tells a wrong passphrase from an altered file. The salt makes the key this file's alone, so
that counted IVs are used once.
"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterator
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from integrations.contract import Secret
from vault.errors import Invalid
from vault.keyring import COMMITMENT_BYTES, KEY_BYTES, SALT_BYTES, SCRYPT, TAG_BYTES, wrapping_key

MAGIC = b"tokenvault-export/"
CHUNK = 65_536  # bytes of text
_FIRST_LINE = re.compile(rb"tokenvault-export/1 ([A-Za-z0-9_-]{43}) ([A-Za-z0-9_-]{43})\n")
_LABEL = b"tokenvault/export/1"


class Sealing:
    """Writes text into *file*, sealed with *passphrase*. Without `close` at the end, nobody can read it."""

    def __init__(self, file: IO[bytes], passphrase: Secret) -> None:
        salt = secrets.token_bytes(SALT_BYTES)
        self._cipher, commitment = _cipher(passphrase, salt)
        self._first_line = b"tokenvault-export/1 %s %s\n" % (_text(salt), _text(commitment))
        self._file = file
        self._number = 0
        self._waiting = bytearray()
        file.write(self._first_line)

    def write(self, text: bytes) -> None:
        self._waiting += text
        while len(self._waiting) > CHUNK:  # one that could be the last one waits
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]

    def close(self) -> None:
        """Write what is left, and that it is the end."""
        self._seal(bytes(self._waiting), last=True)
        self._file.flush()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_iv(self._number, last=last), chunk, self._first_line))
        self._number += 1


def is_sealed(content: bytes) -> bool:
    """Say whether *content* means to be an export."""
    return content.startswith(MAGIC)


def opened(content: bytes, passphrase: Secret) -> bytes:
    """Return the text of an export. Raises Invalid, before anything of it is given away."""
    first_line, salt, stated = _first_line(content)
    cipher, commitment = _cipher(passphrase, salt)
    if not hmac.compare_digest(commitment, stated):
        raise Invalid("The passphrase is not the one of this export.", code="wrong_passphrase")
    return b"".join(_chunks(cipher, first_line, content[len(first_line) :]))


def _first_line(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the first line, with the salt and the commitment in it. Raises Invalid."""
    found = _FIRST_LINE.match(content)
    salt, commitment = (_bytes(found[1]), _bytes(found[2])) if found else (None, None)
    if found is None or salt is None or commitment is None:
        raise Invalid("This is no export that can be read here.", code="not_an_export")
    return found[0], salt, commitment


def _chunks(cipher: AESGCM, first_line: bytes, sealed: bytes) -> Iterator[bytes]:
    size = CHUNK + TAG_BYTES
    count = max(-(-len(sealed) // size), 1)
    for number in range(count):
        last = number == count - 1
        chunk = _chunk(cipher, first_line, number, sealed[number * size : (number + 1) * size], last=last)
        if chunk is None or (last and number and not chunk):
            raise Invalid("This export was altered, or its end is missing.", code="altered_export")
        yield chunk


def _chunk(cipher: AESGCM, first_line: bytes, number: int, sealed: bytes, *, last: bool) -> bytes | None:
    try:
        return cipher.decrypt(_iv(number, last=last), sealed, first_line)
    except InvalidTag:
        return None


def _cipher(passphrase: Secret, salt: bytes) -> tuple[AESGCM, bytes]:
    """Return what seals, and its commitment: half a second of scrypt and 128 MiB."""
    kdf = HKDF(SHA256(), KEY_BYTES + COMMITMENT_BYTES, None, _LABEL)
    both = kdf.derive(wrapping_key(passphrase, salt, SCRYPT))
    return AESGCM(both[:KEY_BYTES]), both[KEY_BYTES:]


def _iv(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


def _text(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def _bytes(text: bytes) -> bytes | None:
    """Return the 32 bytes that *text* spells, None where it does so in an unusual way."""
    try:
        value = base64.b64decode(text + b"=", altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return value if _text(value) == text else None
