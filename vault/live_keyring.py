"""The keyring of a running process: it hears of keys that are added, and of which one seals from now on.

The watch looks at the stored keyring twice a second, and a key is promoted only when it has been there
for LEARNED_WITHIN. So nobody meets a value under a key that is not known here, but for a process that
could not look for that long. It looks at once, before it says that the value does not open.

What comes later is unwrapped with the wrapping key of the slot that this process was started through.
Beside the root keys, which it opens, that is all that is kept: neither the secret nor scrypt is used
again. Nothing is taken off the ring: what was read before a key was retired may be on its way still. A
retired key is out of a process's memory when that ends.
"""

import logging
from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from vault.clock import uptime
from vault.errors import CannotOpen, StorageUnavailable
from vault.keyring import Keyring
from vault.store import keys
from vault.store.keys import WrappedKey

log = logging.getLogger(__name__)
LEARNED_WITHIN = 10.0  # seconds; twenty looks
ASKED_AGAIN_AFTER = 1.0  # seconds: neither junk in the database nor an outage must have us ask for every row


class LiveKeyring(Keyring):
    """The keys of *keyring*, and those that come later. *ask* reads the wrapped keys while everything waits."""

    def __init__(
        self, keyring: Keyring, ask: Callable[[], Sequence[WrappedKey]], clock: Callable[[], float] = uptime
    ) -> None:
        super().__init__(keyring.instance, keyring._roots, keyring.primary, keyring._mac_root, keyring.wrapping)
        self._ask = ask
        self._clock = clock
        self._asked_at = -ASKED_AGAIN_AFTER
        self._unanswered = False
        self._seen: dict[int, str] = {}
        self._locked: set[int] = set()

    @property
    def complete(self) -> bool:
        """Whether every key that is in use could be unwrapped."""
        return not self._locked

    async def look(self, tx: AsyncConnection) -> None:
        """Learn what has been added or promoted since the last look."""
        seen = await keys.in_use(tx)
        if seen != self._seen:
            self._learn((await keys.load(tx))[1])
            self._seen = seen

    def _root_of(self, key_id: int) -> bytes | None:
        """Return a root key, None where there is none of that id.

        Raises StorageUnavailable where nobody can tell now, or where this process cannot unwrap it: no
        reason to say that a value is lost.
        """
        if key_id not in self._roots and self._clock() - self._asked_at >= ASKED_AGAIN_AFTER:
            self._look_at_once()
        root = self._roots.get(key_id)
        if root is None and (self._unanswered or key_id in self._locked):
            raise StorageUnavailable
        return root

    def _look_at_once(self) -> None:
        """Learn what there is. Raises StorageUnavailable, and until it is asked again nobody can tell.

        A database that is away may take seconds to say so, and meanwhile nothing else runs here: that is
        not gone through for one value after the other.
        """
        self._unanswered = True
        try:
            self._learn(self._ask())
            self._unanswered = False
        finally:
            self._asked_at = self._clock()

    def _learn(self, wrapped: Sequence[WrappedKey]) -> None:
        values = [key for key in wrapped if key.purpose == "values"]
        for key in values:
            if key.key_id not in self._roots and (root := self._unwrapped(key)) is not None:
                self._roots[key.key_id] = root
                log.info("a key was added", extra={"key": f"{key.key_id:08x}"})
            if key.state == "primary" and key.key_id in self._roots:
                self._primary = key.key_id
        locked = {key.key_id for key in values} - set(self._roots)
        for key_id in locked - self._locked:
            log.critical(
                "a key was added under another ENCRYPTION_SECRET: restart this process with that",
                extra={"key": f"{key_id:08x}"},
            )
        self._locked = locked

    def _unwrapped(self, key: WrappedKey) -> bytes | None:
        wrapping = self.wrapping.get(key.salt)
        try:
            return wrapping and key.unwrapped(wrapping, self.instance)
        except CannotOpen:
            return None
