"""Makes `sealed_values.json` with the second implementation: `python -m tests.vectors.make`.

Everything is fixed, salts and ivs too, so that the same words always give the same file. Every vector
that must not open names the one that does and from which it was made.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests import second_opinion
from tests.second_opinion import LABEL, Place, context_of, gcm_encrypt, gcm_tag, header, lp, value_keys

FILE = Path(__file__).with_name("sealed_values.json")

INSTANCE = "3f0d5a52-8a5e-4c35-9b0a-2f6f8f1c7d11"
PLACE = Place("acme", "google", "connection", "7b1e", "refresh_token", 17)
A, B, C = 0x0A0B0C0D, 0xB0000001, 0xC0000001
ROOTS = {key_id: hashlib.sha256(f"root {key_id:08x}".encode()).digest() for key_id in (A, B, C)}
TEXT = "1//0g-refresh-token.Kx7"

# Found by counting: the first iv for which the key streams of A and B agree in the top bits of 20 bytes.
COLLIDING_IV = (2_878_194).to_bytes(12, "big")


@dataclass(frozen=True)
class Vector:
    """One wire form, where it is tried, and what must come of it."""

    name: str
    expect: str
    wire: bytes
    text: str | None = None  # of those that open
    made_from: str | None = None  # of those that do not
    roots: tuple[int, ...] = (A, B)
    instance: str = INSTANCE
    place: Place = PLACE

    def as_json(self) -> dict[str, object]:
        """Return it as it stands in the file."""
        known = {
            "name": self.name,
            "expect": self.expect,
            "made_from": self.made_from,
            "roots": {str(key_id): ROOTS[key_id].hex() for key_id in self.roots},
            "instance": self.instance,
            "context": asdict(self.place),
            "wire": self.wire.hex(),
            "text": self.text,
        }
        return {key: value for key, value in known.items() if value is not None}


def render() -> str:
    """Return the whole file."""
    return json.dumps([vector.as_json() for vector in vectors()], indent=1) + "\n"


def vectors() -> Iterator[Vector]:
    """Every vector, the ones that open first."""
    yield from _opens()
    yield from _wrong_contexts()
    yield from _joins()
    yield from _unknown_keys()
    yield from _altered()
    yield from _bound_in_part()
    yield from _truncated()
    yield from _extended()
    yield from _downgraded()
    yield from _collision()


def salt_and_iv(name: str) -> tuple[bytes, bytes]:
    """Return a salt and an iv that are this name's own."""
    return hashlib.sha256(f"salt {name}".encode()).digest(), hashlib.sha256(f"iv {name}".encode()).digest()[:12]


def sealed(name: str, text: str = TEXT, key_id: int = A, instance: str = INSTANCE, place: Place = PLACE) -> Vector:
    """Return a vector that opens."""
    wire = second_opinion.seal(ROOTS[key_id], key_id, instance, place, text, *salt_and_iv(name))
    roots = (A, B) if key_id in (A, B) else (key_id,)
    return Vector(name, "opens", wire, text, None, roots, instance, place)


def token() -> Vector:
    """Return the vector that most others are made from."""
    return sealed("token")


def another() -> Vector:
    """Return another text of the same length at the same place."""
    return sealed("another token at the same place", "1//0g-refresh-token.Zz9")


def empty() -> Vector:
    """Return the shortest vector that opens."""
    return sealed("empty text", "")


def refused(origin: Vector, name: str, expect: str, **changes: Any) -> Vector:
    """Return a vector that must not open: *origin* with these *changes*."""
    return replace(origin, name=name, expect=expect, text=None, made_from=origin.name, **changes)


