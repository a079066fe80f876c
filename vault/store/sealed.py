"""Every secret at rest is a row of one table, so that one loop can seal them all anew."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, and_, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.errors import StorageUnavailable
from vault.keyring import Sealed
from vault.store import owners
from vault.store.schema import AnyRow, keyring, sealed_values

_COLUMNS = ("generation", "format", "key_id", "salt", "iv", "commitment", "ciphertext")
_KEY = ("owner_kind", "owner_id", "field")


def _upsert(insert: Any) -> Any:
    replaced = {name: insert.excluded[name] for name in _COLUMNS}
    return insert.on_conflict_do_update(index_elements=_KEY, set_=replaced)


_PUT = {
    "postgresql": _upsert(postgresql.insert(sealed_values)),
    "sqlite": _upsert(sqlite.insert(sealed_values)),
}
_FORGET = delete(sealed_values).where(
    sealed_values.c.owner_kind == bindparam("kind"), sealed_values.c.owner_id == bindparam("id")
)
_DROP = _FORGET.where(sealed_values.c.field.in_(bindparam("fields", expanding=True)))

_DISABLED = (
    select(keyring.c.key_id)
    .where(keyring.c.key_id.in_(bindparam("keys", expanding=True)), keyring.c.state == "disabled")
    .limit(1)
)

Owned = tuple[str, str, int, Mapping[str, Sealed]]  # owner kind, owner id, generation, values by field


async def put(
    tx: AsyncConnection, owner_kind: str, owner_id: str, generation: int, values: Mapping[str, Sealed]
) -> None:
    """Store *values* by field, each in the place of its former self."""
    await put_all(tx, [(owner_kind, owner_id, generation, values)])


async def put_all(tx: AsyncConnection, owned: Sequence[Owned]) -> None:
    """Store the values of any number of owners, each in the place of its former self.

    Raises StorageUnavailable where one was sealed under a key that is disabled by now: it would never
    open again. Sealed anew it can be stored as soon as this process knows which key to use.
    """
    assert all(kind in owners.KINDS for kind, *_ in owned), "whose values could not be sealed anew"
    rows = [
        {"owner_kind": kind, "owner_id": owner, "field": field, "generation": generation, **vars(value)}
        for kind, owner, generation, values in owned
        for field, value in values.items()
    ]
    if rows:
        await tx.execute(_PUT[tx.dialect.name], rows)
        await require_living(tx, {row["key_id"] for row in rows})


async def require_living(tx: AsyncConnection, keys: set[int]) -> None:
    """Raise StorageUnavailable where one of the *keys* of values just stored is disabled.

    Asked afterwards: once something is stored, nobody disables a key before we are done (`keys.disable`).
    """
    if await tx.scalar(_DISABLED, {"keys": list(keys)}) is not None:
        raise StorageUnavailable(contended=True)


async def forget(tx: AsyncConnection, owner_kind: str, owner_id: str) -> None:
    """Delete all values of one owner."""
    await tx.execute(_FORGET, {"kind": owner_kind, "id": owner_id})


async def forget_all(tx: AsyncConnection, owner_kind: str, owners: Select[Any]) -> None:
    """Delete all values of the owners that are selected."""
    about = (sealed_values.c.owner_kind == owner_kind, sealed_values.c.owner_id.in_(owners))
    await tx.execute(delete(sealed_values).where(*about))


async def drop(tx: AsyncConnection, owner_kind: str, owner_id: str, fields: Collection[str]) -> None:
    """Delete the values of some *fields* of one owner."""
    await tx.execute(_DROP, {"kind": owner_kind, "id": owner_id, "fields": list(fields)})


async def fields(tx: AsyncConnection, owner_kind: str, owner_id: str) -> frozenset[str]:
    """Return what fields of one owner have a value."""
    about = (sealed_values.c.owner_kind == owner_kind, sealed_values.c.owner_id == owner_id)
    return frozenset((await tx.execute(select(sealed_values.c.field).where(*about))).scalars())


def columns_of(alias: Any) -> list[Any]:
    """Return the columns of *alias* that `read` wants, to be added to a select."""
    return [alias.c[name].label(f"{alias.name}_{name}") for name in _COLUMNS]


def beside(
    statement: Select[Any], owner_id: Any, owner_kind: str, field: str, stored_as: Any = None
) -> tuple[Select[Any], Any]:
    """Return *statement* with one sealed field of the owner joined on, and the alias it goes by.

    *stored_as* is an expression for the field to take, where each row decides.
    """
    alias = sealed_values.alias(f"{owner_kind}_{field}")
    wanted = field if stored_as is None else stored_as
    joined = statement.outerjoin(
        alias,
        and_(alias.c.owner_id == owner_id, alias.c.owner_kind == owner_kind, alias.c.field == wanted),
    )
    return joined.add_columns(*columns_of(alias)), alias


def read(row: AnyRow, owner_kind: str, field: str) -> tuple[Sealed, int] | None:
    """Return the value that `beside` joined on to *row*, with its generation; None where there is none."""
    prefix = f"{owner_kind}_{field}_"
    found = row._mapping
    if found[f"{prefix}format"] is None:
        return None
    parts = {name: found[prefix + name] for name in _COLUMNS if name != "generation"}
    return Sealed(**parts), found[f"{prefix}generation"]


async def load(tx: AsyncConnection, owner_kind: str, owner_id: str) -> dict[str, tuple[Sealed, int]]:
    """Return all values of one owner by field, each with its generation."""
    statement = select(sealed_values).where(
        sealed_values.c.owner_kind == owner_kind, sealed_values.c.owner_id == owner_id
    )
    found = {}
    for row in await tx.execute(statement):
        parts = {name: row._mapping[name] for name in _COLUMNS if name != "generation"}
        found[row.field] = (Sealed(**parts), row.generation)
    return found
