"""/v1/connections/…/authorize and …/device: having a person connect an account."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from vault.http.auth import Call
from vault.http.parameters import PATH, path_of
from vault.http.views.connections import AuthorizeBody, ConnectLink, DeviceBody, DeviceCode
from vault.services import Vault


class ConsentController(Controller):
    path = "/v1/connections"
    tags = ("connections",)

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
        path = path_of(tenant, provider, name)
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

    @post(PATH + "/device", opt={"scope": "connections:write"}, summary="A code for a person at another device")
    async def device(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        data: JSONBody[DeviceBody],
    ) -> DeviceCode:
        """Return a code that a person types on any device with a browser (RFC 8628).

        The vault asks the provider until they have decided, and connects. A later code takes its place.
        """
        path = path_of(tenant, provider, name)
        above = await vault.access.require_reach(request.auth, *path)
        asked = await vault.devices.begin(
            request.auth.actor, path, above, scopes=data.scopes, replace_account=data.replace_account
        )
        return DeviceCode.of(asked)