def _opens() -> Iterator[Vector]:
    yield token()
    yield another()
    yield empty()
    yield sealed("one block", "0123456789abcdef")
    yield sealed("one block and a byte", "0123456789abcdef0")
    yield sealed("unicode", "pässwörd \u0000 \u05d0\u05b7 漢字 \U0001f511 e\u0301 \u202e\ufeff\U0010ffff")
    yield sealed(
        "16 KiB", "".join(hashlib.sha256(bytes([i, j])).hexdigest() for i in range(2) for j in range(128))
    )
    yield sealed("the other key of the ring", key_id=B)
    yield sealed("highest generation", place=replace(PLACE, generation=2**64 - 1))
    yield sealed("generation nought", place=replace(PLACE, generation=0))
    yield sealed("empty names", instance="", place=Place("", "", "", "", "", 0))
    yield sealed("unicode names", place=replace(PLACE, tenant="bücher-漢字-\U0001f511", owner_id="\u0000:/|"))


def _wrong_contexts() -> Iterator[Vector]:
    origin = token()
    others: dict[str, Any] = {
        "tenant": "acme2",
        "provider": "github",
        "owner_kind": "client",
        "owner_id": "7b1f",
        "field": "access_token",
    }
    for field, other in others.items():
        yield refused(origin, f"moved to another {field}", "wrong context", place=replace(PLACE, **{field: other}))
        place = replace(PLACE, **{**asdict(PLACE), field: ""})
        yield refused(origin, f"{field} left empty", "wrong context", place=place)
    for generation in (16, 18, 0, 17 + 2**32):
        place = replace(PLACE, generation=generation)
        yield refused(origin, f"put back as generation {generation}", "wrong context", place=place)
    yield refused(origin, "moved to another installation", "wrong context", instance=INSTANCE[:-1] + "2")
    yield refused(origin, "tenant in capitals", "wrong context", place=replace(PLACE, tenant="ACME"))
    yield refused(origin, "tenant with a NUL after it", "wrong context", place=replace(PLACE, tenant="acme\0"))
    swapped = replace(PLACE, tenant=PLACE.provider, provider=PLACE.tenant)
    yield refused(origin, "tenant and provider exchanged", "wrong context", place=swapped)
    composed = sealed("composed name", place=replace(PLACE, tenant="caf\u00e9"))
    yield composed
    place = replace(PLACE, tenant=unicodedata.normalize("NFD", "caf\u00e9"))
    yield refused(composed, "decomposed name", "wrong context", place=place)


def _joins() -> Iterator[Vector]:
    """("ab", "c") and ("a", "bc") are different places, whichever neighbours they are."""
    names = ["instance", "tenant", "provider", "owner_kind", "owner_id", "field"]
    for one, other in pairwise(names):
        for left, right in {("ab", "c"): ("a", "bc"), ("abc", ""): ("", "abc")}.items():
            origin = _named(f"{one} and {other} are {left}", dict(zip((one, other), left, strict=True)))
            moved = _named("", dict(zip((one, other), right, strict=True)))
            yield origin
            yield refused(
                origin,
                f"{one} and {other} are {right}",
                "wrong context",
                instance=moved.instance,
                place=moved.place,
            )


def _named(name: str, names: dict[str, str]) -> Vector:
    parts = {"instance": INSTANCE, **asdict(PLACE), **names}
    return sealed(name, instance=parts.pop("instance"), place=Place(**parts))


def _unknown_keys() -> Iterator[Vector]:
    origin = token()
    yield refused(origin, "a ring without its key", "unknown key", roots=(B,))
    yield refused(origin, "a ring without keys", "unknown key", roots=())
    for key_id in (0, C, 2**32 - 1):
        yield refused(
            origin, f"relabelled as {key_id:08x}", "unknown key", wire=header(1, key_id) + origin.wire[5:]
        )
    # Whoever tries all keys opens this one: A's root made it, under an id that the ring does not hold.
    wire = forge("token", root=A, bound_id=C)
    yield refused(origin, "A's key under an unknown id", "unknown key", wire=wire)


