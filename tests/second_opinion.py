"""A second implementation of sealed values, from the words of `vault/keyring.py` and the standards alone.

It shares no line with the vault and imports nothing but the standard library: AES (FIPS 197), GCM
(SP 800-38D) and HKDF (RFC 5869) are written out here. What both implementations agree on is what the
words say, not what one of them happens to do. It is slow and leaks its keys through timing: a judge
of test vectors, never a cipher for use.

Every name is UTF-8, as the text is.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

FORMAT = 1
LABEL = b"tokenvault/values/1"


class Refused(Exception):
    """The wire form does not open here. There is nothing more to know."""


@dataclass(frozen=True)
class Place:
    """What a value is of, apart from the key id and the installation."""

    tenant: str
    provider: str
    owner_kind: str
    owner_id: str
    field: str
    generation: int


def lp(*parts: bytes) -> bytes:
    """LP of every part, one after another."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def context_of(format_: int, key_id: int, instance: str, place: Place) -> bytes:
    """Return the context of a value at *place*."""
    names = [instance, place.tenant, place.provider, place.owner_kind, place.owner_id, place.field]
    return (
        lp(format_.to_bytes(1, "big"), key_id.to_bytes(4, "big"))
        + lp(*(name.encode("utf-8") for name in names))
        + lp(place.generation.to_bytes(8, "big"))
    )


