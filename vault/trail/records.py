"""Reading the audit, as far as a key may see it."""

from dataclasses import dataclass
from datetime import datetime

from vault.access import Access, Caller
from vault.store import records as store
from vault.store.database import Database
from vault.store.moments import milliseconds
from vault.store.records import Place
from vault.store.schema import AnyRow
from vault.trail.sight import sight

WINDOWS = 20  # that one question looks through: a fraction of a second


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which records are wanted; None is no wish. *tenant* stands for all below it, *until* is not in it."""

    tenant: str | None = None
    provider: str | None = None
    name: str | None = None
    action: str | None = None
    outcome: str | None = None
    actor: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def like(self) -> dict[str, str]:
        """Return what columns have to be."""
        wishes = {
            "action": self.action,
            "outcome": self.outcome,
            "actor": self.actor,
            "request_id": self.request_id,
        }
        return {name: value for name, value in wishes.items() if value is not None}


class Records:
    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    async def page(
        self, caller: Caller, asked: Question, after: tuple[int, str, int] | None, limit: int
    ) -> tuple[list[AnyRow], Place | None]:
        """Return up to *limit* records that *caller* may see, the newest first, and from where to go on.

        Where what is wanted is rare, there may be fewer of them, or none, before the end is reached: None.
        """
        seen = await sight(self._access, caller, asked.tenant, asked.provider, asked.name)
        since, until = (None if moment is None else milliseconds(moment) for moment in (asked.since, asked.until))
        found, reached = list[AnyRow](), None if after is None else Place(*after)
        for _ in range(WINDOWS):
            async with self._database.read() as tx:
                rows, end = await store.window(tx, seen, asked.like(), (since, until), reached, limit - len(found))
            found += rows
            if len(found) == limit:
                return found, Place(milliseconds(found[-1].at), found[-1].stream, found[-1].seq)
            if end is None:
                return found, None
            reached = end
        return found, reached
