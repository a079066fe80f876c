"""The audit as one process writes it: a chained stream of records, and where it is known to reach."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.audit import Event
from vault.chain import Chain, Field
from vault.errors import StorageUnavailable
from vault.store.schema import audit_events, audit_streams, milliseconds

LINKED = 50  # heads of other streams that a new one names, newest first
COLUMNS = (
    "stream",
    "seq",
    "at",
    "actor",
    "action",
    "outcome",
    "tenant",
    "provider",
    "name",
    "generation",
    "request_id",
    "detail",
)  # of a record, in the order in which the chain covers them

_RECORD = insert(audit_events)
_OPEN = insert(audit_streams)
_e, _s = audit_events.c, audit_streams.c
_LAST = select(_e.seq, _e.mac).where(_e.stream == bindparam("this_stream")).order_by(_e.seq.desc()).limit(1)
_HEADS = select(_s.stream, _s.head_seq, _s.head_mac).order_by(_s.head_at.desc(), _s.stream).limit(LINKED)
_BEGINNING = select(_s.base_seq, _s.base_mac).where(_s.stream == bindparam("this_stream"))


@dataclass(frozen=True)
class Position:
    """How far a stream goes: the number and the MAC of its last record."""

    seq: int
    mac: bytes


class Trail:
    """The stream of this process. Whoever appends says whether that was committed, or lost from sight."""

    def __init__(self, chain: Chain) -> None:
        self.stream = secrets.token_hex(8)
        self._chain = chain
        self._reached: Position | None = None  # None: only the database knows

    async def append(self, tx: AsyncConnection, events: Sequence[Event]) -> Position | None:
        """Add *events* and return where the stream then ends. Raises StorageUnavailable.

        Whatever keeps the audit from being written keeps its consequence from happening.
        """
        if not events:
            return self._reached
        try:
            position = self._reached or await self._found(tx) or await self._opened(tx)
            rows, position = self._chained(position, events)
            await tx.execute(_RECORD, rows)
        except DBAPIError as error:
            raise StorageUnavailable from error
        return position

    def committed(self, position: Position | None) -> None:
        """Go on from *position*: what was appended up to it is durable."""
        self._reached = position

    def lost(self) -> None:
        """Ask the database the next time: nobody knows whether the last commit happened."""
        self._reached = None

    def _chained(self, position: Position, events: Sequence[Event]) -> tuple[list[dict[str, Any]], Position]:
        seq, mac, now = position.seq, position.mac, datetime.now(UTC)
        at, rows = milliseconds(now), []
        for event in events:
            seq += 1
            columns = event.columns()
            mac = self._chain.link(mac, (self.stream, seq, at, *columns.values()))
            rows.append({"stream": self.stream, "seq": seq, "at": now, "mac": mac, **columns})
        return rows, Position(seq, mac)

    async def _found(self, tx: AsyncConnection) -> Position | None:
        last = (await tx.execute(_LAST, {"this_stream": self.stream})).one_or_none()
        last = last or (await tx.execute(_BEGINNING, {"this_stream": self.stream})).one_or_none()
        return None if last is None else Position(*last)

    async def _opened(self, tx: AsyncConnection) -> Position:
        heads = [[row.stream, row.head_seq, row.head_mac.hex()] for row in await tx.execute(_HEADS)]
        links = json.dumps(heads, separators=(",", ":"))
        mac, now = self._chain.beginning(self.stream, links), datetime.now(UTC)
        row = {
            "stream": self.stream,
            "started_at": now,
            "links": links,
            "base_seq": 0,
            "base_mac": mac,
            "base_signature": self._chain.sign("base", self.stream, 0, None, mac),
            "head_seq": 0,
            "head_mac": mac,
            "head_at": now,
            "head_signature": self._chain.sign("head", self.stream, 0, milliseconds(now), mac),
        }
        await tx.execute(_OPEN, row)
        return Position(0, mac)


def chained_fields(row: Any) -> list[Field]:
    """Return what the chain covers of a record that was read."""
    return [milliseconds(row.at) if name == "at" else getattr(row, name) for name in COLUMNS]
