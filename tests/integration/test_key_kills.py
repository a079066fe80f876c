"""kill -9 at every moment of every key command: all opens, and run again it goes on where it was."""

import asyncio
from collections.abc import AsyncIterator

from integrations.contract import Secret
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.judge import adopt_many
from tests.integration.turning import grow_old, keys_of, promoted, resealed, retired, rows, stored
from tests.killable_keys import NEW_SECRET, REFUSED, Command, Order, carried_out
from tests.rig import SECRET, Rig
from vault.keys.reseal import BATCH
from vault.store.database import Database
from vault.unlock import open_keyring

KILLED = -9
CONNECTIONS = BATCH  # of two values each: with the client's secret, three batches


async def filled(rig: Rig, count: int) -> int:
    """Store *count* connections; return how many values there are."""
    await adopt_many(rig, [await rig.provider.mint()] * count)
    return 2 * count + 1


async def killed_everywhere(store: Store, command: Command) -> AsyncIterator[int]:
    """Have *command* killed at its first moment, at its second, and so on; give each number, until it lives.

    It is the same database all the while: each one goes on where the last was killed.
    """
    moment = 0
    while True:
        moment += 1
        order = Order(url=store.url, keyring=store.keyring, command=command, moment=moment)
        code = await asyncio.to_thread(carried_out, order)
        yield moment
        if code != KILLED:
            assert code in {0, REFUSED}
            return


async def states(rig: Rig) -> list[str]:
    """Return the states of all keys of values, once all of those that are in use have proven to be unwrapped."""
    await rig.vault.watch.listen()
    assert rig.vault.keyring.complete
    return sorted(state for (state,) in await rows(rig, "SELECT state FROM keyring WHERE purpose = 'values'"))


async def test_a_killed_reseal_goes_on_where_it_was(rig: Rig, store: Store) -> None:
    """Whenever it is killed, every value opens, under one key or the other; in the end none is under the old."""
    count = await filled(rig, CONNECTIONS)
    new = await promoted(rig)

    left = []
    async for _ in killed_everywhere(store, "reseal"):
        opened, broken = await stored(rig)
        assert (sum(opened.values()), broken) == (count, [])
        left.append(count - opened[new])

    assert left == sorted(left, reverse=True)
    assert {count, count - BATCH, count - 2 * BATCH, 0} <= set(left)
    assert (await retired(rig)).refusal is None


async def test_adding_and_promoting_are_all_or_nothing(rig: Rig, store: Store) -> None:
    """There is one primary at every moment, and no key that cannot be unwrapped; the next try does it."""
    await filled(rig, 2)
    async for _ in killed_everywhere(store, "add"):
        assert await states(rig) in (["primary"], ["pending", "primary"])
        assert (await stored(rig))[1] == []
    await grow_old(rig)

    async for _ in killed_everywhere(store, "promote"):
        assert await states(rig) in (["pending", "primary"], ["decrypt_only", "primary"])
        assert (await stored(rig))[1] == []

    assert await states(rig) == ["decrypt_only", "primary"]


async def test_a_killed_retire_forgets_a_key_or_keeps_it(rig: Rig, store: Store) -> None:
    """A key is disabled exactly where what unwraps it is gone, and everything opens in either case."""
    count = await filled(rig, 2)
    new = await promoted(rig)
    await resealed(rig)

    async for _ in killed_everywhere(store, "retire"):
        disabled = "disabled" in await states(rig)
        wraps = await rows(rig, "SELECT key_id FROM keyring_wraps")
        assert len(wraps) == (2 if disabled else 3)
        assert await stored(rig) == ({new: count}, [])

    assert await states(rig) == ["disabled", "primary"]


@on_sqlite
async def test_a_killed_change_of_the_secret_leaves_one_that_starts(replicas: Replicas, store: Store) -> None:
    """The old secret starts at every moment of `rewrap`, and the new one at every moment of `--finish`."""
    rig = await replicas()
    await keys_of(rig).add()

    async for _ in killed_everywhere(store, "rewrap"):
        assert await slots(rig) in ({1}, {1, 2})
        await starts(store, SECRET)
    await starts(store, NEW_SECRET)
    async for _ in killed_everywhere(store, "finish"):
        assert await slots(rig) in ({2}, {1, 2})
    await starts(store, NEW_SECRET)

    assert await slots(rig) == {2}
    assert len(await rows(rig, "SELECT key_id FROM keyring_wraps")) == 3


async def slots(rig: Rig) -> set[int]:
    """Return the slots; each has all keys."""
    found = await rows(rig, "SELECT slot, count(*) FROM keyring_wraps GROUP BY slot")
    assert {count for _, count in found} == {3}
    return {slot for slot, _ in found}


async def starts(store: Store, secret: str) -> None:
    database = Database(store.url)
    try:
        assert (await open_keyring(database, Secret(secret))).primary == store.keyring.primary
    finally:
        await database.close()
