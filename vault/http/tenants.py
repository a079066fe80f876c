"""/v1/tenants: whom connections belong to."""

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from vault import names
from vault.errors import NotFound
from vault.http.auth import Call
from vault.http.views.tenants import PutTenant, TenantView
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
