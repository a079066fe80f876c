"""Google: consent with offline access, service accounts, and how one tells what has ended.

`include_granted_scopes` is not sent: with it the tokens of one connection would be good for whatever the
same account granted to any other one of the same Cloud project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import httpx

from integrations import identity
from integrations.answers import json_object, lifetime, read_tokens, text
from integrations.calls import call, plain
from integrations.contract import (
    Account,
    Answer,
    AuthorizationRequest,
    Client,
    Jwks,
    Kind,
    ProviderError,
    RevocationScope,
    Root,
    Secret,
    TokenSet,
    Verdict,
)
from integrations.definition import Definition
from integrations.endpoints import Endpoints
from integrations.google import service_account
from integrations.google.advice import ADVICE
from integrations.google.refusals import WORDS, refusal
from integrations.kinds import CONSENT
from integrations.oauth import OAuthProvider

ISSUERS = ("https://accounts.google.com", "accounts.google.com")  # both are in use, and both are documented
# As Google names them in its answers, whatever they were called when they were asked for.
_LONG = {name: f"https://www.googleapis.com/auth/userinfo.{name}" for name in ("email", "profile")}

TESTING = 7 * 86_400  # seconds that a grant lives while the app's publishing status is "Testing"
ABOUT = 12 * 3600  # seconds that this may be off
_OVER = frozenset({"invalid_grant", "expired_or_revoked", "refresh_token_expired"})  # words that do not say why


class Google(OAuthProvider):
    """The built-in provider `google`, at its *endpoints*."""

    advice = ADVICE

    def __init__(self, endpoints: Endpoints) -> None:
        standard = {name: url for name, url in endpoints.items() if name != "tokeninfo_endpoint"}
        definition = Definition(
            name="Google",
            docs="https://developers.google.com/identity/protocols/oauth2/web-server",
            issuer=ISSUERS[0],
            scopes=("openid", _LONG["email"]),
            token_endpoint_auth_method="client_secret_post",  # noqa: S106 - a method
            authorization_parameters={"access_type": "offline"},
            rotation="never",
            default_lifetime=3600,
            **standard,  # type: ignore[arg-type]
        )
        super().__init__("google", definition)
        self._tokeninfo = endpoints["tokeninfo_endpoint"]

    @property
    def endpoints(self) -> Mapping[str, str]:
        return {**super().endpoints, "tokeninfo_endpoint": self._tokeninfo}

    @property
    def kinds(self) -> Sequence[Kind]:
        return (replace(CONSENT, label="Google account"), service_account.KIND)

    @property
    def needs_refresh_token(self) -> bool:
        return True

    @property
    def revocation_scope(self) -> RevocationScope:
        return "project"

    def asking(self, scopes: Sequence[str]) -> tuple[str, ...]:
        """Return *scopes* as Google will name them, with the one that says whose account it is."""
        wanted = [_LONG.get(scope, scope) for scope in scopes]
        return tuple(dict.fromkeys(["openid", *wanted]))

    def authorization_url(self, asked: AuthorizationRequest) -> str:
        url = super().authorization_url(asked)
        if asked.holds_refresh_token:
            return url
        # Without it, whoever consented before comes back with no refresh token. With it each consent makes
        # one more, and of the 100 an account may have with a client the oldest is dropped without a word.
        return str(httpx.URL(url).copy_merge_params({"prompt": "consent"}))

    def check_authorization_answer(self, parameters: Mapping[str, str]) -> None:
        super().check_authorization_answer(parameters)
        error = parameters.get("error", "")
        if error in WORDS:
            raise WORDS[error](error)

    def renew_request(self, root: Root) -> httpx.Request:
        if root.kind != service_account.KIND.id:
            return super().renew_request(root)
        endpoint = self.definition.token_endpoint
        hosts = service_account.hosts_beside(endpoint)
        return call("POST", endpoint, form=service_account.assertion_form(root.credentials, endpoint, hosts))

    def read_tokens(self, answer: Answer) -> TokenSet:
        try:
            return read_tokens(answer, WORDS)
        except ProviderError:
            raise refusal(answer) from None

    def account(self, tokens: TokenSet, *, client: Client, nonce: str | None, keys: Jwks | None) -> Account | None:
        if tokens.id_token is None:
            return None
        return identity.account_of(tokens.id_token, issuers=ISSUERS, client=client, nonce=nonce, keys=keys)

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> Account | None:
        if kind != service_account.KIND.id:
            return None
        hosts = service_account.hosts_beside(self.definition.token_endpoint)
        key_file = service_account.read_key_file(credentials["service_account_json"], hosts)
        return key_file.account(plain(credentials, "subject") or None)

    def why_over(self, code: str, lived: int, promised: int | None) -> str:
        if code not in _OVER:
            return code
        in_testing = promised is None or abs(promised - TESTING) <= ABOUT
        if in_testing and abs(lived - TESTING) <= ABOUT:
            return "testing_app_expired"
        return "time_limit_reached" if promised is not None and lived >= promised else code

    def probe_request(self, access_token: Secret, kind: str = CONSENT.id) -> httpx.Request | None:
        # In the body: addresses are written down in more places than anybody knows.
        return call("POST", self._tokeninfo, form={"access_token": access_token.reveal()})

    def read_probe(self, answer: Answer, client: Client | None, scopes: Sequence[str]) -> Verdict:
        body = json_object(answer.body)
        if answer.status == 400 and text(body.get("error")) in {"invalid_token", "invalid_grant"}:
            return "invalid"
        audiences = {text(body.get("aud")), text(body.get("azp"))} - {None}
        if answer.status != 200 or not audiences:
            return "unknown"
        if client is not None and client.client_id not in audiences:
            return "invalid"  # a good token, and somebody else's
        if lifetime(body.get("expires_in")) == 0:
            return "invalid"
        granted = (text(body.get("scope")) or "").split()
        return "valid" if set(scopes) <= set(granted) else "limited"

    def revoke_request(self, client: Client | None, token: Secret) -> httpx.Request | None:
        if client is None or self.definition.revocation_endpoint is None:
            return None
        return call("POST", self.definition.revocation_endpoint, form={"token": token.reveal()})
