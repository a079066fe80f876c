"""A changed ENCRYPTION_SECRET: added beside the old one, rolled out, and the old one dropped."""

import asyncio

import pytest

from integrations.contract import Secret
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.judge import audited
from tests.integration.test_migrations import Opening, open_and_close, untouched
from tests.integration.turning import grow_old, keys_of, promoted, resealed, retired, rows, stored
from tests.rig import SECRET, Rig, settings
from vault.app import build
from vault.errors import Conflict
from vault.keyring import Keyring
from vault.keys.rewrap import Rewrapping
from vault.store.database import Database
from vault.unlock import CannotStart, open_keyring, open_vault

NEW = "canary-new-secret-" + "n" * 32
WRONG = "canary-wrong-secret-" + "w" * 32


def rewrapping(rig: Rig, keyring: Keyring | None = None) -> Rewrapping:
    return Rewrapping(rig.vault.database, rig.vault.writer, keyring or rig.vault.keyring)


async def opened(store: Store, secret: str) -> Keyring:
    """Return the keyring as a start with *secret* gets it. Raises CannotStart."""
    database = Database(store.url)
    try:
        return await open_keyring(database, Secret(secret))
    finally:
        await database.close()


async def refuses(store: Store, secret: str) -> bool:
    try:
        await opened(store, secret)
    except CannotStart:
        return True
    return False


async def test_either_secret_starts_until_the_old_one_is_dropped(rig: Rig, store: Store) -> None:
    """Both open all that is stored while replicas are rolled; after `finish` only the new one does."""
    await rig.a_connection("c")
    before, _ = await stored(rig)

    assert await rewrapping(rig).add(Secret(NEW)) is True
    old, new = await opened(store, SECRET), await opened(store, NEW)
    for keyring in (old, new):
        assert await stored(rig, keyring) == (before, [])
        assert keyring.mac("test", "x") == store.keyring.mac("test", "x")
    assert {key.slots for key in await keys_of(rig).status()} == {2}
    with pytest.raises(Conflict):
        await rewrapping(rig, old).finish()
    await rewrapping(rig, new).finish()

    assert await refuses(store, SECRET)
    assert await stored(rig, await opened(store, NEW)) == (before, [])
    assert {key.slots for key in await keys_of(rig).status()} == {1}
    outcomes = [event["outcome"] for event in await audited(rig, "secret.rewrapped")]
    assert sorted(outcomes) == ["added", "finished"]


@on_sqlite
async def test_a_new_secret_can_be_abandoned(rig: Rig, store: Store) -> None:
    """With the old secret, the new one is taken back, and another can be tried."""
    await rewrapping(rig).add(Secret(WRONG))
    with pytest.raises(Conflict):
        await rewrapping(rig).add(Secret(NEW))
    with pytest.raises(Conflict):
        await rewrapping(rig, await opened(store, WRONG)).abandon()

    await rewrapping(rig).abandon()

    assert await refuses(store, WRONG)
    assert await rewrapping(rig).add(Secret(NEW)) is True


@on_sqlite
async def test_adding_the_same_secret_again_changes_nothing(rig: Rig) -> None:
    """Run again after a kill, it says that it is done; the present secret is refused, and finishing nothing."""
    with pytest.raises(Conflict):
        await rewrapping(rig).finish()
    with pytest.raises(Conflict):
        await rewrapping(rig).add(Secret(SECRET))
    await rewrapping(rig).add(Secret(NEW))
    before = await rows(rig, "SELECT * FROM keyring_wraps ORDER BY key_id, slot")

    assert await rewrapping(rig).add(Secret(NEW)) is False

    assert await rows(rig, "SELECT * FROM keyring_wraps ORDER BY key_id, slot") == before
    assert len(before) == 4


@on_sqlite
async def test_no_key_is_added_while_two_secrets_are_good(rig: Rig, store: Store) -> None:
    """A new key could be wrapped for one of them only; afterwards it can, and rotation goes through."""
    await rig.a_connection("c")
    await rewrapping(rig).add(Secret(NEW))
    with pytest.raises(Conflict, match="conflict"):
        await keys_of(rig).add()
    new = await opened(store, NEW)
    await rewrapping(rig, new).finish()
    with pytest.raises(Conflict):  # of a process that was started with the old secret
        await keys_of(rig).add()


@on_sqlite
async def test_a_running_process_with_the_new_secret_learns_keys(replicas: Replicas, store: Store) -> None:
    """Secret first, then keys: after both, what was known before opens nothing any more."""
    old = await replicas()
    await old.a_connection("c")
    await rewrapping(old).add(Secret(NEW))
    new = await replicas(keyring=await opened(store, NEW))
    await rewrapping(new).finish()
    key = await promoted(new)
    await resealed(new)

    assert (await retired(new)).refusal is None
    assert await stored(new) == ({key: 3}, [])
    assert (await stored(new, store.keyring))[0] == {}
    assert (await opened(store, NEW)).primary == key


@on_sqlite
async def test_keys_that_wait_are_rewrapped_too(rig: Rig, store: Store) -> None:
    """A pending key survives the change of the secret."""
    key = await keys_of(rig).add()
    await rewrapping(rig).add(Secret(NEW))
    await rewrapping(rig, await opened(store, NEW)).finish()
    await grow_old(rig)

    assert await keys_of(rig).promote() == key


@pytest.mark.parametrize("opening", [open_vault, open_keyring])
@on_sqlite
def test_a_wrong_secret_writes_nothing_beside_two_slots(store: Store, opening: Opening) -> None:
    """While two secrets are good, any other one still ends the start, and every byte is as it was."""
    asyncio.run(_two_slots(store))

    with untouched(store.url), pytest.raises(CannotStart, match="ENCRYPTION_SECRET is not the one"):
        asyncio.run(open_and_close(store.url, opening, WRONG))


async def _two_slots(store: Store) -> None:
    vault = build(settings(store.url), Database(store.url), store.keyring, alone=True)
    try:
        await Rewrapping(vault.database, vault.writer, vault.keyring).add(Secret(NEW))
    finally:
        await vault.close()
