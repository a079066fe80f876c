"""/v1/tenants: whom connections belong to."""

from litestar import Controller, Response, delete, get, post, put
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
        await _refuse_own(request, vault, tenant)  # a key does not saw off the branch it sits on
        await vault.tenants.delete(request.auth, tenant)

    @post(
        "/{tenant:str}/pause",
        status_code=200,
        opt={"scope": "tenants:write"},
        summary="Pause a tenant and all below",
    )
    async def pause(self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str]) -> TenantView:
        """Refresh nothing and hand out nothing of the tenant and all below it."""
        return await _switched(request, vault, tenant, paused=True)

    @post(
        "/{tenant:str}/resume",
        status_code=200,
        opt={"scope": "tenants:write"},
        summary="Resume a tenant and all below",
    )
    async def resume(self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str]) -> TenantView:
        """Go on as before the pause, except below a tenant that is itself paused.

        A key pauses the tenant that it is limited to, but does not resume it: who is above does.
        """
        return await _switched(request, vault, tenant, paused=False)


async def _refuse_own(request: Call, vault: Vault, tenant: str) -> None:
    if tenant == request.auth.tenant != ROOT:
        await vault.access.denied(request.auth, "own_tenant", tenant)
        raise NotFound


async def _switched(request: Call, vault: Vault, tenant: str, *, paused: bool) -> TenantView:
    names.check(tenant=tenant)
    await vault.access.require_switch(request.auth, tenant)
    if not paused:
        await _refuse_own(request, vault, tenant)  # nor does it undo what somebody above has stopped
    await vault.gates.switch_tenant(tenant, request.auth.actor, paused=paused)
    return TenantView.of(await vault.tenants.get(tenant))
