"""The chain of the audit: whatever is done to it behind the program's back is found and named."""

import asyncio
import hashlib
import json
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from jobs.metronome import Metronome
from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import eventually
from tests.integration.test_commands import run
from tests.integration.test_kills import die
from tests.processes import started, token_path
from tests.rig import SECRET, Rig
from vault.audit import Event
from vault.chain import Chain, Position
from vault.housekeeping import anchor
from vault.metrics import Metrics
from vault.store import streams
from vault.store.database import Database
from vault.store.moments import EPOCH, milliseconds
from vault.store.trail import COLUMNS, Trail, move_head
from vault.store.writer import Transaction, Writer
from vault.trail import retention
from vault.trail.retention import BATCH, prune
from vault.trail.verify_audit import Report, verify

DAY = 86_400_000  # milliseconds
ALL = -1  # days of retention: even what is written today has expired
LAST = "(SELECT max(seq) FROM audit_events e WHERE e.stream = s.stream) AS last"
EVERY_COLUMN = (*COLUMNS[2:], "mac")


@dataclass
class Replica:
    """One process that writes to the audit."""

    store: Store
    database: Database
    chain: Chain
    trail: Trail
    writer: Writer

    @property
    def stream(self) -> str:
        return self.trail.stream

    async def write(self, count: int) -> None:
        """Write *count* records, some of a commit together."""
        events = [
            Event("operator", "tenant.changed", tenant="t", name=f"n{n}", generation=n) for n in range(count)
        ]
        await asyncio.gather(*map(self.writer.record, events))

    async def anchor(self) -> None:
        await anchor(self.writer, self.trail)

    async def verify(self) -> Report:
        return await verify(self.database, self.chain, lambda _expected: lambda _more: None)

    async def prune(self, days: int = ALL) -> None:
        await prune(self.database, self.writer, self.chain, days)

    async def sql(self, statement: str, **values: Any) -> Any:
        async with self.database.transaction() as tx:
            found = await tx.execute(text(statement), values)
            return found.all() if found.returns_rows else None

    async def head(self, stream: str | None = None) -> Any:
        (row,) = await self.sql("SELECT * FROM audit_streams WHERE stream = :s", s=stream or self.stream)
        return row

    async def findings(self) -> list[tuple[str, int, str]]:
        return [(each.stream, each.seq, each.what) for each in (await self.verify()).findings]


@asynccontextmanager
async def replica_on(store: Store) -> AsyncIterator[Replica]:
    database, chain = Database(store.url), Chain(store.keyring.mac_key("audit"))
    trail = Trail(chain)
    made = Replica(store, database, chain, trail, Writer(database, trail, lambda _stale: None, Metrics()))
    yield made
    await made.writer.close()
    await database.close()


@pytest.fixture(name="one")
async def _one(store: Store) -> AsyncIterator[Replica]:
    async with replica_on(store) as one:
        yield one


@pytest.fixture(name="two")
async def _two(store: Store) -> AsyncIterator[Replica]:
    async with replica_on(store) as two:
        yield two


async def write_both(one: Replica, two: Replica) -> tuple[str, str]:
    """Return the names of two streams of ten records: the first anchored at its end, the second at 6."""
    await one.write(10)
    await one.anchor()
    await two.write(6)
    await two.anchor()
    await two.write(4)
    return one.stream, two.stream


# --- what is whole ---------------------------------------------------------------------------------------


async def test_what_was_written_is_whole(one: Replica, two: Replica) -> None:
    """Streams of two replicas, heads behind their ends or at them, verify, and everything was read."""
    await write_both(one, two)

    report = await one.verify()

    assert (report.whole, report.streams, report.records) == (True, 2, 20)


async def test_replicas_that_write_at_once_verify_at_any_time(one: Replica, two: Replica) -> None:
    """A stream that grows and whose head moves while it is read is whole each time."""

    async def keep_writing(replica: Replica) -> None:
        for _ in range(15):
            await replica.write(7)
            await replica.anchor()

    writing = asyncio.gather(keep_writing(one), keep_writing(two))
    while not writing.done():
        assert await one.findings() == []
    await writing

    assert (await two.verify()).records == 2 * 15 * 7


