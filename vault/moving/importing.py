"""Importing: what is in the records of a file and not yet here is stored, one record after the other.

What is here already stays as it is, whatever the file says, unless it is to be replaced: the tokens of a
connection may have been renewed since, and those of the file be spent. So a run can be cut off anywhere
and begun anew, and a second one changes nothing.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from vault.errors import Invalid, StorageUnavailable, VaultError
from vault.moving.ahead import Ahead
from vault.moving.arrival import ConnectionItem
from vault.moving.foreign import Opener
from vault.moving.items import ClientItem, Item, ProviderItem, TenantItem
from vault.moving.records import (
    AnyRecord,
    ClientRecord,
    ConnectionRecord,
    ProviderRecord,
    TenantRecord,
    read,
)
from vault.services import Vault

Outcome = Literal["created", "replaced", "unchanged", "kept", "refused"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """What became of a line, counted from 1. *code* says why it was kept or refused, *field* what of it."""

    line: int
    outcome: Outcome
    type: str | None = None
    path: str | None = None
    code: str | None = None
    field: str | None = None
    detail: str | None = None

    def facts(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}

    def says(self, *, dry_run: bool) -> str:
        """Return it as a sentence; of a *dry_run*, what would have become of it."""
        about = f"{self.type} {self.path} " if self.path else ""
        would = "would be " if dry_run else ""
        why = f" ({', '.join(part for part in (self.code, self.field) if part)})" if self.code else ""
        detail = f" {self.detail}" if self.detail else ""
        return f"line {self.line}: {about}{would}{self.outcome}{why}.{detail}"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How to import. A *dry_run* only looks; the others are what the command's options are called."""

    dry_run: bool = False
    create_tenants: bool = False
    replace: bool = False
    verify: bool = False


class Importing:
    def __init__(self, vault: Vault, opener: Opener, wishes: Wishes) -> None:
        self._vault = vault
        self._opener = opener
        self._wishes = wishes
        self._ahead = Ahead(vault)
        self._seen: set[tuple[str, str]] = set()

    async def run(self, lines: Iterable[bytes], advance: Callable[[int], None]) -> AsyncIterator[Line]:
        """Import *lines* and say what became of each; *advance* is told of those that are done.

        Raises StorageUnavailable; what was told until then is stored.
        """
        for number, text in enumerate(lines, 1):
            if text.strip():
                async for told in self._told(number, text):
                    yield told
            advance(1)

    async def _told(self, number: int, text: bytes) -> AsyncIterator[Line]:
        about: dict[str, Any] = {"line": number}
        try:
            record = read(text)
            about |= {"type": str(record.__struct_config__.tag), "path": record.path}
            self._refuse_twice(about["type"], about["path"])
            if (made := await self._missing_tenant(record)) is not None:
                outcome, _ = await self._carried_out(made)
                yield Line(line=number, type="tenant", path=made.path, outcome=outcome)
            outcome, code = await self._carried_out(record)
            yield Line(**about, outcome=outcome, code=code)
        except StorageUnavailable:
            raise
        except VaultError as error:
            field = error.members.get("field")
            yield Line(**about, outcome="refused", code=error.code, field=field, detail=error.detail)

    def _refuse_twice(self, kind: str, path: str) -> None:
        if (kind, path) in self._seen:
            raise Invalid("An earlier line is about the same.", code="repeated")
        self._seen.add((kind, path))

    async def _carried_out(self, record: AnyRecord) -> tuple[Outcome, str | None]:
        """Return what became of *record*, and the code that says why. Raises VaultError where it is refused."""
        item = self._item(record)
        standing = await item.standing()
        if standing == "equal":
            return "unchanged", None
        if standing == "other" and not self._wishes.replace:
            return "kept", "differs"
        await item.check()
        if self._wishes.dry_run:
            item.foresee()
        else:
            await item.store()
        return "created" if standing == "absent" else "replaced", None

    async def _missing_tenant(self, record: AnyRecord) -> TenantRecord | None:
        """Return the tenant that has to be made first, if that is wished."""
        if not self._wishes.create_tenants or not isinstance(record, ClientRecord | ConnectionRecord):
            return None
        return TenantRecord(tenant=record.tenant) if await self._ahead.lacks(record.tenant) else None

    def _item(self, record: AnyRecord) -> Item:
        match record:
            case ProviderRecord():
                return ProviderItem(self._vault, self._ahead, record)
            case TenantRecord():
                return TenantItem(self._vault, self._ahead, record)
            case ClientRecord():
                return ClientItem(self._vault, self._ahead, self._opener, record)
            case ConnectionRecord():
                verify = self._wishes.verify
                return ConnectionItem(self._vault, self._ahead, self._opener, record, verify=verify)
