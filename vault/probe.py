"""Asking a provider whether credentials work, in a way that spends nothing."""

from integrations.contract import Finding, Provider, ProviderError, Root, Secret
from vault.carrying import carried
from vault.means import Means


async def probed(means: Means, provider: Provider, root: Root, access_token: Secret | None) -> Finding:
    """Return what *provider* says of *access_token*, which *root* gave, or of *root* itself where it is static.

    Unknown where it has no way to tell, or cannot tell now.
    """
    try:
        return await carried(means.outbound, provider.probe(root, access_token), deadline=means.deadline())
    except ProviderError as error:
        return Finding(verdict="unknown", code=error.code)
