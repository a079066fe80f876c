"""/v1/providers: the catalogue, and generic providers defined at run time."""

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from vault import names
from vault.errors import NotFound
from vault.http.auth import Call
from vault.http.views.common import Limit, decode_cursor, encode_cursor
from vault.http.views.providers import ProviderList, ProviderView, PutProvider
from vault.services import Vault


class ProvidersController(Controller):
    path = "/v1/providers"
    tags = ("providers",)

    @get("/", opt={"scope": None}, summary="The catalogue")
    async def page(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        cursor: FromQuery[str | None] = None,
        limit: Limit = 50,
    ) -> ProviderList:
        """Return the providers that the key reaches, by their ids."""
        after = decode_cursor(cursor, 1)
        async with vault.database.read() as tx:
            known = await vault.providers.all(tx)
        paused = await vault.gates.paused_providers()
        left = [one for one in known if request.auth.reaches(one.id, None) and (not after or one.id > after[0])]
        shown = left[:limit]
        following = encode_cursor([shown[-1].id]) if len(left) > limit else None
        return ProviderList(items=[ProviderView.of(one, paused.get(one.id)) for one in shown], next=following)

    @get("/{provider:str}", opt={"scope": None}, summary="One provider")
    async def show(self, request: Call, vault: NamedDependency[Vault], provider: FromPath[str]) -> ProviderView:
        """Return a catalogue entry, and the `definition` of what is not built in: it can be PUT back as it is."""
        await _check(request, vault, provider)
        return await _view(vault, provider)

    @put("/{provider:str}", opt={"scope": "providers:write"}, summary="Define a generic provider")
    async def put(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        provider: FromPath[str],
        data: JSONBody[PutProvider],
    ) -> Response[ProviderView]:
        """Define an OAuth 2.0 or OpenID provider: `{"issuer": …}` is discovered, or give its endpoints.

        Fields are spelled as in RFC 8414 and RFC 7591. While connections or clients exist, their
        tokens and secrets are not sent to another origin (409). What was just deleted counts until it is
        cleared away, a minute or so later.
        """
        names.check(provider=provider)
        await vault.access.require_switch(request.auth, "platform", provider)
        new = await vault.providers.define(provider, data.given(), request.auth.actor)
        return Response(await _view(vault, provider), status_code=201 if new else 200)

    @delete("/{provider:str}", opt={"scope": "providers:write"}, summary="Forget a generic provider")
    async def remove(self, request: Call, vault: NamedDependency[Vault], provider: FromPath[str]) -> None:
        names.check(provider=provider)
        await vault.access.require_switch(request.auth, "platform", provider)
        await vault.providers.forget(provider, request.auth.actor)

    @post("/{provider:str}/pause", status_code=200, opt={"scope": "providers:write"}, summary="Pause a provider")
    async def pause(self, request: Call, vault: NamedDependency[Vault], provider: FromPath[str]) -> ProviderView:
        """Refresh nothing and hand out nothing of any connection there."""
        return await _switched(request, vault, provider, paused=True)

    @post("/{provider:str}/resume", status_code=200, opt={"scope": "providers:write"}, summary="Resume a provider")
    async def resume(self, request: Call, vault: NamedDependency[Vault], provider: FromPath[str]) -> ProviderView:
        """Go on as before the pause. What became due meanwhile is refreshed at once."""
        return await _switched(request, vault, provider, paused=False)


async def _switched(request: Call, vault: Vault, provider: str, *, paused: bool) -> ProviderView:
    names.check(provider=provider)
    await vault.access.require_switch(request.auth, "platform", provider)
    await vault.gates.switch_provider(provider, request.auth.actor, paused=paused)
    return await _view(vault, provider)


async def _check(request: Call, vault: Vault, provider: str) -> None:
    names.check(provider=provider)
    if not request.auth.reaches(provider, None):
        await vault.access.denied(request.auth, "out_of_reach", provider=provider)
        raise NotFound


async def _view(vault: Vault, provider: str) -> ProviderView:
    async with vault.database.read() as tx:
        known = await vault.providers.get(provider, tx)
        definition = await vault.providers.definition(provider, tx)
    return ProviderView.of(known, (await vault.gates.paused_providers()).get(provider), definition)
