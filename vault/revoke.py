"""Ending a grant at its provider (RFC 7009, or its own way), and saying truthfully what came of it."""

from typing import Literal

from integrations.contract import Client, Provider, ProviderError, Secret
from vault.means import Means

Revoked = Literal["revoked", "not_supported", "failed"]


async def revoke(means: Means, provider: Provider, client: Client | None, token: Secret) -> Revoked:
    """Ask *provider* to end the grant of *token*, once."""
    try:
        request = provider.revoke_request(client, token)
        if request is None:
            return "not_supported"
        answer = await means.outbound.send(request, deadline=means.deadline())
    except ProviderError:
        return "failed"
    return "revoked" if provider.revoked(answer) else "failed"


async def give_back(means: Means, provider: Provider, client: Client | None, token: Secret) -> None:
    """End a grant that is of no use to us, unless other connections of the same account would end with it."""
    if provider.revocation_scope != "project":
        await revoke(means, provider, client, token)
