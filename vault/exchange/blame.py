"""Whose fault a failure is: of the connection that was renewed, or of the client that it was renewed as."""

from integrations.contract import ClientRejected, GrantRejected, Provider, ProviderError, Root
from vault.clients.as_client import Refused
from vault.clients.registration import Registration


def blame(
    error: ProviderError, provider: Provider, root: Root, registration: Registration | None
) -> ProviderError:
    """Return *error* as it concerns *root*, once all that its *registration* could be used with was tried.

    What a provider calls a bad client, or a bad scope, was entered where no registration takes part. Where one
    does, a provider may still mean the connection by a bad client.
    """
    entered = registration is None and root.credentials
    meant = isinstance(error, Refused) and error.by_provider and provider.client_errors_scope == "connection"
    if meant or (entered and (isinstance(error, ClientRejected) or error.code == "invalid_scope")):
        return GrantRejected(error.code, retry_after=error.retry_after)
    return error
