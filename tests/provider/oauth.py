"""The endpoints of the protocol, from a request to an answer, by RFC 6749, 7009, 7636, 8414 and 9207."""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from tests.provider.clientauth import authenticate
from tests.provider.config import BadControl, Config
from tests.provider.grants import Grants
from tests.provider.idtoken import IdTokens
from tests.provider.tokens import GrantError, Issue
from tests.provider.wire import Answer, Repeated, Request, json_answer, parameters

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of SHA-256
_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]


@dataclass(frozen=True, kw_only=True)
class Consent:
    """How the person answers one authorization request; *iss* and *state* may be "" (left out) or false."""

    error: str | None = None
    error_description: str | None = None
    iss: str | None = None
    state: str | None = None
    subject: str | None = None
    scopes: list[str] | None = None


@dataclass
class OAuth:
    config: Config
    grants: Grants
    issuer: str = ""
    id_tokens: IdTokens = field(default_factory=IdTokens)
    consents: deque[Consent] = field(default_factory=deque)

    def expect_consent(self, order: dict[str, Any]) -> None:
        try:
            self.consents.append(Consent(**order))
        except TypeError as error:
            raise BadControl(str(error)) from error

    def answer(self, endpoint: str, request: Request) -> Answer:
        """Answer one request, and note its outcome for the ledger."""
        methods, handler = self._handlers()[endpoint]
        if request.method not in methods:
            request.notes["outcome"] = "method_not_allowed"
            return json_answer({"error": "method not allowed"}, 405, Allow=", ".join(methods))
        request.notes["outcome"] = "ok"
        try:
            return handler(request)
        except GrantError as error:
            return _refuse(request, error)
        except (Repeated, ValueError):
            return _refuse(request, GrantError("invalid_request", "malformed or repeated parameters"))

    def _handlers(self) -> dict[str, tuple[tuple[str, ...], Callable[[Request], Answer]]]:
        return {
            "discovery": (("GET",), self._discovery),
            "jwks": (("GET",), lambda _: json_answer(self.id_tokens.jwks())),
            "authorize": (("GET",), self._authorize),
            "token": (("POST",), self._token),
            "revoke": (("POST",), self._revoke),
            "userinfo": (("GET", "POST"), self._userinfo),
            "me": (("GET",), self._userinfo),
        }

    def _discovery(self, _: Request) -> Answer:
        paths = {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "revocation_endpoint": "/revoke",
            "userinfo_endpoint": "/userinfo",
            "jwks_uri": "/jwks",
        }
        return json_answer(
            {
                "issuer": self.issuer,
                **{name: self.issuer + path for name, path in paths.items()},
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": self.config.send_iss,
                "token_endpoint_auth_methods_supported": _AUTH_METHODS,
                "revocation_endpoint_auth_methods_supported": _AUTH_METHODS,
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": self.config.scopes_supported,
            }
        )

    def _authorize(self, request: Request) -> Answer:
        params = request.params()
        request.notes["params"] = params
        request.notes["client_id"] = params.get("client_id")
        redirect_uri = self._trusted_redirect(params)
        consent = self.consents.popleft() if self.consents else Consent()
        try:
            result = self._consent(params, consent)
        except GrantError as error:
            request.notes["outcome"] = error.error
            result = {"error": error.error, "error_description": error.description}
        return _redirect(redirect_uri, result | self._echo(params, consent))

    def _trusted_redirect(self, params: dict[str, str]) -> str:
        """Only after this may anything, errors included, be sent to the redirect_uri."""
        if params.get("client_id") not in self.config.clients:
            raise GrantError("invalid_request", "unknown client_id")
        redirect_uri = params.get("redirect_uri", "")
        parts = urlsplit(redirect_uri)
        if parts.scheme not in ("http", "https") or not parts.netloc or "#" in redirect_uri:
            raise GrantError("invalid_request", "redirect_uri must be absolute and without a fragment")
        if self.config.redirect_uris is not None and redirect_uri not in self.config.redirect_uris:
            raise GrantError("invalid_request", "redirect_uri is not registered")
        return redirect_uri

    def _consent(self, params: dict[str, str], consent: Consent) -> dict[str, str]:
        if params.get("response_type") != "code":
            raise GrantError("unsupported_response_type", "only code")
        if params.get("code_challenge_method") != "S256":
            raise GrantError("invalid_request", "code_challenge_method S256 is required")
        if not _CHALLENGE.fullmatch(params.get("code_challenge", "")):
            raise GrantError("invalid_request", "code_challenge is required")
        if consent.error is not None:
            raise GrantError(consent.error, consent.error_description or "as told by the test")
        granted = consent.scopes if consent.scopes is not None else self.config.scopes
        code = self.grants.new_code(
            client_id=params["client_id"],
            redirect_uri=params["redirect_uri"],
            challenge=params["code_challenge"],
            scope=params.get("scope", "") if granted is None else " ".join(granted),
            subject=consent.subject or self.config.subject,
            nonce=params.get("nonce"),
        )
        return {"code": code.value}

    def _echo(self, params: dict[str, str], consent: Consent) -> dict[str, str]:
        iss = consent.iss if consent.iss is not None else self.issuer if self.config.send_iss else ""
        state = consent.state if consent.state is not None else params.get("state", "")
        return {name: value for name, value in (("state", state), ("iss", iss)) if value}

    def _token(self, request: Request) -> Answer:
        form = _form(request)
        request.notes["grant_type"] = form.get("grant_type")
        client_id = authenticate(request, form, self.config)
        issue = self._issue(form, client_id)
        request.notes |= {"family": issue.family.id, "serial": issue.serial}
        return json_answer(self._words(issue, form), Cache_Control="no-store", Pragma="no-cache")

    def _issue(self, form: dict[str, str], client_id: str) -> Issue:
        match form.get("grant_type"):
            case "authorization_code":
                code, uri, verifier = _required(form, "code", "redirect_uri", "code_verifier")
                return self.grants.redeem(code, client_id=client_id, redirect_uri=uri, verifier=verifier)
            case "refresh_token":
                (token,) = _required(form, "refresh_token")
                return self.grants.refresh(token, client_id=client_id, scope=form.get("scope"))
            case "client_credentials":
                return self.grants.of_client(client_id, form.get("scope"))
            case None:
                raise GrantError("invalid_request", "grant_type is missing")
        raise GrantError("unsupported_grant_type", "none of this provider's")

    def _words(self, issue: Issue, form: dict[str, str]) -> dict[str, Any]:
        words: dict[str, Any] = {"access_token": issue.access.value, "token_type": "Bearer"}
        if self.config.send_expires_in:
            words["expires_in"] = issue.lifetime
        if issue.refresh_token is not None:
            words["refresh_token"] = issue.refresh_token
        if self.config.send_scope:
            words["scope"] = issue.access.scope
        wanted = form["grant_type"] == "authorization_code" or self.config.id_token_on_refresh
        if wanted and "openid" in issue.access.scope.split():
            words["id_token"] = self.id_tokens.issue(issue.family, self.issuer, issue.lifetime)
        return words

    def _revoke(self, request: Request) -> Answer:
        form = _form(request)
        client_id = authenticate(request, form, self.config)
        (token,) = _required(form, "token")
        request.notes["family"] = self.grants.revoke_token(token, client_id=client_id)
        return Answer()

    def _userinfo(self, request: Request) -> Answer:
        scheme, _, value = " ".join(request.all("authorization")).partition(" ")
        token = self.grants.alive(value) if scheme.lower() == "bearer" else None
        if token is None:
            request.notes["outcome"] = "invalid_token"
            return json_answer({"error": "invalid_token"}, 401, WWW_Authenticate='Bearer error="invalid_token"')
        family = token.family
        request.notes["family"] = family.id
        email = f"{family.subject}@example.test"
        return json_answer({"sub": family.subject, "id": family.subject, "email": email, "scope": token.scope})