async def test_more_than_a_page_of_records_verifies(one: Replica) -> None:
    """Pages follow each other without a gap; a bad record on a later page is named."""
    await one.write(1203)
    assert (await one.verify()).records == 1203

    await one.sql("UPDATE audit_events SET actor = 'x' WHERE seq = 1001")

    assert await one.findings() == [(one.stream, 1001, "altered")]


async def test_records_from_before_the_chain_are_counted(one: Replica) -> None:
    """A stream that was never begun and claims nothing is reported by its number of records."""
    await one.write(2)
    for seq in (1, 2, 3):
        await one.sql(
            "INSERT INTO audit_events (stream, seq, at, actor, action, outcome, detail)"
            " VALUES ('old', :seq, 1, 'a', 'b', 'ok', '{}')",
            seq=seq,
        )

    report = await one.verify()

    assert (report.whole, report.unchained, report.records) == (True, 3, 2)


# --- what was done to records ----------------------------------------------------------------------------


async def test_an_edit_of_any_column_is_found(one: Replica, two: Replica) -> None:
    """Whatever says less, more or something else than was written is named by stream and number."""
    a, _ = await write_both(one, two)
    for column in EVERY_COLUMN:
        other = {"at": "at + 1", "generation": "generation + 1", "mac": "NULL"}.get(column, "'other'")
        (row,) = await one.sql(f"SELECT {column} FROM audit_events WHERE stream = :s AND seq = 4", s=a)

        await one.sql(f"UPDATE audit_events SET {column} = {other} WHERE stream = :s AND seq = 4", s=a)
        assert await one.findings() == [(a, 4, "altered")], column

        await one.sql(f"UPDATE audit_events SET {column} = :old WHERE stream = :s AND seq = 4", s=a, old=row[0])
        assert await one.findings() == [], column


@on_sqlite
async def test_values_of_another_type_are_found(one: Replica) -> None:
    """Where the database lets anything into a column, it is named like any edit, not a traceback."""
    await one.write(3)
    for edit in ("at = 'soon'", "at = 9e99", "mac = 'x'", "detail = x'00'", "generation = 'many'"):
        async with one.database.transaction() as tx:
            await tx.execute(text(f"UPDATE audit_events SET {edit} WHERE seq = 2"))
            await tx.commit()
        assert await one.findings() == [(one.stream, 2, "altered")], edit

    await one.sql("UPDATE audit_streams SET head_mac = 'x', started_at = 'never'")
    assert [what for _, _, what in await one.findings()] == ["head", "base"]


async def test_an_unkeyed_hash_does_not_help(one: Replica) -> None:
    """Whoever edits a record and computes its MAC without the key is found all the same."""
    await one.write(5)
    (row,) = await one.sql("SELECT * FROM audit_events WHERE seq = 2")
    forged = {**row._mapping, "actor": "nobody"}
    (before,) = await one.sql("SELECT mac FROM audit_events WHERE seq = 1")
    fields = b"".join(b"%d:%b," % (len(str(v)), str(v).encode()) for k, v in forged.items() if k != "mac")

    digest = hashlib.sha256(before.mac + fields).digest()
    await one.sql("UPDATE audit_events SET actor = 'nobody', mac = :mac WHERE seq = 2", mac=digest)

    assert await one.findings() == [(one.stream, 2, "altered")]


async def test_a_record_that_is_gone_is_found(one: Replica, two: Replica) -> None:
    """One taken from the middle is missing by its number."""
    _, b = await write_both(one, two)

    await one.sql("DELETE FROM audit_events WHERE stream = :s AND seq = 4", s=b)

    assert await one.findings() == [(b, 4, "missing")]


async def test_a_gap_that_is_closed_is_found(one: Replica) -> None:
    """Whoever renumbers what comes after a record they took has made another one of that number."""
    await one.write(5)
    await one.sql("DELETE FROM audit_events WHERE seq = 3")
    for seq in (4, 5):
        await one.sql("UPDATE audit_events SET seq = seq - 1 WHERE seq = :seq", seq=seq)

    assert await one.findings() == [(one.stream, 3, "altered")]


