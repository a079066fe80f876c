"""The writer: what shares a commit, in which order, and what becomes of it when the database goes away."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import event, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError

from tests.integration.conftest import Store
from vault.audit import Event
from vault.chain import Chain
from vault.errors import StorageUnavailable
from vault.metrics import Metrics
from vault.store.database import Database, sqlite_path
from vault.store.schema import audit_events, providers
from vault.store.trail import Trail
from vault.store.writer import LARGEST_GROUP, Transaction, Unit, Writer


@dataclass
class Desk:
    """A writer on a real database, and what can be seen of its work from outside."""

    store: Store
    database: Database
    writer: Writer
    commits: int = 0
    groups: list[list[str]] = field(default_factory=list)  # the units that were run, by transaction
    _transactions: list[Transaction] = field(default_factory=list)

    def unit(self, name: str) -> Unit[str]:
        """Return a unit that stores a row called *name*, records it, and returns the name."""

        async def unit(tx: Transaction) -> str:
            self.note(tx, name)
            await tx.execute(insert(providers), {"id": name, "definition": "{}"})
            tx.record(Event("operator", "provider.changed", name=name))
            return name

        return unit

    def note(self, tx: Transaction, name: str) -> None:
        if not self._transactions or self._transactions[-1] is not tx:
            self._transactions.append(tx)  # kept, so that no later one can be taken for it
            self.groups.append([])
        self.groups[-1].append(name)

    def submit(self, name: str, unit: Unit[Any] | None = None, *, alone: bool = False) -> "asyncio.Task[Any]":
        return asyncio.create_task(self.writer.submit(unit or self.unit(name), alone=alone), name=name)

    @asynccontextmanager
    async def busy(self, name: str = "first") -> AsyncIterator[None]:
        """Keep a transaction open for the length of the block: what is submitted in it has to wait."""
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def unit(tx: Transaction) -> None:
            await self.unit(name)(tx)
            begun.set()
            await go_on.wait()

        first = self.submit(name, unit)
        await begun.wait()
        yield
        await asyncio.sleep(0)  # lets the tasks that were made in the block submit
        go_on.set()
        await first

    async def stored(self) -> set[str]:
        async with self.database.read() as tx:
            return set((await tx.execute(select(providers.c.id))).scalars())

    async def audit(self) -> list[tuple[int, str]]:
        """Return number and name of what was recorded, in the order of the numbers."""
        async with self.database.read() as tx:
            found = select(audit_events.c.seq, audit_events.c.name).order_by(audit_events.c.seq)
            return [(row.seq, row.name) for row in await tx.execute(found)]

    async def audited(self) -> list[str]:
        """Return the names of what was recorded; its one stream must count them from 1 without a gap."""
        audit = await self.audit()
        assert [number for number, _ in audit] == list(range(1, len(audit) + 1))
        return [name for _, name in audit]


async def spoiled(tx: Transaction) -> None:
    """Break a constraint, having recorded what will not have happened."""
    tx.record(Event("operator", "provider.changed", name="spoiled"))
    await tx.execute(text("INSERT INTO tenants (id, name, created_at) VALUES ('second-root', '', 0)"))


@asynccontextmanager
async def desk_on(store: Store, url: str | None = None) -> AsyncIterator[Desk]:
    database = Database(url or store.url)
    desk = Desk(store, database, Writer(database, Trail(Chain(bytes(32))), lambda _stale: None, Metrics()))

    def count(_connection: Any) -> None:
        desk.commits += 1

    event.listen(database._writing.sync_engine, "commit", count)
    yield desk
    await desk.writer.close()
    await database.close()


@pytest.fixture(name="desk")
async def _desk(store: Store) -> AsyncIterator[Desk]:
    async with desk_on(store) as desk:
        yield desk


# --- groups ----------------------------------------------------------------------------------------------


async def test_a_unit_is_committed_when_its_submitter_hears_of_it(desk: Desk) -> None:
    """The result comes back once row and audit record can be read by anybody."""
    assert await desk.writer.submit(desk.unit("a")) == "a"

    assert await desk.stored() == {"a"}
    assert await desk.audited() == ["a"]
    assert desk.commits == 1


async def test_what_arrives_during_a_commit_shares_the_next(desk: Desk) -> None:
    """However many units wait for one transaction, one more holds them all, in the order of their arrival."""
    names = [f"x{n}" for n in range(20)]
    async with desk.busy():
        waiting = [desk.submit(name) for name in names]

    assert await asyncio.gather(*waiting) == names
    assert desk.groups == [["first"], names]
    assert desk.commits == 2
    assert await desk.audited() == ["first", *names]


async def test_a_commit_waits_while_each_round_of_the_loop_brings_more(desk: Desk) -> None:
    """Requests that come close together share one commit, though the first found nothing under way."""
    names = [f"x{n}" for n in range(5)]
    waiting = []
    for name in names:
        waiting.append(desk.submit(name))
        await asyncio.sleep(0)

    assert await asyncio.gather(*waiting) == names
    assert desk.groups == [names]


async def test_a_group_has_a_largest_size(desk: Desk) -> None:
    """A flood becomes several transactions, none of them endless, and the order stays."""
    names = [f"x{n}" for n in range(2 * LARGEST_GROUP + 1)]
    async with desk.busy():
        waiting = [desk.submit(name) for name in names]

    await asyncio.gather(*waiting)
    assert list(map(len, desk.groups)) == [1, LARGEST_GROUP, LARGEST_GROUP, 1]
    assert desk.commits == 4
    assert await desk.audited() == ["first", *names]


async def test_each_writer_has_a_stream_of_its_own(desk: Desk) -> None:
    """Two replicas write at the same time, and each counts its own records from 1."""
    async with desk_on(desk.store) as other:
        names = [f"x{n}" for n in range(20)]
        await asyncio.gather(
            *(
                each.writer.submit(each.unit(name + end))
                for name in names
                for each, end in ((desk, "a"), (other, "b"))
            )
        )
    async with desk.database.read() as tx:
        rows = (await tx.execute(select(audit_events).order_by(audit_events.c.stream, audit_events.c.seq))).all()

    assert len({row.stream for row in rows}) == 2
    assert [row.seq for row in rows] == [*range(1, 21), *range(1, 21)]
    assert len({row.name[-1] for row in rows[:20]}) == 1


# --- failures of units -----------------------------------------------------------------------------------


async def test_a_spoiled_unit_fails_alone(desk: Desk) -> None:
    """Of a group in which one breaks a constraint, all others are committed, once and in their order."""
    async with desk.busy():
        before, bad, after = desk.submit("before"), desk.submit("bad", spoiled), desk.submit("after")

    answers = await asyncio.gather(before, bad, after, return_exceptions=True)

    assert (answers[0], type(answers[1]), answers[2]) == ("before", IntegrityError, "after")
    assert await desk.stored() == {"first", "before", "after"}
    assert await desk.audited() == ["first", "before", "after"]


@dataclass
class OurMistake(Exception):
    """What a unit may raise that has nothing to do with the database."""


async def mistaken(tx: Transaction) -> None:
    tx.record(Event("operator", "provider.changed", name="mistaken"))
    await tx.execute(insert(providers), {"id": "mistaken", "definition": "{}"})
    raise OurMistake


async def test_a_unit_that_raises_leaves_nothing_behind(desk: Desk) -> None:
    """What a unit wrote and recorded before it raised is undone, and its submitter gets just that exception."""
    with pytest.raises(OurMistake):
        await desk.writer.submit(mistaken)

    assert await desk.stored() == set()
    assert await desk.writer.submit(desk.unit("a")) == "a"
    assert await desk.audited() == ["a"]


async def test_failures_leave_no_gaps(desk: Desk) -> None:
    """Good and bad units in any mix number their records as if the bad had never been."""
    async with desk.busy():
        mix = [desk.submit(f"x{n}", (None, spoiled, mistaken)[n % 3]) for n in range(12)]

    answers = await asyncio.gather(*mix, return_exceptions=True)

    good = [answer for answer in answers if isinstance(answer, str)]
    assert good == ["x0", "x3", "x6", "x9"]
    assert await desk.audited() == ["first", *good]


async def test_a_unit_alone_runs_alone(desk: Desk) -> None:
    """A unit that may break a constraint shares its transaction with nobody, and keeps its place in the order."""
    async with desk.busy():
        waiting = [
            desk.submit(name, alone=name.startswith("alone")) for name in ("a", "b", "alone1", "alone2", "c", "d")
        ]

    await asyncio.gather(*waiting)

    assert desk.groups == [["first"], ["a", "b"], ["alone1"], ["alone2"], ["c", "d"]]
    assert await desk.audited() == ["first", "a", "b", "alone1", "alone2", "c", "d"]


async def test_a_unit_alone_that_fails_costs_nobody_a_second_run(desk: Desk) -> None:
    """Where the unit that breaks a constraint was alone, everybody else runs once."""
    async with desk.busy():
        waiting = [desk.submit("a"), desk.submit("bad", spoiled, alone=True), desk.submit("b")]

    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(answers[1], IntegrityError)
    assert desk.groups == [["first"], ["a"], ["b"]]
    assert desk.commits == 3


# --- submitters that go away -----------------------------------------------------------------------------


async def test_a_cancelled_submitters_unit_is_committed(desk: Desk) -> None:
    """Who gives up waiting takes nothing out of a transaction, neither its own unit nor anybody else's."""
    async with desk.busy():
        waiting = [desk.submit(name) for name in ("a", "b", "c")]
        await asyncio.sleep(0)
        waiting[1].cancel()

    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert (answers[0], type(answers[1]), answers[2]) == ("a", asyncio.CancelledError, "c")
    assert await desk.stored() == {"first", "a", "b", "c"}
    assert await desk.audited() == ["first", "a", "b", "c"]


