"""Retiring keys that are there only to open what they once sealed: every value is opened once more before.

What a key sealed is lost with it. So none of them may be left, unless they do not open anyway and it is
said how many those are.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vault.errors import CannotOpen, Conflict
from vault.keyring import Keyring
from vault.keys.reseal import Begin, pages
from vault.keys.roots import key_event, shown
from vault.sealing import Place, open_one
from vault.store import keys
from vault.store import reseal as store
from vault.store.database import Database
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer


@dataclass
class Report:
    """Which keys were retired, or why not; how many values open, and the names of those that do not."""

    retired: list[str] = field(default_factory=list)
    refusal: str | None = None
    opened: int = 0
    unopened: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        lines = [f"{name} does not open." for name in self.unopened[:20]]
        verdict = self.refusal or f"Retired: {', '.join(self.retired)}. Backups from before need the former key."
        return "\n".join([*lines, f"{self.opened} values open, {len(self.unopened)} do not.", verdict])


async def retire(database: Database, writer: Writer, keyring: Keyring, begin: Begin, *, lose: int) -> Report:
    """Retire every key that is `decrypt_only`, unless a value is left that only it opens.

    *lose* is how many values do not open, as its operator was told. Raises Conflict where there is no
    such key; StorageUnavailable.
    """
    retiring = _Retiring(database, keyring)
    await retiring.survey(begin)
    report = retiring.report
    report.refusal = retiring.refusal(lose)
    if report.refusal is None:
        try:
            await writer.submit(retiring.unit, alone=True)
        except Conflict as conflict:
            report.refusal = conflict.detail
        else:
            report.retired = [shown(key) for key in retiring.candidates]
    return report


class _Retiring:
    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._openable = Counter[int]()  # values by the key that opens them
        self._lost = Counter[int]()  # values that do not open, by the key that they name
        self.candidates: list[int] = []
        self.report = Report()

    async def survey(self, begin: Begin) -> None:
        """Open every value there is."""
        async with self._database.read() as tx:
            states = await keys.in_use(tx)
            advance = begin(await store.count(tx))
        self.candidates = sorted(key for key, state in states.items() if state == "decrypt_only")
        if not self.candidates:
            raise Conflict("No key is decrypt_only: there is nothing to retire.")
        async for page in pages(self._database, lambda: None):
            for row, place in page:
                self._open(row, place)
            advance(len(page))

    def refusal(self, lose: int) -> str | None:
        """Return why the keys stay, None where nothing needs them."""
        needed = sum(self._openable[key] for key in self.candidates)
        if needed:
            return f"{needed} values are left that only the former key opens: run `tokenvault keys reseal`."
        if len(self.report.unopened) != lose:
            found = len(self.report.unopened)
            return f"{found} values do not open, so nothing was retired. To lose them for good: --lose {found}."
        return None

    async def unit(self, tx: Transaction) -> None:
        """Disable the keys, unless something was sealed under one of them since it was counted."""
        await keys.hold(tx.connection)
        for key in self.candidates:
            if await keys.disable(tx.connection, key) != self._lost[key]:
                raise Conflict(f"Values under key {shown(key)} came or went meanwhile: run this again.")
            tx.record(key_event("key.retired", key))

    def _open(self, row: AnyRow, place: Place | None) -> None:
        try:
            if place is None:
                raise CannotOpen
            open_one(self._keyring, place, row.field, (store.value_of(row), row.generation))
        except CannotOpen:
            self._lost[row.key_id] += 1
            self.report.unopened.append("/".join(store.name_of(row)))
        else:
            self._openable[row.key_id] += 1
            self.report.opened += 1
