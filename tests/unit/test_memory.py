"""What is remembered, how it is forgotten, and that nothing is relied on for longer than it may be."""

import asyncio
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from vault import memory
from vault.clock import uptime
from vault.memory import GATES, Loader, Memory
from vault.store.changes import Stale

NOW = datetime(2026, 1, 1, tzinfo=UTC)
X, Y = Stale("connection", "x"), Stale("connection", "y")


def fresh(capacity: int = 100) -> Memory:
    """Return a memory that has heard everything until now."""
    made = Memory(capacity, alone=True)
    made.heard(uptime(), NOW)
    return made


def gives(value: str, *because: Stale) -> Loader[str]:
    async def load() -> tuple[str, tuple[Stale, ...]]:
        return value, because

    return load


async def test_what_was_loaded_is_not_loaded_again() -> None:
    """The second to ask gets what the first one's load found."""
    kept = fresh()

    assert await kept.get("key", gives("first", X)) == "first"
    assert await kept.get("key", gives("second", X)) == "first"


async def test_what_nothing_could_make_untrue_is_not_kept() -> None:
    """A load that names no reason to forget, like one that found nothing, is done each time."""
    kept = fresh()
    await kept.get("key", gives("nothing"))

    assert await kept.get("key", gives("something", X)) == "something"


async def test_a_change_forgets_what_it_is_about_and_nothing_else() -> None:
    """Each value is dropped by each of its own reasons alone."""
    kept = fresh()
    await kept.get("x", gives("x", X, GATES))
    await kept.get("y", gives("y", Y))

    kept.forget([X])
    assert (kept.recall("x"), kept.recall("y")) == (None, "y")
    await kept.get("x", gives("x", X, GATES))
    kept.forget([GATES])
    assert (kept.recall("x"), kept.recall("y")) == (None, "y")


async def test_what_changes_while_it_is_loaded_is_not_kept() -> None:
    """A row that was read before a change and arrives after it was heard of is used once, and not remembered."""
    kept = fresh()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> tuple[str, tuple[Stale, ...]]:
        begun.set()
        await go_on.wait()
        return "old", (X,)

    loading = asyncio.create_task(kept.get("x", slow))
    await begun.wait()
    kept.forget([X])
    go_on.set()

    assert await loading == "old"
    assert kept.recall("x") is None


async def test_what_is_loaded_while_all_is_forgotten_is_not_kept() -> None:
    """Where it is not known what changed, a load that was under way may have missed it."""
    kept = fresh()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> tuple[str, tuple[Stale, ...]]:
        begun.set()
        await go_on.wait()
        return "old", (X,)

    loading = asyncio.create_task(kept.get("x", slow))
    await begun.wait()
    kept.forget_all()
    go_on.set()
    await loading

    assert kept.recall("x") is None


async def test_nothing_is_relied_on_before_and_long_after_a_hearing() -> None:
    """Without a hearing that began within the bound there is no time to judge by, and get loads anew."""
    kept = Memory(10, alone=True)
    assert kept.now() is None
    kept.heard(uptime() - memory.STALE_AFTER, NOW)
    assert kept.now() is None
    await kept.get("x", gives("first", X))
    assert await kept.get("x", gives("second", X)) == "second"

    kept.heard(uptime(), NOW)
    assert kept.now() is not None
    assert await kept.get("x", gives("third", X)) == "second"


async def test_the_time_goes_on_between_hearings() -> None:
    """The database's time is what it was at the last hearing, and what has passed since."""
    kept = Memory(10, alone=True)
    kept.heard(uptime() - 0.5, NOW)

    now = kept.now()

    assert now is not None
    assert 0.5 <= (now - NOW).total_seconds() < 0.9


async def test_the_least_recently_used_goes_first() -> None:
    """A full memory drops what nobody has asked for the longest, with all that pointed to it."""
    kept = fresh(capacity=2)
    for key in ("a", "b"):
        await kept.get(key, gives(key, Stale("caller", key)))
    kept.recall("a")
    await kept.get("c", gives("c", Stale("caller", "c")))

    assert [kept.recall(key) for key in ("a", "b", "c")] == ["a", None, "c"]
    assert len(kept) == 2
    assert set(kept._concerned) == {Stale("caller", "a"), Stale("caller", "c")}


KEYS = st.sampled_from("abcd")
STEPS = st.lists(st.tuples(st.sampled_from(["get", "forget", "all"]), KEYS, KEYS), max_size=40)


@given(STEPS)
def test_what_is_remembered_is_what_was_loaded_last_and_not_forgotten_since(
    steps: list[tuple[str, str, str]],
) -> None:
    """Against a plain dictionary: whatever is recalled was loaded after the last change to it."""

    async def play() -> None:
        kept, expected = fresh(), dict[str, tuple[int, str]]()
        for number, (what, key, reason) in enumerate(steps):
            if what == "get" and key not in expected:
                await kept.get(key, gives(str(number), Stale("caller", reason)))
                expected[key] = (number, reason)
            elif what == "forget":
                kept.forget([Stale("caller", reason)])
                expected = {k: v for k, v in expected.items() if v[1] != reason}
            elif what == "all":
                kept.forget_all()
                expected = {}
            assert {k: kept.recall(k) for k in "abcd"} == {
                k: str(expected[k][0]) if k in expected else None for k in "abcd"
            }

    asyncio.run(play())
