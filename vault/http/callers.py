"""/v1/callers: programs and their API keys."""

from typing import Annotated

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from vault import names
from vault.clock import storable
from vault.http.auth import Call
from vault.http.views.callers import CallerList, CallerView, CreateCaller, CreatedCaller
from vault.http.views.common import decode_cursor, encode_cursor
from vault.services import Vault


class CallersController(Controller):
    path = "/v1/callers"
    tags = ("callers",)

    @post("/", opt={"scope": "callers:write"}, summary="Make an API key")
    async def create(
        self, request: Call, vault: NamedDependency[Vault], data: JSONBody[CreateCaller]
    ) -> CreatedCaller:
        """Make a caller. Its `key` is in this answer and nowhere else; it never has more than its maker."""
        names.check(tenant=data.tenant)
        caller, key = await vault.callers.create(
            request.auth,
            {
                "name": data.name,
                "scopes": data.scopes,
                "tenant": data.tenant,
                "providers": data.providers,
                "names": data.names,
                "expires_at": storable(data.expires_at, "expires_at"),
            },
        )
        return CreatedCaller(
            id=caller.id,
            key=key.reveal(),
            name=caller.name,
            scopes=sorted(caller.scopes),
            tenant=caller.tenant,
        )

    @get("/", opt={"scope": "callers:write"}, summary="Callers")
    async def page(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        cursor: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
    ) -> CallerList:
        after = decode_cursor(cursor, 1)
        found = await vault.callers.page(request.auth, after[0] if after else None, limit)
        following = encode_cursor([found[-1]["id"]]) if len(found) == limit else None
        mine = [CallerView.of(row) for row in found if request.auth.covers(row)]
        return CallerList(items=mine, next=following)

    @get("/{caller_id:str}", opt={"scope": "callers:write"}, summary="One caller")
    async def show(self, request: Call, vault: NamedDependency[Vault], caller_id: FromPath[str]) -> CallerView:
        names.check(name=caller_id)
        return CallerView.of(await vault.callers.get(request.auth, caller_id))

    @delete("/{caller_id:str}", opt={"scope": "callers:write"}, summary="Withdraw an API key")
    async def remove(self, request: Call, vault: NamedDependency[Vault], caller_id: FromPath[str]) -> None:
        names.check(name=caller_id)
        await vault.callers.delete(request.auth, caller_id)
