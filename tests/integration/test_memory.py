"""Serving from memory: fast, and never what has ended, whoever ended it and whatever stood still meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import audited, eventually, queued
from tests.processes import VaultProcess, started, token_path
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, TENANT, Rig, replica
from vault.callers import OPERATOR
from vault.connections import Change
from vault.memory import STALE_AFTER
from vault.store.changes import Stale
from vault.store.writer import Transaction

PATH = (TENANT, PROVIDER, "c")


# --- hits -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def statements() -> AsyncIterator[list[str]]:
    """Give the list of all statements that are sent to the database in the block, but for the hearings."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "changes" not in statement and "audit" not in statement and "julianday('now')" not in statement[:60]:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def heard(rig: Rig) -> None:
    """Wait until what is remembered may be relied on."""

    async def reliable() -> bool:
        return rig.vault.memory.now() is not None

    await eventually(reliable)


async def test_a_fresh_token_is_served_without_asking_the_database(rig: Rig) -> None:
    """The second reads nothing: key, limits and token are remembered. Its audit row is written all the same."""
    await rig.a_connection("c")
    first = await rig.token("c")
    await heard(rig)

    async with statements() as seen:
        second = await rig.token("c", min_ttl=120)

    assert second.status_code == 200
    assert second.json()["access_token"] == first.json()["access_token"]
    assert [one for one in seen if "token_states" in one or "callers" in one or "tenants" in one] == []
    assert len(await audited(rig, "token.handed_out")) == 2


async def test_both_ways_answer_alike(rig: Rig) -> None:
    """What is answered from memory is what the ordinary route answers, headers too, but for the passing second."""
    await rig.a_connection("c")
    await rig.token("c")
    await heard(rig)

    hot = await rig.token("c")
    # Written like this, the same question is not one that the short way takes.
    ordinary = await rig.api.get(f"/v1/connections/{TENANT}/{PROVIDER}/c/token?wait=10&min_ttl=60")

    ignored = {"x-request-id"}
    assert {k: v for k, v in hot.headers.items() if k not in ignored} == {
        k: v for k, v in ordinary.headers.items() if k not in ignored
    }
    told, also = hot.json(), ordinary.json()
    assert abs(told.pop("expires_in") - also.pop("expires_in")) <= 1
    assert abs(parsed(told.pop("expires_at")) - parsed(also.pop("expires_at"))) <= 1
    assert told == also


def parsed(moment: str) -> float:
    return time.mktime(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))


# What is asked, and the status of the answer.
QUERIES = {
    "min_ttl=-1": 400,
    "min_ttl=31536001": 400,
    "wait=26": 400,
    "min_ttl=60&min_ttl=60": 400,
    "min_ttl=1e3": 200,
    "unknown=1": 400,
    "wait=0&min_ttl=60": 200,
    "min_ttl=60wait=1": 400,
    "&wait=5": 200,
    "min_ttl=": 400,
    "min_ttl=060": 400,
    "min_ttl=60&wait=05": 400,
    "min_ttl=0": 200,
    "min_ttl=0&wait=0": 200,
}


@on_sqlite
async def test_remembering_refuses_what_the_ordinary_route_refuses(rig: Rig) -> None:
    """With everything remembered, each query is answered as it is without a memory."""
    await rig.a_connection("c")
    for query, status in QUERIES.items():
        address = f"/v1/connections/{TENANT}/{PROVIDER}/c/token?{query}"
        rig.vault.memory.forget_all()
        without = await rig.api.get(address)
        await rig.token("c")
        await heard(rig)

        remembered = await rig.api.get(address)

        assert (without.status_code, remembered.status_code) == (status, status), query


@on_sqlite
async def test_every_refusal_stands_with_everything_remembered(rig: Rig) -> None:
    """A missing scope, a foreign tenant, provider or name, and a forged key are refused as ever."""
    await rig.a_connection("c")
    await rig.vault.tenants.put(OPERATOR, "other", parent="platform", name="Other", return_urls=[])
    keys = {
        "good": (await rig.key("tokens:read"), 200),
        "scope": (await rig.key("connections:read"), 403),
        "tenant": (await rig.key("tokens:read", tenant="other"), 404),
        "provider": (await rig.key("tokens:read", providers=["another"]), 404),
        "name": (await rig.key("tokens:read", names=["d"]), 404),
        "forged": (("tv_" + "a" * 12 + "_" + "0" * 64 + "_00000000"), 401),
    }
    for _ in range(2):  # the second time, all of them are remembered
        for what, (key, status) in keys.items():
            headers = {"Authorization": f"Bearer {key}"}
            answer = await rig.api.get(token_path("c"), headers=headers)
            assert (what, answer.status_code) == (what, status)
        await heard(rig)


