"""Asking a provider for new tokens with a root, whatever its kind."""

from integrations.contract import ClientRejected, GrantRejected, Provider, Root, TokenSet
from vault.outbound import Outbound


async def renewed(outbound: Outbound, provider: Provider, root: Root, *, deadline: float) -> TokenSet:
    """Return new tokens got with *root*. Raises the ProviderError that the answer amounts to.

    Where no client took part, none can be to blame, whatever the provider's word for it: then
    `invalid_client` is said of what a person entered.
    """
    answer = await outbound.send(provider.renew_request(root), deadline=deadline)
    try:
        return provider.read_tokens(answer)
    except ClientRejected as error:
        if root.client is None:
            raise GrantRejected(error.code, retry_after=error.retry_after) from None
        raise
