"""Taking records from the audit that are older than they have to be, so that what is left still verifies.

Only whole beginnings of streams go, and the base, which says where a stream begins, moves in the same
transaction. What goes is verified first: a base that was signed over a gap would hide it for ever.
Every replica may do it, to any stream, while its owner writes on.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.audit import Event
from vault.chain import Chain, Position
from vault.errors import StorageUnavailable
from vault.store import connections, streams, usage
from vault.store.database import Database
from vault.store.moments import EPOCH, milliseconds
from vault.store.streams import Stream
from vault.store.trail import move_head
from vault.store.writer import Transaction, Writer

log = logging.getLogger(__name__)
BATCH = 5000  # records a transaction
DAY = timedelta(days=1)


async def prune(database: Database, writer: Writer, chain: Chain, days: int) -> None:
    """Take what is older than *days*, stream by stream, and write down what was taken."""
    try:
        async with database.read() as tx:
            limit = _limit(await connections.database_time(tx), days)
            names = await streams.expired(tx, limit)
        retention = _Retention(database, writer, chain, limit)
        for name in names:
            while await retention.take(name):
                pass
        while await retention.take_unchained():
            pass
    except StorageUnavailable:
        log.warning("retention cannot reach the database")


def _limit(now: datetime, days: int) -> int:
    """Return the moment before which records go, the beginning of a day.

    Minute by minute, the record of each removal would in its own time make for another one, for ever.
    """
    return milliseconds(now - (now - EPOCH) % DAY - days * DAY)


@dataclass(frozen=True)
class _End:
    """How far a beginning of a stream is expired and verifies, and what stopped us there."""

    position: Position
    at: int
    spoiled: bool


class _Retention:
    def __init__(self, database: Database, writer: Writer, chain: Chain, limit: int) -> None:
        self._database = database
        self._writer = writer
        self._chain = chain
        self._limit = limit

    async def take(self, name: str) -> bool:
        """Take a batch from the beginning of the stream *name*. Returns whether there may be more."""
        async with self._database.read() as tx:
            stream = await streams.find(tx, name)
        if stream is None:
            return False
        end = await self._expired(stream)
        if end.spoiled:
            return await self._was_taken(stream)
        if end.position.seq > stream.base.seq:
            await self._remove(stream, end)
        return end.position.seq - stream.base.seq >= BATCH

    async def take_unchained(self) -> bool:
        """Take a batch of what was written before there was a chain. Returns whether there may be more."""

        async def unit(tx: Transaction) -> int:
            taken = await streams.remove_unchained(tx.connection, self._limit, BATCH)
            if taken:
                tx.record(Event("scheduler", "audit.pruned", detail={"unchained": taken}))
            return taken

        return await self._writer.submit(unit, alone=True) == BATCH

    async def _expired(self, stream: Stream) -> _End:
        """Return how far *stream* is expired, at most a batch; of what does not verify, nothing is."""
        reached, at = stream.base, 0
        if self._chain.sign_base(stream.stream, stream.started_at, stream.links, reached) != stream.base_signature:
            return _End(reached, at, spoiled=True)
        async for page in streams.records(self._database, stream.stream, streams.BEFORE_ALL):
            for record in page:
                mac = self._chain.link(reached.mac, streams.fields(record))
                if record.seq != reached.seq + 1 or mac != record.mac:
                    return _End(reached, at, spoiled=True)
                if record.at >= self._limit or record.seq - stream.base.seq > BATCH:
                    return _End(reached, at, spoiled=False)
                reached, at = Position(record.seq, mac), record.at
        return _End(reached, at, spoiled=False)

    async def _was_taken(self, stream: Stream) -> bool:
        """Say whether another replica took what does not seem to verify; it is left alone otherwise."""
        async with self._database.read() as tx:
            now = await streams.find(tx, stream.stream)
        if now is not None and now.base.seq > stream.base.seq:
            return True
        log.error("the audit does not verify: retention leaves it alone", extra={"stream": stream.stream})
        return False

    async def _remove(self, stream: Stream, end: _End) -> None:
        name, base = stream.stream, end.position
        signature = self._chain.sign_base(name, stream.started_at, stream.links, base)

        async def unit(tx: Transaction) -> None:
            while await usage.count(tx.connection, name, upto=base.seq):
                pass  # a hand-out that is in no figure yet would never be
            # A process that was killed left a head behind its records; no stream may begin beyond its head.
            await move_head(tx.connection, self._chain, name, EPOCH + timedelta(milliseconds=end.at), base)
            if await streams.remove(tx.connection, stream, base, signature):
                tx.record(Event("scheduler", "audit.pruned", detail={"stream": name, "seq": base.seq}))

        await self._writer.submit(unit, alone=True)
