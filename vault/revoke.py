"""Ending a grant at its provider (RFC 7009, or its own way), and saying truthfully what came of it."""

from typing import Literal

from integrations.contract import Answer, Client, ClientRejected, Provider, ProviderError, Secret
from vault.as_client import as_client, note
from vault.means import Means
from vault.registration import Registration

Revoked = Literal["revoked", "not_supported", "failed"]


async def revoke(means: Means, provider: Provider, registration: Registration | None, token: Secret) -> Revoked:
    """Ask *provider* to end the grant of *token*, as the client that got it."""
    deadline = means.deadline()

    async def ask(client: Client | None) -> Revoked:
        request = provider.revoke_request(client, token)
        if request is None:
            return "not_supported"
        answer = await means.outbound.send(request, deadline=deadline)
        if provider.revoked(answer):
            return "revoked"
        _check_client(provider, answer)
        return "failed"

    try:
        done = await as_client(means, registration, ask)
    except ProviderError:
        return "failed"
    await note(means, done.other if done.value == "revoked" else None)
    return done.value


def _check_client(provider: Provider, answer: Answer) -> None:
    """Raise ClientRejected where *answer* is that. A refusal means the same here as of tokens (RFC 7009 2.2.1)."""
    try:
        provider.read_tokens(answer)
    except ClientRejected:
        raise
    except ProviderError:
        return
