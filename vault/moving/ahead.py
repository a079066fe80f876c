"""What a record may rely on: what is stored, and in a dry run what the records before it would have stored."""

import msgspec

from integrations.contract import Provider
from integrations.definition import Definition
from vault.errors import Conflict, Invalid, NotFound
from vault.services import Vault
from vault.store import clients, tenants


class Ahead:
    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._providers: dict[str, Definition] = {}
        self._parents: dict[str, str] = {}  # of tenants
        self._clients: dict[tuple[str, str], str] = {}  # the client_id, by tenant and provider

    def provide(self, provider: str, definition: Definition) -> None:
        self._providers[provider] = definition

    def settle(self, tenant: str, parent: str) -> None:
        self._parents[tenant] = parent

    def register(self, tenant: str, provider: str, client_id: str) -> None:
        self._clients[tenant, provider] = client_id

    async def provider(self, provider: str) -> Provider:
        """Return *provider*. Raises Invalid where there is none."""
        if provider in self._providers:
            text = msgspec.json.encode(self._providers[provider]).decode()
            return self._vault.providers.speaking(provider, text)
        try:
            async with self._vault.database.read() as tx:
                return await self._vault.providers.get(provider, tx)
        except NotFound:
            raise Invalid("There is no such provider.", code="no_provider", field="provider") from None

    async def above(self, tenant: str, *, field: str = "tenant") -> list[str]:
        """Return *tenant* and all above it. Raises Invalid where it is missing."""
        made, top = list[str](), tenant
        while top in self._parents:
            made.append(top)
            top = self._parents[top]
        async with self._vault.database.read() as tx:
            found = await tenants.ancestors(tx, top)
        if not found:
            raise Invalid("There is no such tenant.", code="no_tenant", field=field)
        return made + found

    async def lacks(self, tenant: str) -> bool:
        """Say whether *tenant* is missing."""
        async with self._vault.database.read() as tx:
            return tenant not in self._parents and await tenants.find(tx, tenant) is None

    async def client_id(self, above: list[str], provider: str) -> str:
        """Return the client_id that consents at *provider* use. Raises Conflict where none is registered."""
        async with self._vault.database.read() as tx:
            stored = await clients.nearest(tx, above, provider)
        found = {} if stored is None else {stored.tenant_id: str(stored.client_id)}
        found |= {tenant: made for (tenant, at), made in self._clients.items() if at == provider}
        nearest = next((found[tenant] for tenant in above if tenant in found), None)
        if nearest is None:
            raise Conflict("No client is registered that could use these credentials.", code="no_client")
        return nearest
