"""/v1/clients: the registrations that connections are made with."""

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from integrations.contract import Client, Secret
from vault import names
from vault.http.auth import Call
from vault.http.views.clients import ClientView, PutClient
from vault.http.views.common import whole
from vault.services import Vault


class ClientsController(Controller):
    path = "/v1/clients"
    tags = ("clients",)

    @get("/{tenant:str}/{provider:str}", opt={"scope": "clients:write"}, summary="A tenant's own registration")
    async def show(
        self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str], provider: FromPath[str]
    ) -> ClientView:
        names.check(tenant=tenant, provider=provider)
        await vault.access.require_reach(request.auth, tenant, provider)
        return await _view(vault, tenant, provider)

    @put("/{tenant:str}/{provider:str}", opt={"scope": "clients:write"}, summary="Register a client")
    async def put(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        data: JSONBody[PutClient],
    ) -> ClientView:
        """Make this the registration that new consents of the tenant and below use.

        Existing grants keep the client that got them. The same `client_id` with another secret
        takes a rejected client out of its pause.
        """
        names.check(tenant=tenant, provider=provider)
        await vault.access.require_reach(request.auth, tenant, provider)
        secret = None if data.client_secret is None else Secret(data.client_secret)
        await vault.clients.put(tenant, provider, Client(data.client_id, secret), request.auth.actor)
        return await _view(vault, tenant, provider)

    @delete("/{tenant:str}/{provider:str}", opt={"scope": "clients:write"}, summary="Remove a registration")
    async def remove(
        self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str], provider: FromPath[str]
    ) -> None:
        """Remove it; grants that were got with it keep it and go on working."""
        names.check(tenant=tenant, provider=provider)
        await vault.access.require_reach(request.auth, tenant, provider)
        await vault.clients.delete(tenant, provider, request.auth.actor)

    @post(
        "/{tenant:str}/{provider:str}/pause",
        status_code=200,
        opt={"scope": "clients:write"},
        summary="Pause a tenant's registrations at a provider",
    )
    async def pause(
        self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str], provider: FromPath[str]
    ) -> ClientView:
        """Refresh nothing and hand out nothing that was got with it, nor with the tenant's former ones."""
        return await _switched(request, vault, tenant, provider, paused=True)

    @post(
        "/{tenant:str}/{provider:str}/resume",
        status_code=200,
        opt={"scope": "clients:write"},
        summary="Resume a tenant's registrations at a provider",
    )
    async def resume(
        self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str], provider: FromPath[str]
    ) -> ClientView:
        """Go on as before the pause. What became due meanwhile is refreshed at once."""
        return await _switched(request, vault, tenant, provider, paused=False)


async def _switched(request: Call, vault: Vault, tenant: str, provider: str, *, paused: bool) -> ClientView:
    names.check(tenant=tenant, provider=provider)
    await vault.access.require_switch(request.auth, tenant, provider)
    await vault.gates.switch_client(tenant, provider, request.auth.actor, paused=paused)
    return await _view(vault, tenant, provider, retired=True)


async def _view(vault: Vault, tenant: str, provider: str, *, retired: bool = False) -> ClientView:
    row = await vault.clients.get(tenant, provider, retired=retired)
    moments = {name: row._mapping[name] for name in ("rejected_at", "retry_not_before", "paused_at")}
    return ClientView(
        tenant=tenant,
        provider=provider,
        client_id=row.client_id,
        state=row.state,
        **{name: whole(moment) for name, moment in moments.items() if moment is not None},
    )
