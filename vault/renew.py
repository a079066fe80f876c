"""Asking a provider for new tokens with a root, whatever its kind."""

from integrations.contract import ClientRejected, GrantRejected, Provider, ProviderError, Root, TokenSet
from vault.outbound import Outbound


async def renewed(outbound: Outbound, provider: Provider, root: Root, *, deadline: float) -> TokenSet:
    """Return new tokens got with *root*. Raises the ProviderError that the answer amounts to."""
    answer = await outbound.send(provider.renew_request(root), deadline=deadline)
    try:
        return provider.read_tokens(answer)
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
