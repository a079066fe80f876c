"""/v1/connections/…/token: tokens, the reports that one was refused, and tokens for apps."""

from datetime import timedelta
from typing import Annotated

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from integrations.contract import ClientTokenRequest
from vault.http.auth import Call
from vault.http.parameters import PATH, path_of
from vault.http.views.client_tokens import ClientTokenBody, ClientTokenView
from vault.http.views.connections import RejectionBody, TokenView
from vault.services import Vault

TOKEN_ROUTE = f"/v1/connections{PATH}/token".replace(":str", "")  # as the framework names the route
LONGEST_WAIT = 25  # seconds
LONGEST_TTL = 31_536_000  # seconds
LEAST_TTL = 60  # seconds, where no min_ttl is asked for


class TokensController(Controller):
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
        old token still lives, that one is returned with its true `expires_in`. What is proven
        not to work is not returned, however long it was to live.

        The token is the connection's own. Where there is none, or it holds no credentials, or it
        prefers what it inherits, the token is that of the nearest tenant above that shares a
        connection of this provider and name: `source` says whose it is. What is connected here and
        has failed, or is switched off, is never replaced by another.
        """
        path = path_of(tenant, provider, name)
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
        the refused token is returned again while it lives, unless the provider, asked once, calls it
        dead. A generation that is not the current one any more, or a `source` that this connection had
        before, just gets the current token. Of what another connection feeds, that one's token is meant.
        """
        path = path_of(tenant, provider, name)
        source = None if data.source is None else (data.source.tenant, data.source.provider, data.source.name)
        handed = await vault.tokens.replace(
            request.auth, path, data.generation, source, min_ttl=timedelta(seconds=LEAST_TTL), wait=wait
        )
        return TokenView.of(handed)

    @post(PATH + "/client-tokens", opt={"scope": "tokens:read"}, summary="A token for an app")
    async def client_token(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromPath[str],
        provider: FromPath[str],
        name: FromPath[str],
        data: JSONBody[ClientTokenBody],
    ) -> ClientTokenView:
        """Return a token for an app in a browser or on a phone, signed with what is stored.

        It is made for this request and kept nowhere. For kinds with the ability `client_tokens`; the catalogue
        says which they are. What serves it is found as for the token route, and `source` says whose it is.
        """
        path = path_of(tenant, provider, name)
        asked = ClientTokenRequest(grants=data.grants, ttl=data.ttl, identity=data.identity)
        return ClientTokenView.of(await vault.client_tokens.sign(request.auth, path, asked))
