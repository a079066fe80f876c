"""The dialect of a provider that follows the standards, or departs from them as its Definition says.

RFC 6749, 7009, 7523 (assertions), 7636 (PKCE), 8628 (devices), 9207.
"""

from collections.abc import Mapping, Sequence

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from integrations import answers, device, identity, requests
from integrations.assertions import JWT_BEARER, Signer, signer
from integrations.calls import plain
from integrations.contract import (
    Account,
    Answer,
    AuthorizationRequest,
    Client,
    ClientAuthMethod,
    ClientErrorsScope,
    ClientRejected,
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
    Verdict,
    Work,
    fits_a_header,
)
from integrations.definition import Definition
from integrations.kinds import CLIENT_CREDENTIALS, CONSENT, JWT, kinds_of


class OAuthProvider:
    """A Definition that can speak."""

    def __init__(self, provider_id: str, definition: Definition) -> None:
        self.id = provider_id
        self.definition = definition
        self._kinds = kinds_of(definition)
        self._verdicts = definition.errors.verdicts()

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
    def revocation_scope(self) -> RevocationScope:
        return self.definition.revocation_scope

    @property
    def client_errors_scope(self) -> ClientErrorsScope:
        return self.definition.client_errors_scope

    @property
    def token_endpoint_auth_method(self) -> ClientAuthMethod:
        return self.definition.token_endpoint_auth_method

    @property
    def default_lifetime(self) -> int:
        return self.definition.default_lifetime

    @property
    def refresh_every(self) -> int | None:
        return self.definition.refresh_every

    @property
    def min_refresh_interval(self) -> int:
        return self.definition.min_refresh_interval

    @property
    def limits(self) -> Limits:
        return Limits(
            concurrency=self.definition.concurrency,
            requests_per_minute=self.definition.requests_per_minute,
            client_concurrency=self.definition.client_concurrency,
            client_requests_per_minute=self.definition.client_requests_per_minute,
        )

    @property
    def default_scopes(self) -> Sequence[str]:
        return self.definition.scopes

    @property
    def endpoints(self) -> Mapping[str, str]:
        return self.definition.endpoints()

    @property
    def jwks_uri(self) -> str | None:
        return self.definition.jwks_uri

    @property
    def client_settings(self) -> Sequence[Field]:
        return ()

    @property
    def needs_refresh_token(self) -> bool:
        return False

    def asking(self, scopes: Sequence[str]) -> Sequence[str]:
        return scopes

    def authorization_url(self, asked: AuthorizationRequest) -> str:
        if self.definition.authorization_endpoint is None:
            raise Unreadable("no_authorization_endpoint")
        parameters: dict[str, str] = dict(self.definition.authorization_parameters)
        if "offline_access" in asked.scopes:
            # OpenID Connect Core 11: offline access is only granted where consent is prompted for.
            parameters.setdefault("prompt", "consent")
        if "openid" in asked.scopes:
            parameters["nonce"] = asked.nonce
        if self.definition.code_challenge_methods_supported:
            challenge = create_s256_code_challenge(asked.code_verifier.reveal())
            parameters |= {"code_challenge": challenge, "code_challenge_method": "S256"}
        uri: str = prepare_grant_uri(
            self.definition.authorization_endpoint,
            asked.client.client_id,
            "code",
            redirect_uri=asked.redirect_uri,
            state=asked.state,
            **{**parameters, **self._scope(asked.scopes)},
        )
        return uri

    def check_authorization_answer(self, parameters: Mapping[str, str]) -> None:
        expected, named = self.definition.issuer, parameters.get("iss")
        if named is None and self.definition.authorization_response_iss_parameter_supported:
            raise Unreadable("iss_missing")
        if named is not None and expected is not None and named != expected:
            raise Unreadable("iss_mismatch")

    def code_request(self, asked: AuthorizationRequest, code: Secret) -> httpx.Request:
        parameters = {"grant_type": "authorization_code", "code": code.reveal()}
        if self.definition.redirect_uri_on_exchange:
            parameters["redirect_uri"] = asked.redirect_uri
        if self.definition.code_challenge_methods_supported:
            parameters["code_verifier"] = asked.code_verifier.reveal()
        return requests.token_request(self.definition, asked.client, parameters)

    def redeem(self, asked: AuthorizationRequest, code: Secret) -> Steps[TokenSet]:
        return self.read_tokens((yield self.code_request(asked, code)))

    @property
    def kinds(self) -> Sequence[Kind]:
        return self._kinds

    def renew(self, root: Root) -> Steps[TokenSet]:
        return self.read_tokens((yield self.renew_request(root)))

    def prove(self, root: Root) -> Steps[Finding]:
        return Finding(verdict="valid", tokens=(yield from self.renew(root)))

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        raise Unreadable("nothing_static")

    def client_token(self, root: Root, asked: ClientTokenRequest, issued_at: int) -> Secret:
        raise Unreadable("no_client_tokens")

    def work(self, ability: str, root: Root) -> Work[Finding] | None:
        return None

    def renew_request(self, root: Root) -> httpx.Request:
        if root.kind == JWT.id:
            return requests.token_request(self.definition, root.client, self._by_assertion(root))
        if root.client is None:
            raise Unreadable("no_client")
        if root.kind == CLIENT_CREDENTIALS.id:
            wanted = {"grant_type": "client_credentials", **self._scope(self._wanted(root))}
            return requests.token_request(self.definition, root.client, wanted)
        if root.refresh_token is None:
            raise Unreadable("no_refresh_token")
        # RFC 6749 section 6: no scope asks for what was granted, whatever that is by now.
        sent = {"grant_type": "refresh_token", "refresh_token": root.refresh_token.reveal()}
        return requests.token_request(self.definition, root.client, {**self.definition.refresh_parameters, **sent})

    def _by_assertion(self, root: Root) -> dict[str, str]:
        """Return what RFC 7523 section 2.1 asks for. Raises Unreadable where the key cannot be used."""
        scope = self._scope(self._wanted(root))
        in_claim = self.definition.assertion_scope_claim
        assertion = _signer(root.credentials).assertion(
            issuer=plain(root.credentials, "issuer"),
            subject=plain(root.credentials, "subject") or plain(root.credentials, "issuer"),
            audience=plain(root.credentials, "audience") or self.definition.audience,
            lifetime=self.definition.assertion_lifetime,
            more=scope if in_claim else None,
        )
        sent = {"grant_type": JWT_BEARER, "assertion": assertion.reveal()}
        return sent if in_claim else {**sent, **scope}

    def _wanted(self, root: Root) -> Sequence[str]:
        """Return the scopes that were entered, by default the provider's."""
        return plain(root.credentials, "scope").split() or self.definition.scopes

    def _scope(self, scopes: Sequence[str]) -> dict[str, str]:
        return {self.definition.scope_parameter: self.definition.scope_separator.join(scopes)} if scopes else {}

    def read_tokens(self, answer: Answer) -> TokenSet:
        return answers.read_tokens(
            answer,
            self._verdicts,
            fields=self.definition.token_response,
            errors=self.definition.errors,
            scope_separator=self.definition.scope_separator,
        )

    def account(self, tokens: TokenSet, *, client: Client, nonce: str | None, keys: Jwks | None) -> Account | None:
        if tokens.id_token is None:
            return None
        issuers = [self.definition.issuer] if self.definition.issuer else []
        return identity.account_of(tokens.id_token, issuers=issuers, client=client, nonce=nonce, keys=keys)

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> Account | None:
        if kind != JWT.id:
            return None
        _signer(credentials)
        issuer, subject = plain(credentials, "issuer"), plain(credentials, "subject")
        return Account(subject or issuer, issuer)

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        request = None if access_token is None else self.probe_request(access_token, root.kind)
        if request is None:
            return Finding(verdict="unknown")
        return Finding(verdict=self.read_probe((yield request), root.client, root.scopes))

    def probe_request(self, access_token: Secret, kind: str = CONSENT.id) -> httpx.Request | None:
        # OpenID Connect Core 5.3: userinfo is of an end user. Other tokens are refused there that work elsewhere.
        userinfo = self.definition.userinfo_endpoint if kind == CONSENT.id else None
        endpoint = self.definition.probe_endpoint or userinfo
        if endpoint is None or not fits_a_header(access_token.reveal()):
            return None
        return requests.probe_request(self.definition, endpoint, access_token)

    def why_over(self, code: str, lived: int, promised: int | None) -> str:
        return code

    def read_probe(self, answer: Answer, client: Client | None, scopes: Sequence[str]) -> Verdict:
        return answers.read_probe(answer, self.definition.probe)

    def revoke(self, root: Root, token: Secret | None) -> Steps[bool] | None:
        request = None if token is None else self.revoke_request(root.client, token)
        return None if request is None else self._ended(request)

    def _ended(self, request: httpx.Request) -> Steps[bool]:
        answer = yield request
        if self.revoked(answer):
            return True
        try:
            self.read_tokens(answer)  # a refusal means the same here as of tokens (RFC 7009 section 2.2.1)
        except ClientRejected:
            raise
        except ProviderError:
            return False
        return False

    def revoke_request(self, client: Client | None, token: Secret) -> httpx.Request | None:
        endpoint = self.definition.revocation_endpoint
        return None if endpoint is None else requests.revocation_request(self.definition, endpoint, client, token)

    def revoked(self, answer: Answer) -> bool:
        # RFC 7009 2.2: 200 also where the token was already dead.
        return answer.status in self.definition.revocation.success

    def device_request(self, client: Client, scopes: Sequence[str]) -> httpx.Request | None:
        endpoint = self.definition.device_authorization_endpoint
        if endpoint is None:
            return None
        return requests.device_request(self.definition, endpoint, client, self._scope(scopes))

    def read_device(self, answer: Answer) -> DeviceAuthorization:
        return device.read_device(answer, self._verdicts, self.definition.errors)

    def device_token_request(self, client: Client, device_code: Secret) -> httpx.Request:
        parameters = {"grant_type": device.DEVICE_CODE, "device_code": device_code.reveal()}
        return requests.token_request(self.definition, client, parameters)

    def read_device_tokens(self, answer: Answer) -> TokenSet | DeviceWaiting:
        return device.waiting(answer, self._verdicts, self.definition.errors) or self.read_tokens(answer)


def _signer(credentials: Mapping[str, Secret]) -> Signer:
    """Return what signs with the key that was entered. Raises Unreadable."""
    return signer(
        credentials.get("private_key", Secret("")),
        key_id=plain(credentials, "key_id") or None,
        algorithm=plain(credentials, "algorithm") or None,
    )
