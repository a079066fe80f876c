"""A provider that speaks a language of its own: what it says of itself where it has nothing to do with OAuth.

An adapter is one file, or one folder: a class of this base with its kinds and its advice, and a line in the
catalogue (`builtin.py`, with where it is in `endpoints.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import httpx

from integrations.contract import (
    Account,
    Answer,
    AuthorizationRequest,
    Client,
    ClientAuthMethod,
    ClientErrorsScope,
    ClientTokenRequest,
    DeviceAuthorization,
    DeviceWaiting,
    Field,
    Finding,
    Handout,
    Jwks,
    Kind,
    Limits,
    ProviderError,
    RevocationScope,
    Root,
    Rotation,
    Secret,
    Steps,
    TokenSet,
    Unreadable,
    Work,
)
from integrations.endpoints import Endpoints


class Vendor:
    """What a provider is that takes entered credentials and changes none of them."""

    id: ClassVar[str]
    name: ClassVar[str]
    docs: ClassVar[str | None] = None
    kinds: ClassVar[Sequence[Kind]]
    advice: ClassVar[Mapping[str, str]] = {}  # what a person can do about its codes, in a sentence each

    rotation: ClassVar[Rotation] = "never"
    rotation_grace: ClassVar[int] = 0
    default_lifetime: ClassVar[int] = 3600
    min_refresh_interval: ClassVar[int] = 0
    refresh_every: ClassVar[int | None] = None
    default_scopes: ClassVar[Sequence[str]] = ()
    jwks_uri: ClassVar[str | None] = None
    token_endpoint_auth_method: ClassVar[ClientAuthMethod] = "none"  # noqa: S105 - a method
    client_settings: ClassVar[Sequence[Field]] = ()
    needs_refresh_token: ClassVar[bool] = False
    client_errors_scope: ClassVar[ClientErrorsScope] = "client"
    limits: ClassVar[Limits] = Limits()
    revocation_scope: ClassVar[RevocationScope] = "token"

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints: Mapping[str, str] = dict(endpoints)

    def kind(self, kind: str) -> Kind:
        return next(one for one in self.kinds if one.id == kind)

    # ---- consent

    def asking(self, scopes: Sequence[str]) -> Sequence[str]:
        return scopes

    def authorization_url(self, asked: AuthorizationRequest) -> str:
        raise Unreadable("no_authorization_endpoint")

    def check_authorization_answer(self, parameters: Mapping[str, str]) -> None:
        """Nothing in it says who sent it."""

    def redeem(self, asked: AuthorizationRequest, code: Secret) -> Steps[TokenSet]:
        raise Unreadable("no_authorization_endpoint")

    def account(self, tokens: TokenSet, *, client: Client, nonce: str | None, keys: Jwks | None) -> Account | None:
        return None

    def device_request(self, client: Client, scopes: Sequence[str]) -> httpx.Request | None:
        return None

    def read_device(self, answer: Answer) -> DeviceAuthorization:
        raise Unreadable("no_device_authorization_endpoint")

    def device_token_request(self, client: Client, device_code: Secret) -> httpx.Request:
        raise Unreadable("no_device_authorization_endpoint")

    def read_device_tokens(self, answer: Answer) -> TokenSet | DeviceWaiting:
        raise Unreadable("no_device_authorization_endpoint")

    # ---- entered credentials

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> Account | None:
        return None

    def renew(self, root: Root) -> Steps[TokenSet]:
        raise Unreadable("not_renewable")

    def prove(self, root: Root) -> Steps[Finding]:
        if self.kind(root.kind).static:
            return self.probe(root, None)
        return self._minted(root)

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        """Say that nobody can tell; for an adapter to say more."""
        yield from ()
        return Finding(verdict="unknown")

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        return Handout(credentials=credentials)

    def revoke(self, root: Root, token: Secret | None) -> Steps[bool] | None:
        return None

    def client_token(self, root: Root, asked: ClientTokenRequest, issued_at: int) -> Secret:
        raise Unreadable("no_client_tokens")

    def work(self, ability: str, root: Root) -> Work[Finding] | None:
        return None

    def why_over(self, code: str, lived: int, promised: int | None) -> str:
        return code

    def _minted(self, root: Root) -> Steps[Finding]:
        """Get tokens, which proves what they are got with, and ask with them what else there is to know."""
        tokens = yield from self.renew(root)
        try:
            found = yield from self.probe(root, tokens.access_token)
        except ProviderError:
            found = Finding(verdict="valid")
        return replace(found, tokens=tokens)
