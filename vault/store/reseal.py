"""All sealed values, page by page, and putting one in the place of another: what sealing them anew asks for."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.keyring import Sealed
from vault.sealing import Place
from vault.store import owners, sealed
from vault.store.schema import AnyRow, sealed_values

Row = tuple[str, str, str]  # the kind and id of its owner, and its field
Found = tuple[AnyRow, Place | None]
_v = sealed_values.c
_KEY = (_v.owner_kind, _v.owner_id, _v.field)
_PARTS = ("format", "key_id", "salt", "iv", "commitment", "ciphertext")
_STILL = select(*_KEY).where(tuple_(*_KEY).in_(bindparam("rows", expanding=True)))
# Every sealing draws another salt: with the same one, it is the very value that was read.
REPLACE = (
    update(sealed_values)
    .where(
        _v.owner_kind == bindparam("kind"),
        _v.owner_id == bindparam("owner"),
        _v.field == bindparam("of_field"),
        _v.salt == bindparam("old_salt"),
    )
    .values({name: bindparam(f"new_{name}") for name in _PARTS})
)


class Page(NamedTuple):
    """Values, each with where it belongs, if anywhere; and after what the next page begins, if there is one."""

    values: list[Found]
    last: AnyRow | None


async def page(tx: AsyncConnection, after: AnyRow | None, most: int, *, but: int | None = None) -> Page:
    """Return up to *most* values that come after *after*, and where each belongs; none under the key *but*.

    A value without an owner has no place. One that was deleted together with its owner is left out.
    """
    statement = select(sealed_values).order_by(*_KEY).limit(most)
    if after is not None:
        statement = statement.where(tuple_(*_KEY) > _literally(after))
    if but is not None:
        statement = statement.where(_v.key_id != but)
    rows = (await tx.execute(statement)).all()
    places = await owners.places(tx, {(row.owner_kind, row.owner_id) for row in rows})
    found = [(row, places.get((row.owner_kind, row.owner_id))) for row in rows]
    lost = [name_of(row) for row, place in found if place is None]
    still = {tuple(row) for row in await tx.execute(_STILL, {"rows": lost})} if lost else set()
    return Page(
        [(row, place) for row, place in found if place is not None or name_of(row) in still],
        rows[-1] if rows else None,
    )


async def replace(tx: AsyncConnection, anew: Sequence[tuple[AnyRow, Sealed]]) -> int:
    """Put each of *anew*, in the order of a page, in the place of its row, unless that has changed.

    Returns how many were.
    """
    between = (tuple_(*_KEY) >= _literally(anew[0][0]), tuple_(*_KEY) <= _literally(anew[-1][0]))
    others = _v.key_id.in_({row.key_id for row, _ in anew})
    # What somebody else has in hand is left alone: whoever waits for nobody is part of no deadlock.
    hold = select(*_KEY).where(*between, others).with_for_update(skip_locked=True)
    held = {tuple(row) for row in await tx.execute(hold)}
    changes = [_change(row, value) for row, value in anew if name_of(row) in held]
    if not changes:
        return 0
    replaced = (await tx.execute(REPLACE, changes)).rowcount
    await sealed.require_living(tx, {value.key_id for _, value in anew})
    return int(replaced)


def _literally(row: AnyRow) -> Any:
    return tuple_(*(literal(part) for part in name_of(row)))


async def count(tx: AsyncConnection, *, but: int | None = None) -> int:
    """Return how many values there are, without those under the key *but*."""
    statement = select(func.count()).select_from(sealed_values)
    if but is not None:
        statement = statement.where(_v.key_id != but)
    return int((await tx.execute(statement)).scalar_one())


def name_of(row: AnyRow) -> Row:
    """Return what a value is called: nothing of what it holds."""
    return row.owner_kind, row.owner_id, row.field


def value_of(row: AnyRow) -> Sealed:
    return Sealed(row.format, row.key_id, row.salt, row.iv, row.commitment, row.ciphertext)


def _change(row: AnyRow, value: Sealed) -> dict[str, object]:
    where = {"kind": row.owner_kind, "owner": row.owner_id, "of_field": row.field, "old_salt": row.salt}
    return {**where, **{f"new_{name}": part for name, part in vars(value).items()}}
