"""The keyring at rest: root keys, wrapped. And the name of this installation, which every value is bound to.

A root key is wrapped once for each secret that opens it: in one slot as a rule, in two while a changed
secret is rolled out. All keys of a slot are wrapped with one wrapping key, derived with the slot's salt.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.keyring import unwrap
from vault.store.moments import clock
from vault.store.schema import AnyRow, instance, keyring, keyring_wraps, sealed_values

_k, _w, _v = keyring.c, keyring_wraps.c, sealed_values.c
_OF_VALUES = _k.purpose == "values"
_ALL = select(keyring, keyring_wraps).join(keyring_wraps).order_by(_k.key_id, _w.slot)
_IN_USE = select(_k.key_id, _k.state).where(_OF_VALUES, _k.state != "disabled")
# Commands that change the keyring take turns; what refers to a key is stored meanwhile.
_HOLD = select(_k.key_id).order_by(_k.key_id).with_for_update(key_share=True)
# Whoever stores a value is either done, or waits and then finds its key disabled. On SQLite nobody else writes.
_STAND_STILL = text("LOCK TABLE sealed_values IN SHARE MODE")
_age = clock() - type_coerce(_k.created_at, BigInteger)
_PENDING = select(_k.key_id, _age.label("age_ms")).where(_OF_VALUES, _k.state == "pending")
_SET_STATE = update(keyring).where(_k.key_id == bindparam("key")).values(state=bindparam("new_state"))
_DEMOTE = update(keyring).where(_OF_VALUES, _k.state == "primary").values(state="decrypt_only")
_UNWRAPPABLE = delete(keyring_wraps).where(_w.key_id == bindparam("key"))
_DROP_SLOTS = delete(keyring_wraps).where(_w.slot.in_(bindparam("slots", expanding=True)))
_COUNT = select(func.count()).where(_v.key_id == bindparam("key"))
_STATUS = select(
    _k.key_id,
    _k.purpose,
    _k.state,
    _k.created_at,
    _age.label("age_ms"),
    select(func.count()).where(_v.key_id == _k.key_id).scalar_subquery().label("sealed"),
    select(func.count()).where(_w.key_id == _k.key_id).scalar_subquery().label("slots"),
).order_by(_k.created_at, _k.key_id)


@dataclass(frozen=True)
class WrappedKey:
    """A root key as it is stored, in one slot."""

    key_id: int
    purpose: str
    state: str
    slot: int
    kdf_params: dict[str, int]
    salt: bytes
    wrapped_key: bytes

    def unwrapped(self, wrapping: bytes, instance: str) -> bytes:
        """Return the root key. Raises CannotOpen where *wrapping* is another slot's."""
        return unwrap(wrapping, self.wrapped_key, instance=instance, key_id=self.key_id, purpose=self.purpose)


async def load(tx: AsyncConnection) -> tuple[str | None, list[WrappedKey]]:
    """Return the installation's name and its wrapped keys; (None, []) in a new database."""
    if not await tx.run_sync(lambda connection: inspect(connection).has_table("keyring")):
        return None, []
    name = await tx.scalar(select(instance.c.id))
    return name, await tx.run_sync(wrapped)


def wrapped(connection: Connection) -> list[WrappedKey]:
    """Return the wrapped keys."""
    return [_wrapped(row) for row in connection.execute(_ALL)]


async def in_use(tx: AsyncConnection) -> dict[int, str]:
    """Return the state of each key that seals values, or has sealed some."""
    return {row.key_id: row.state for row in await tx.execute(_IN_USE)}


async def status(tx: AsyncConnection) -> Sequence[AnyRow]:
    """Return all keys, the oldest first, with their age and the numbers of their values and slots."""
    return (await tx.execute(_STATUS)).all()


async def has_sealed_values(tx: AsyncConnection) -> bool:
    """Say whether there is anything that a lost key would have opened."""
    return await tx.scalar(select(sealed_values.c.key_id).limit(1)) is not None


async def hold(tx: AsyncConnection) -> None:
    """Have every other command that changes the keyring wait for the end of this transaction."""
    await tx.execute(_HOLD)


async def pending(tx: AsyncConnection) -> tuple[int, float] | None:
    """Return the key that waits to be promoted, and how many seconds it has."""
    row = (await tx.execute(_PENDING)).one_or_none()
    return None if row is None else (row.key_id, row.age_ms / 1000)


async def create(tx: AsyncConnection, name: str, keys: list[WrappedKey], now: datetime) -> None:
    """Store the first keys of a new installation called *name*."""
    await tx.execute(insert(instance), {"single": 1, "id": name})
    for key in keys:
        await add(tx, key, now)


async def add(tx: AsyncConnection, key: WrappedKey, now: Any = None) -> None:
    """Store a new key, made *now* or by the database's clock."""
    row = {"key_id": key.key_id, "purpose": key.purpose, "state": key.state}
    await tx.execute(insert(keyring).values(**row, created_at=clock() if now is None else now))
    await wrap(tx, [key])


async def wrap(tx: AsyncConnection, keys: Sequence[WrappedKey]) -> None:
    """Store *keys* in their slots."""
    rows = [
        {
            "key_id": key.key_id,
            "slot": key.slot,
            "kdf": "scrypt",
            "kdf_params": json.dumps(key.kdf_params, sort_keys=True),
            "salt": key.salt,
            "wrapped_key": key.wrapped_key,
        }
        for key in keys
    ]
    await tx.execute(insert(keyring_wraps), rows)


async def drop_slots(tx: AsyncConnection, slots: Sequence[int]) -> None:
    """Forget all keys as they are wrapped in *slots*."""
    await tx.execute(_DROP_SLOTS, {"slots": list(slots)})


async def promote(tx: AsyncConnection, key: int) -> None:
    """Have *key* seal from now on, and the one that did so far open what it sealed."""
    await tx.execute(_DEMOTE)
    await tx.execute(_SET_STATE, {"key": key, "new_state": "primary"})


async def disable(tx: AsyncConnection, key: int) -> int:
    """Disable *key* and forget it, in every slot. Returns how many values are left that only it would open."""
    if tx.dialect.name == "postgresql":
        await tx.execute(_STAND_STILL)
    await tx.execute(_SET_STATE, {"key": key, "new_state": "disabled"})
    await tx.execute(_UNWRAPPABLE, {"key": key})
    return int((await tx.execute(_COUNT, {"key": key})).scalar_one())


def _wrapped(row: Any) -> WrappedKey:
    return WrappedKey(
        row.key_id, row.purpose, row.state, row.slot, json.loads(row.kdf_params), row.salt, row.wrapped_key
    )
