"""kill -9 at every moment of an import: each item is there whole or not at all, and run again it goes on."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from tests.integration.conftest import Store, on_sqlite
from tests.integration.moving import as_lines, imported_lines, tokens_of, told
from tests.killable_import import Order, carried_out
from tests.rig import PROVIDER, TENANT, Rig, replica
from vault.store.database import sqlite_path

Left = tuple[str, ...]  # what the next run would do with each line
KILLED = -9
UNCHANGED = ("unchanged", None)
NEW = "paris"


async def items_of(rig: Rig) -> list[bytes]:
    """Return a tenant, and a connection of its own with all that a record can say."""
    facts: dict[str, Any] = {"scopes": ["read"], "account": "ann", "granted_at": "2026-01-31T12:00:00Z"}
    grant = await rig.provider.mint()
    return as_lines(
        [
            {"type": "tenant", "tenant": NEW, "parent": TENANT, "return_urls": ["https://app.example/done"]},
            tokens_of(grant, tenant=NEW, metadata={"plan": "pro"}, **facts),
        ]
    )


@on_sqlite
async def test_a_killed_import_leaves_whole_items_and_goes_on(rig: Rig, store: Store, tmp_path: Path) -> None:
    """At each moment a connection is missing or serves its token, and the next run brings what is left."""
    lines, left = await items_of(rig), set[Left]()
    before = sqlite_path(store.url)
    assert before is not None
    for moment in range(1, 200):
        path = tmp_path / f"{moment}.db"
        shutil.copyfile(before, path)
        url = f"sqlite+aiosqlite:///{path}"
        order = Order(url=url, keyring=store.keyring, lines=lines, moment=moment)
        code = await asyncio.to_thread(carried_out, order)
        async with replica(url, store.keyring, rig.provider) as there:
            left.add(await what_is_left(there, lines))
            await imported_lines(there, lines)
            assert told(await imported_lines(there, lines)) == [UNCHANGED] * len(lines)
        if code != KILLED:
            break

    assert code == 0
    assert left == {
        ("created", "created"),
        ("unchanged", "created"),
        ("unchanged", "unchanged"),
    }


async def what_is_left(there: Rig, lines: list[bytes]) -> Left:
    """Return what the next run would do with each line, after seeing that a connection that is there is served."""
    outcomes = tuple(line.outcome for line in await imported_lines(there, lines, dry_run=True))
    record = json.loads(lines[-1])
    path = f"/v1/connections/{NEW}/{PROVIDER}/{record['name']}"
    answer = await there.api.get(f"{path}/token")
    assert (answer.status_code == 200) == (outcomes[-1] != "created"), answer.text
    if outcomes[-1] != "created":
        assert answer.json()["access_token"] == record["access_token"]
        assert (await there.api.get(path)).json()["metadata"] == record["metadata"]
    return outcomes
