"""The audit as one process writes it: a chained stream of records, and where it is known to reach."""

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.audit import EVENT_COLUMNS, Event
from vault.chain import Chain, Position
from vault.errors import StorageUnavailable
from vault.store.express import Express, Row
from vault.store.moments import milliseconds
from vault.store.schema import audit_events, audit_streams

LINKED = 50  # heads of other streams that a new one names, newest first
# Of a record, in the order in which the chain covers them.
COLUMNS = ("stream", "seq", "at", *EVENT_COLUMNS)
STORED = (*COLUMNS, "mac")

# Rows are made once, as the drivers take them: `at` in milliseconds.
_RECORD = insert(audit_events).values(
    {name: bindparam(f"r_{name}", type_=BigInteger() if name == "at" else None) for name in STORED}
)
_PARAMETERS = tuple(f"r_{name}" for name in STORED)
_OPEN = insert(audit_streams)
_e, _s = audit_events.c, audit_streams.c
_LAST = select(_e.seq, _e.mac).where(_e.stream == bindparam("this_stream")).order_by(_e.seq.desc()).limit(1)
_HEADS = (
    select(_s.stream, _s.head_at, _s.head_seq, _s.head_mac, _s.head_signature)
    .order_by(_s.head_at.desc(), _s.stream)
    .limit(LINKED)
)
_BASE = select(_s.base_seq, _s.base_mac).where(_s.stream == bindparam("this_stream"))
_MOVE_HEAD = (
    update(audit_streams)
    .where(_s.stream == bindparam("this_stream"), _s.head_seq < bindparam("seq"))  # forward only
    .values(
        head_seq=bindparam("seq"),
        head_mac=bindparam("mac"),
        head_at=bindparam("at", type_=_s.head_at.type),
        head_signature=bindparam("signature"),
    )
)


class Trail:
    """The stream of this process. Whoever appends says whether that was committed, or lost from sight."""

    def __init__(self, chain: Chain) -> None:
        self.stream = secrets.token_hex(8)
        self._chain = chain
        self._reached: Position | None = None  # the last record that is known to be durable
        self._certain = False  # whether it is the last one, too

    async def append(self, tx: AsyncConnection, events: Sequence[Event]) -> Position | None:
        """Add *events* and return where the stream then ends; None where there are none.

        Raises StorageUnavailable: what keeps the audit from being written keeps its consequence from happening.
        """
        if not events:
            return None
        try:
            position = await self._end(tx) or await self._opened(tx)
            rows, position = self._chained(position, events)
            await tx.execute(_RECORD, [dict(zip(_PARAMETERS, row, strict=True)) for row in rows])
        except DBAPIError as error:
            raise StorageUnavailable from error
        return position

    async def append_alone(self, express: Express, events: Sequence[Event]) -> bool:
        """Add *events* in a transaction of their own. Returns whether that could be done.

        Not while only the database knows the end of the stream. Nor where the connection turns out to
        be gone: then the ordinary way looks what became of it, and in the rare case that the answer
        alone was lost, what happened once is recorded twice.
        """
        if not self._certain or self._reached is None:
            return False
        rows, position = self._chained(self._reached, events)
        try:
            await express.append(rows)
        except StorageUnavailable:
            self.lost()
            return False
        self.committed(position)
        return True

    def committed(self, position: Position | None) -> None:
        """Go on from *position*: what was appended up to it is durable."""
        if position is not None:
            self._reached, self._certain = position, True

    def lost(self) -> None:
        """Ask the database the next time: nobody knows whether the last commit happened."""
        self._certain = False

    async def move_head(self, tx: AsyncConnection) -> Position | None:
        """Sign how far the stream was durable before *tx*; return that, None where it was signed already."""
        head = self._reached
        moved = head and await move_head(tx, self._chain, self.stream, datetime.now(UTC), head)
        return head if moved else None

    def _chained(self, position: Position, events: Sequence[Event]) -> tuple[list[Row], Position]:
        """Return *events* as rows of STORED that follow on *position*, and where the stream then ends."""
        seq, mac, at = position.seq, position.mac, milliseconds(datetime.now(UTC))
        rows = []
        for event in events:
            seq += 1
            record = (self.stream, seq, at, *event.columns())
            mac = self._chain.link(mac, record)
            rows.append((*record, mac))
        return rows, Position(seq, mac)

    async def _end(self, tx: AsyncConnection) -> Position | None:
        """Return where the stream ends; None where it has not begun."""
        if self._certain:
            return self._reached
        last = (await tx.execute(_LAST, {"this_stream": self.stream})).one_or_none()
        last = last or (await tx.execute(_BASE, {"this_stream": self.stream})).one_or_none()
        if self._reached and (last is None or last[0] < self._reached.seq):
            # What we know to be durable is gone: to go on from what is left would hide that.
            return self._reached
        return Position(*last) if last else None

    async def _opened(self, tx: AsyncConnection) -> Position:
        heads = [row for row in await tx.execute(_HEADS) if self._signed(row)]
        named = [[row.stream, row.head_seq, row.head_mac.hex()] for row in heads]
        links = json.dumps(named, separators=(",", ":"))
        now, beginning = datetime.now(UTC), Position(0, self._chain.beginning(self.stream, links))
        at = milliseconds(now)
        row = {
            "stream": self.stream,
            "started_at": now,
            "links": links,
            "base_seq": 0,
            "base_mac": beginning.mac,
            "base_signature": self._chain.sign_base(self.stream, at, links, beginning),
            "head_seq": 0,
            "head_mac": beginning.mac,
            "head_at": now,
            "head_signature": self._chain.sign_head(self.stream, at, beginning),
        }
        await tx.execute(_OPEN, row)
        return beginning

    def _signed(self, row: Any) -> bool:
        """Say whether the head in *row* is one that was signed: nobody else's is carried on as a link."""
        head = Position(row.head_seq, row.head_mac)
        return self._chain.sign_head(row.stream, milliseconds(row.head_at), head) == bytes(row.head_signature)


async def move_head(tx: AsyncConnection, chain: Chain, stream: str, at: datetime, head: Position) -> bool:
    """Sign that *stream* goes to *head*. Returns whether that is further than what was signed before."""
    signature = chain.sign_head(stream, milliseconds(at), head)
    values = {"this_stream": stream, "seq": head.seq, "mac": head.mac, "at": at, "signature": signature}
    return bool((await tx.execute(_MOVE_HEAD, values)).rowcount)
