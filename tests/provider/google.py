"""Google's habits, more strictly than Google has them: what the documents do not name is refused."""

import json
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Any

from tests.provider.oauth import Consent, OAuth, _form, _required
from tests.provider.tokens import Family, GrantError, Issue
from tests.provider.wire import Answer, Request, json_answer

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
IDLE = 180 * 86_400
"""Seconds after which a refresh token that nobody used is dead."""

_ASKED = {
    *("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "access_type"),
    *("prompt", "code_challenge", "code_challenge_method"),
}
_FIELDS = {
    "authorization_code": {
        *("grant_type", "code", "redirect_uri", "code_verifier"),
        *("client_id", "client_secret"),
    },
    "refresh_token": {"grant_type", "refresh_token", "client_id", "client_secret"},
    JWT_BEARER: {"grant_type", "assertion"},
}
_LONG = {name: f"https://www.googleapis.com/auth/userinfo.{name}" for name in ("email", "profile")}
_SHORT_LIVED = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    " Check your iat and exp values in the JWT claim."
)
_UNDELEGATED = (
    "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of"
    " the scopes requested."
)


@dataclass
class Google(OAuth):
    consented: set[tuple[str, str]] = field(default_factory=set)
    """Which client has had a refresh token from whom: the next one only with prompt=consent."""

    used: dict[str, float] = field(default_factory=dict)
    """When each family's refresh token was last used, by this clock."""

    @property
    def calls_itself(self) -> str:
        return self.config.calls_itself

    @property
    def now(self) -> float:
        return time.time() + self.config.clock_ahead

    def _handlers(self) -> Any:
        return {**super()._handlers(), "tokeninfo": (("POST",), self._tokeninfo)}

    def _consent(self, params: dict[str, str], consent: Consent) -> dict[str, str]:
        if odd := params.keys() - _ASKED:
            raise GrantError("invalid_request", f"unknown parameters: {sorted(odd)}")
        if params.get("access_type") != "offline" or params.get("prompt", "consent") != "consent":
            raise GrantError("invalid_request", "this vault asks for offline access, with consent or without")
        if "nonce" not in params or "openid" not in params.get("scope", "").split():
            raise GrantError("invalid_request", "this vault asks whose account it is")
        scope = " ".join(_LONG.get(word, word) for word in params["scope"].split())
        return super()._consent(params | {"scope": scope}, consent)

    def _is_offline(self, params: dict[str, str], subject: str) -> bool:
        who = (params["client_id"], subject)
        offline = params.get("prompt") == "consent" or who not in self.consented
        self.consented.add(who)
        return offline

    def _token(self, request: Request) -> Answer:
        form = _form(request)
        grant_type = form.get("grant_type", "")
        request.notes["grant_type"] = grant_type
        if grant_type in _FIELDS and (odd := form.keys() - _FIELDS[grant_type]):
            raise GrantError("invalid_request", f"unknown fields: {sorted(odd)}")
        if request.all("authorization"):
            raise GrantError("invalid_request", "the client authenticates in the body")
        return self._assertion(request, form) if grant_type == JWT_BEARER else super()._token(request)

    def _issue(self, form: dict[str, str], client_id: str) -> Issue:
        if form.get("grant_type") != "refresh_token":
            issue = super()._issue(form, client_id)
            self.used[issue.family.id] = self.now
            return issue
        self._age(form.get("refresh_token", ""))
        try:
            issue = super()._issue(form, client_id)
        except GrantError as error:
            sentence = "Token has been expired or revoked."
            raise GrantError(error.error, sentence, error.family) from error
        self.used[issue.family.id] = self.now
        return issue

    def _age(self, refresh_token: str) -> None:
        """End what idled for half a year, or has lived as long as it may."""
        token = self.grants.refresh_tokens.get(refresh_token)
        if token is None:
            return
        lives = self.config.grant_lifetime
        if self.now - self.used.get(token.family.id, token.issued_at) > IDLE:
            self.grants.revoke(token.family, "unused for six months")
        if lives is not None and self.now - token.issued_at >= lives:
            self.grants.revoke(token.family, "its time was over")

    def _words(self, issue: Issue, form: dict[str, str]) -> dict[str, Any]:
        words = super()._words(issue, form)
        if self.config.grant_lifetime is not None and self.config.tells_grant_lifetime and issue.refresh_token:
            words["refresh_token_expires_in"] = self.config.grant_lifetime - 1
        return words

    # ---- service accounts

    def _assertion(self, request: Request, form: dict[str, str]) -> Answer:
        (assertion,) = _required(form, "assertion")
        claims = self._claims(assertion)
        now, issued, ends = self.now, claims.get("iat", 0), claims.get("exp", 0)
        if claims.get("aud") != f"{self.issuer}/token":
            raise GrantError("invalid_grant", "Invalid JWT: Failed audience check.")
        if not now - 600 < issued < now + 60 or not now < ends <= issued + 3600:
            raise GrantError("invalid_grant", _SHORT_LIVED)
        if odd := claims.keys() - {"iss", "sub", "aud", "scope", "iat", "exp"}:
            raise GrantError("invalid_request", f"unknown claims: {sorted(odd)}")
        if not claims.get("scope") or "nonsense" in claims["scope"]:
            raise GrantError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        if "sub" in claims and claims["sub"] not in self.config.delegated:
            raise GrantError("unauthorized_client", _UNDELEGATED)
        family = self.grants.new_family(claims["iss"], claims.get("sub", claims["iss"]), claims["scope"])
        issue = self.grants.issue(family, via="jwt_bearer", with_refresh=False)
        request.notes |= {"family": family.id, "serial": issue.serial, "client_id": claims["iss"]}
        words = {"access_token": issue.access.value, "token_type": "Bearer", "expires_in": issue.lifetime}
        return json_answer(words, Cache_Control="no-store")

    def _claims(self, assertion: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import RSAKey

        payload = assertion.split(".")[1]
        account = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("iss")
        if account not in self.config.service_accounts:
            raise GrantError("invalid_grant", "Invalid grant: account not found")
        public = self.config.service_accounts[account]
        try:
            token = jwt.decode(assertion, RSAKey.import_key(public), algorithms=["RS256"])
        except JoseError:
            raise GrantError("invalid_grant", "Invalid JWT Signature.") from None
        if token.header.get("kid") != public["kid"] or token.header.get("typ") != "JWT":
            raise GrantError("invalid_grant", "Invalid JWT Signature.")
        return token.claims

    # ---- looking, and ending

    def _tokeninfo(self, request: Request) -> Answer:
        form = _form(request)
        token = self.grants.alive(form.get("access_token", ""))
        if form.keys() != {"access_token"} or token is None:
            raise GrantError("invalid_token", "Invalid Value")
        request.notes["family"] = token.family.id
        family, left = token.family, int(token.expires_at - time.time())
        whose = {"aud": family.client_id, "azp": family.client_id, "sub": family.subject}
        return json_answer({**whose, "scope": token.scope, "exp": str(left), "expires_in": str(left)})

    def _revoke(self, request: Request) -> Answer:
        form = _form(request)
        if form.keys() != {"token"} or request.all("authorization"):
            raise GrantError("invalid_request", "a token, and nothing else")
        token = self.grants.refresh_tokens.get(form["token"]) or self.grants.access_tokens.get(form["token"])
        if token is None or token.family.revoked:
            raise GrantError("invalid_token", "Token expired or revoked")
        request.notes["family"] = token.family.id
        self.end_project(token.family)
        return json_answer({})

    def end_project(self, family: Family) -> None:
        """All that the account granted to any client of the project ends with one token."""
        for other in self.grants.families.values():
            if other.subject == family.subject:
                self.grants.revoke(other, "revoked with the project")
        self.consented = {who for who in self.consented if who[1] != family.subject}
