"""Asking a provider whether credentials work, in a way that spends nothing."""

from dataclasses import replace

from integrations.contract import Client, Finding, Provider, ProviderError, Root, Secret
from vault.carrying import carried
from vault.clients.as_client import as_client, note
from vault.clients.registration import Registration
from vault.means import Means


async def probed(
    means: Means, provider: Provider, registration: Registration | None, root: Root, access_token: Secret | None
) -> Finding:
    """Return what *provider* says of *access_token*, which *root* gave, or of *root* itself where it is static.

    It is asked as the client of *registration*, as far as it wants to know who asks; one whose secret does not
    open is still known by name. Unknown where it has no way to tell, or cannot tell now.
    """
    deadline = means.deadline()

    async def probe(client: Client | None) -> Finding:
        steps = provider.probe(replace(root, client=client), access_token)
        return await carried(means.outbound, steps, deadline=deadline)

    try:
        if registration is not None and registration.likeliest is None:
            return await probe(Client(registration.client_id))
        done = await as_client(means, registration, probe)
    except ProviderError as error:
        return Finding(verdict="unknown", code=error.code)
    await note(means, done.other)
    return done.value
