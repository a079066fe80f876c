"""An import in a process of its own that is killed at its n-th moment: no two are alike, and none is left out.

A moment is right before a statement that changes a tenant, a client, a connection or a sealed value, right
before such a transaction is committed, or right after.
"""

import asyncio
from dataclasses import dataclass

from tests.forks import FORKS
from tests.killable_keys import hook
from tests.rig import settings
from vault.app import build
from vault.keyring import Keyring
from vault.moving.foreign import Opener
from vault.moving.importing import Importing, Wishes
from vault.store.database import Database

TABLES = frozenset({"providers", "tenants", "clients", "connections", "token_states", "sealed_values"})


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the process imports, and at which moment (from 1) it is killed."""

    url: str
    keyring: Keyring
    lines: list[bytes]
    moment: int


def carried_out(order: Order) -> int:
    """Return the exit code of a process that carries out *order*: -9 where it came to its moment."""
    process = FORKS.Process(target=main, args=(order,), daemon=True)
    process.start()
    try:
        process.join(60)
        assert process.exitcode is not None, "still running"
        return process.exitcode
    finally:
        process.kill()
        process.join()


def main(order: Order) -> None:
    hook(order.moment, TABLES)
    asyncio.run(_run(order))


async def _run(order: Order) -> None:
    vault = build(settings(order.url), Database(order.url), order.keyring, alone=False)
    try:
        async for _ in Importing(vault, Opener(), Wishes()).run(order.lines, lambda _done: None):
            pass
    finally:
        await vault.close()