async def test_a_key_that_ends_meanwhile_is_refused(rig: Rig) -> None:
    """The end of a key's life is looked at each time, not only when it was read."""
    ends = datetime.now(UTC) + timedelta(seconds=2)
    key = await rig.key("tokens:read", expires_at=ends)
    await rig.a_connection("c")
    headers = {"Authorization": f"Bearer {key}"}
    assert (await rig.api.get(token_path("c"), headers=headers)).status_code == 200

    async def refused() -> bool:
        return (await rig.api.get(token_path("c"), headers=headers)).status_code == 401

    await eventually(refused)
    assert datetime.now(UTC) >= ends


# --- done means done --------------------------------------------------------------------------------------


async def revoke(other: Rig, key: str) -> None:
    await other.vault.callers.delete(OPERATOR, key.split("_")[1])


async def disable(other: Rig, _key: str) -> None:
    await other.vault.connections.put("operator", PATH, [TENANT, "platform"], Change(enabled=False))


async def delete(other: Rig, _key: str) -> None:
    await other.vault.connections.delete("operator", PATH, revoking="false")


ENDINGS = {"revoked": (revoke, 401), "disabled": (disable, 409), "deleted": (delete, 409)}
endings = pytest.mark.parametrize(("end", "status"), ENDINGS.values(), ids=ENDINGS)
Ending = Callable[[Rig, str], Awaitable[None]]


@asynccontextmanager
async def two_processes(
    store: Store, provider: FakeProvider, folder: Path
) -> AsyncIterator[tuple[VaultProcess, Rig, str, httpx.AsyncClient]]:
    """Give a server that remembers a token, another process on its database (this one), a key and its client."""
    async with replica(store.url, store.keyring, provider) as other:
        await other.setup()
        await other.a_connection("c")
        key = await other.key("tokens:read")
        other.vault.memory._alone = False  # this process only stands beside the one that serves
        async with started("serve", store.url, folder) as server, server.api(key) as api:
            for _ in range(3):
                assert (await api.get(token_path("c"))).status_code == 200
            yield server, other, key, api


@endings
async def test_what_has_ended_is_refused_by_every_process(
    store: Store, provider: FakeProvider, tmp_path: Path, end: Ending, status: int
) -> None:
    """Once one process has answered that it is done, the other one refuses, though it is asked all along."""
    async with two_processes(store, provider, tmp_path) as (_server, other, key, api):
        asking, served = True, 0

        async def ask() -> None:
            nonlocal served
            while asking:
                served += (await api.get(token_path("c"))).status_code == 200

        asker = asyncio.create_task(ask())
        began = time.monotonic()
        await end(other, key)
        took = time.monotonic() - began
        after = await api.get(token_path("c"))
        asking = False
        await asker

    assert after.status_code == status
    assert served > 0
    assert took >= STALE_AFTER  # it waits until no process can serve it any more


@endings
async def test_a_process_that_stood_still_serves_nothing_that_has_ended(
    store: Store, provider: FakeProvider, tmp_path: Path, end: Ending, status: int
) -> None:
    """Stopped before the end and continued after it, a process relies on nothing it remembered."""
    async with two_processes(store, provider, tmp_path) as (server, other, key, api):
        server.send(SIGSTOP)
        await end(other, key)
        question = asyncio.create_task(api.get(token_path("c")))
        await asyncio.sleep(0.05)  # it waits in the socket of the process that stands still
        server.send(SIGCONT)

        assert (await question).status_code == status


async def test_without_hearing_nothing_is_served_from_memory(
    replicas: Replicas, store: Store, provider: FakeProvider
) -> None:
    """Where the changes cannot be heard for the length of the bound, a hit is no hit."""
    rig = await replicas()
    await rig.a_connection("c")
    await rig.token("c")
    await heard(rig)
    await rig.vault.watch.close()

    async def deaf() -> bool:
        return rig.vault.memory.now() is None

    await eventually(deaf)
    async with statements() as seen:
        assert (await rig.token("c")).status_code == 200

    assert [one for one in seen if "token_states" in one] != []


