"""A running process's keyring: it asks before it gives a value up, and not for every one."""

import secrets

import pytest

from integrations.contract import Secret
from vault.errors import CannotOpen, StorageUnavailable
from vault.keyring import SCRYPT, Context, Keyring, wrap
from vault.live_keyring import ASKED_AGAIN_AFTER, LiveKeyring
from vault.store.keys import WrappedKey

OLD, NEW = 1, 2
ROOTS = {OLD: b"o" * 32, NEW: b"n" * 32}
MAC_ROOT, WRAPPING, SALT = b"m" * 32, b"w" * 32, b"s" * 32
HERE = Context("acme", "google", "connection", "c", "access_token", 1)
SECRET = Secret("canary-token")


class Database:
    """What is stored of the keyring, and how often somebody asked for it."""

    def __init__(self, *keys: WrappedKey) -> None:
        self.keys = keys
        self.asked = 0
        self.away = False

    def ask(self) -> tuple[WrappedKey, ...]:
        self.asked += 1
        if self.away:
            raise StorageUnavailable
        return self.keys


def wrapped(key_id: int, state: str, wrapping: bytes = WRAPPING) -> WrappedKey:
    box = wrap(wrapping, ROOTS[key_id], instance="i", key_id=key_id, purpose="values")
    return WrappedKey(key_id, "values", state, 1, SCRYPT, SALT, box)


class Clock:
    """The time as the keyring is told of it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def live(database: Database, clock: Clock | None = None) -> LiveKeyring:
    given = Keyring("i", {OLD: ROOTS[OLD]}, OLD, MAC_ROOT, {SALT: WRAPPING})
    return LiveKeyring(given, database.ask, clock or Clock())


NEWER = Keyring("i", ROOTS, NEW, MAC_ROOT)


def test_it_asks_once_and_then_knows() -> None:
    """A value under a key that was promoted unheard opens, and from then on that key seals."""
    database = Database(wrapped(OLD, "decrypt_only"), wrapped(NEW, "primary"))
    keyring = live(database)

    for _ in range(3):
        assert keyring.open(NEWER.seal(SECRET, HERE), HERE) == SECRET

    assert database.asked == 1
    assert keyring.seal(SECRET, HERE).key_id == NEW


def test_a_key_that_is_not_there_is_asked_for_once_a_second_at_most() -> None:
    """Any number of values under unknown keys cost one question, and do not open."""
    database = Database(wrapped(OLD, "primary"))
    keyring = live(database)

    for _ in range(100):
        with pytest.raises(CannotOpen):
            keyring.open(NEWER.seal(SECRET, HERE), HERE)

    assert database.asked == 1


def test_nothing_is_lost_because_nobody_could_be_asked() -> None:
    """Without an answer a value is not called lost, and a second later the next one asks again."""
    database, clock = Database(wrapped(OLD, "decrypt_only"), wrapped(NEW, "primary")), Clock()
    keyring, value = live(database, clock), NEWER.seal(SECRET, HERE)
    database.away = True
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            keyring.open(value, HERE)
        clock.now += ASKED_AGAIN_AFTER
    assert database.asked == 2

    database.away = False

    assert keyring.open(value, HERE) == SECRET


def test_a_database_that_is_away_is_not_waited_for_once_a_value() -> None:
    """Within a second of a question without an answer nothing is asked, and no value is called lost."""
    database, clock = Database(wrapped(OLD, "decrypt_only"), wrapped(NEW, "primary")), Clock()
    keyring = live(database, clock)
    database.away = True

    for _ in range(100):
        with pytest.raises(StorageUnavailable):
            keyring.open(NEWER.seal(SECRET, HERE), HERE)

    assert database.asked == 1
    assert keyring.open(keyring.seal(SECRET, HERE), HERE) == SECRET  # what is known needs nobody


def test_the_second_begins_when_the_question_has_failed() -> None:
    """However long that took: the next value does not wait as long once more."""
    clock, asked = Clock(), []

    def slow() -> tuple[WrappedKey, ...]:
        asked.append(clock.now)
        clock.now += 5
        raise StorageUnavailable

    keyring = LiveKeyring(Keyring("i", {OLD: ROOTS[OLD]}, OLD, MAC_ROOT), slow, clock)

    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            keyring.open(NEWER.seal(SECRET, HERE), HERE)

    assert asked == [0]


def test_a_key_that_nobody_has_is_unknown_once_there_is_an_answer_again() -> None:
    """A question without an answer is no reason to go on hoping after one with."""
    database, clock = Database(wrapped(OLD, "primary")), Clock()
    keyring, value = live(database, clock), NEWER.seal(SECRET, HERE)
    database.away = True
    with pytest.raises(StorageUnavailable):
        keyring.open(value, HERE)
    database.away = False
    clock.now += ASKED_AGAIN_AFTER

    for _ in range(2):
        with pytest.raises(CannotOpen):
            keyring.open(value, HERE)

    assert database.asked == 2


def test_a_key_of_another_secret_is_no_reason_to_call_a_value_lost() -> None:
    """What is there and cannot be unwrapped makes the keyring incomplete, and its values unavailable."""
    database = Database(wrapped(OLD, "decrypt_only"), wrapped(NEW, "primary", secrets.token_bytes(32)))
    keyring = live(database)
    before = keyring.complete

    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            keyring.open(NEWER.seal(SECRET, HERE), HERE)

    assert (before, keyring.complete) == (True, False)
    assert keyring.open(keyring.seal(SECRET, HERE), HERE) == SECRET
    assert keyring.primary == OLD


def test_what_was_given_is_left_as_it_was() -> None:
    """Learning does not reach into the keyring that it began with."""
    given = Keyring("i", {OLD: ROOTS[OLD]}, OLD, MAC_ROOT, {SALT: WRAPPING})
    keyring = LiveKeyring(given, Database(wrapped(OLD, "decrypt_only"), wrapped(NEW, "primary")).ask)
    keyring.open(NEWER.seal(SECRET, HERE), HERE)

    assert (given.primary, keyring.primary) == (OLD, NEW)
    with pytest.raises(CannotOpen):
        given.open(NEWER.seal(SECRET, HERE), HERE)