async def test_a_tail_that_was_cut_is_found_up_to_the_head(one: Replica, two: Replica) -> None:
    """A stream that ends before its head was cut; what is cut above every head leaves no trace in the database."""
    _, b = await write_both(one, two)  # b's head is at 6

    await one.sql("DELETE FROM audit_events WHERE stream = :s AND seq > 6", s=b)
    assert await one.findings() == []  # the limit of it: at most a minute, and the log's last head is beyond

    await one.sql("DELETE FROM audit_events WHERE stream = :s AND seq > 5", s=b)
    assert await one.findings() == [(b, 6, "missing")]


async def test_a_cut_under_an_older_head_is_found_by_a_link(store: Store, one: Replica) -> None:
    """An old head that is put back is a signed one; a stream that began later knows a later one."""
    await one.write(3)
    await one.anchor()
    old = await one.head()
    await one.write(5)
    await one.anchor()
    async with replica_on(store) as later:
        await later.write(1)

    await one.sql(
        "UPDATE audit_streams SET head_seq = 3, head_mac = :mac, head_at = :at, head_signature = :signature"
        " WHERE stream = :s",
        **{"s": one.stream, "mac": old.head_mac, "at": old.head_at, "signature": old.head_signature},
    )
    await one.sql("DELETE FROM audit_events WHERE stream = :s AND seq > 3", s=one.stream)

    assert await one.findings() == [(one.stream, 4, "missing")]


async def test_an_inserted_record_is_found(one: Replica, two: Replica) -> None:
    """In front of the first, behind the last, or pushed in between with everything after it renumbered."""
    a, b = await write_both(one, two)
    forge = (
        "INSERT INTO audit_events (stream, seq, at, actor, action, outcome, detail, mac)"
        " SELECT stream, :new, at, actor, action, outcome, detail, mac FROM audit_events"
        " WHERE stream = :s AND seq = :seq"
    )
    await one.sql(forge, s=a, seq=1, new=0)
    assert await one.findings() == [(a, 0, "inserted")]
    await one.sql("DELETE FROM audit_events WHERE seq = 0")

    await one.sql(forge, s=b, seq=10, new=11)
    assert await one.findings() == [(b, 11, "altered")]
    await one.sql("DELETE FROM audit_events WHERE seq = 11")

    for seq in range(10, 3, -1):
        await one.sql("UPDATE audit_events SET seq = seq + 1 WHERE stream = :s AND seq = :seq", s=a, seq=seq)
    await one.sql(forge, s=a, seq=2, new=4)
    assert await one.findings() == [(a, 4, "inserted")]


async def swap(one: Replica, stream: str, first: int, second: int) -> None:
    for old, new in ((first, -1), (second, first), (-1, second)):
        await one.sql(
            "UPDATE audit_events SET seq = :new WHERE stream = :s AND seq = :old", s=stream, old=old, new=new
        )


@pytest.mark.parametrize("second", [4, 5, 8])
async def test_records_that_were_swapped_are_found(one: Replica, two: Replica, second: int) -> None:
    """Of two that changed places, whole as they are, the first place is named, and that it is about the order."""
    a, _ = await write_both(one, two)

    await swap(one, a, 3, second)
    assert await one.findings() == [(a, 3, "reordered")]

    await swap(one, a, 3, second)
    assert await one.findings() == []


async def test_a_record_that_was_moved_along_is_found(one: Replica) -> None:
    """One taken out and put back further on, or further up, with those between renumbered."""
    await one.write(8)
    for way in ((2, 3, 4, 5), (5, 4, 3, 2)):
        await one.sql("UPDATE audit_events SET seq = -1 WHERE seq = :seq", seq=way[0])
        for seq, new in zip(way[1:], way, strict=False):
            await one.sql("UPDATE audit_events SET seq = :new WHERE seq = :seq", seq=seq, new=new)
        await one.sql("UPDATE audit_events SET seq = :seq WHERE seq = -1", seq=way[-1])

        assert (await one.findings() == [(one.stream, 2, "reordered")]) == (way[0] == 2), way
    assert await one.findings() == []  # the way back is the way it was


async def test_a_record_in_another_stream_is_found(one: Replica, two: Replica) -> None:
    """It is missing where it was, and does not fit where it is."""
    a, b = await write_both(one, two)

    await one.sql("UPDATE audit_events SET stream = :b, seq = 11 WHERE stream = :a AND seq = 7", a=a, b=b)

    assert sorted(await one.findings()) == sorted([(a, 7, "missing"), (b, 11, "altered")])


