"""/v1/connections: tokens, and the connections that they come from."""

from datetime import timedelta
from typing import Annotated, Literal

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from vault import names
from vault.connections import Change
from vault.errors import Invalid
from vault.http.auth import Call
from vault.http.views.common import decode_cursor, encode_cursor
from vault.http.views.connections import (
    AuthorizeBody,
    ConnectionList,
    ConnectionView,
    ConnectLink,
    Deleted,
    PutConnection,
    RejectionBody,
    ReportedSource,
    TokenView,
)
from vault.services import Vault

PATH = "/{tenant:str}/{provider:str}/{name:str}"
TOKEN_ROUTE = f"/v1/connections{PATH}/token".replace(":str", "")  # as the framework names the route
LONGEST_WAIT = 25  # seconds
LONGEST_TTL = 31_536_000  # seconds
LEAST_TTL = 60  # seconds, where no min_ttl is asked for
Status = Literal["unconfigured", "configured", "verified", "degraded", "failed"]


class ConnectionsController(Controller):
    path = "/v1/connections"
    tags = ("connections",)

    @get(PATH + "/token", opt={"scope": "tokens:read"}, summary="A token that works now")
    async def token(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        min_ttl: Annotated[int, QueryParameter(ge=0, le=LONGEST_TTL)] = LEAST_TTL,
        wait: Annotated[int, QueryParameter(ge=0, le=LONGEST_WAIT)] = 10,
    ) -> TokenView:
        """Return an access token that lives `min_ttl` seconds longer, refreshed first if it has to be.

        Waits up to `wait` seconds for a refresh. Where that fails for a reason that may pass and the
        old token still lives, that one is returned with its true `expires_in`.
        """
        path = _path(tenant, provider, name)
        handed = await vault.tokens.fetch(request.auth, path, min_ttl=timedelta(seconds=min_ttl), wait=wait)
        return TokenView.of(handed)

    @post(
        PATH + "/rejections",
        status_code=200,
        opt={"scope": "tokens:read"},
        summary="A token was refused",
    )
    async def reject(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        data: JSONBody[RejectionBody],
        wait: Annotated[int, QueryParameter(ge=0, le=LONGEST_WAIT)] = 10,
    ) -> TokenView:
        """Return a token in place of the one that was refused, as the token route does.

        The tokens of one generation are refreshed for it once at most, however many report them and
        however often. Waits up to `wait` seconds for that; where it fails for a reason that may pass,
        the refused token is returned again while it lives. A generation that is not the current one
        any more just gets the current token.
        """
        path = _path(tenant, provider, name)
        if data.source is not None and _path_of(data.source) != path:
            raise Invalid("The token came from another connection.", code="wrong_source", field="source")
        handed = await vault.tokens.replace(
            request.auth, path, data.generation, min_ttl=timedelta(seconds=LEAST_TTL), wait=wait
        )
        return TokenView.of(handed)

    @post(PATH + "/authorize", opt={"scope": "connections:write"}, summary="A link for a person")
    async def authorize(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        data: JSONBody[AuthorizeBody],
    ) -> ConnectLink:
        """Return a link with which a person connects this account, good until it succeeds or ends."""
        path = _path(tenant, provider, name)
        above = await vault.access.require_reach(request.auth, *path)
        url, expires_at = await vault.authorize.request(
            request.auth.actor,
            path,
            above,
            kind=data.kind,
            scopes=data.scopes,
            return_url=data.return_url,
            replace_account=data.replace_account,
        )
        return ConnectLink(connect_url=url, expires_at=expires_at.replace(microsecond=0))

    @get("/", opt={"scope": "connections:read"}, summary="Connections and their health")
    async def page(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromQuery[str | None] = None,
        provider: FromQuery[str | None] = None,
        status: FromQuery[Status | None] = None,
        expiring_within: Annotated[int | None, QueryParameter(ge=0, le=31_536_000)] = None,
        cursor: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
    ) -> ConnectionList:
        """Return the connections that the key may see, in the order of their paths."""
        names.check(tenant=tenant, provider=provider)
        if tenant is not None:
            await vault.access.require_reach(request.auth, tenant)
        found = await vault.connections.page(
            request.auth,
            tenant=tenant,
            provider=provider,
            status=status,
            expiring_within=None if expiring_within is None else timedelta(seconds=expiring_within),
            after=decode_cursor(cursor, 3),
            limit=limit,
        )
        following = None
        if len(found) == limit:
            last = found[-1]
            following = encode_cursor([last.tenant, last.provider, last.name])
        return ConnectionList(items=[ConnectionView.of(one) for one in found], next=following)

    @get(PATH, opt={"scope": "connections:read"}, summary="One connection")
    async def show(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
    ) -> ConnectionView:
        """Return a connection: its status, why, and what would help. Nothing is opened for it."""
        path = _path(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        return ConnectionView.of(await vault.connections.get(path))

    @put(PATH, opt={"scope": "connections:write"}, summary="Import tokens, or change a connection")
    async def put(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        data: JSONBody[PutConnection],
    ) -> Response[ConnectionView]:
        """Store a token set from elsewhere, after asking the provider about it; or change the rest.

        Refused tokens are not stored (422). Where the provider cannot tell, they are stored as
        `configured`. `enabled: false` switches a connection off.
        """
        path = _path(tenant, provider, name)
        above = await vault.access.require_reach(request.auth, *path)
        connection, new = await vault.connections.put(request.auth.actor, path, above, _change(data))
        return Response(ConnectionView.of(connection), status_code=201 if new else 200)

    @post(PATH + "/refresh", status_code=200, opt={"scope": "connections:write"}, summary="Renew its tokens now")
    async def refresh(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
    ) -> ConnectionView:
        """Renew the tokens once, however fresh they are, and return the connection as it is then.

        What a refresh has to wait for (a backoff, somebody else's turn, an open breaker) it waits for here too.
        """
        path = _path(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        return ConnectionView.of(await vault.verify.refresh(request.auth.actor, path))

    @post(PATH + "/verify", status_code=200, opt={"scope": "connections:write"}, summary="Does it work now?")
    async def verify(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
    ) -> ConnectionView:
        """Ask the provider about the token, renewed first if it has to be, and say what it answered.

        `verdict` is `valid`, `limited` (good, but not for all that it should do), `invalid`, or `unknown` where
        the provider cannot tell now.
        """
        path = _path(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        return ConnectionView.of(*await vault.verify.verify(request.auth.actor, path))

    @delete(PATH, status_code=200, opt={"scope": "connections:write"}, summary="Disconnect")
    async def remove(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        revoke: FromQuery[bool] = False,
    ) -> Deleted:
        """Disconnect at once; with `revoke=true` end the grant at the provider too, and say what came of it."""
        path = _path(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        return Deleted(revoked=await vault.connections.delete(request.auth.actor, path, revoking=revoke))


def _path(tenant: str, provider: str, name: str) -> tuple[str, str, str]:
    names.check(tenant=tenant, provider=provider, name=name)
    return tenant, provider, name


def _path_of(source: ReportedSource) -> tuple[str, str, str]:
    return source.tenant, source.provider, source.name


def _change(data: PutConnection) -> Change:
    return Change(
        kind=data.kind,
        credentials=data.credentials,
        metadata=data.metadata,
        enabled=data.enabled,
        verify=data.verify,
    )
