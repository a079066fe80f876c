"""Carrying out the steps of a dialect: each call is sent once, before its deadline."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from integrations.contract import Keep, ProviderError, Steps, Work
from vault.outbound import Outbound

T = TypeVar("T")


async def carried(outbound: Outbound, steps: Steps[T], *, deadline: float) -> T:
    """Return what *steps* come to by *deadline*. Raises what they raise, and what they do not take of a call."""
    return await worked(outbound, steps, lambda: deadline, _kept_by_nobody)


async def worked(
    outbound: Outbound, work: Work[T], deadline: Callable[[], float], keep: Callable[[Keep], Awaitable[None]]
) -> T:
    """Return what *work* comes to. Each call has the *deadline* that is told then; what it keeps, *keep* stores.

    Raises what it raises, what it does not take of a call, and what *keep* raises.
    """
    try:
        step = next(work)
        while True:
            if isinstance(step, Keep):
                await keep(step)
                step = next(work)
                continue
            try:
                answer = await outbound.send(step, deadline=deadline())
            except ProviderError as error:
                step = work.throw(error)
            else:
                step = work.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


async def _kept_by_nobody(kept: Keep) -> None:
    raise TypeError("steps keep nothing: that is for works")
