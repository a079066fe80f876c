"""Ending a grant at its provider (RFC 7009), and saying truthfully what came of it."""

from typing import Literal

from integrations.contract import Client, Provider, ProviderError, Secret
from vault.clock import uptime
from vault.outbound import Outbound

Revoked = Literal["revoked", "not_supported", "failed"]


async def revoke(outbound: Outbound, provider: Provider, client: Client, token: Secret, timeout: float) -> Revoked:  # noqa: ASYNC109 - the provider's deadline
    """Ask *provider* to end the grant of *token*, once, within *timeout* seconds."""
    request = provider.revoke_request(client, token)
    if request is None:
        return "not_supported"
    try:
        answer = await outbound.send(request, deadline=uptime() + timeout)
    except ProviderError:
        return "failed"
    # RFC 7009 2.2: 200 also where the token was already dead.
    return "revoked" if answer.status == 200 else "failed"
