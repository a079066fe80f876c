"""/v1/connections/…/refresh, verify, rotate and repair: what is done with credentials now."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from vault.http.auth import Call
from vault.http.parameters import PATH, path_of
from vault.http.views.connections import ConnectionView
from vault.services import Vault


class CredentialsController(Controller):
    path = "/v1/connections"
    tags = ("connections",)

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
        path = path_of(tenant, provider, name)
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
        path = path_of(tenant, provider, name)
        above = await vault.access.require_reach(request.auth, *path)
        return ConnectionView.of(*await vault.verify.verify(request.auth.actor, path, above))

    @post(
        PATH + "/rotate",
        status_code=200,
        opt={"scope": "connections:write"},
        summary="Another secret in its place",
    )
    async def rotate(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
    ) -> ConnectionView:
        """Have the provider make another secret, take it into use, and end the former one.

        For kinds of credentials with the ability `rotate`; `settings.rotate_every_days` has it done by itself.
        What was begun is gone on with: where the provider does not answer (503), by itself too.
        """
        path = path_of(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        return ConnectionView.of(await vault.works.order(request.auth.actor, path, "rotate"))

    @post(PATH + "/repair", status_code=200, opt={"scope": "connections:write"}, summary="Set it up again")
    async def repair(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
    ) -> ConnectionView:
        """Make what is missing at the provider of what the connection stands for, and nothing that is there.

        For kinds of credentials with the ability `repair`. A password becomes the one
        that is stored, or a new one where that is unknown.
        """
        path = path_of(tenant, provider, name)
        await vault.access.require_reach(request.auth, *path)
        return ConnectionView.of(await vault.works.order(request.auth.actor, path, "repair"))
