"""Rotating keys: from pending to disabled, beside processes that refresh and hand out, and with nothing lost."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text, update
from sqlalchemy.engine import Engine
from sqlalchemy.util import await_only

from integrations.contract import Secret
from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_postgres
from tests.integration.judge import age, audited, eventually, now_of, stored_pair
from tests.integration.test_devices import furnished, later
from tests.integration.turning import grow_old, keys_of, promoted, resealed, retired, rows, stored, unseen
from tests.person import Asking, Person
from tests.rig import PROVIDER, TENANT, Rig
from vault.errors import Conflict, StorageUnavailable
from vault.keys.reseal import resealed as sealed_under
from vault.keys.retire import _Retiring
from vault.live_keyring import LEARNED_WITHIN
from vault.sealing import Place, seal_all
from vault.store import owners, sealed
from vault.store import reseal as store_reseal
from vault.store.database import Database
from vault.store.schema import orphaned_tokens, sealed_values
from vault.store.writer import Transaction

ORPHAN = "attempt-of-nobody"


@dataclass(frozen=True)
class Halfway:
    """Consents that are under way: a person on the way back from the provider, and one at another device."""

    person: Person
    back: str
    user_code: str


async def a_value_of_every_kind(rig: Rig) -> Halfway:
    """Store what each kind of owner holds."""
    await furnished(rig)
    connection, _ = await rig.a_connection("c")
    place = Place(TENANT, PROVIDER, "orphan", ORPHAN)
    values = seal_all(rig.vault.keyring, place, 2, {"refresh_token": Secret("canary-orphan")})
    row = {"attempt_id": ORPHAN, "connection_id": connection.id, "generation": 2, "seen_at": await now_of(rig)}

    async def unit(tx: Transaction) -> None:
        await tx.execute(insert(orphaned_tokens), row)
        await sealed.put(tx.connection, "orphan", ORPHAN, 2, values)

    await rig.vault.writer.submit(unit)
    asking, person = Asking(rig, "visited"), Person(rig)
    back = await person.go(await asking.link())
    elsewhere = await rig.api.post(f"/v1/connections/{TENANT}/{PROVIDER}/elsewhere/device", json={})
    return Halfway(person, back, elsewhere.json()["user_code"])


async def deaf(rig: Rig) -> Rig:
    """Have *rig* hear nothing any more, unless it asks."""
    await rig.vault.watch.close()
    return rig


async def spoil(rig: Rig, name: str, field: str) -> None:
    """Alter one stored value so that it never opens again."""
    connection = await rig.look(name)
    async with rig.vault.database.transaction() as tx:
        spoilt = update(sealed_values).values(ciphertext=bytes(40))
        await tx.execute(spoilt.where(sealed_values.c.owner_id == connection.id, sealed_values.c.field == field))


# ---- the whole way


async def test_a_key_goes_through_its_states(rig: Rig, leaks: Leaks) -> None:
    """Added, promoted, all sealed anew whoever owns it, and the former key gone for good: everything works on."""
    halfway = await a_value_of_every_kind(rig)
    before = await rows(rig, "SELECT key_id, purpose, state FROM keyring ORDER BY purpose")
    mac, (old, *_) = before
    kinds = {kind for (kind,) in await rows(rig, "SELECT DISTINCT owner_kind FROM sealed_values")}
    assert kinds == set(owners.KINDS), "a kind of owner that this test does not know"
    count = sum((await stored(rig))[0].values())

    new = await keys_of(rig).add()
    assert (await stored(rig))[0] == {old: count}
    await grow_old(rig)
    assert await keys_of(rig).promote() == new
    await rig.vault.watch.listen()
    report = await resealed(rig)
    assert (report.resealed, report.unopened) == (count, [])
    assert await stored(rig) == ({new: count}, [])
    last = await retired(rig)

    assert (last.retired, last.refusal, last.opened) == ([f"{old:08x}"], None, count)
    states = {key.key: (key.state, key.values, key.slots) for key in await keys_of(rig).status()}
    assert states[f"{old:08x}"] == ("disabled", 0, 0)
    assert states[f"{new:08x}"] == ("primary", count, 1)
    assert await rows(rig, "SELECT key_id, purpose, state FROM keyring WHERE purpose = 'mac'") == [mac]
    assert (await halfway.person.open(halfway.back)).status_code == 200
    await rig.provider.decide_device(halfway.user_code)
    await later(rig)
    assert [(await rig.token(name)).status_code for name in ("c", "visited", "elsewhere")] == [200] * 3
    for action in ("key.added", "key.promoted", "key.resealed", "key.retired"):
        (event,) = await audited(rig, action)
        assert (event["actor"], event["outcome"]) == ("operator", "ok")
    leaks.check(f"{report} {report.facts()} {last} {last.facts()}")


async def test_a_key_can_be_rotated_again_and_again(rig: Rig) -> None:
    """Each round leaves one key with values under it; a key that was skipped over is retired with the next."""
    await rig.a_connection("c")
    await promoted(rig)
    third = await promoted(rig)

    report = await resealed(rig)
    last = await retired(rig)

    assert (report.unopened, len(last.retired)) == ([], 2)
    assert set((await stored(rig))[0]) == {third}


async def test_there_is_one_step_at_a_time(rig: Rig) -> None:
    """A second pending key, promoting without one, and retiring without a former key are refused."""
    with pytest.raises(Conflict):
        await keys_of(rig).promote()
    with pytest.raises(Conflict):
        await retired(rig)
    await keys_of(rig).add()
    with pytest.raises(Conflict):
        await keys_of(rig).add()

    assert len(await audited(rig, "key.added")) == 1


async def test_two_commands_at_once_add_one_key(replicas: Replicas) -> None:
    """Commands of two processes take turns over the keyring."""
    one, other = await replicas(), await replicas()

    outcomes = await asyncio.gather(keys_of(one).add(), keys_of(other).add(), return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {Conflict, int}
    assert len(await rows(one, "SELECT key_id FROM keyring WHERE state = 'pending'")) == 1


async def test_promoting_waits_until_every_process_knows_the_key(rig: Rig) -> None:
    """A key that is too young is not promoted, and it is said how many seconds are missing."""
    key = await keys_of(rig).add()

    with pytest.raises(Conflict) as refused:
        await keys_of(rig).promote()

    assert refused.value.code == "too_early"
    assert 0 < (refused.value.retry_after or 0) <= LEARNED_WITHIN
    assert f"{refused.value.retry_after} s" in refused.value.detail
    assert await rows(rig, "SELECT key_id FROM keyring WHERE state = 'pending'") == [(key,)]
    await grow_old(rig)
    assert await keys_of(rig).promote() == key


# ---- other processes


async def test_another_process_learns_the_key_by_itself(replicas: Replicas) -> None:
    """Without a restart, a replica opens what the new key sealed, and seals with it once it is promoted."""
    one, other = await replicas(), await replicas()
    old = other.vault.keyring.primary
    key = await keys_of(one).add()
    await eventually(lambda: knows(other, key))
    assert other.vault.keyring.primary == old

    await grow_old(one)
    await keys_of(one).promote()
    await eventually(lambda: seals_with(other, key))
    _, grant = await other.a_connection("c")
    await one.vault.watch.listen()

    answer = await one.token("c")
    assert (answer.status_code, answer.json()["access_token"]) == (200, grant.access_token)
    assert (await stored(one))[0][key] == 2


async def knows(rig: Rig, key: int) -> bool:
    return key in rig.vault.keyring._roots


async def seals_with(rig: Rig, key: int) -> bool:
    return rig.vault.keyring.primary == key


async def test_a_process_that_heard_nothing_asks_before_it_gives_a_value_up(replicas: Replicas) -> None:
    """Cut off over a whole rotation, a replica still opens, hands out and refreshes: no connection is marked."""
    one, other = await replicas(), await deaf(await replicas())
    await one.a_connection("fresh")
    await one.a_connection("old", expires_in=0)
    new = await promoted(one)
    await resealed(one)
    assert (await retired(one)).refusal is None

    assert (await other.token("fresh")).status_code == 200
    assert (await other.token("old")).status_code == 200

    assert [(await one.look(name)).state.reason for name in ("fresh", "old")] == ["unverified", None]
    assert await stored(one) == ({new: sum((await stored(one))[0].values())}, [])


async def test_a_refresh_of_a_process_that_heard_nothing_is_stored(replicas: Replicas) -> None:
    """Sealed under the former primary after it was promoted over, a value is found by the next reseal."""
    one, other = await replicas(), await deaf(await replicas())
    _, grant = await one.a_connection("c", expires_in=0)
    old = one.vault.keyring.primary
    await one.provider.hold()
    reader = asyncio.create_task(other.token("c", wait=20))
    await one.provider.wait_for_held()
    new = await promoted(one)
    assert (await resealed(one)).unopened == []

    await one.provider.release()
    assert (await reader).status_code == 200

    assert (await stored(one))[0][old] == 2
    assert "2 values" in ((await retired(one)).refusal or "")
    assert (await resealed(one)).resealed == 2
    assert (await retired(one)).refusal is None
    assert set((await stored(one))[0]) == {new}
    assert (await stored_pair(one, "c")).refresh_token == (await one.provider.ledger()).last_refresh_token(
        grant.family
    )


async def test_nothing_is_stored_under_a_key_that_is_gone(
    replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    """A refresh that comes back after its key was retired is sealed anew and stored: the new token is not lost."""
    one, other = await replicas(), await deaf(await replicas())
    _, grant = await one.a_connection("c", expires_in=0)
    await one.provider.hold()
    reader = asyncio.create_task(other.token("c", wait=20))
    await one.provider.wait_for_held()
    new = await promoted(one)
    await resealed(one)
    assert (await retired(one)).refusal is None

    await one.provider.release()
    await eventually(lambda: said(caplog, "an outcome waits to be written"))
    assert (await one.look("c")).state.generation == 1
    await other.vault.watch.listen()
    assert (await reader).status_code == 200

    assert set((await stored(one))[0]) == {new}
    assert (await stored_pair(one, "c")).refresh_token == (await one.provider.ledger()).last_refresh_token(
        grant.family
    )


async def said(caplog: pytest.LogCaptureFixture, message: str) -> bool:
    return message in caplog.messages


async def test_a_process_with_the_old_secret_marks_nothing(replicas: Replicas, store: Store) -> None:
    """A key that this process cannot unwrap makes it unready; the values under it are not called lost."""
    one, other = await replicas(), await replicas()
    await one.a_connection("c", expires_in=0)
    other.vault.keyring.wrapping.clear()  # as after its secret's slot was dropped
    await promoted(one)
    await resealed(one)
    await eventually(lambda: unready(other))

    answer = await other.token("c", wait=1)

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert (await one.look("c")).state.reason != "undecryptable"
    assert (await one.api.get("/readyz")).status_code == 200
    await age(one, timedelta(minutes=5), "lease_expires_at", "retake_after")
    assert (await one.token("c")).status_code == 200


async def unready(rig: Rig) -> bool:
    return (await rig.api.get("/readyz")).status_code == 503


# ---- values that change meanwhile


async def test_what_changed_since_it_was_read_is_not_overwritten(rig: Rig) -> None:
    """Between reading and writing a batch, a connection is refreshed: its new tokens stay, others move."""
    _, grant = await rig.a_connection("changing", expires_in=0)
    await rig.a_connection("still")
    await promoted(rig)
    async with rig.vault.database.read() as tx:
        page = await store_reseal.page(tx, None, 100, but=rig.vault.keyring.primary)
    anew = [(row, sealed_under(rig.vault.keyring, row, place)) for row, place in page.values]
    assert (await rig.token("changing")).status_code == 200

    moved = await rig.vault.writer.submit(lambda tx: store_reseal.replace(tx.connection, anew))

    assert moved == len(anew) - 2
    pair, ledger = await stored_pair(rig, "changing"), await rig.provider.ledger()
    assert (pair.generation, pair.refresh_token) == (2, ledger.last_refresh_token(grant.family))
    assert (await stored(rig))[1] == []


async def test_what_a_laggard_wrote_since_it_was_read_is_not_overwritten(rig: Rig, store: Store) -> None:
    """The same where the new tokens are sealed under the former key: another value, under the same key."""
    connection, _ = await rig.a_connection("c")
    await promoted(rig)
    async with rig.vault.database.read() as tx:
        page = await store_reseal.page(tx, None, 100, but=rig.vault.keyring.primary)
    anew = [(row, sealed_under(rig.vault.keyring, row, place)) for row, place in page.values]
    place = Place(TENANT, PROVIDER, "connection", connection.id)
    newer = seal_all(store.keyring, place, 1, {"refresh_token": Secret("canary-newer")})
    await rig.vault.writer.submit(lambda tx: sealed.put(tx.connection, "connection", connection.id, 1, newer))

    moved = await rig.vault.writer.submit(lambda tx: store_reseal.replace(tx.connection, anew))

    assert moved == len(anew) - 1
    assert (await stored_pair(rig, "c")).refresh_token == "canary-newer"
    assert (await resealed(rig)).resealed == 1
    assert (await stored_pair(rig, "c")).refresh_token == "canary-newer"


async def test_what_was_deleted_since_it_was_read_does_not_come_back(rig: Rig) -> None:
    """A value whose connection is deleted between reading and writing stays gone."""
    await rig.a_connection("c")
    await promoted(rig)
    async with rig.vault.database.read() as tx:
        page = await store_reseal.page(tx, None, 100, but=rig.vault.keyring.primary)
    anew = [(row, sealed_under(rig.vault.keyring, row, place)) for row, place in page.values]
    await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c")

    await rig.vault.writer.submit(lambda tx: store_reseal.replace(tx.connection, anew))

    assert await rows(rig, "SELECT field FROM sealed_values WHERE owner_kind = 'connection'") == []


@on_postgres
async def test_resealing_waits_for_nobodys_row(rig: Rig) -> None:
    """A value that somebody has in hand is left to a later round: no two wait for each other, and it ends."""
    connection, _ = await rig.a_connection("held")
    await rig.a_connection("free")
    new = await promoted(rig)
    hold = text("SELECT 1 FROM sealed_values WHERE owner_id = :id FOR UPDATE")

    async with rig.vault.database.transaction() as tx:
        await tx.execute(hold, {"id": connection.id})
        resealing = asyncio.create_task(resealed(rig))
        await eventually(lambda: are_under(rig, new, 3), within=4)
        assert not resealing.done()

    assert (await resealing).resealed == 5
    assert await stored(rig) == ({new: 5}, [])


async def are_under(rig: Rig, key: int, count: int) -> bool:
    return (await stored(rig))[0][key] == count


async def test_a_value_that_goes_with_its_owner_does_not_count_as_lost(rig: Rig, store: Store) -> None:
    """Deleted between the look at a value and the look at its owner, a connection leaves nothing behind."""
    connection, _ = await rig.a_connection("c")
    await promoted(rig)
    other, deleted = Database(store.url), list[bool]()

    async def delete() -> None:
        async with other.transaction() as tx:
            for table, column in (
                ("sealed_values", "owner_id"),
                ("token_states", "connection_id"),
                ("connections", "id"),
            ):
                await tx.execute(text(f"DELETE FROM {table} WHERE {column} = :id"), {"id": connection.id})

    def before(_connection: Any, statement: Any, *_: Any) -> None:
        if statement is owners._STATEMENTS["connection"] and not deleted:
            deleted.append(True)
            await_only(delete())  # whoever holds the database's lock may need the loop to let go of it

    event.listen(Engine, "before_execute", before)
    try:
        report = await resealed(rig)
    finally:
        event.remove(Engine, "before_execute", before)
        await other.close()

    assert (deleted, report.unopened, report.resealed) == ([True], [], 1)


# ---- what does not open, and what would be lost


async def test_retiring_refuses_while_values_are_left(rig: Rig) -> None:
    """With a value that only the former key opens, that key stays, whatever may be lost."""
    await rig.a_connection("c")
    await promoted(rig)
    count = sum((await stored(rig))[0].values())

    for lose in (0, count):
        report = await retired(rig, lose=lose)
        assert (report.retired, report.opened) == ([], count)
        assert f"{count} values are left" in (report.refusal or "")
    assert await audited(rig, "key.retired") == []
    assert len(await rows(rig, "SELECT key_id FROM keyring_wraps")) == 3


async def test_what_does_not_open_is_named_and_left_alone(rig: Rig, leaks: Leaks) -> None:
    """It is counted and named without content, reseal ends all the same, and only its number retires the key."""
    connection, _ = await rig.a_connection("spoilt")
    await rig.a_connection("well")
    old = rig.vault.keyring.primary
    await spoil(rig, "spoilt", "refresh_token")
    await promoted(rig)
    before = await rows(rig, "SELECT * FROM sealed_values WHERE field = 'refresh_token' ORDER BY owner_id")
    name = f"connection/{connection.id}/refresh_token"

    report = await resealed(rig)
    assert report.unopened == [name]
    (event,) = await audited(rig, "key.resealed")
    assert (event["outcome"], event["detail"]["unopened"]) == ("unopened", 1)
    for lose in (0, 2):
        refused = await retired(rig, lose=lose)
        assert (refused.retired, refused.unopened) == ([], [name])
        assert "--lose 1" in (refused.refusal or "")
    leaks.check(f"{report} {report.facts()} {refused} {refused.facts()}")

    last = await retired(rig, lose=1)

    assert (last.retired, last.refusal) == ([f"{old:08x}"], None)
    after = await rows(rig, "SELECT * FROM sealed_values WHERE field = 'refresh_token' ORDER BY owner_id")
    assert [row for row in after if row[1] == connection.id] == [row for row in before if row[1] == connection.id]


async def test_a_value_under_the_primary_that_does_not_open_keeps_the_former_key(rig: Rig) -> None:
    """Before anything is forgotten, what was sealed anew has to open too."""
    await rig.a_connection("c")
    await promoted(rig)
    assert (await resealed(rig)).unopened == []
    await spoil(rig, "c", "access_token")

    report = await retired(rig)

    assert (report.retired, len(report.unopened)) == ([], 1)


async def test_a_value_that_came_after_the_survey_keeps_the_former_key(rig: Rig, store: Store) -> None:
    """What a laggard seals under the former key while everything is looked through is seen at the end."""
    connection, _ = await rig.a_connection("c")
    await promoted(rig)
    await resealed(rig)
    retiring = _Retiring(rig.vault.database, rig.vault.keyring)
    await retiring.survey(unseen)
    place = Place(TENANT, PROVIDER, "connection", connection.id)
    late = seal_all(store.keyring, place, 1, {"refresh_token": Secret("canary-late")})
    await rig.vault.writer.submit(lambda tx: sealed.put(tx.connection, "connection", connection.id, 1, late))

    with pytest.raises(Conflict) as refused:
        await rig.vault.writer.submit(retiring.unit, alone=True)

    assert "run this again" in refused.value.detail
    assert "1 values are left" in ((await retired(rig)).refusal or "")
    assert (await stored_pair(rig, "c")).refresh_token == "canary-late"


@on_postgres
async def test_retiring_waits_for_a_value_that_is_about_to_be_committed(rig: Rig, store: Store) -> None:
    """What is stored under the former key and not committed yet is waited for, and keeps the key."""
    connection, _ = await rig.a_connection("c")
    await promoted(rig)
    await resealed(rig)
    place = Place(TENANT, PROVIDER, "connection", connection.id)
    late = seal_all(store.keyring, place, 1, {"refresh_token": Secret("canary-late")})

    async with rig.vault.database.transaction() as tx:
        await sealed.put(tx, "connection", connection.id, 1, late)
        retiring = asyncio.create_task(retired(rig))
        await eventually(lambda: somebody_waits(rig), within=4)

    assert "run this again" in ((await retiring).refusal or "")
    assert (await stored_pair(rig, "c")).refresh_token == "canary-late"


async def somebody_waits(rig: Rig) -> bool:
    """Whether a transaction waits for others to be done with the values of this database."""
    mine = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    waiting = f"SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'sealed_values'::regclass AND {mine}"
    return bool(await rows(rig, waiting))


async def test_a_value_of_nobody_is_named(rig: Rig) -> None:
    """A value whose owner is not there, or is of a kind that nobody knows, does not stop the others."""
    await rig.a_connection("c")
    async with rig.vault.database.transaction() as tx:
        copied = (
            "INSERT INTO sealed_values SELECT '{}', '{}', 'x', generation, format, key_id, salt, iv, commitment,"
        )
        copied += " ciphertext FROM sealed_values WHERE field = 'access_token'"
        for kind, owner in (("connection", "gone"), ("authorization", "not-hex"), ("stranger", "s")):
            await tx.execute(text(copied.format(kind, owner)))
    await promoted(rig)

    report = await resealed(rig)

    assert sorted(report.unopened) == ["authorization/not-hex/x", "connection/gone/x", "stranger/s/x"]
    assert report.resealed == 3


async def test_values_of_an_unknown_kind_of_owner_are_not_stored(rig: Rig) -> None:
    """What could not be sealed anew later is refused when it is first written."""
    place = Place(TENANT, PROVIDER, "stranger", "s")
    values = seal_all(rig.vault.keyring, place, 1, {"x": Secret("canary-x")})

    with pytest.raises(AssertionError, match="sealed anew"):
        await rig.vault.writer.submit(lambda tx: sealed.put(tx.connection, "stranger", "s", 1, values), alone=True)


async def test_values_under_a_disabled_key_are_not_stored(rig: Rig) -> None:
    """The transaction that would store one is refused as a whole, and may be tried again."""
    await rig.a_connection("c")
    place = Place(TENANT, PROVIDER, "client", "x")
    values = seal_all(rig.vault.keyring, place, 1, {"client_secret": Secret("canary-late")})
    await promoted(rig)
    await resealed(rig)
    await retired(rig)

    with pytest.raises(StorageUnavailable):
        await rig.vault.writer.submit(lambda tx: sealed.put(tx.connection, "client", "x", 1, values))

    assert await rows(rig, "SELECT field FROM sealed_values WHERE owner_id = 'x'") == []


async def test_what_was_set_aside_goes_with_its_connection(rig: Rig) -> None:
    """Once a deleted connection's tombstone is dropped, nothing of it is left that could never be opened again."""
    await a_value_of_every_kind(rig)
    await rig.api.delete(f"/v1/connections/{TENANT}/{PROVIDER}/c")
    assert await rows(rig, "SELECT attempt_id FROM orphaned_tokens") == [(ORPHAN,)]
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text("UPDATE connections SET deleted_at = deleted_at - 600000"))

    await rig.vault.tidy()

    assert await rows(rig, "SELECT attempt_id FROM orphaned_tokens") == []
    assert await rows(rig, "SELECT owner_id FROM sealed_values WHERE owner_kind = 'orphan'") == []
