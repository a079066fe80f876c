"""What was handed out, a day: rolled up from the audit now and then, and never counted as it happens."""

import logging
from datetime import UTC, date, datetime, timedelta

from vault.access import Access, Caller
from vault.errors import Invalid, StorageUnavailable
from vault.store import usage as store
from vault.store.database import Database
from vault.store.moments import EPOCH
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer
from vault.trail.sight import sight

log = logging.getLogger(__name__)
USUAL_SPAN = timedelta(days=30)
LONGEST_SPAN = timedelta(days=366)


async def roll_up(database: Database, writer: Writer) -> None:
    """Count what has come into the audit since the last time, of whichever process.

    Any number of replicas may, at once: each record is counted once.
    """

    try:
        async with database.read() as tx:
            streams = await store.behind(tx)
        for stream in streams:
            await _count(writer, stream)
    except StorageUnavailable:
        log.warning("the roll-up of usage cannot reach the database")


async def _count(writer: Writer, stream: str) -> None:
    async def unit(tx: Transaction) -> bool:
        return await store.count(tx.connection, stream)

    while await writer.submit(unit, alone=True):
        pass


class Usage:
    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    async def page(
        self,
        caller: Caller,
        *,
        tenant: str | None,
        provider: str | None,
        since: date | None,
        until: date | None,
        after: tuple[int, str, str, str, str] | None,
        limit: int,
    ) -> list[AnyRow]:
        """Return up to *limit* figures that *caller* may see, the oldest day first.

        From *since* to *until*, which both count; 30 days up to today where nothing is said. Raises Invalid.
        """
        seen = await sight(self._access, caller, tenant, provider, None)
        last = until or datetime.now(UTC).date()
        if min(since or last, last) < EPOCH.date():
            raise Invalid("Nothing was handed out before 1970.", code="invalid_moment")
        first = since or last - USUAL_SPAN
        if last - first > LONGEST_SPAN:
            raise Invalid("Ask for a year at most.", code="invalid_span")
        async with self._database.read() as tx:
            return list(await store.page(tx, seen, (day_number(first), day_number(last)), after, limit))


def day_number(day: date) -> int:
    """Return *day* as it is stored: the days since 1970."""
    return (day - EPOCH.date()).days