def _form(request: Request) -> dict[str, str]:
    kind = " ".join(request.all("content-type")).partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise GrantError("invalid_request", "the body must be a form")
    if request.query:
        raise GrantError("invalid_request", "parameters belong into the body")
    return parameters(request.body.decode("ascii"))


def _required(form: dict[str, str], *names: str) -> list[str]:
    if missing := [name for name in names if name not in form]:
        raise GrantError("invalid_request", f"missing: {', '.join(missing)}")
    return [form[name] for name in names]


def _refuse(request: Request, error: GrantError) -> Answer:
    request.notes["outcome"] = error.error
    if error.family is not None:
        request.notes["family"] = error.family
    status = 401 if error.error == "invalid_client" else 400
    challenge = (
        {"WWW_Authenticate": 'Basic realm="fake"'} if status == 401 and request.all("authorization") else {}
    )
    payload = {"error": error.error, "error_description": error.description}
    return json_answer(payload, status, Cache_Control="no-store", **challenge)


def _redirect(uri: str, result: dict[str, str]) -> Answer:
    parts = urlsplit(uri)
    query = "&".join(part for part in (parts.query, urlencode(result)) if part)
    return Answer(302, {"Location": urlunsplit(parts._replace(query=query)), "Cache-Control": "no-store"})