def _altered() -> Iterator[Vector]:
    origin, other = token(), another()
    parts = {
        "key id": (1, 5),
        "salt": (5, 37),
        "iv": (37, 49),
        "commitment": (49, 81),
        "ciphertext": (81, -16),
    }
    for part, (start, end) in {**parts, "tag": (-16, len(origin.wire))}.items():
        first, last = start % len(origin.wire), (end - 1) % len(origin.wire)
        expect = "unknown key" if part == "key id" else "altered"
        yield refused(origin, f"{part}, first bit", expect, wire=flipped(origin.wire, first, 0x80))
        yield refused(origin, f"{part}, last bit", expect, wire=flipped(origin.wire, last, 0x01))
    for part, (start, end) in parts.items():
        if part != "key id":
            wire = origin.wire[:start] + other.wire[start:end] + origin.wire[end:]
            yield refused(origin, f"{part} of another value", "altered", wire=wire)
    yield refused(origin, "tag of another value", "altered", wire=origin.wire[:-16] + other.wire[-16:])
    yield refused(origin, "tag of noughts", "altered", wire=origin.wire[:-16] + bytes(16))
    yield refused(origin, "commitment of noughts", "altered", wire=origin.wire[:49] + bytes(32) + origin.wire[81:])
    salt, _ = salt_and_iv("token")
    _, commitment = value_keys(ROOTS[B], salt, lp(LABEL) + context_of(1, B, INSTANCE, PLACE))
    wire = origin.wire[:49] + commitment + origin.wire[81:]
    yield refused(origin, "commitment of another key", "altered", wire=wire)
    yield refused(origin, "relabelled as another key of the ring", "altered", wire=header(1, B) + origin.wire[5:])
    yield refused(origin, "A's key under B's id", "altered", wire=forge("token", root=A, bound_id=B))
    wire = forge("token", text=b"\xff\xfe" + TEXT.encode()[2:])
    yield refused(origin, "sealed bytes that are not UTF-8", "altered", wire=wire)


def _bound_in_part() -> Iterator[Vector]:
    """The context is bound twice. Where either binding is left out or is another, nothing opens."""
    origin = token()
    context = context_of(1, A, INSTANCE, PLACE)
    elsewhere = context_of(1, A, INSTANCE, replace(PLACE, tenant="other"))
    for name, info, aad in (
        ("context not in the AAD", lp(LABEL) + context, b""),
        ("another context in the AAD", lp(LABEL) + context, elsewhere),
        ("context not in the keys", lp(LABEL), context),
        ("another context in the keys", lp(LABEL) + elsewhere, context),
        ("keys without a label", context, context),
        ("keys of another purpose", lp(b"tokenvault/mac/1") + context, context),
    ):
        yield refused(origin, name, "altered", wire=forge("token", info=info, aad=aad))


def _truncated() -> Iterator[Vector]:
    origin, shortest = token(), empty()
    for length in (0, 1, 4, 5, 37, 49, 81, 82, 96, 97, len(origin.wire) - 16, len(origin.wire) - 1):
        yield refused(origin, f"cut to {length} bytes", "truncated", wire=origin.wire[:length])
    yield refused(shortest, "empty text, cut by a byte", "truncated", wire=shortest.wire[:-1])
    yield refused(shortest, "empty text without its tag", "truncated", wire=shortest.wire[:-16])


def _extended() -> Iterator[Vector]:
    origin, shortest = token(), empty()
    for name, more in {
        "a nought": b"\0",
        "a block of noughts": bytes(16),
        "its tag again": origin.wire[-16:],
        "itself again": origin.wire,
    }.items():
        yield refused(origin, f"{name} after it", "extended", wire=origin.wire + more)
    yield refused(origin, "a byte before it", "extended", wire=b"\1" + origin.wire)
    yield refused(shortest, "empty text with a nought after it", "extended", wire=shortest.wire + b"\0")


def _downgraded() -> Iterator[Vector]:
    origin = token()
    for format_ in (0, 2, 255):
        wire = header(format_, A) + origin.wire[5:]
        yield refused(origin, f"relabelled as format {format_}", "downgraded", wire=wire)
        # This one is whole: only the rule that the format is 1 refuses it.
        wire = forge("token", format_=format_, bound_format=format_)
        yield refused(origin, f"sealed as format {format_}", "downgraded", wire=wire)
        wire = forge("token", bound_format=format_)
        yield refused(origin, f"sealed as format {format_}, relabelled as 1", "downgraded", wire=wire)


