"""How long rotating keys takes: all values sealed anew, and all opened once more before the former key goes."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack

from sqlalchemy import text

from benchmarks import filling
from benchmarks.figures import Section, number
from benchmarks.machine import on
from benchmarks.stage import DATABASES, Stage
from vault.app import serving
from vault.keys.reseal import reseal
from vault.keys.retire import retire
from vault.keys.roots import Keys
from vault.services import Vault

VALUES = 100_000
HEADER = ("database", "values", "reseal", "values/s", "retire (every value opened)")
_OLDER = text("UPDATE keyring SET created_at = created_at - 60000 WHERE state = 'pending'")


def run(stage: Stage) -> Section:
    """Return the table for both databases, with nothing else going on; nothing is held to a limit."""
    section = Section("Rotating keys", HEADER)
    values = 1000 if stage.quick else VALUES
    for kind in DATABASES:
        with ExitStack() as stack:
            url = stack.enter_context(stage.database(kind))
            stack.enter_context(on(stage.cores.measured))
            stage.tell(f"{values:,} values on {kind}")
            resealing, retiring = asyncio.run(rotated(url, values))
        rate = number(values / resealing)
        row = (kind, f"{values:,}", f"{number(resealing)} s", rate, f"{number(retiring)} s")
        section.rows.append(row)
    return section


async def rotated(url: str, values: int) -> tuple[float, float]:
    """Return the seconds that it takes to seal *values* anew, and to retire the former key."""
    async with serving(filling.settings(url)) as vault:
        client = (await filling.furnish(vault)).client
        await filling.connect(vault, client, values // 2)
        await _promoted(vault)
        began = time.monotonic()
        report = await reseal(vault.database, vault.writer, vault.keyring, _unseen)
        resealed = time.monotonic()
        last = await retire(vault.database, vault.writer, vault.keyring, _unseen, lose=0)
        retired = time.monotonic()
        assert (report.unopened, last.refusal) == ([], None)
        return resealed - began, retired - resealed


async def _promoted(vault: Vault) -> None:
    keys = Keys(vault.database, vault.writer, vault.keyring)
    await keys.add()
    async with vault.database.transaction() as tx:
        await tx.execute(_OLDER)
    await keys.promote()
    await vault.watch.listen()


def _unseen(_expected: int) -> Callable[[int], None]:
    return lambda _done: None
