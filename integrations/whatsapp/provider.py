"""WhatsApp Business at Meta: tokens that renew themselves while they live, or that never end.

There is no refresh token: a living token is exchanged for its successor, and one that has ended for nothing. By
Meta's design secrets are in query strings: nobody may write down an address. Nothing is spent by any of this
but the code of a login, for the old token goes on working: what got no answer can be asked again.

Sources: Meta's "Get Long-Lived Tokens" (`https://developers.facebook.com/docs/facebook-login/guides/access-tokens`),
"Install Apps, Generate, Refresh, and Revoke Tokens" (`https://developers.facebook.com/docs/business-management-apis`),
"Embedded Signup" (`https://developers.facebook.com/docs/whatsapp/embedded-signup`), "Secure Graph API Calls"
(`https://developers.facebook.com/docs/graph-api/guides/secure-requests`).
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

import httpx

from integrations.answers import at, json_object, read_tokens
from integrations.calls import call
from integrations.contract import (
    Account,
    Answer,
    AuthorizationRequest,
    Client,
    ClientRejected,
    Finding,
    GrantRejected,
    Jwks,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Root,
    Secret,
    Steps,
    TokenSet,
    Transient,
    Unreadable,
)
from integrations.vendor import Vendor
from integrations.whatsapp.advice import ADVICE
from integrations.whatsapp.kinds import CONFIG_ID, CONSENT, DAY, EMBEDDED_SIGNUP, SIGNUP, TOKEN
from integrations.whatsapp.refusals import refusal
from integrations.whatsapp.token import ABILITIES, Facts, read_facts

_NOT_DEAD = frozenset({"other_app", "whatsapp_permission_missing"})  # refusals to revoke, or exchange, what lives


class WhatsApp(Vendor):
    """The built-in provider `whatsapp`."""

    id, name = "whatsapp", "WhatsApp"
    docs = "https://developers.facebook.com/docs/whatsapp/business-management-api/get-started"
    advice = ADVICE
    kinds = (CONSENT, TOKEN, SIGNUP)
    default_lifetime = 60 * DAY
    min_refresh_interval = DAY
    default_scopes = tuple(ABILITIES)
    token_endpoint_auth_method = "client_secret_post"  # noqa: S105 - a method
    revocation_scope = "grant"
    client_settings = (CONFIG_ID, EMBEDDED_SIGNUP)

    # ---- consent

    def authorization_url(self, asked: AuthorizationRequest) -> str:
        config_id = asked.client.config_id
        wanted = {"config_id": config_id} if config_id else {"scope": ",".join(asked.scopes)}
        query = {
            "client_id": asked.client.client_id,
            "redirect_uri": asked.redirect_uri,
            "state": asked.state,
            "response_type": "code",
            **wanted,
        }
        return f"{self.endpoints['dialog_url']}?{urlencode(query)}"

    def redeem(self, asked: AuthorizationRequest, code: Secret) -> Steps[TokenSet]:
        # The code of an Embedded Signup was not sent to an address, so none may be named.
        redirect_uri = None if asked.client.embedded_signup else asked.redirect_uri
        return self._redeemed(asked.client, code, redirect_uri)

    def account(self, tokens: TokenSet, *, client: Client, nonce: str | None, keys: Jwks | None) -> Account | None:
        return tokens.account

    def why_over(self, code: str, lived: int, promised: int | None) -> str:
        # The one end that Meta tells beforehand, apart from that of a token.
        return "data_access_expired" if code == "refresh_token_expired" else code

    # ---- entered

    def prove(self, root: Root) -> Steps[Finding]:
        if root.kind == SIGNUP.id:
            return self._signed_up(_app(root.client), root.credentials["code"])
        return self._recognised(_app(root.client), root.credentials["access_token"])

    def _signed_up(self, app: Client, code: Secret) -> Steps[Finding]:
        """Exchange the code of an Embedded Signup now or never: what is not known in time is not stored."""
        try:
            tokens = yield from self._redeemed(app, code, None)
        except (Transient, RateLimited, OutcomeUnknown):
            raise GrantRejected("code_not_exchanged") from None
        return Finding(verdict="valid", account=tokens.account, tokens=tokens)

    def _recognised(self, app: Client, token: Secret) -> Steps[Finding]:
        try:
            facts = yield from self._good(app, token)
        except (Transient, RateLimited, OutcomeUnknown) as error:
            return Finding(verdict="unknown", code=error.code, tokens=TokenSet(token, token))
        return replace(_found(facts), account=facts.account, tokens=facts.tokens(token))

    # ---- what is stored

    def renew(self, root: Root) -> Steps[TokenSet]:
        app, token = _app(root.client), root.refresh_token
        if token is None:
            raise Unreadable("not_renewable")
        return self._renewed(app, token)

    def _renewed(self, app: Client, token: Secret) -> Steps[TokenSet]:
        """Exchange a living token. Of a dead one only its death is learned: it is not sent to be exchanged."""
        try:
            facts = yield from self._good(app, token)
            return (yield from self._exchanged(app, token, facts)) if facts.ends else facts.tokens(token)
        except OutcomeUnknown as error:
            raise Transient(error.code, retry_after=error.retry_after) from None  # nothing can be spent

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        if access_token is None:
            return Finding(verdict="unknown")
        try:
            return _found((yield from self._good(_app(root.client), access_token)))
        except GrantRejected as error:
            return Finding(verdict="invalid", code=error.code)

    def revoke(self, root: Root, token: Secret | None) -> Steps[bool] | None:
        if root.client is None or root.client.client_secret is None or token is None:
            return None
        return self._revoked(root.client, token)

    def _revoked(self, app: Client, token: Secret) -> Steps[bool]:
        """End a person's grant to the app, or a system user's token alone."""
        try:
            facts = yield from self._facts(app, token)
            if facts.type == "USER":
                answer = yield self._call("DELETE", "me/permissions", _as_bearer(app, token))
            else:
                query = {**_credentials(app), "revoke_token": token.reveal(), **_as_bearer(app, token)}
                answer = yield self._call("GET", "oauth/revoke", query)
            body = json_object(answer.body)
            if answer.status == 200 and body.get("success") is True:
                return True
            raise refusal(answer)
        except GrantRejected as error:
            if error.code in _NOT_DEAD:
                raise
            return True

    # ---- the calls

    def _redeemed(self, app: Client, code: Secret, redirect_uri: str | None) -> Steps[TokenSet]:
        """Exchange a login's code. What cannot be learned of its token at once is left to its first renewal."""
        query = {**_credentials(app), "code": code.reveal()}
        if redirect_uri is not None:
            query["redirect_uri"] = redirect_uri
        got = _renewing(_tokens((yield self._call("GET", "oauth/access_token", query))))
        try:
            facts = yield from self._good(app, got.access_token)
        except GrantRejected:
            raise
        except ProviderError:
            return got
        try:
            return (
                (yield from self._exchanged(app, got.access_token, facts))
                if facts.is_short
                else facts.tokens(got.access_token)
            )
        except ProviderError:
            return facts.tokens(got.access_token)

    def _exchanged(self, app: Client, token: Secret, facts: Facts) -> Steps[TokenSet]:
        """Exchange a living *token*, of which the *facts* are known, for one whose days are counted anew."""
        query = {
            "grant_type": "fb_exchange_token",
            **_credentials(app),
            "fb_exchange_token": token.reveal(),
        }
        if facts.type == "SYSTEM_USER":
            query["set_token_expires_in_60_days"] = "true"  # noqa: S105 - a flag
        try:
            got = _tokens((yield self._call("GET", "oauth/access_token", query)))
        except GrantRejected as error:
            if error.code in _NOT_DEAD:
                raise Transient(error.code) from None  # it was just found to live
            raise
        try:
            return (yield from self._good(app, got.access_token)).tokens(got.access_token)
        except GrantRejected:
            raise Transient("exchanged_token_dead") from None  # the old one is not
        except ProviderError:
            known = facts.tokens(got.access_token)
            return replace(known, expires_in=facts.expires_in if got.expires_in is None else got.expires_in)

    def _good(self, app: Client, token: Secret) -> Steps[Facts]:
        """Return what Meta says of *token*. Raises GrantRejected where it is over for its person's data, too."""
        facts = yield from self._facts(app, token)
        if facts.data_access_expires_in == 0:
            raise GrantRejected("data_access_expired")
        return facts

    def _facts(self, app: Client, token: Secret) -> Steps[Facts]:
        """Return what Meta says of *token*. Raises GrantRejected where it is dead, ClientRejected for *app*."""
        caller = Secret(f"{app.client_id}|{_credentials(app)['client_secret']}")
        query = {"input_token": token.reveal(), **_as_bearer(app, caller)}
        answer = yield self._call("GET", "debug_token", query)
        data = at(json_object(answer.body), "data")
        if answer.status == 200 and isinstance(data, dict) and type(data.get("is_valid")) is bool:
            return read_facts(data, app.client_id, time.time())
        error = refusal(answer)
        if isinstance(error, GrantRejected) and error.code != "other_app":
            raise ClientRejected("app_refused")  # it is the app that asks
        raise error

    def _call(self, method: str, path: str, query: Mapping[str, str]) -> httpx.Request:
        return call(method, f"{self.endpoints['graph_url']}/{path}", query=query)