def _collision() -> Iterator[Vector]:
    """One ciphertext with one tag that is a text under A and another text under B, as GCM allows."""
    salt, _ = salt_and_iv("collision")
    contexts = {key_id: context_of(1, key_id, INSTANCE, PLACE) for key_id in (A, B)}
    keys = {key_id: value_keys(ROOTS[key_id], salt, lp(LABEL) + contexts[key_id]) for key_id in (A, B)}
    ciphertext = _colliding_ciphertext([(keys[key_id][0], contexts[key_id]) for key_id in (A, B)])
    box = ciphertext + gcm_tag(keys[A][0], COLLIDING_IV, ciphertext, contexts[A])
    of = {}
    for name, key_id in {"A": A, "B": B}.items():
        stream = second_opinion.keystream(keys[key_id][0], COLLIDING_IV, len(ciphertext))
        text = bytes(a ^ b for a, b in zip(ciphertext, stream, strict=True)).decode("ascii")
        wire = header(1, key_id) + salt + COLLIDING_IV + keys[key_id][1] + box
        of[name] = Vector(f"two-key ciphertext as {name}'s", "opens", wire, text)
        yield of[name]
    for name, other in ("AB", "BA"):
        wire = header(1, {"A": A, "B": B}[other]) + of[name].wire[5:]
        yield refused(of[name], f"two-key ciphertext of {name}, relabelled as {other}'s", "altered", wire=wire)


def _colliding_ciphertext(keys: list[tuple[bytes, bytes]]) -> bytes:
    """Return 20 bytes that have the same tag, and are ASCII, under both *keys* with their contexts.

    The difference of the two tags is an affine function of the ciphertext. This solves it for 0, over
    the seven low bits of each byte.
    """
    top_bits = int.from_bytes(b"\x80" * 20, "big")
    stream = int.from_bytes(second_opinion.keystream(keys[0][0], COLLIDING_IV, 20), "big")

    def difference(ciphertext: int) -> int:
        one, other = (gcm_tag(key, COLLIDING_IV, ciphertext.to_bytes(20, "big"), aad) for key, aad in keys)
        return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")

    def reduced(value: int, bits: int) -> tuple[int, int]:
        while value.bit_length() in basis:
            known, its_bits = basis[value.bit_length()]
            value, bits = value ^ known, bits ^ its_bits
        return value, bits

    basis: dict[int, tuple[int, int]] = {}
    start = stream & top_bits
    at_start = difference(start)
    for bit in (1 << place for place in range(160) if not top_bits >> place & 1):
        value, bits = reduced(difference(start ^ bit) ^ at_start, bit)
        if value:
            basis[value.bit_length()] = value, bits
    left, ciphertext = reduced(at_start, start)
    assert left == 0
    return ciphertext.to_bytes(20, "big")


def forge(
    name: str,
    *,
    root: int = A,
    bound_id: int | None = None,
    format_: int = 1,
    bound_format: int = 1,
    info: bytes | None = None,
    aad: bytes | None = None,
    text: bytes = TEXT.encode(),
) -> bytes:
    """Return a wire form made by somebody who holds the root key and keeps to the format in part only."""
    salt, iv = salt_and_iv(name)
    key_id = root if bound_id is None else bound_id
    context = context_of(bound_format, key_id, INSTANCE, PLACE)
    key, commitment = value_keys(ROOTS[root], salt, lp(LABEL) + context if info is None else info)
    ciphertext = gcm_encrypt(key, iv, text, context if aad is None else aad)
    return header(format_, key_id) + salt + iv + commitment + ciphertext


def flipped(wire: bytes, place: int, mask: int) -> bytes:
    """Return *wire* with the bits of *mask* changed in the byte at *place*."""
    return wire[:place] + bytes([wire[place] ^ mask]) + wire[place + 1 :]


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