async def test_a_stream_that_is_gone_is_found(one: Replica, two: Replica) -> None:
    """A later stream names it. With only its row gone, its records are nobody's; without MACs, still gone."""
    a, _ = await write_both(one, two)

    await one.sql("DELETE FROM audit_streams WHERE stream = :s", s=a)
    assert await one.findings() == [(a, 1, "unknown")]
    await one.sql("UPDATE audit_events SET mac = NULL WHERE stream = :s", s=a)
    assert await one.findings() == [(a, 10, "gone")]
    await one.sql("DELETE FROM audit_events WHERE stream = :s", s=a)
    assert await one.findings() == [(a, 10, "gone")]


async def test_rows_of_streams_that_were_altered_are_found(one: Replica, two: Replica) -> None:
    """Base and head are signed, each with what belongs to it."""
    a, _ = await write_both(one, two)
    row = (await one.head(a))._mapping
    of_another = "(SELECT mac FROM audit_events WHERE stream = audit_streams.stream AND seq = 2)"
    for column in set(row) - {"stream"}:
        other = of_another if isinstance(row[column], bytes) else f"{column} - 1"
        other = "'[[]]'" if column == "links" else other
        await one.sql(f"UPDATE audit_streams SET {column} = {other} WHERE stream = :s", s=a)
        what = "head" if column.startswith("head") else "base"
        assert [each[::2] for each in await one.findings()] == [(a, what)], column

        await one.sql(f"UPDATE audit_streams SET {column} = :v WHERE stream = :s", s=a, v=row[column])
    assert await one.findings() == []


# --- heads -----------------------------------------------------------------------------------------------


async def test_heads_move_only_forward(one: Replica) -> None:
    """A head of less than is known already is not written, and nothing new is said in the log."""
    await one.write(3)
    await one.anchor()
    before = await one.head()

    async def unit(tx: Transaction) -> bool:
        return await move_head(tx.connection, one.chain, one.stream, EPOCH, Position(2, bytes(32)))

    assert await one.writer.submit(unit) is False
    assert await one.head() == before


