"""Sealing anew what is left under other keys, beside running servers, until nothing is.

A batch is read, sealed outside any transaction, and put in its place in a short one: a value that has
changed meanwhile is left as it is. What was left, and what somebody sealed under a former key in the
meantime, is the next round's. So it can be killed anywhere and run again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from vault.audit import Event
from vault.clock import uptime
from vault.errors import CannotOpen, StorageUnavailable
from vault.keyring import Keyring, Sealed
from vault.keys.roots import shown
from vault.sealing import Place, sealed_anew
from vault.store import reseal as store
from vault.store.database import Database
from vault.store.reseal import Found
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer

BATCH = 500  # values a transaction: some tens of milliseconds
# On SQLite there is one writer at a time: at least as long as we write, others can.
PAUSE = 0.02  # seconds
BETWEEN_ROUNDS = 0.5  # seconds, in which every process hears which key seals

Advance = Callable[[int], None]
Begin = Callable[[int], Advance]  # told how many there are; returns what is told how many more are done


@dataclass
class Report:
    """How many values were sealed anew, and the names of those that do not open: of all that are left."""

    key: str
    resealed: int = 0
    unopened: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {"complete": not self.unopened, **vars(self)}

    def __str__(self) -> str:
        lines = [f"{name} does not open." for name in self.unopened[:20]]
        left = f" {len(self.unopened)} do not open, and were left as they are." if self.unopened else ""
        return "\n".join([*lines, f"{self.resealed} values were sealed anew, under key {self.key}.{left}"])


async def reseal(database: Database, writer: Writer, keyring: Keyring, begin: Begin) -> Report:
    """Seal under the primary key whatever is under another one. Raises StorageUnavailable."""
    resealing = _Resealing(database, writer, keyring)
    await resealing.run(begin)
    await resealing.record("ok" if not resealing.report.unopened else "unopened")
    return resealing.report


async def pages(database: Database, but: Callable[[], int | None]) -> AsyncIterator[list[Found]]:
    """Give all values, a batch at a time; at the time of each, none under the key that *but* returns."""
    after: AnyRow | None = None
    while True:
        async with database.read() as tx:
            found = await store.page(tx, after, BATCH, but=but())
        if found.last is None:
            return
        yield found.values
        after = found.last


class _Resealing:
    def __init__(self, database: Database, writer: Writer, keyring: Keyring) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self.report = Report(shown(keyring.primary))

    async def run(self, begin: Begin) -> None:
        advance = begin(await self._left())
        while True:
            await self._round(advance)
            if await self._left() <= len(self.report.unopened):
                return
            await asyncio.sleep(BETWEEN_ROUNDS)

    async def record(self, outcome: str) -> None:
        detail = {"key": self.report.key, "values": self.report.resealed, "unopened": len(self.report.unopened)}
        await self._writer.record(Event("operator", "key.resealed", outcome, detail=detail))

    async def _left(self) -> int:
        async with self._database.read() as tx:
            return await store.count(tx, but=self._keyring.primary)

    async def _round(self, advance: Advance) -> None:
        self.report.unopened = []
        self.report.key = shown(self._keyring.primary)
        async for page in pages(self._database, lambda: self._keyring.primary):
            anew = [(row, value) for row, place in page if (value := self._anew(row, place)) is not None]
            began = uptime()
            replaced = await self._replaced(anew)
            self.report.resealed += replaced
            advance(replaced)
            await asyncio.sleep(max(PAUSE, uptime() - began))

    def _anew(self, row: AnyRow, place: Place | None) -> Sealed | None:
        """Return the value of *row* under the primary key. One that does not open is named, and left alone."""
        try:
            return resealed(self._keyring, row, place)
        except CannotOpen:
            self.report.unopened.append("/".join(store.name_of(row)))
            return None

    async def _replaced(self, anew: list[tuple[AnyRow, Sealed]]) -> int:
        """Store *anew*; return how many were. What stood in somebody's way is left to the next round."""

        async def unit(tx: Transaction) -> int:
            return await store.replace(tx.connection, anew)

        try:
            return await self._writer.submit(unit, alone=True) if anew else 0
        except StorageUnavailable as error:
            if not error.contended:
                raise
            return 0


def resealed(keyring: Keyring, row: AnyRow, place: Place | None) -> Sealed:
    """Return the value of *row* under the primary key. Raises CannotOpen, also where nobody owns it."""
    if place is None:
        raise CannotOpen
    return sealed_anew(keyring, place, row.generation, {row.field: store.value_of(row)})[row.field]
