"""A changed ENCRYPTION_SECRET: all root keys are wrapped once more, and values stay as they are.

add      run with the old secret: a second slot, so that both secrets start a process
finish   run with the new one, once every process was restarted with it: the old slot goes
abandon  run with the old one: the new slot goes
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from integrations.contract import Secret
from vault.audit import Event
from vault.errors import CannotOpen, Conflict
from vault.keyring import SALT_BYTES, SCRYPT, Keyring, wrap, wrapping_key
from vault.store import keys
from vault.store.database import Database
from vault.store.keys import WrappedKey
from vault.store.writer import Transaction, Writer

Choice = Callable[[list[int], int], list[int]]  # of all slots, in order, and mine: those that go


class Rewrapping:
    def __init__(self, database: Database, writer: Writer, keyring: Keyring) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring

    async def add(self, secret: Secret) -> bool:
        """Have *secret* open the keyring too. Returns False where it does so already.

        Raises Conflict where another one is being rolled out.
        """
        async with self._database.read() as tx:
            wrapped = (await keys.load(tx))[1]
        if await self._opens(secret, wrapped):
            return False
        salt = secrets.token_bytes(SALT_BYTES)
        wrapping = await asyncio.to_thread(wrapping_key, secret, salt, SCRYPT)

        async def unit(tx: Transaction) -> bool:
            await keys.hold(tx.connection)
            mine = self._mine((await keys.load(tx.connection))[1])
            await keys.wrap(tx.connection, [self._moved(key, salt, wrapping) for key in mine])
            tx.record(Event("operator", "secret.rewrapped", "added", detail={"slot": mine[0].slot + 1}))
            return True

        return await self._writer.submit(unit, alone=True)

    async def finish(self) -> None:
        """Forget every slot but that of the newest secret, which this runs with. Raises Conflict."""

        def older(slots: list[int], mine: int) -> list[int]:
            if mine != slots[-1]:
                raise Conflict(
                    "This runs with the old ENCRYPTION_SECRET: when all run with the new one, finish with that."
                )
            return slots[:-1]

        await self._drop("finished", older)

    async def abandon(self) -> None:
        """Forget every slot but that of the oldest secret, which this runs with. Raises Conflict."""

        def newer(slots: list[int], mine: int) -> list[int]:
            if mine != slots[0]:
                raise Conflict("This runs with the new ENCRYPTION_SECRET: abandon it with the old one.")
            return slots[1:]

        await self._drop("abandoned", newer)

    async def _drop(self, outcome: str, choose: Choice) -> None:
        async def unit(tx: Transaction) -> None:
            await keys.hold(tx.connection)
            wrapped = (await keys.load(tx.connection))[1]
            slots, mine = sorted({key.slot for key in wrapped}), {key.slot for key in wrapped if self._opened(key)}
            if len(slots) == 1:
                raise Conflict("No changed secret is being rolled out: there is one slot.")
            dropped = choose(slots, min(mine))
            await keys.drop_slots(tx.connection, dropped)
            tx.record(Event("operator", "secret.rewrapped", outcome, detail={"slots": dropped}))

        await self._writer.submit(unit, alone=True)

    async def _opens(self, secret: Secret, wrapped: Sequence[WrappedKey]) -> bool:
        """Say whether *secret* opens a slot already. Raises Conflict where that is the one this runs with."""
        for key in {key.salt: key for key in wrapped}.values():
            derived = await asyncio.to_thread(wrapping_key, secret, key.salt, key.kdf_params)
            if self._root(key, derived) is not None:
                if self._opened(key):
                    raise Conflict("That is the ENCRYPTION_SECRET which is in use.")
                return True
        return False

    def _mine(self, wrapped: Sequence[WrappedKey]) -> list[WrappedKey]:
        """Return all keys in the only slot, which has to be the one that this process was started through."""
        if len({key.slot for key in wrapped}) > 1:
            raise Conflict("Another changed secret is being rolled out: finish or abandon that first.")
        if not all(self._opened(key) for key in wrapped):
            raise Conflict("ENCRYPTION_SECRET was changed meanwhile: run this with the present one.")
        return list(wrapped)

    def _moved(self, key: WrappedKey, salt: bytes, wrapping: bytes) -> WrappedKey:
        """Return *key* in the next slot, wrapped with *wrapping*."""
        root = self._root(key, self._keyring.wrapping[key.salt])
        assert root is not None
        box = wrap(wrapping, root, instance=self._keyring.instance, key_id=key.key_id, purpose=key.purpose)
        return replace(key, slot=key.slot + 1, kdf_params=SCRYPT, salt=salt, wrapped_key=box)

    def _opened(self, key: WrappedKey) -> bool:
        wrapping = self._keyring.wrapping.get(key.salt)
        return wrapping is not None and self._root(key, wrapping) is not None

    def _root(self, key: WrappedKey, wrapping: bytes) -> bytes | None:
        try:
            return key.unwrapped(wrapping, self._keyring.instance)
        except CannotOpen:
            return None
