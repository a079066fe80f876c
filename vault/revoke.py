"""Ending a grant at its provider (RFC 7009), and saying truthfully what came of it."""

from typing import Literal

from integrations.contract import Client, Provider, ProviderError, Secret
from vault.means import Means

Revoked = Literal["revoked", "not_supported", "failed"]


async def revoke(means: Means, provider: Provider, client: Client | None, token: Secret) -> Revoked:
    """Ask *provider* to end the grant of *token*, once."""
    request = provider.revoke_request(client, token)
    if request is None:
        return "not_supported"
    try:
        answer = await means.outbound.send(request, deadline=means.deadline())
    except ProviderError:
        return "failed"
    # RFC 7009 2.2: 200 also where the token was already dead.
    return "revoked" if answer.status == 200 else "failed"
