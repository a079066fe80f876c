"""The chain of the audit: what makes it impossible to change a record, or its place, without the key.

    field    = "-," where there is none, else the length of its UTF-8 in decimal, ":", the UTF-8, ","
    record   = the fields stream, seq, at (milliseconds since 1970), actor, action, outcome, tenant,
               provider, name, generation, request_id, detail; numbers in decimal
    mac(0)   = HMAC-SHA256(key, field("tokenvault/audit/1") field(stream) field(links))
    mac(n)   = HMAC-SHA256(key, mac(n-1) record(n))

The key is the `audit` sub-key of the keyring's `mac` key, which no rotation of values touches. A
stream is what one process wrote, in the order of its commits. A chain alone does not show that its
end was cut off; heads do, which are written apart from it and signed:

    signature = HMAC-SHA256(key, field("tokenvault/audit/base/1" or ".../head/1")
                            field(stream) field(seq) field(at or none) field(mac in hex))
"""

import hmac
from collections.abc import Sequence
from typing import Literal

Field = str | int | None


class Chain:
    """Links and signs under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def beginning(self, stream: str, links: str) -> bytes:
        """Return what the first record of *stream* is chained to."""
        return self._digest(_fields(("tokenvault/audit/1", stream, links)))

    def link(self, previous: bytes, record: Sequence[Field]) -> bytes:
        """Return the MAC of *record*, whose predecessor has the MAC *previous*."""
        return self._digest(previous + _fields(record))

    def sign(self, what: Literal["base", "head"], stream: str, seq: int, at: int | None, mac: bytes) -> bytes:
        """Return the signature of a base or a head; *at* in milliseconds since 1970."""
        return self._digest(_fields((f"tokenvault/audit/{what}/1", stream, seq, at, mac.hex())))

    def _digest(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")


def _fields(values: Sequence[Field]) -> bytes:
    return b"".join([_field(value) for value in values])


def _field(value: Field) -> bytes:
    if value is None:
        return b"-,"
    text = str(value).encode()
    return b"%d:%b," % (len(text), text)
