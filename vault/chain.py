"""The chain of the audit: what makes it impossible to change a record, or its place, without the key.

    field    = "-," where there is none, else the length of its UTF-8 in decimal, ":", the UTF-8, ","
    record   = the fields stream, seq, at (milliseconds since 1970), actor, action, outcome, tenant,
               provider, name, generation, request_id, detail; numbers in decimal
    mac(0)   = HMAC-SHA256(key, field("tokenvault/audit/1") field(stream) field(links))
    mac(n)   = HMAC-SHA256(key, mac(n-1) record(n))

The key is the `audit` sub-key of the keyring's `mac` key, which no rotation of values touches. A
stream is what one process wrote, in the order of its commits. A chain alone does not show that its
end was cut off; heads do, which are written apart from it and signed:

    base = HMAC-SHA256(key, field("tokenvault/audit/base/1") field(stream) field(started at)
                       field(links) field(seq) field(mac in hex))
    head = HMAC-SHA256(key, field("tokenvault/audit/head/1") field(stream) field(at)
                       field(seq) field(mac in hex))

The base signs the links as well: once the first records are gone by retention, nothing else would.
An old head is still a signed one. That somebody put it back is seen where a later stream names a
later head among its links, or where the log does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

Field = str | int | None


@dataclass(frozen=True)
class Position:
    """A place in a stream: the number and the MAC of the record there."""

    seq: int
    mac: bytes


class Chain:
    """Links and signs under one key."""

    def __init__(self, key: bytes) -> None:
        self._begun = HMAC(key, SHA256())  # copied for each: a third of beginning anew

    def beginning(self, stream: str, links: str) -> bytes:
        """Return what the first record of *stream* is chained to."""
        return self._digest(_fields(("tokenvault/audit/1", stream, links)))

    def link(self, previous: bytes, record: Sequence[Field]) -> bytes:
        """Return the MAC of *record*, whose predecessor has the MAC *previous*."""
        return self._digest(previous + _fields(record))

    def sign_base(self, stream: str, started_at: int, links: str, base: Position) -> bytes:
        """Return the signature of where *stream* begins, with what belongs to it from its first day on."""
        fields = ("tokenvault/audit/base/1", stream, started_at, links, base.seq, base.mac.hex())
        return self._digest(_fields(fields))

    def sign_head(self, stream: str, at: int, head: Position) -> bytes:
        """Return the signature of how far *stream* was known to go, *at* milliseconds since 1970."""
        return self._digest(_fields(("tokenvault/audit/head/1", stream, at, head.seq, head.mac.hex())))

    def _digest(self, message: bytes) -> bytes:
        mac = self._begun.copy()
        mac.update(message)
        return mac.finalize()


def _fields(values: Sequence[Field]) -> bytes:
    plain = "".join(["-," if value is None else f"{len(text := str(value))}:{text}," for value in values])
    return plain.encode() if plain.isascii() else b"".join(map(_field, values))


def _field(value: Field) -> bytes:
    text = str(value).encode()
    return b"-," if value is None else b"%d:%b," % (len(text), text)
