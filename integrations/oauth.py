"""The dialect of a provider that follows the standards: RFC 6749, 7636 (PKCE), 7009, 9207."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7009 import prepare_revoke_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from integrations import answers, identity
from integrations.contract import (
    Account,
    Answer,
    AuthorizationRequest,
    Client,
    Field,
    Kind,
    Root,
    Rotation,
    Secret,
    TokenSet,
    Unreadable,
    Verdict,
)
from integrations.definition import Definition

CONSENT = Kind(id="oauth2", label="Connect an account", how="consent", renewal="refresh_token")
CLIENT_CREDENTIALS = Kind(
    id="client_credentials",
    label="The client's own access",
    how="enter",
    renewal="client_credentials",
    fields=(Field(name="scope", label="Scopes, separated by spaces", secret=False, required=False),),
)
_KINDS = {"authorization_code": CONSENT, "client_credentials": CLIENT_CREDENTIALS}
_FORM = "application/x-www-form-urlencoded;charset=UTF-8"


class OAuthProvider:
    """A Definition that can speak."""

    def __init__(self, provider_id: str, definition: Definition) -> None:
        self.id = provider_id
        self.definition = definition

    @property
    def name(self) -> str:
        return self.definition.name or self.id

    @property
    def docs(self) -> str | None:
        return self.definition.docs

    @property
    def rotation(self) -> Rotation:
        return self.definition.rotation

    @property
    def rotation_grace(self) -> int:
        return self.definition.rotation_grace_seconds

    @property
    def default_lifetime(self) -> int:
        return self.definition.default_lifetime

    @property
    def default_scopes(self) -> Sequence[str]:
        return self.definition.scopes

    @property
    def endpoints(self) -> Mapping[str, str]:
        return self.definition.endpoints()

    def authorization_url(self, asked: AuthorizationRequest) -> str:
        parameters: dict[str, str] = dict(self.definition.authorization_parameters)
        if "offline_access" in asked.scopes:
            # OpenID Connect Core 11: offline access is only granted where consent is prompted for.
            parameters.setdefault("prompt", "consent")
        if "openid" in asked.scopes:
            parameters["nonce"] = asked.nonce
        uri: str = prepare_grant_uri(
            self.definition.authorization_endpoint,
            asked.client.client_id,
            "code",
            redirect_uri=asked.redirect_uri,
            scope=" ".join(asked.scopes),
            state=asked.state,
            code_challenge=create_s256_code_challenge(asked.code_verifier.reveal()),
            code_challenge_method="S256",
            **parameters,
        )
        return uri

    def check_authorization_answer(self, parameters: Mapping[str, str]) -> None:
        expected, named = self.definition.issuer, parameters.get("iss")
        if named is None and self.definition.authorization_response_iss_parameter_supported:
            raise Unreadable("iss_missing")
        if named is not None and expected is not None and named != expected:
            raise Unreadable("iss_mismatch")

    def code_request(self, asked: AuthorizationRequest, code: Secret) -> httpx.Request:
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=asked.redirect_uri,
            code=code.reveal(),
            code_verifier=asked.code_verifier.reveal(),
        )
        return self._authenticated(asked.client, self.definition.token_endpoint, body)

    @property
    def kinds(self) -> Sequence[Kind]:
        return [_KINDS[grant_type] for grant_type in self.definition.grant_types if grant_type in _KINDS]

    def renew_request(self, root: Root) -> httpx.Request:
        if root.client is None:
            raise Unreadable("no_client")
        return self._authenticated(root.client, self.definition.token_endpoint, self._renewal(root))

    def _renewal(self, root: Root) -> str:
        if root.kind == CLIENT_CREDENTIALS.id:
            entered = root.credentials.get("scope")
            scope = entered.reveal() if entered else " ".join(self.definition.scopes)
            return str(prepare_token_request("client_credentials", scope=scope))
        if root.refresh_token is None:
            raise Unreadable("no_refresh_token")
        # RFC 6749 section 6: no scope asks for what was granted, whatever that is by now.
        return str(prepare_token_request("refresh_token", refresh_token=root.refresh_token.reveal()))

    def read_tokens(self, answer: Answer) -> TokenSet:
        return answers.read_tokens(answer)

    def account(self, tokens: TokenSet, *, client: Client, nonce: str | None) -> Account | None:
        if tokens.id_token is None:
            return None
        return identity.account_of(
            tokens.id_token, issuer=self.definition.issuer, client_id=client.client_id, nonce=nonce
        )

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> Account | None:
        return None

    def probe_request(self, access_token: Secret) -> httpx.Request | None:
        if self.definition.userinfo_endpoint is None:
            return None
        headers = {"Authorization": f"Bearer {access_token.reveal()}", "Accept": "application/json"}
        return httpx.Request("GET", self.definition.userinfo_endpoint, headers=headers)

    def read_probe(self, answer: Answer, client: Client | None) -> Verdict:
        if 200 <= answer.status < 300:
            return "valid"
        return "invalid" if answer.status in {401, 403} else "unknown"

    def revoke_request(self, client: Client | None, token: Secret) -> httpx.Request | None:
        if self.definition.revocation_endpoint is None or client is None:
            return None
        body, _headers = prepare_revoke_token_request(token.reveal(), "refresh_token", "", {})
        return self._authenticated(client, self.definition.revocation_endpoint, body)

    def _authenticated(self, client: Client, uri: str, body: str) -> httpx.Request:
        headers: dict[str, Any] = {"Accept": "application/json", "Content-Type": _FORM}
        uri, headers, body = self._client_auth(client).prepare("POST", uri, headers, body)
        return httpx.Request("POST", uri, headers=headers, content=body)

    def _client_auth(self, client: Client) -> ClientAuth:
        method = self.definition.token_endpoint_auth_method
        client_id, secret = client.client_id, client.client_secret.reveal() if client.client_secret else ""
        if method == "client_secret_basic":
            # RFC 6749 2.3.1: each part is form-encoded before it is joined and put in base64.
            client_id, secret = quote_plus(client_id), quote_plus(secret)
        return ClientAuth(client_id, secret, method)
