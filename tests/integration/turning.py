"""Rotating keys in tests: a pending key grows old without anybody waiting, and what is stored is looked at."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from tests.rig import Rig
from vault.errors import CannotOpen
from vault.keyring import Keyring
from vault.keys.reseal import Report, pages, reseal
from vault.keys.retire import Report as Retired
from vault.keys.retire import retire
from vault.keys.roots import Keys
from vault.sealing import open_one
from vault.store.reseal import name_of, value_of

_OLDER = text("UPDATE keyring SET created_at = created_at - 60000 WHERE state = 'pending'")


def keys_of(rig: Rig) -> Keys:
    return Keys(rig.vault.database, rig.vault.writer, rig.vault.keyring)


def unseen(_expected: int) -> Callable[[int], None]:
    """Take the place of a progress bar."""
    return lambda _done: None


async def grow_old(rig: Rig) -> None:
    """Let a minute pass for the key that is pending."""
    async with rig.vault.database.transaction() as tx:
        await tx.execute(_OLDER)


async def promoted(rig: Rig) -> int:
    """Add a key and make it the one that seals; return its id."""
    await keys_of(rig).add()
    await grow_old(rig)
    key = await keys_of(rig).promote()
    await rig.vault.watch.listen()
    return key


async def resealed(rig: Rig) -> Report:
    return await reseal(rig.vault.database, rig.vault.writer, rig.vault.keyring, unseen)


async def retired(rig: Rig, lose: int = 0) -> Retired:
    return await retire(rig.vault.database, rig.vault.writer, rig.vault.keyring, unseen, lose=lose)


async def stored(rig: Rig, keyring: Keyring | None = None) -> tuple[Counter[int], list[tuple[str, str, str]]]:
    """Return how many values of each key open, and the names of those that do not."""
    opened, broken = Counter[int](), []
    async for page in pages(rig.vault.database, lambda: None):
        for row, place in page:
            try:
                assert place is not None
                open_one(keyring or rig.vault.keyring, place, row.field, (value_of(row), row.generation))
                opened[row.key_id] += 1
            except (CannotOpen, AssertionError):
                broken.append(name_of(row))
    return opened, broken


async def rows(rig: Rig, statement: str) -> list[Any]:
    async with rig.vault.database.read() as tx:
        return [tuple(row) for row in await tx.execute(text(statement))]