def _found(facts: Facts) -> Finding:
    if facts.lacks:
        return Finding(verdict="limited", code="whatsapp_permission_missing", lacks=facts.lacks)
    return Finding(verdict="valid")


def _app(client: Client | None) -> Client:
    """Return the app that is to ask. Raises ClientRejected where there is none that could."""
    if client is None or client.client_secret is None:
        raise ClientRejected("app_secret_missing")
    return client


def _credentials(app: Client) -> dict[str, str]:
    secret = _app(app).client_secret
    assert secret is not None
    return {"client_id": app.client_id, "client_secret": secret.reveal()}


def _as_bearer(app: Client, token: Secret) -> dict[str, str]:
    """Return the parameters of a call with *token*, with the proof that it is *app* who holds it."""
    key = _credentials(app)["client_secret"].encode()
    proof = hmac.new(key, token.reveal().encode(), hashlib.sha256).hexdigest()
    return {"access_token": token.reveal(), "appsecret_proof": proof}


def _tokens(answer: Answer) -> TokenSet:
    """Return the token in *answer*. Raises what it means where there is none."""
    try:
        return read_tokens(answer, {})
    except ProviderError:
        raise refusal(answer) from None


def _renewing(got: TokenSet) -> TokenSet:
    return TokenSet(got.access_token, got.access_token, expires_in=got.expires_in)
