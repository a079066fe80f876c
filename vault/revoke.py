"""Ending a grant at its provider (RFC 7009, or its own way), and saying truthfully what came of it.

Some providers end more than the grant that they are shown: all that the account has given this client, or
all that it has given the project which the client belongs to. There, nothing is sent while another
connection lives on what would end, unless somebody has asked for just that.
"""

from dataclasses import replace
from typing import Literal

from integrations.contract import Client, Provider, ProviderError, Root, Secret
from vault.carrying import carried
from vault.clients.as_client import as_client, note
from vault.clients.registration import Registration
from vault.errors import StorageUnavailable
from vault.means import Means
from vault.store import connections

Revoked = Literal["revoked", "not_supported", "failed", "withheld"]


async def revoke(
    means: Means,
    provider: Provider,
    registration: Registration | None,
    root: Root,
    token: Secret | None,
    account: str | None,
    *,
    doomed: str | None = None,
    regardless: bool = False,
) -> Revoked:
    """Ask *provider* to end the grant of *token*, *account*'s where that is known, as the client that got it.

    Without a token it is *root* itself that is to end.

    Withheld where that would take another connection with it: where one account of two is unknown, they may
    be the same. Those of the tenant *doomed* and below do not count, nor, *regardless*, do any.
    """
    deadline = means.deadline()

    async def ask(client: Client | None) -> Revoked:
        steps = provider.revoke(replace(root, client=client), token)
        if steps is None:
            return "not_supported"
        if not regardless and await _takes_another(means, provider, registration, account, doomed):
            return "withheld"
        return "revoked" if await carried(means.outbound, steps, deadline=deadline) else "failed"

    try:
        done = await as_client(means, registration, ask)
    except (ProviderError, StorageUnavailable):
        return "failed"  # whoever asks has nothing left to try it with again, and has to be told
    await note(means, done.other if done.value == "revoked" else None)
    return done.value


async def give_back(
    means: Means,
    provider: Provider,
    registration: Registration | None,
    root: Root,
    token: Secret,
    account: str | None,
) -> None:
    """End a grant that is of no use to us; but not where that may end more than we know."""
    if provider.revocation_scope != "project":
        await revoke(means, provider, registration, root, token, account)


async def give_back_successor(
    means: Means,
    provider: Provider,
    registration: Registration | None,
    root: Root,
    token: Secret,
    connection: str,
) -> None:
    """Give back what came for *connection* after it was deleted or connected anew."""
    async with means.database.read() as tx:
        account = await connections.account(tx, connection)
    await give_back(means, provider, registration, root, token, account)


async def _takes_another(
    means: Means, provider: Provider, registration: Registration | None, account: str | None, doomed: str | None
) -> bool:
    if provider.revocation_scope == "token":
        return False
    of_client = registration.client_id if registration and provider.revocation_scope == "grant" else None
    async with means.database.read() as tx:
        providers = await means.providers.same_server(provider, tx)
        return await connections.another_lives(tx, providers, account, client_id=of_client, doomed=doomed)
