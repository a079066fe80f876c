"""/v1/tenants and /v1/clients: whom connections belong to, and the registrations they are made with."""

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from integrations.contract import Client, Secret
from vault import names
from vault.errors import NotFound
from vault.http.auth import Call
from vault.http.views import ClientView, PutClient, PutTenant, TenantView, whole
from vault.services import Vault
from vault.tenants import ROOT


class TenantsController(Controller):
    path = "/v1/tenants"
    tags = ("tenants",)

    @get("/{tenant:str}", opt={"scope": "tenants:write"}, summary="One tenant")
    async def show(self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str]) -> TenantView:
        names.check(tenant=tenant)
        await vault.access.require_reach(request.auth, tenant)
        return TenantView.of(await vault.tenants.get(tenant))

    @put("/{tenant:str}", opt={"scope": "tenants:write"}, summary="Make or change a tenant")
    async def put(
        self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str], data: JSONBody[PutTenant]
    ) -> Response[TenantView]:
        names.check(tenant=tenant)
        try:
            new = await vault.tenants.put(
                request.auth, tenant, parent=data.parent, name=data.name, return_urls=data.return_urls
            )
        except NotFound:
            await vault.access.denied(request.auth, "out_of_reach", tenant)
            raise
        return Response(TenantView.of(await vault.tenants.get(tenant)), status_code=201 if new else 200)

    @delete("/{tenant:str}", opt={"scope": "tenants:write"}, summary="Delete an empty tenant")
    async def remove(self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str]) -> None:
        names.check(tenant=tenant)
        await vault.access.require_reach(request.auth, tenant)
        if tenant == request.auth.tenant != ROOT:
            # A key does not saw off the branch it sits on.
            await vault.access.denied(request.auth, "own_tenant", tenant)
            raise NotFound
        await vault.tenants.delete(request.auth, tenant)


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


async def _view(vault: Vault, tenant: str, provider: str) -> ClientView:
    row = await vault.clients.get(tenant, provider)
    moments = {name: row._mapping[name] for name in ("rejected_at", "retry_not_before")}
    return ClientView(
        tenant=tenant,
        provider=provider,
        client_id=row.client_id,
        state=row.state,
        **{name: whole(moment) for name, moment in moments.items() if moment is not None},
    )
