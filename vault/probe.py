"""Asking a provider whether an access token works, in a way that spends nothing."""

from collections.abc import Sequence

from integrations.contract import Client, Provider, ProviderError, Secret, Verdict
from vault.means import Means


async def probed(
    means: Means, provider: Provider, access_token: Secret, client_id: str | None, scopes: Sequence[str]
) -> Verdict:
    """Return what *provider* says of *access_token*, which is *client_id*'s and to be good for *scopes*.

    Unknown where it has no way to tell, or cannot tell now.
    """
    request = provider.probe_request(access_token)
    if request is None:
        return "unknown"
    try:
        answer = await means.outbound.send(request, deadline=means.deadline())
    except ProviderError:
        return "unknown"
    return provider.read_probe(answer, None if client_id is None else Client(client_id), scopes)