async def test_the_head_is_said_in_the_log(one: Replica, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each place that it reaches: stream, number and MAC."""
    caplog.set_level("INFO", "vault")
    await one.anchor()  # nothing yet
    await one.write(3)
    await one.anchor()
    await one.anchor()

    (said,) = [vars(record) for record in caplog.records if record.message == "audit head"]
    row = await one.head()
    assert (said["stream"], said["seq"], said["mac"]) == (one.stream, 3, row.head_mac.hex())
    assert row.head_seq == 3


async def test_what_waits_to_be_written_is_under_the_head(one: Replica) -> None:
    """A head counts all that was submitted before it, so that the last one of a process has everything."""
    waiting = [one.writer.record(Event("operator", "tenant.changed")) for _ in range(5)]
    await asyncio.sleep(0)  # lets them submit

    await one.anchor()

    await asyncio.gather(*waiting)
    assert (await one.head()).head_seq == 5


async def test_every_process_that_writes_anchors(rig: Rig) -> None:
    """Also one that does not sweep: the job runs from the start."""
    metronome = Metronome(rig.vault)  # the rig's sweep interval is 0
    metronome.start()
    try:
        await eventually(lambda: _reached_the_end(rig))
    finally:
        metronome.stop()


async def _reached_the_end(rig: Rig) -> bool:
    async with rig.vault.database.read() as tx:
        found = await tx.execute(text(f"SELECT head_seq, {LAST} FROM audit_streams s"))
        return all(head == last for head, last in found)


async def test_an_end_that_was_cut_out_of_sight_is_found(one: Replica) -> None:
    """A process that has lost sight of the database does not go back behind what it knows to be durable."""
    await one.write(5)
    one.trail.lost()
    await one.sql("DELETE FROM audit_events WHERE seq > 3")

    await one.write(2)

    assert await one.findings() == [(one.stream, 4, "missing")]


# --- retention -------------------------------------------------------------------------------------------


async def backdate(one: Replica, stream: str, upto: int, days: int) -> None:
    """Have the first *upto* records of *stream*, which has no head yet, be *days* older: chained like that."""
    rows = await one.sql("SELECT * FROM audit_events WHERE stream = :s ORDER BY seq", s=stream)
    mac = (await one.head(stream)).base_mac
    for row in rows:
        record = {**row._mapping, "at": row.at - (days * DAY if row.seq <= upto else 0)}
        mac = one.chain.link(mac, [record[name] for name in COLUMNS])
        await one.sql(
            "UPDATE audit_events SET at = :at, mac = :mac WHERE stream = :s AND seq = :seq",
            **{"at": record["at"], "mac": mac, "s": stream, "seq": row.seq},
        )
    one.trail.committed(Position(rows[-1].seq, mac))


async def counted(one: Replica, stream: str) -> list[int]:
    rows = await one.sql("SELECT seq FROM audit_events WHERE stream = :s ORDER BY seq", s=stream)
    return [row.seq for row in rows]


async def pruned(one: Replica) -> list[Any]:
    """Return what the audit says was taken."""
    rows = await one.sql("SELECT detail FROM audit_events WHERE action = 'audit.pruned' ORDER BY at, seq")
    return [json.loads(row.detail) for row in rows]


async def test_only_what_has_expired_is_taken(one: Replica, two: Replica) -> None:
    """The beginning of a stream up to the first younger record; the rest verifies, and it is written down."""
    await one.write(10)
    await backdate(one, one.stream, upto=6, days=31)
    await one.anchor()

    await two.prune(days=32)
    assert len(await counted(one, one.stream)) == 10
    await two.prune(days=30)

    assert await counted(one, one.stream) == [7, 8, 9, 10]
    assert await pruned(one) == [{"seq": 6, "stream": one.stream}]
    assert await two.findings() == []
    await one.write(2)
    assert (await one.verify()).whole


async def test_a_stream_can_expire_altogether(one: Replica, two: Replica) -> None:
    """Its row stays, with the base at the head; also of a process that was killed before its last head."""
    await one.write(5)
    await one.anchor()
    await one.write(3)

    await two.prune()

    row = await one.head()
    assert (row.base_seq, row.head_seq, row.base_mac) == (8, 8, row.head_mac)
    assert await counted(one, one.stream) == []
    assert await two.findings() == []


async def test_a_living_stream_goes_on_after_it_expired(one: Replica, two: Replica) -> None:
    """Its owner goes on from memory, and from the base where it has to ask."""
    await one.write(5)
    await two.prune()
    await one.write(1)
    await two.prune()
    one.trail.lost()
    await one.write(1)
    await two.prune()
    one.trail = one.writer._trail = _forgetful(one.trail)
    await one.write(1)

    assert await counted(one, one.stream) == [8]
    assert await two.findings() == []


def _forgetful(trail: Trail) -> Trail:
    """Return what *trail* would be if it had never heard whether its first commit happened."""
    made = Trail(trail._chain)
    made.stream = trail.stream
    return made


async def test_much_is_taken_in_batches(one: Replica, two: Replica) -> None:
    """No transaction takes more than a batch of records."""
    for _ in range(2):
        await one.write(BATCH // 2)
    await one.write(10)

    await two.prune()

    assert [each["seq"] for each in await pruned(two)] == [BATCH, BATCH + 10]
    assert await counted(one, one.stream) == []
    assert await two.findings() == []


async def test_replicas_may_prune_while_the_owner_writes(store: Store, one: Replica, two: Replica) -> None:
    """Everything at once, again and again: whole at any time, nothing is taken twice, the head never goes back."""
    async with replica_on(store) as three:
        for _ in range(8):
            await one.write(5)
            await asyncio.gather(one.anchor(), two.prune(), three.prune(), one.write(3), one.anchor())
            assert await one.findings() == []
            assert (await one.head()).head_seq >= (await one.head()).base_seq
        await one.anchor()
        taken = [each["seq"] for each in await pruned(one) if each["stream"] == one.stream]

    assert len(set(taken)) == len(taken)
    assert (await one.head()).head_seq == 8 * 8
    assert await one.findings() == []


@on_postgres
async def test_prunes_that_meet_take_it_once(store: Store, one: Replica, two: Replica) -> None:
    """Two that wait for the owner's open transaction go on from its head, and one of them finds it done."""
    await one.write(5)
    moved, go_on = asyncio.Event(), asyncio.Event()

    async def unit(tx: Transaction) -> None:
        await one.trail.move_head(tx.connection)
        moved.set()
        await go_on.wait()

    moving = asyncio.create_task(one.writer.submit(unit))
    await moved.wait()
    async with replica_on(store) as three:
        pruning = [asyncio.create_task(each.prune()) for each in (two, three)]
        await eventually(lambda: _both_wait(one))
        go_on.set()
        await asyncio.gather(moving, *pruning)

    row = await one.head()
    assert (row.base_seq, row.head_seq) == (5, 5)
    assert len(await pruned(one)) == 1
    assert await one.findings() == []


async def _both_wait(one: Replica) -> bool:
    async with one.database.read() as tx:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return len((await tx.execute(text(waiting))).all()) == 2


@contextmanager
def pruned_meanwhile(store: Store) -> Iterator[None]:
    """Have another replica take what is a month old, once a stream was found and before its records are read."""
    due = [True]

    async def take() -> None:
        async with replica_on(store) as other:
            await other.prune(days=30)

    def hook(_connection: Any, statement: Any, *_: Any) -> None:
        if statement is streams._RECORDS and due:
            due.clear()
            thread = threading.Thread(target=lambda: asyncio.run(take()))
            thread.start()
            thread.join()

    event.listen(Engine, "before_execute", hook)
    try:
        yield
    finally:
        event.remove(Engine, "before_execute", hook)
    assert not due


async def test_what_is_pruned_while_it_is_read_is_not_missed(
    store: Store, one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by whoever verifies, nor by another replica that was about to prune the same."""
    await one.write(9)
    await backdate(one, one.stream, upto=3, days=62)
    with pruned_meanwhile(store):
        assert await one.findings() == []
    assert (await one.head()).base_seq == 3

    await backdate(one, one.stream, upto=6, days=31)
    with pruned_meanwhile(store):
        await one.prune(days=30)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert (await one.head()).base_seq == 6
    assert await one.findings() == []


def test_records_go_by_whole_days() -> None:
    """Whatever the hour: the record of a removal does not make for another one a minute later, for ever."""
    for hour in (0, 13, 23):
        now = datetime(2026, 11, 25, hour, 59, 59, 999999, tzinfo=UTC)
        assert retention._limit(now, 30) == milliseconds(datetime(2026, 10, 26, tzinfo=UTC))


async def test_an_expired_record_that_was_altered_is_kept(one: Replica, two: Replica) -> None:
    """Retention does not sign over what does not verify: a moment made older, a gap, a base."""
    await one.write(10)
    await backdate(one, one.stream, upto=3, days=31)
    await one.anchor()
    await one.sql("UPDATE audit_events SET at = at - :d WHERE seq BETWEEN 4 AND 6", d=31 * DAY)

    await two.prune(days=30)

    assert len(await counted(one, one.stream)) == 10
    assert await two.findings() == [(one.stream, 4, "altered")]


async def test_a_base_that_was_moved_by_hand_is_found(one: Replica, two: Replica) -> None:
    """Whoever takes the beginning themselves and moves the base cannot sign it, nor have it signed later."""
    await one.write(10)
    await one.anchor()
    await one.sql(
        "UPDATE audit_streams SET base_seq = 4, base_mac ="
        " (SELECT mac FROM audit_events WHERE seq = 4 AND stream = audit_streams.stream)"
    )
    await one.sql("DELETE FROM audit_events WHERE seq <= 4")

    assert await one.findings() == [(one.stream, 4, "base")]
    await two.prune()
    assert await one.findings() == [(one.stream, 4, "base")]


@on_sqlite
async def test_base_and_records_move_together(one: Replica, two: Replica) -> None:
    """Where the records cannot be taken, the base stays: there is nothing between the two."""
    await one.write(5)
    await one.sql("CREATE TRIGGER no BEFORE DELETE ON audit_events BEGIN SELECT RAISE(ABORT, 'no'); END")

    with pytest.raises(DBAPIError):
        await two.prune()

    assert (await one.head()).base_seq == 0
    assert await one.findings() == []


async def test_what_is_older_than_the_chain_expires_too(one: Replica) -> None:
    """Records of the version before are taken when they are old enough, and counted."""
    await one.write(1)
    for seq, age in ((1, "1"), (2, "2"), (3, "4000000000000")):
        await one.sql(
            "INSERT INTO audit_events (stream, seq, at, actor, action, outcome, detail)"
            f" VALUES ('old', {seq}, {age}, 'a', 'b', 'ok', '{{}}')"
        )

    await one.prune(days=30)

    assert await counted(one, "old") == [3]
    assert await pruned(one) == [{"unchained": 2}]


async def test_housekeeping_prunes_where_it_is_told_to(replicas: Replicas) -> None:
    """By default the audit is kept for ever; with the setting, the minute's housekeeping takes what is too old."""
    keeping, taking = await replicas(), await replicas(audit_retention_days=30)
    old = (
        "INSERT INTO audit_events (stream, seq, at, actor, action, outcome, detail)"
        " VALUES ('old', 1, 1, 'a', 'b', 'ok', '{}')"
    )
    async with keeping.vault.database.transaction() as tx:
        await tx.execute(text(old))

    async def left() -> int:
        async with keeping.vault.database.read() as tx:
            return len((await tx.execute(text("SELECT 1 FROM audit_events WHERE stream = 'old'"))).all())

    await keeping.vault.tidy()
    assert await left() == 1
    await taking.vault.tidy()
    assert await left() == 0


# --- processes -------------------------------------------------------------------------------------------


async def test_a_process_that_is_killed_leaves_a_whole_stream(replicas: Replicas, store: Store) -> None:
    """kill -9 before, in and after a commit: its stream ends with what was committed, and verifies."""
    rig = await replicas()
    chain = Chain(store.keyring.mac_key("audit"))
    for step in ("claim.committed", "settle.commit", "settle.committed"):
        await rig.a_connection(step, expires_in=0)
        await die(rig, store, step, step)

    report = await verify(rig.vault.database, chain, lambda _expected: lambda _more: None)

    assert report.findings == []
    assert report.streams >= 2


async def test_a_server_that_ends_leaves_its_head(replicas: Replicas, store: Store, tmp_path: Path) -> None:
    """SIGTERM: the last record is the head, in the database and in the log; and the command says it is whole."""
    rig = await replicas()
    await rig.a_connection("c")
    key = await rig.key("tokens:read")
    async with started("serve", store.url, tmp_path) as server:
        async with server.api(key) as api:
            assert (await api.get(token_path("c"))).status_code == 200
        beside = await asyncio.to_thread(audit_verify, store, tmp_path)
        assert (beside.returncode, beside.stderr) == (0, "")
        assert beside.stdout.startswith("The audit is whole; ")
        server.send(signal.SIGTERM)
        assert await server.ended() == 0

    said = [record for record in server.records() if record["message"] == "audit head"]
    async with rig.vault.database.read() as tx:
        found = await tx.execute(
            text(f"SELECT s.head_seq, s.head_mac, {LAST} FROM audit_streams s WHERE s.stream = :s"),
            {"s": said[-1]["stream"]},
        )
        row = found.one()
    assert (said[-1]["seq"], said[-1]["mac"]) == (row.head_seq, row.head_mac.hex())
    assert row.head_seq == row.last


def audit_verify(store: Store, folder: Path, *options: str) -> Any:
    environment = {"ENCRYPTION_SECRET": SECRET, "DATABASE_URL": store.url}
    return run("audit", "verify", *options, folder=folder, environment=environment)


async def test_the_command_says_what_is_wrong(store: Store, one: Replica, tmp_path: Path) -> None:
    """Exit 1 and what is wrong, as one JSON object or as a line for each stream that is not whole."""
    await one.write(5)
    await one.sql("UPDATE audit_events SET actor = 'x' WHERE seq = 3")

    bad = await asyncio.to_thread(audit_verify, store, tmp_path, "--json")

    assert bad.returncode == 1
    assert json.loads(bad.stdout) == {
        "whole": False,
        "streams": 1,
        "records": 2,
        "unchained": 0,
        "findings": [{"stream": one.stream, "seq": 3, "what": "altered"}],
    }
    assert str(await one.verify()).splitlines() == [
        f"{one.stream}/3 altered: its MAC does not fit what it says there",
        "The audit is NOT whole; records that fit: 2, in 1 stream(s).",
    ]
