"""The keyring at rest: root keys, wrapped. And the name of this installation, which every value is bound to."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.schema import instance, keyring, keyring_wraps, sealed_values


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


async def load(tx: AsyncConnection) -> tuple[str | None, list[WrappedKey]]:
    """Return the installation's name and its wrapped keys; (None, []) in a new database."""
    if not await tx.run_sync(lambda connection: inspect(connection).has_table("keyring")):
        return None, []
    name = await tx.scalar(select(instance.c.id))
    joined = select(keyring, keyring_wraps).join(keyring_wraps).order_by(keyring.c.key_id, keyring_wraps.c.slot)
    return name, [_wrapped(row) for row in await tx.execute(joined)]


async def has_sealed_values(tx: AsyncConnection) -> bool:
    """Say whether there is anything that a lost key would have opened."""
    return await tx.scalar(select(sealed_values.c.key_id).limit(1)) is not None


async def create(tx: AsyncConnection, name: str, keys: list[WrappedKey], now: Any) -> None:
    """Store the first keys of a new installation called *name*."""
    await tx.execute(insert(instance), {"single": 1, "id": name})
    for key in keys:
        await tx.execute(
            insert(keyring),
            {"key_id": key.key_id, "purpose": key.purpose, "state": key.state, "created_at": now},
        )
        await tx.execute(
            insert(keyring_wraps),
            {
                "key_id": key.key_id,
                "slot": key.slot,
                "kdf": "scrypt",
                "kdf_params": json.dumps(key.kdf_params, sort_keys=True),
                "salt": key.salt,
                "wrapped_key": key.wrapped_key,
            },
        )


def _wrapped(row: Any) -> WrappedKey:
    return WrappedKey(
        row.key_id, row.purpose, row.state, row.slot, json.loads(row.kdf_params), row.salt, row.wrapped_key
    )
