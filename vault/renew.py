"""Asking a provider for new tokens with a root, or whether a root is any good, whatever its kind."""

from typing import TypeVar

from integrations.contract import (
    ClientRejected,
    Finding,
    GrantRejected,
    Provider,
    ProviderError,
    Root,
    Steps,
    TokenSet,
)
from vault.carrying import carried
from vault.outbound import Outbound

T = TypeVar("T")


async def renewed(outbound: Outbound, provider: Provider, root: Root, *, deadline: float) -> TokenSet:
    """Return new tokens got with *root*. Raises the ProviderError that the answer amounts to."""
    return await _blaming(outbound, provider.renew(root), root, deadline)


async def proven(outbound: Outbound, provider: Provider, root: Root, *, deadline: float) -> Finding:
    """Return what trying *root* found out. Raises the ProviderError that the answer amounts to."""
    return await _blaming(outbound, provider.prove(root), root, deadline)


async def _blaming(outbound: Outbound, steps: Steps[T], root: Root, deadline: float) -> T:
    try:
        return await carried(outbound, steps, deadline=deadline)
    except ProviderError as error:
        raise blame(error, root) from None


def blame(error: ProviderError, root: Root) -> ProviderError:
    """Return *error* as it concerns *root*.

    Where no registration takes part, what a provider calls a bad client, or a bad scope, was entered.
    """
    entered = root.client is None and root.credentials
    if entered and (isinstance(error, ClientRejected) or error.code == "invalid_scope"):
        return GrantRejected(error.code, retry_after=error.retry_after)
    return error
