"""Reading the whole audit again: is every record there that was written, as it was, where it was?

What can be told without the key that made the chain is told by recomputing it. Each stream is read
from its base to its end, a page at a time; of each that is not whole, the first bad record is named:

    altered    its MAC is not that of what it says, where it stands
    missing    its number is skipped, or the stream ends before a record that is known to have been there
    inserted   it stands in front of the first record, or pushed in between two that follow each other
    reordered  it belongs to another place of the stream, and another record belongs here
    unknown    it claims to be chained, in a stream that was never begun
    base, head the row that says where the stream begins, or how far it goes, was not signed like that
    gone       the whole stream, which a later one names

`reordered` and `inserted` are `altered` of which we can prove more: the record that was made to stand
here stands further on. One that was both moved and changed, or comes from another stream, is `altered`
here, and `missing` where it was. What nobody can tell from the database alone is a cut beyond the
heads, of which the next is at most a minute old.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vault.chain import Chain, Position
from vault.store import streams
from vault.store.database import Database
from vault.store.schema import AnyRow
from vault.store.streams import Stream

What = Literal["altered", "missing", "inserted", "reordered", "unknown", "base", "head", "gone"]
SENTENCES: dict[What, str] = {
    "altered": "its MAC does not fit what it says there",
    "missing": "it was written, and is not there",
    "inserted": "it was not written there",
    "reordered": "another record was written there, and stands further on",
    "unknown": "no such stream was begun",
    "base": "the row that says where the stream begins was altered",
    "head": "the row that says how far the stream goes was altered",
    "gone": "the whole stream is gone, which another one names",
}
SEQ = 1  # where its number stands among the fields of a record


@dataclass(frozen=True)
class Finding:
    """What is wrong with a stream, and the first record that it is wrong with."""

    stream: str
    seq: int
    what: What

    def __str__(self) -> str:
        return f"{self.stream}/{self.seq} {self.what}: {SENTENCES[self.what]}"


@dataclass
class Report:
    """What was read, and what is wrong with it. *unchained* records are from before there was a chain."""

    streams: int = 0
    records: int = 0
    unchained: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.findings

    def facts(self) -> dict[str, Any]:
        return {"whole": self.whole, **asdict(self)}

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings]
        if self.unchained:
            lines.append(f"{self.unchained} records are from before there was a chain: nothing vouches for them.")
        verdict = "whole" if self.whole else "NOT whole"
        lines.append(f"The audit is {verdict}; records that fit: {self.records}, in {self.streams} stream(s).")
        return "\n".join(lines)


async def verify(database: Database, chain: Chain, begin: Callable[[int], Callable[[int], None]]) -> Report:
    """Return what the audit in *database* is worth. Raises StorageUnavailable.

    Others may write meanwhile: a stream is whole if it is at least what it was when we came to it.
    *begin* is told how many records there are, roughly, and returns what is told how many more were read.
    """
    reading = _Reading(database, chain)
    await reading.survey()
    await reading.streams(begin(reading.expected))
    await reading.strays()
    return reading.report


class _Reading:
    def __init__(self, database: Database, chain: Chain) -> None:
        self._database = database
        self._chain = chain
        self._names: list[str] = []
        self._seen: set[str] = set()
        # What streams say of each other: numbers of records that were there, and their MACs in hex.
        self._links: dict[str, dict[int, str]] = defaultdict(dict)
        self.expected = 0
        self.report = Report()

    async def survey(self) -> None:
        """Note which streams there are, and what they say of others."""
        async for stream in streams.every(self._database):
            self._names.append(stream.stream)
            if self._base_is_signed(stream):
                self.expected += max(stream.head.seq - stream.base.seq, 0) if self._head_is_signed(stream) else 0
                for name, seq, mac in json.loads(stream.links):
                    self._links[name][seq] = mac

    async def streams(self, advance: Callable[[int], None]) -> None:
        """Check each stream from its beginning to its end."""
        for name in self._names:
            stream = await self._find(name)
            if stream is None:
                continue  # it is noticed below, if it left anything
            self.report.streams += 1
            self._seen.add(name)
            if not self._head_is_signed(stream):
                self._found(stream, stream.head.seq, "head")
            if not self._base_is_signed(stream):
                self._found(stream, stream.base.seq, "base")
            elif bad := await self._first_bad(stream, advance):
                self.report.findings.append(bad)

    async def strays(self) -> None:
        """Look for records without a stream, and for streams that only others know of."""
        name: str | None = ""
        while name is not None:
            if name and await self._is_unheard_of(name):
                await self._stray(name)
            name = await self._next_name(name)
        for linked, marks in self._links.items():
            if await self._is_unheard_of(linked):
                self.report.findings.append(Finding(linked, max(marks), "gone"))

    async def _is_unheard_of(self, name: str) -> bool:
        """Say whether no stream of that *name* was read, nor begun since we counted them."""
        return name not in self._seen and await self._find(name) is None

    async def _stray(self, name: str) -> None:
        """Count the records of a stream that was never begun."""
        async with self._database.read() as tx:
            unchained, chained = await streams.loose(tx, name)
        self.report.unchained += unchained
        if chained is not None:
            self._seen.add(name)
            self.report.findings.append(Finding(name, chained, "unknown"))

    async def _first_bad(self, stream: Stream, advance: Callable[[int], None]) -> Finding | None:
        before = self.report.records
        bad = await self._read(stream, advance)
        if bad is None:
            return None
        now = await self._find(stream.stream)
        if now and now.base.seq > stream.base.seq and self._base_is_signed(now):
            # Retention took what we were about to read.
            self.report.records = before
            return await self._first_bad(now, advance)
        return bad

    async def _read(self, stream: Stream, advance: Callable[[int], None]) -> Finding | None:
        marks = dict(self._links.get(stream.stream, {}))
        if self._head_is_signed(stream):
            marks[stream.head.seq] = stream.head.mac.hex()
        reached = stream.base
        if marks.get(reached.seq, reached.mac.hex()) != reached.mac.hex():
            return Finding(stream.stream, reached.seq, "base")
        async for page in streams.records(self._database, stream.stream, streams.BEFORE_ALL):
            for record in page:
                if record.seq != reached.seq + 1:
                    return _misplaced(stream.stream, reached, record)
                mac = self._chain.link(reached.mac, streams.fields(record))
                if mac != record.mac or marks.get(record.seq, mac.hex()) != mac.hex():
                    what = await self._misfit(stream.stream, reached, record)
                    return Finding(stream.stream, record.seq, what)
                reached = Position(record.seq, mac)
                self.report.records += 1
            advance(len(page))
        return Finding(stream.stream, reached.seq + 1, "missing") if max(marks, default=0) > reached.seq else None

    async def _misfit(self, name: str, reached: Position, bad: AnyRow) -> What:
        """Say what became of the record that belongs after *reached*, where *bad* stands.

        The records beyond are looked through once: for one that fits here, and for a place that fits *bad*.
        """
        due: AnyRow | None = None
        bad_fits = False
        async for page in streams.records(self._database, name, bad.seq):
            for record in page:
                if not isinstance(record.mac, bytes):
                    continue
                if due is None and self._fits(reached.mac, reached.seq + 1, record):
                    due = record
                # Behind one that stands where it was written, or one further on since *bad* was taken out there.
                bad_fits = bad_fits or any(self._fits(record.mac, record.seq + one, bad) for one in (0, 1))
        if due is None:
            return "altered"
        return "reordered" if bad_fits or self._fits(due.mac, bad.seq + 1, bad) else "inserted"

    def _fits(self, previous: bytes, seq: int, record: AnyRow) -> bool:
        """Say whether *record* was written as number *seq*, after one with the MAC *previous*."""
        fields = streams.fields(record)
        fields[SEQ] = seq
        return bool(self._chain.link(previous, fields) == record.mac)

    def _base_is_signed(self, stream: Stream) -> bool:
        signature = self._chain.sign_base(stream.stream, stream.started_at, stream.links, stream.base)
        return signature == stream.base_signature

    def _head_is_signed(self, stream: Stream) -> bool:
        return self._chain.sign_head(stream.stream, stream.head_at, stream.head) == stream.head_signature

    def _found(self, stream: Stream, seq: int, what: What) -> None:
        self.report.findings.append(Finding(stream.stream, seq, what))

    async def _find(self, name: str) -> Stream | None:
        async with self._database.read() as tx:
            return await streams.find(tx, name)

    async def _next_name(self, after: str) -> str | None:
        async with self._database.read() as tx:
            return await streams.next_name(tx, after)


def _misplaced(name: str, reached: Position, record: AnyRow) -> Finding:
    """Return what a *record* shows that does not have the number after *reached*."""
    if record.seq <= reached.seq:
        return Finding(name, record.seq, "inserted")
    return Finding(name, reached.seq + 1, "missing")
