"""Carrying out the steps of a dialect: each call is sent once, all of them before one deadline."""

from typing import TypeVar

import httpx

from integrations.contract import Answer, Call, ProviderError, Steps
from vault.outbound import Outbound

T = TypeVar("T")


async def carried(outbound: Outbound, steps: Steps[T], *, deadline: float) -> T:
    """Return what *steps* come to by *deadline*. Raises what they raise, and what they do not take of a call."""
    try:
        call = next(steps)
        while True:
            try:
                answer = await _sent(outbound, call, deadline)
            except ProviderError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


async def _sent(outbound: Outbound, call: Call, deadline: float) -> Answer:
    assert isinstance(call, httpx.Request)
    return await outbound.send(call, deadline=deadline)