@on_postgres
async def test_who_waited_is_looked_at_again(replicas: Replicas, provider: FakeProvider) -> None:
    """A key that is withdrawn while its request waits for a refresh gets no token when the refresh is over."""
    rig, other = await replicas(), await replicas()
    await rig.a_connection("c", expires_in=0)
    key = await rig.key("tokens:read")
    await provider.hold()
    headers = {"Authorization": f"Bearer {key}"}
    asking = asyncio.create_task(rig.api.get(token_path("c"), params={"wait": 20}, headers=headers))
    await provider.wait_for_held()
    await revoke(other, key)
    await provider.release()

    assert (await asking).status_code == 401


async def test_a_record_that_took_long_is_not_the_last_look(rig: Rig) -> None:
    """Disabled while its audit record waits for the database, a connection's token does not leave any more."""
    await rig.a_connection("c")
    await rig.token("c")
    await heard(rig)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def blocking(_tx: Transaction) -> None:
        begun.set()
        await go_on.wait()

    blocked = asyncio.create_task(rig.vault.writer.submit(blocking, alone=True))
    await begun.wait()
    disabling = asyncio.create_task(disable(rig, ""))
    await eventually(queued(rig, 2))  # the watch is one of them
    asking = asyncio.create_task(rig.token("c"))
    await eventually(queued(rig, 3))
    await asyncio.sleep(STALE_AFTER)
    go_on.set()
    await blocked
    await disabling

    assert (await asking).status_code == 409


# --- hearing ----------------------------------------------------------------------------------------------


@on_postgres
async def test_a_change_that_commits_late_is_not_stepped_over(replicas: Replicas) -> None:
    """A number that was handed out early and committed after later ones is still heard."""
    rig, writing = await replicas(), await replicas()
    early, late = Stale("caller", "early"), Stale("caller", "late")
    for change in (early, late):
        await rig.vault.memory.load(change.key, remembered(change))
    handed_out, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with writing.vault.database.transaction() as tx:
            await tx.execute(text("INSERT INTO changes (kind, key, at) VALUES ('caller', 'early', 0)"))
            handed_out.set()
            await go_on.wait()

    task = asyncio.create_task(slow())
    await handed_out.wait()

    async def unit(tx: Transaction) -> None:
        tx.outdate(late)

    await writing.vault.writer.submit(unit)
    await rig.vault.watch.listen()
    assert (rig.vault.memory.recall("early"), rig.vault.memory.recall("late")) == (early, None)
    go_on.set()
    await task
    await rig.vault.watch.listen()

    assert rig.vault.memory.recall("early") is None


def remembered(change: Stale) -> Any:
    async def load() -> tuple[Stale, tuple[Stale]]:
        return change, (change,)

    return load


async def test_hearing_goes_on_after_any_error(rig: Rig) -> None:
    """A statement that fails for a reason that is no outage costs one hearing, not all that would come."""
    await heard(rig)
    failed = 0

    def fail_once(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal failed
        if statement.startswith("SELECT changes.seq") and not failed:
            failed += 1
            raise LookupError

    event.listen(Engine, "before_cursor_execute", fail_once)
    try:

        async def happened() -> bool:
            return failed == 1

        await eventually(happened)
        before = rig.vault.memory.heard_ago()
        assert before is not None

        async def hears_again() -> bool:
            ago = rig.vault.memory.heard_ago()
            return ago is not None and ago < before

        await eventually(hears_again)
    finally:
        event.remove(Engine, "before_cursor_execute", fail_once)


async def test_who_was_deaf_for_long_forgets_everything(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are not kept for ever: whoever may have missed some that were pruned starts from nothing."""
    await rig.a_connection("c")
    await rig.token("c")
    assert len(rig.vault.memory) > 0
    rig.vault.watch._last_good -= 1000

    await rig.vault.watch.listen()

    assert len(rig.vault.memory) == 0


async def test_old_changes_are_pruned(rig: Rig) -> None:
    """Housekeeping drops what every process that is still relied on has heard."""

    async def unit(tx: Transaction) -> None:
        await tx.execute(text("INSERT INTO changes (kind, key, at) VALUES ('caller', 'old', 1)"))

    await rig.vault.writer.submit(unit)
    await rig.vault.tidy()

    async with rig.vault.database.read() as tx:
        left = (await tx.execute(text("SELECT count(*) FROM changes WHERE key = 'old'"))).scalar_one()
    assert left == 0
