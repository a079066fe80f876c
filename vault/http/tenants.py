"""/v1/tenants: whom connections belong to."""

from litestar import Controller, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody

from vault import names
from vault.disconnect import Revoking
from vault.errors import NotFound
from vault.http.auth import Call
from vault.http.conditional import IfMatch, IfNoneMatch, condition, tagged
from vault.http.views.common import Limit, decode_cursor, encode_cursor
from vault.http.views.tenants import OffboardingReport, PatchTenant, PutTenant, TenantList, TenantView
from vault.services import Vault
from vault.tenants import ROOT, version


class TenantsController(Controller):
    path = "/v1/tenants"
    tags = ("tenants",)

    @get("/", opt={"scope": "tenants:write"}, summary="Tenants")
    async def page(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        parent: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: Limit = 50,
    ) -> TenantList:
        """Return the tenants that the key reaches, by their ids; those right under `parent` if given."""
        names.check(tenant=parent)
        if parent is not None:
            await vault.access.require_reach(request.auth, parent)
        after = decode_cursor(cursor, 1)
        found = await vault.tenants.page(request.auth, parent, after[0] if after else None, limit)
        following = encode_cursor([found[-1]["id"]]) if len(found) == limit else None
        return TenantList(items=[TenantView.of(row) for row in found], next=following)

    @get("/{tenant:str}", opt={"scope": "tenants:write"}, summary="One tenant")
    async def show(
        self, request: Call, vault: NamedDependency[Vault], tenant: FromPath[str]
    ) -> Response[TenantView]:
        """Return a tenant. Its `ETag` changes with whatever PUT and PATCH change."""
        names.check(tenant=tenant)
        await vault.access.require_reach(request.auth, tenant)
        return await _shown(vault, tenant)

    @put("/{tenant:str}", opt={"scope": "tenants:write"}, summary="Make or change a tenant")
    async def put(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        data: JSONBody[PutTenant],
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response[TenantView]:
        """Make a tenant or put this in its place: what is left out is as for a new one.

        `inherit: false` keeps what tenants above share from it, and from all below it.
        """
        names.check(tenant=tenant)
        await vault.access.require_whole(request.auth, tenant)
        try:
            new = await vault.tenants.put(
                request.auth,
                tenant,
                parent=data.parent,
                name=data.name,
                return_urls=data.return_urls,
                inherit=data.inherit,
                condition=condition(if_match, if_none_match),
            )
        except NotFound:
            await vault.access.denied(request.auth, "out_of_reach", tenant)
            raise
        return await _shown(vault, tenant, 201 if new else 200)

    @patch("/{tenant:str}", opt={"scope": "tenants:write"}, summary="Change a tenant")
    async def patch(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        data: JSONBody[PatchTenant],
        if_match: IfMatch = None,
    ) -> Response[TenantView]:
        """Change only what is sent, of a tenant that is there; not of the one that the key is limited to."""
        names.check(tenant=tenant)
        await vault.access.require_switch(request.auth, tenant)
        try:
            await vault.tenants.patch(request.auth, tenant, data.changes(), condition(if_match))
        except NotFound:
            await vault.access.denied(request.auth, "out_of_reach", tenant)
            raise
        return await _shown(vault, tenant)

    @delete(
        "/{tenant:str}",
        status_code=200,
        opt={"scope": "tenants:write"},
        summary="Delete a tenant",
        responses={204: ResponseSpec(None, description="Deleted; nothing was on it")},
    )
    async def remove(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        cascade: FromQuery[bool] = False,
        revoke: FromQuery[Revoking] = "true",
        if_match: IfMatch = None,
    ) -> Response[OffboardingReport | None]:
        """Delete a tenant: an empty one, or with `cascade=true` all that is on it and below it, too.

        With cascade, nothing below is served any more from the beginning on. Grants end at their
        providers, unless `revoke=false`; what would take a connection from elsewhere with it is withheld,
        unless `revoke=all`. Says what came of all that. A call that takes too long ends with `complete`
        false, and the next one goes on; the tenant stays paused meanwhile.
        """
        names.check(tenant=tenant)
        await vault.access.require_switch(request.auth, tenant)
        await _refuse_own(request, vault, tenant)  # a key does not saw off the branch it sits on
        if not cascade:
            await vault.tenants.delete(request.auth, tenant, condition(if_match))
            return Response(None, status_code=204)
        report = await vault.offboarding.offboard(request.auth, tenant, condition(if_match), revoking=revoke)
        return Response(OffboardingReport.of(report))

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


async def _shown(vault: Vault, tenant: str, status: int = 200) -> Response[TenantView]:
    row = await vault.tenants.get(tenant)
    return tagged(TenantView.of(row), version(row), status)


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