def value_keys(root: bytes, salt: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return encryption key and commitment."""
    both = hkdf_expand(hkdf_extract(salt, root), info, 64)
    return both[:32], both[32:]


def header(format_: int, key_id: int) -> bytes:
    """Return the first five bytes of a wire form."""
    return format_.to_bytes(1, "big") + key_id.to_bytes(4, "big")


def seal(root: bytes, key_id: int, instance: str, place: Place, text: str, salt: bytes, iv: bytes) -> bytes:
    """Return the wire form of *text*."""
    context = context_of(FORMAT, key_id, instance, place)
    key, commitment = value_keys(root, salt, lp(LABEL) + context)
    ciphertext = gcm_encrypt(key, iv, text.encode("utf-8"), context)
    return header(FORMAT, key_id) + salt + iv + commitment + ciphertext


def open_(roots: Mapping[int, bytes], instance: str, place: Place, wire: bytes) -> str:
    """Return the text in *wire*. Raises Refused, whatever the reason."""
    if len(wire) < 1 + 4 + 32 + 12 + 32 + 16 or wire[0] != FORMAT:
        raise Refused
    key_id, salt, iv, commitment = int.from_bytes(wire[1:5], "big"), wire[5:37], wire[37:49], wire[49:81]
    if key_id not in roots:
        raise Refused
    context = context_of(wire[0], key_id, instance, place)
    key, expected = value_keys(roots[key_id], salt, lp(LABEL) + context)
    if commitment != expected:
        raise Refused
    try:
        return gcm_decrypt(key, iv, wire[81:], context).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused from None


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """RFC 5869 section 2.2, with SHA-256."""
    return hmac.new(salt, secret, hashlib.sha256).digest()


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 section 2.3, with SHA-256."""
    out, block, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = hmac.new(key, block + info + bytes([count]), hashlib.sha256).digest()
        out += block
    return out[:length]


def gcm_encrypt(key: bytes, iv: bytes, text: bytes, aad: bytes) -> bytes:
    """SP 800-38D section 7.1, for 96-bit ivs: the ciphertext, then the 16-byte tag."""
    ciphertext = _counter_mode(key, iv, text)
    return ciphertext + gcm_tag(key, iv, ciphertext, aad)


def gcm_decrypt(key: bytes, iv: bytes, box: bytes, aad: bytes) -> bytes:
    """SP 800-38D section 7.2. Raises Refused where the tag is another."""
    ciphertext, tag = box[:-16], box[-16:]
    if tag != gcm_tag(key, iv, ciphertext, aad):
        raise Refused
    return _counter_mode(key, iv, ciphertext)


def gcm_tag(key: bytes, iv: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """Return the tag of a *ciphertext*, whoever made it."""
    hash_key = int.from_bytes(aes_block(key, bytes(16)), "big")
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    blocks = _padded(aad) + _padded(ciphertext) + lengths
    total = 0
    for start in range(0, len(blocks), 16):
        total = _times(total ^ int.from_bytes(blocks[start : start + 16], "big"), hash_key)
    return _xor(total.to_bytes(16, "big"), aes_block(key, iv + b"\0\0\0\1"))


def keystream(key: bytes, iv: bytes, length: int) -> bytes:
    """Return what a text of this *length* is xored with: counter blocks from 2 on, 1 being the tag's."""
    schedule = _key_schedule(key)
    counts = range(2, 2 + (length + 15) // 16)
    return b"".join(_encrypt(schedule, iv + count.to_bytes(4, "big")) for count in counts)[:length]


def aes_block(key: bytes, block: bytes) -> bytes:
    """AES-256 of one block."""
    return _encrypt(_key_schedule(key), block)


def _counter_mode(key: bytes, iv: bytes, text: bytes) -> bytes:
    return _xor(text, keystream(key, iv, len(text)))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _times(x: int, y: int) -> int:
    """Multiply in GF(2^128), SP 800-38D section 6.3: the first bit is the highest."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = (y >> 1) ^ (0xE1 << 120) if y & 1 else y >> 1
    return product


def _double(byte: int) -> int:
    return (byte << 1) ^ 0x11B if byte & 0x80 else byte << 1


def _substitutions() -> bytes:
    """FIPS 197 section 5.1.1: the inverse in GF(2^8), then the affine map. 3 runs through all but 0."""
    powers = [1]
    while len(powers) < 255:
        powers.append(powers[-1] ^ _double(powers[-1]))
    box = [0x63] * 256
    for exponent, byte in enumerate(powers):
        wide = powers[-exponent % 255] * 0x101  # twice side by side, so that shifting it rotates it
        box[byte] = 0x63 ^ (wide ^ wide >> 4 ^ wide >> 5 ^ wide >> 6 ^ wide >> 7) & 0xFF
    return bytes(box)


_BOX = _substitutions()
_DOUBLE = bytes(map(_double, range(256)))
_SHIFTED = [4 * ((column + row) % 4) + row for column in range(4) for row in range(4)]


def _key_schedule(key: bytes) -> list[bytes]:
    """FIPS 197 section 5.2, for 256-bit keys: fifteen round keys."""
    words = [key[start : start + 4] for start in range(0, 32, 4)]
    constant = 1
    for count in range(8, 60):
        word = words[-1]
        if count % 8 == 0:
            word = (word[1:] + word[:1]).translate(_BOX)
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _double(constant)
        elif count % 8 == 4:
            word = word.translate(_BOX)
        words.append(_xor(words[-8], word))
    return [b"".join(words[start : start + 4]) for start in range(0, 60, 4)]


def _encrypt(schedule: list[bytes], block: bytes) -> bytes:
    """FIPS 197 section 5.1."""
    state = _xor(block, schedule[0])
    for round_key in schedule[1:-1]:
        state = _xor(_mixed(_shifted(state.translate(_BOX))), round_key)
    return _xor(_shifted(state.translate(_BOX)), schedule[-1])


def _shifted(state: bytes) -> bytes:
    return bytes([state[place] for place in _SHIFTED])


def _mixed(state: bytes) -> bytes:
    mixed = []
    for start in range(0, 16, 4):
        a, b, c, d = state[start : start + 4]
        every = a ^ b ^ c ^ d
        mixed += [
            a ^ every ^ _DOUBLE[a ^ b],
            b ^ every ^ _DOUBLE[b ^ c],
            c ^ every ^ _DOUBLE[c ^ d],
            d ^ every ^ _DOUBLE[d ^ a],
        ]
    return bytes(mixed)
