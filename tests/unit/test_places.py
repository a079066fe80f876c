"""The places for calls to a provider: how many at once, how far apart, and who stands in whose way."""

import asyncio
from contextlib import ExitStack

from integrations.contract import Limits
from vault.clock import uptime
from vault.places import Places

PACE = 0.05  # seconds, which is 1,200 a minute


def places(otherwise: int = 100, closing: asyncio.Event | None = None, **limits: int) -> Places:
    return Places(Limits(**limits), otherwise, closing or asyncio.Event())


async def begun(of: Places, *clients: str | None) -> list[asyncio.Task[ExitStack]]:
    """Have a place wanted for each of *clients*, one after the other; return when all stand where they can."""
    tasks = [asyncio.create_task(of.take(client)) for client in clients]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def end(tasks: list[asyncio.Task[ExitStack]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_there_are_as_many_places_as_the_provider_says_or_else_the_setting() -> None:
    """Whoever comes later waits for one to be left, in the order in which they came."""
    for limited in (places(concurrency=2), places(otherwise=2)):
        tasks = await begun(limited, None, None, None, None)
        assert [task.done() for task in tasks] == [True, True, False, False]
        assert not limited.is_free(None)

        tasks[1].result().close()
        assert await asyncio.wait_for(tasks[2], 5)
        assert not tasks[3].done()
        await end(tasks)


async def test_calls_are_evenly_apart() -> None:
    """However many are wanted at once, and although each is over at once."""
    paced = places(requests_per_minute=1200)
    started = uptime()

    for number in range(4):
        (await paced.take(None)).close()
        assert uptime() - started >= number * PACE * 0.99
        assert not paced.is_free(None)


async def test_what_was_not_used_counts_as_never_taken() -> None:
    """Neither as a place nor for the pace."""
    paced = places(concurrency=1, requests_per_minute=1)

    for _ in range(3):
        paced.give_back(None, [await asyncio.wait_for(paced.take(None), 5)])

    assert paced.is_free(None)


async def test_clients_stand_in_lines_of_their_own() -> None:
    """Who waits for a place of its client takes none of the provider's from anybody else."""
    limited = places(concurrency=2, client_concurrency=1)

    tasks = await begun(limited, "a", "a", "a", "b", None)

    assert [task.done() for task in tasks] == [True, False, False, True, False]
    assert [limited.is_free(client) for client in ("a", "b", None)] == [False, False, False]
    tasks[3].result().close()
    assert await asyncio.wait_for(tasks[4], 5)
    await end(tasks)


async def test_clients_have_a_pace_of_their_own() -> None:
    """One that is asked for often does not slow down another one."""
    limited = places(client_requests_per_minute=1)

    tasks = await begun(limited, "a", "a", "b", None, None)

    assert [task.done() for task in tasks] == [True, False, True, True, True]
    assert limited.by_client
    assert not places(concurrency=1, requests_per_minute=1).by_client
    await end(tasks)


async def test_how_long_the_last_one_waits_is_known() -> None:
    """As far as the pace says it; it is what whoever gives up is told."""
    paced = places(requests_per_minute=6)
    assert paced.waits(None) == 0

    tasks = await begun(paced, None, None, None)

    assert 19 < paced.waits(None) <= 20
    await end(tasks)


async def test_who_waits_when_it_is_over_is_let_in() -> None:
    """Nobody is held to a pace of minutes while the process ends."""
    closing = asyncio.Event()
    tasks = await begun(places(closing=closing, requests_per_minute=1, client_requests_per_minute=1), *"aaab")
    assert [task.done() for task in tasks] == [True, False, False, False]

    closing.set()

    assert len(await asyncio.wait_for(asyncio.gather(*tasks), 5)) == 4
