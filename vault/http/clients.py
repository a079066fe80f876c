"""/v1/clients: the registrations that connections are made with."""

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from vault import names
from vault.errors import Conflict
from vault.http.auth import Call
from vault.http.views.clients import ClientView, PutClient
from vault.http.views.common import AskedLine
from vault.services import Vault


class ClientsController(Controller):
    path = "/v1/clients"
    tags = ("clients",)

    @get("/{tenant:str}/{provider:str}", opt={"scope": "clients:write"}, summary="A tenant's own registration")
    async def show(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        client_id: AskedLine = None,
    ) -> ClientView:
        """Show the current one, or that of `client_id`, which may be a former one."""
        names.check(tenant=tenant, provider=provider)
        await vault.access.require_reach(request.auth, tenant, provider)
        return ClientView.of(await vault.clients.get(tenant, provider, client_id))

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

        Existing grants keep the client that got them. Another secret, or private key, for the same
        `client_id` keeps the former one live beside it, until it is deleted or the next one comes;
        with either, a rejected client is taken out of its pause. With `current: false` a former
        registration gets another secret without new consents using it.
        """
        names.check(tenant=tenant, provider=provider)
        await vault.access.require_switch(request.auth, tenant, provider)
        await vault.clients.put(tenant, provider, data.client(), request.auth.actor, current=data.current)
        return ClientView.of(await vault.clients.get(tenant, provider, data.client_id))

    @delete("/{tenant:str}/{provider:str}", opt={"scope": "clients:write"}, summary="Remove a registration")
    async def remove(
        self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str], provider: FromPath[str]
    ) -> None:
        """Remove it; grants that were got with it keep it and go on working."""
        names.check(tenant=tenant, provider=provider)
        await vault.access.require_switch(request.auth, tenant, provider)
        try:
            await vault.clients.delete(tenant, provider, request.auth)
        except Conflict as error:
            await vault.access.denied(request.auth, error.code, tenant, provider)
            raise

    @delete(
        "/{tenant:str}/{provider:str}/secrets/previous",
        opt={"scope": "clients:write"},
        summary="Forget a registration's former secret",
    )
    async def drop_previous(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        client_id: AskedLine = None,
    ) -> None:
        """End a rotation: from now on only the current secret, or private key, is used."""
        names.check(tenant=tenant, provider=provider)
        await vault.access.require_switch(request.auth, tenant, provider)
        await vault.clients.drop_previous(tenant, provider, client_id, request.auth.actor)

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
        """Go on as before the pause. What became due meanwhile is refreshed at once.

        What a key of a tenant above has paused is resumed from there, or from further above.
        """
        return await _switched(request, vault, tenant, provider, paused=False)


async def _switched(request: Call, vault: Vault, tenant: str, provider: str, *, paused: bool) -> ClientView:
    names.check(tenant=tenant, provider=provider)
    await vault.access.require_switch(request.auth, tenant, provider)
    try:
        await vault.gates.switch_client(tenant, provider, request.auth, paused=paused)
    except Conflict as error:
        await vault.access.denied(request.auth, error.code, tenant, provider)
        raise
    return ClientView.of(await vault.clients.get(tenant, provider, retired=True))
