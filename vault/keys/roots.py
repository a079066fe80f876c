"""Root keys over their lives: `pending -> primary -> decrypt_only -> disabled`, each step an operator's.

    add      a new key is stored, and every process learns it
    promote  it seals from now on; the one before it opens what it sealed
    reseal   all that is left under other keys is sealed under it (`reseal.py`)
    retire   a key that nothing needs any more is forgotten (`retire.py`)

Only keys of purpose `values`: what the `mac` key hashed cannot be hashed anew.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil

from vault.audit import Action, Event
from vault.errors import Conflict
from vault.keyring import KEY_BYTES, Keyring, new_key_id, wrap
from vault.live_keyring import LEARNED_WITHIN
from vault.store import keys
from vault.store.database import Database
from vault.store.keys import WrappedKey
from vault.store.writer import Transaction, Writer


@dataclass(frozen=True)
class Status:
    """A key, how many seconds it has, how many values are sealed under it, how many secrets open it."""

    key: str
    purpose: str
    state: str
    created_at: datetime
    age: int
    values: int
    slots: int


def shown(key_id: int) -> str:
    """Return a key's id as people see it."""
    return f"{key_id:08x}"


def key_event(action: Action, key_id: int, outcome: str = "ok") -> Event:
    return Event("operator", action, outcome, detail={"key": shown(key_id)})


class Keys:
    """What can be done to keys at once."""

    def __init__(self, database: Database, writer: Writer, keyring: Keyring) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring

    async def status(self) -> list[Status]:
        """Return all keys, the oldest first."""
        async with self._database.read() as tx:
            rows = await keys.status(tx)
        return [
            Status(
                shown(row.key_id),
                row.purpose,
                row.state,
                row.created_at,
                row.age_ms // 1000,
                row.sealed,
                row.slots,
            )
            for row in rows
        ]

    async def add(self) -> int:
        """Make a key, to be promoted later; return its id. Raises Conflict where one is pending already."""
        key_id, root = new_key_id(), secrets.token_bytes(KEY_BYTES)

        async def unit(tx: Transaction) -> int:
            await keys.hold(tx.connection)
            waiting = await keys.pending(tx.connection)
            if waiting is not None:
                raise Conflict(f"Key {shown(waiting[0])} is pending already: promote that one.")
            beside = _only_slot((await keys.load(tx.connection))[1])
            box = wrap(
                self._wrapping(beside), root, instance=self._keyring.instance, key_id=key_id, purpose="values"
            )
            key = replace(beside, key_id=key_id, purpose="values", state="pending", wrapped_key=box)
            await keys.add(tx.connection, key)
            tx.record(key_event("key.added", key_id))
            return key_id

        return await self._writer.submit(unit, alone=True)

    async def promote(self) -> int:
        """Have the pending key seal from now on; return its id.

        Raises Conflict where there is none, or where it is younger than the time within which every
        process has learned it.
        """

        async def unit(tx: Transaction) -> int:
            await keys.hold(tx.connection)
            waiting = await keys.pending(tx.connection)
            if waiting is None:
                raise Conflict("No key is pending: run `tokenvault keys add` first.")
            key_id, age = waiting
            if age < LEARNED_WITHIN:
                left = ceil(LEARNED_WITHIN - age)
                says = f"Not every process may know key {shown(key_id)} yet: try again in {left} s."
                raise Conflict(says, code="too_early", retry_after=left)
            await keys.promote(tx.connection, key_id)
            tx.record(key_event("key.promoted", key_id))
            return key_id

        return await self._writer.submit(unit, alone=True)

    def _wrapping(self, key: WrappedKey) -> bytes:
        """Return what wraps the keys of the slot that *key* is in, once it has proven to be that."""
        wrapping = self._keyring.wrapping.get(key.salt)
        if wrapping is None:
            raise Conflict("ENCRYPTION_SECRET was changed meanwhile: run this with the present one.")
        key.unwrapped(wrapping, self._keyring.instance)
        return wrapping


def _only_slot(wrapped: Sequence[WrappedKey]) -> WrappedKey:
    """Return a key in the one slot there is. A new key could not be wrapped with a secret that is not at hand."""
    if len({key.slot for key in wrapped}) != 1:
        raise Conflict("A changed ENCRYPTION_SECRET is being rolled out: run `keys rewrap --finish` first.")
    return wrapped[0]