async def test_a_failure_that_nobody_waits_for_is_quiet(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The failed unit of a submitter that went away does not come up as a task whose exception was lost."""
    async with desk.busy():
        gone = desk.submit("bad", spoiled)
        await asyncio.sleep(0)
        gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert await desk.writer.submit(desk.unit("a")) == "a"
    gc.collect()

    assert [record for record in caplog.records if record.name == "asyncio" and record.levelname == "ERROR"] == []


async def test_closing_writes_what_was_submitted(store: Store) -> None:
    """A writer that is told to stop commits what it has taken on, and only then stops."""
    names = [f"x{n}" for n in range(20)]
    async with desk_on(store) as desk:
        waiting = [desk.submit(name, alone=name.endswith("5")) for name in names]
        await asyncio.sleep(0)

        await desk.writer.close()

        assert await asyncio.gather(*waiting) == names
        assert await desk.audited() == names
        assert await desk.stored() == set(names)


async def test_a_unit_that_comes_after_the_close_is_refused(store: Store) -> None:
    """Who submits to a writer that has stopped hears of it instead of waiting for ever."""
    async with desk_on(store) as desk:
        await desk.writer.close()

        async with asyncio.timeout(5):
            with pytest.raises(StorageUnavailable):
                await desk.writer.submit(desk.unit("late"))


# --- a database that goes away ---------------------------------------------------------------------------


async def test_a_session_cut_during_a_unit_fails_the_group_and_no_other(postgres_store: Store) -> None:
    """What was under way when the session died is refused, undone and not counted; the next unit goes through."""
    async with desk_on(postgres_store) as desk:
        await desk.writer.submit(desk.unit("before"))

        async def cut(tx: Transaction) -> None:
            pid = await tx.connection.scalar(text("SELECT pg_backend_pid()"))
            async with desk.database.read() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            await tx.execute(text("SELECT 1"))

        async with desk.busy():
            waiting = [desk.submit("a"), desk.submit("cut", cut), desk.submit("b")]
        answers = await asyncio.gather(*waiting, return_exceptions=True)

        assert [type(answer) for answer in answers] == [StorageUnavailable] * 3
        assert await desk.writer.submit(desk.unit("after")) == "after"
        assert await desk.stored() == {"before", "first", "after"}
        assert await desk.audited() == ["before", "first", "after"]


async def test_two_transactions_in_each_others_way_are_both_carried_out(postgres_store: Store) -> None:
    """A deadlock between two replicas refuses nobody: the group that lost is run again, unit by unit."""
    touch = text("UPDATE providers SET definition = definition || '!' WHERE id = :id")
    async with desk_on(postgres_store) as desk, desk_on(postgres_store) as other:
        for name in ("x", "y"):
            await desk.writer.submit(desk.unit(name))
        held = [asyncio.Event(), asyncio.Event()]

        def crossing(first: str, second: str, mine: asyncio.Event, theirs: asyncio.Event) -> list[Unit[Any]]:
            async def one(tx: Transaction) -> None:
                await tx.execute(touch, {"id": first})
                mine.set()
                await theirs.wait()

            async def two(tx: Transaction) -> None:
                await tx.execute(touch, {"id": second})

            return [one, two]

        async with desk.busy(), other.busy("second"):
            waiting = [desk.submit("", unit) for unit in crossing("x", "y", held[0], held[1])]
            waiting += [other.submit("", unit) for unit in crossing("y", "x", held[1], held[0])]
        await asyncio.gather(*waiting)

        async with desk.database.read() as tx:
            found = {row.id: row.definition for row in await tx.execute(select(providers))}
        assert (found["x"], found["y"]) == ("{}!!", "{}!!")


class Wire:
    """A stretch of network before PostgreSQL that can lose the answer to a COMMIT, and then everything."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts_after_commit = False
        self.port, self.url = 0, ""

    @asynccontextmanager
    async def laid(self, port: int = 0) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        self.url = self._url.set(port=self.port).render_as_string(hide_password=False)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection(self._url.host, self._url.port)
        committing = asyncio.Event()

        async def to_server() -> None:
            while data := await reader.read(65536):
                if self.cuts_after_commit and b"COMMIT" in data:
                    committing.set()
                back.write(data)

        async def to_client() -> None:
            while data := await there.read(65536):
                if committing.is_set():  # the server has done it, and nobody will hear so
                    self.cuts_after_commit = False
                    return
                writer.write(data)

        ways = [asyncio.create_task(way()) for way in (to_server, to_client)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for stream in (back, writer):
                stream.close()
                with suppress(OSError):
                    await stream.wait_closed()
            self._tasks.discard(task)


async def test_a_commit_whose_answer_was_lost_is_counted(postgres_store: Store) -> None:
    """After a commit of which nobody knows, the submitter hears so, and the stream goes on behind it."""
    async with Wire(postgres_store.url).laid() as wire, desk_on(postgres_store, wire.url) as desk:
        await desk.writer.submit(desk.unit("before"))
        wire.cuts_after_commit = True

        with pytest.raises(StorageUnavailable):
            await desk.writer.submit(desk.unit("unheard"))

        assert await desk.writer.submit(desk.unit("after")) == "after"
        assert await desk.stored() == {"before", "unheard", "after"}
        assert await desk.audited() == ["before", "unheard", "after"]


async def test_a_server_that_cannot_be_reached_refuses_and_comes_back(postgres_store: Store) -> None:
    """While there is no way to the server every unit is refused; once there is one again, all goes on."""
    wire = Wire(postgres_store.url)
    async with wire.laid():
        pass
    async with desk_on(postgres_store, wire.url) as desk:
        with pytest.raises(StorageUnavailable):
            await desk.writer.submit(desk.unit("nowhere"))

        async with wire.laid(wire.port):
            assert await desk.writer.submit(desk.unit("after")) == "after"
            assert await desk.audited() == ["after"]


@asynccontextmanager
async def impatient(store: Store) -> AsyncIterator[Desk]:
    """Give a desk on SQLite that waits 50 ms for a lock, and not 5 s."""
    async with desk_on(store) as desk:

        @event.listens_for(desk.database._writing.sync_engine, "connect")
        def _hurry(connection: Any, _entry: Any) -> None:
            connection.execute("PRAGMA busy_timeout = 50").close()

        yield desk


async def test_a_file_locked_by_another_program_refuses_and_comes_back(sqlite_store: Store) -> None:
    """While a backup or a shell holds the file, units are refused and not counted; afterwards all goes on."""
    path = sqlite_path(sqlite_store.url)
    assert path is not None
    async with impatient(sqlite_store) as desk:
        await desk.writer.submit(desk.unit("before"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            waiting = [desk.submit(f"x{n}") for n in range(3)]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            other.execute("ROLLBACK")
            other.close()

        assert [type(answer) for answer in answers] == [StorageUnavailable] * 3
        assert await desk.writer.submit(desk.unit("after")) == "after"
        assert await desk.stored() == {"before", "after"}
        assert await desk.audited() == ["before", "after"]


async def test_a_reader_that_holds_up_the_commit_refuses_it_and_nothing_is_stored(sqlite_store: Store) -> None:
    """Where the lock is lost at the very COMMIT, the unit is undone as a whole and the numbers go on."""
    path = sqlite_path(sqlite_store.url)
    assert path is not None
    async with impatient(sqlite_store) as desk:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM tenants").fetchall()  # a shared lock: begin yes, commit no
        try:
            with pytest.raises(StorageUnavailable):
                await desk.writer.submit(desk.unit("held up"))
        finally:
            other.execute("ROLLBACK")
            other.close()

        assert await desk.writer.submit(desk.unit("after")) == "after"
        assert await desk.stored() == {"after"}
        assert await desk.audited() == ["after"]


async def test_a_full_disk_refuses_and_comes_back(sqlite_store: Store) -> None:
    """A database that may not grow refuses what does not fit, as a whole, and takes what fits again."""
    async with desk_on(sqlite_store) as desk:
        await desk.writer.submit(desk.unit("before"))

        async def large(tx: Transaction) -> None:
            pages = await tx.connection.scalar(text("PRAGMA page_count"))
            await tx.execute(text(f"PRAGMA max_page_count = {pages + 10}"))
            tx.record(Event("operator", "provider.changed", name="large"))
            await tx.execute(insert(providers), {"id": "large", "definition": "x" * 1_000_000})

        with pytest.raises(StorageUnavailable):
            await desk.writer.submit(large)

        assert await desk.writer.submit(desk.unit("after")) == "after"
        assert await desk.audited() == ["before", "after"]
