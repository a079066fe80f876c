"""scrypt at the keyring's cost is asked once for one thing: half a second each, it was a tenth of what tests cost.

To import this is to have everybody who imports Scrypt afterwards remember. What it gave for a secret and a salt
is kept for this process and those that are forked from it: the real one gave it, and what differs in anything is
derived anew. Processes that are executed know nothing of it, as `test_readme` and `test_commands` have them.
"""

import os
from hashlib import sha256
from tempfile import TemporaryFile

from cryptography.hazmat.primitives.kdf import scrypt

_Scrypt = scrypt.Scrypt
_DEAR = 2**17  # what costs less is derived each time: whether it is derived once is what a test asks
_KEY = 32  # bytes, of a digest and of what is derived
# Without a name, it goes with the last process that has it open.
_known = TemporaryFile(buffering=0)  # noqa: SIM115


class Remembered:
    """What `Scrypt` is, to whoever derives 32 bytes with it."""

    def __init__(self, salt: bytes, length: int, n: int, r: int, p: int) -> None:
        assert length == _KEY
        self._scrypt = _Scrypt(salt=salt, length=length, n=n, r=r, p=p)
        self._dear, self._asked = n == _DEAR, (salt, n, r, p)

    def derive(self, secret: bytes) -> bytes:
        digest = sha256(repr((*self._asked, secret)).encode()).digest()
        derived = _found(digest)
        if derived is None:
            derived = self._scrypt.derive(secret)
            if self._dear:
                os.write(_known.fileno(), digest + derived)  # in one piece, at the end that all of them share
        return derived


def _found(digest: bytes) -> bytes | None:
    known = os.pread(_known.fileno(), os.fstat(_known.fileno()).st_size, 0)
    pairs = (known[at : at + 2 * _KEY] for at in range(0, len(known), 2 * _KEY))
    return next((pair[_KEY:] for pair in pairs if pair[:_KEY] == digest), None)


scrypt.Scrypt = Remembered  # type: ignore[assignment]
