"""/v1/connections: what is connected, and what people change of it."""

from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from litestar import Controller, Response, delete, get, patch, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from vault import names
from vault.connection import Connection
from vault.connections import Change
from vault.disconnect import Revoking
from vault.editing import version
from vault.errors import Invalid
from vault.http.auth import Call
from vault.http.conditional import IfMatch, IfNoneMatch, condition, tagged
from vault.http.parameters import PATH, path_of
from vault.http.views.common import decode_cursor, encode_cursor, storable_text
from vault.http.views.connections import (
    ConnectionList,
    ConnectionView,
    Deleted,
    PatchConnection,
    PutConnection,
)
from vault.services import Vault

METADATA = "metadata."  # a query parameter of this and a key is a filter
MOST_FILTERS, LONGEST_FILTER = 20, 256
Status = Literal["unconfigured", "configured", "verified", "degraded", "failed"]


class ConnectionsController(Controller):
    path = "/v1/connections"
    tags = ("connections",)

    @get(
        "/",
        opt={"scope": "connections:read", "more_parameters": METADATA},
        summary="Connections and their health",
    )
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
        """Return the connections that the key may see, in the order of their paths.

        `metadata.KEY=VALUE` leaves those in whose metadata has that text, whole number or boolean
        under that key; several have to be true together. Where a token would come from is told of
        one connection, not of a list.
        """
        names.check(tenant=tenant, provider=provider)
        if tenant is not None:
            await vault.access.require_reach(request.auth, tenant)
        found = await vault.connections.page(
            request.auth,
            tenant=tenant,
            provider=provider,
            status=status,
            expiring_within=None if expiring_within is None else timedelta(seconds=expiring_within),
            metadata=_asked_metadata(request),
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
    ) -> Response[ConnectionView]:
        """Return a connection: its status, why, and what would help. Nothing is opened for it.

        `source` is where a token for it would come from now: itself, or another tenant's connection,
        of which no more is told. Its `ETag` changes with what people edit of it, and with a new grant,
        not with refreshes or health.
        """
        path = path_of(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        return await _shown(vault, await vault.connections.get(path))

    @put(PATH, opt={"scope": "connections:write"}, summary="Import tokens, or change a connection")
    async def put(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        data: JSONBody[PutConnection],
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response[ConnectionView]:
        """Store a token set from elsewhere, after asking the provider about it; or change the rest.

        Refused tokens are not stored (422). Where the provider cannot tell, they are stored as
        `configured`; so is one that has ended by its `expires_at`, and the refresh token beside it is
        used at once. `enabled: false` switches a connection off, for those who inherit it too. Of a path that
        has no connection of its own yet, it makes one without credentials, so that what is inherited there is
        switched off; `enabled: true`, or DELETE, gives that back.
        `shared: true` lets tenants below use it, and `prefer: inherited` puts its own credentials
        aside, without losing them, for what its tenant inherits. `metadata` and `settings` take the
        place of what was there; whatever is not sent stays as it is.
        """
        path = path_of(tenant, provider, name)
        above = await vault.access.require_reach(request.auth, *path)
        connection, new = await vault.connections.put(
            request.auth.actor,
            path,
            above,
            _change(request, vault, data),
            condition(if_match, if_none_match),
        )
        return await _shown(vault, connection, 201 if new else 200)

    @patch(PATH, opt={"scope": "connections:write"}, summary="Change a connection")
    async def patch(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        data: JSONBody[PatchConnection],
        if_match: IfMatch = None,
    ) -> Response[ConnectionView]:
        """Change only what is sent, of a connection that is there.

        `metadata` and `settings` are merged with what is there (RFC 7396): a key with null is removed,
        and null in their own place empties them. Nothing else can be null. Changed credentials are
        verified first, as by PUT. Fields of entered credentials that are not sent stay as they are, an
        empty one is taken out, and with none at all they are tried again. An access token alone leaves the
        stored refresh token in force, with what is known of its grant; `"refresh_token": ""` takes that out.
        409 `refresh_token_uncertain` where a refresh may just be using it up; 412 where other credentials
        came meanwhile.
        """
        path = path_of(tenant, provider, name)
        above = await vault.access.require_reach(request.auth, *path)
        connection = await vault.connections.patch(
            request.auth.actor,
            path,
            above,
            _change(request, vault, data),
            condition(if_match),
        )
        return await _shown(vault, connection)

    @delete(PATH, status_code=200, opt={"scope": "connections:write"}, summary="Disconnect")
    async def remove(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        revoke: FromQuery[Revoking] = "false",
        if_match: IfMatch = None,
    ) -> Deleted:
        """Disconnect at once; with `revoke=true` end the grant at the provider too, and say what came of it.

        Where that would end what another connection lives on, it is withheld; `revoke=all` does it even so.
        """
        path = path_of(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        revoked = await vault.connections.delete(request.auth.actor, path, condition(if_match), revoking=revoke)
        return Deleted(revoked=revoked)


async def _shown(vault: Vault, connection: Connection, status: int = 200) -> Response[ConnectionView]:
    source = await vault.connections.source((connection.tenant, connection.provider, connection.name))
    return tagged(ConnectionView.of(connection, source=source), version(connection), status)


def _asked_metadata(request: Call) -> dict[str, str]:
    """Return which values the metadata has to have, by key. Raises Invalid."""
    found = {}
    for parameter, value in request.query_params.items():
        if not parameter.startswith(METADATA):
            continue
        key = parameter.removeprefix(METADATA)
        if not key or len(key) > LONGEST_FILTER or len(value) > LONGEST_FILTER or not storable_text(key + value):
            raise Invalid("A filter is metadata.KEY=VALUE.", code="invalid_filter", field=METADATA.rstrip("."))
        found[key] = value
    if len(found) > MOST_FILTERS:
        raise Invalid("These are too many filters.", code="invalid_filter", field=METADATA.rstrip("."))
    return found


def _change(request: Call, vault: Vault, data: PutConnection | PatchConnection) -> Change:
    replacing = isinstance(data, PutConnection)
    return Change(
        kind=data.kind or None,
        credentials=None if data.credentials is UNSET else data.credentials,
        metadata=UNSET if replacing and data.metadata is None else data.metadata,
        settings=UNSET if replacing and data.settings is None else data.settings,
        merging=not replacing,
        enabled=None if data.enabled is UNSET else data.enabled,
        prefer=None if data.prefer is UNSET else data.prefer,
        shared=None if data.shared is UNSET else data.shared,
        verify=data.verify,
        reach=partial(vault.access.require_reach, request.auth),
    )
