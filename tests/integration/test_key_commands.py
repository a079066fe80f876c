"""`tokenvault keys` as an operator runs it: commands of their own beside a server that refreshes and hands out."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_postgres, on_sqlite
from tests.integration.judge import adopt_many, came_together, eventually, stored_pair
from tests.integration.turning import grow_old, promoted, stored
from tests.processes import ROOT, ran, started, token_path
from tests.rig import Rig
from vault.errors import StorageUnavailable
from vault.memory import GATES
from vault.store.connections import database_time
from vault.store.moments import milliseconds
from vault.store.writer import Transaction

COUNT = 80  # connections
NEW = "canary-new-secret-" + "n" * 32


class Operator:
    """Runs `tokenvault keys …` on one database; keeps all that is printed."""

    def __init__(self, store: Store) -> None:
        self._url = store.url
        self.printed = ""

    async def run(self, *arguments: str, given: str = "", **changed: str) -> tuple[int, str]:
        """Return exit code and what was printed."""
        code, output = await ran(["keys", *arguments], self._url, ROOT, given, **changed)
        self.printed += output
        return code, output

    async def told(self, *arguments: str, given: str = "", **changed: str) -> dict[str, Any]:
        code, output = await self.run(*arguments, "--json", given=given, **changed)
        assert code == 0, output
        return dict(json.loads(output))


async def read_on(api: httpx.AsyncClient, names: list[str], bad: list[str]) -> None:
    """Fetch one token after the other until cancelled; note what is not answered well."""
    for name in itertools.cycle(names):
        answer = await api.get(token_path(name), params={"wait": 20})
        if answer.status_code != 200:
            bad.append(f"{answer.status_code} {answer.text}")
        await asyncio.sleep(0.02)  # the commands want a processor too


async def expire_on(rig: Rig) -> None:
    """Have the tokens of all connections come to an end, again and again, until cancelled."""
    soon = text("UPDATE token_states SET access_expires_at = :soon, issued_lifetime = 3600")

    async def unit(tx: Transaction) -> None:
        tx.outdate(GATES)  # what goes behind the program's back, its memory has to be told of
        then = await database_time(tx.connection) + timedelta(seconds=40)
        await tx.execute(soon, {"soon": milliseconds(then)})

    while True:
        with suppress(StorageUnavailable):  # one of two that hold rows and want each other's
            await rig.vault.writer.submit(unit)
        await asyncio.sleep(0.2)


@asynccontextmanager
async def under_load(*load: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Keep *load* going meanwhile. Fails where one of it ended."""
    tasks = [asyncio.create_task(each) for each in load]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


# On SQLite the same commands are run beside a server as the README has them.
@on_postgres
async def test_keys_are_rotated_beside_a_server(
    replicas: Replicas, store: Store, tmp_path: Path, leaks: Leaks
) -> None:
    """While a server refreshes and hands out without a pause, every command does its part; nothing is lost."""
    rig, operator, bad = await replicas(), Operator(store), list[str]()
    grants = [await rig.provider.mint() for _ in range(COUNT)]
    names = await adopt_many(rig, grants)
    key = await rig.key("tokens:read")
    async with started("serve", store.url, tmp_path) as server, server.api(key) as api:
        load = [read_on(api, part, bad) for part in (names[::4], names[1::4])]  # the others lie still
        async with under_load(*load, expire_on(rig)):
            added = (await operator.told("add"))["key"]
            await grow_old(rig)
            now_primary = (await operator.told("promote"))["key"]
            first = await operator.told("reseal")
            last = await operator.told("retire")
            asked = (await rig.provider.ledger()).token_requests
            await eventually(lambda: refreshed_more(rig, asked))
        assert await server.terminate() == 0
    _, listed = await operator.run("status", "--json")

    assert bad == []
    assert (added, last["retired"] != [added]) == (now_primary, True)
    assert first["complete"] is True
    assert first["resealed"] >= COUNT
    states = {told["key"]: (told["state"], told["values"]) for told in map(json.loads, listed.splitlines())}
    assert states[added] == ("primary", 2 * COUNT + 1)
    assert states[last["retired"][0]] == ("disabled", 0)
    assert (await stored(rig))[1] == []
    ledger = await rig.provider.ledger()
    for name, grant in zip(names, grants, strict=True):
        assert came_together(ledger, grant.family, await stored_pair(rig, name))
    assert ledger.reuses() == []
    leaks.check(operator.printed + server.output)


async def refreshed_more(rig: Rig, asked: int) -> bool:
    return (await rig.provider.ledger()).token_requests > asked + 2


@on_sqlite
async def test_the_secret_is_changed_by_file_or_standard_input(rig: Rig, store: Store, tmp_path: Path) -> None:
    """The new secret is no argument, and never printed; after `--finish` the old one is wrong."""
    operator = Operator(store)
    await rig.a_connection("c")
    file = tmp_path / "secret"
    file.write_text(f"{NEW}\n")

    code, said = await operator.run("rewrap", "--secret-file", "-", given="canary-short\n")
    assert (code, "at least 32" in said) == (1, True)
    assert (await operator.told("rewrap", "--secret-file", str(file)))["outcome"] == "added"
    finished = await operator.told("rewrap", "--finish", ENCRYPTION_SECRET=NEW)
    code, said = await operator.run("status")

    assert finished["outcome"] == "finished"
    assert (code, "ENCRYPTION_SECRET is not the one" in said) == (78, True)
    assert "canary-" not in operator.printed


@on_sqlite
async def test_what_cannot_be_done_is_exit_1_and_a_sentence(rig: Rig, store: Store) -> None:
    """Retiring with values left under the former key says how many, and its JSON has the reason."""
    operator = Operator(store)
    await rig.a_connection("c")
    await promoted(rig)

    code, said = await operator.run("retire", "--json")

    assert code == 1
    assert "3 values are left" in json.loads(said)["refusal"]
    assert json.loads(said)["retired"] == []
    listed = (await operator.run("status"))[1]
    assert len(listed.splitlines()) == 3
    assert "decrypt_only" in listed
