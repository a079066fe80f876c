"""Carrying out the steps of a dialect: each call is sent once, all of them before one deadline."""

from typing import TypeVar

from integrations.contract import ProviderError, Steps
from vault.outbound import Outbound

T = TypeVar("T")


async def carried(outbound: Outbound, steps: Steps[T], *, deadline: float) -> T:
    """Return what *steps* come to by *deadline*. Raises what they raise, and what they do not take of a call."""
    try:
        call = next(steps)
        while True:
            try:
                answer = await outbound.send(call, deadline=deadline)
            except ProviderError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
