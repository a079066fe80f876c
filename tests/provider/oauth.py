"""The protocol's endpoints, from a request to an answer: RFC 6749, 7009, 7523, 7636, 8414, 8628 and 9207."""

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from tests.provider.clientauth import ClientAuth
from tests.provider.config import BadControl, Config
from tests.provider.devices import Devices
from tests.provider.grants import Grants
from tests.provider.idtoken import IdTokens
from tests.provider.tokens import GrantError, Issue
from tests.provider.wire import Answer, Repeated, Request, json_answer, parameters

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of SHA-256
_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"]
_CONSENTED = ("authorization_code", "urn:ietf:params:oauth:grant-type:device_code")  # by a person just now
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_GRANT_TYPES = ["authorization_code", "refresh_token", "client_credentials", _JWT_BEARER, _DEVICE_CODE]


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

    def __post_init__(self) -> None:
        self.devices = Devices(self.config, self.grants)
        self.clients = ClientAuth(self.config)

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
            "jwks": (("GET",), self._jwks),
            "authorize": (("GET",), self._authorize),
            "token": ((self.config.token_method,), self._token),
            "device_authorization": (("POST",), self._device),
            "revoke": (("POST",), self._revoke),
            "userinfo": (("GET", "POST"), self._userinfo),
            "me": (("GET",), self._userinfo),
        }

    @property
    def calls_itself(self) -> str:
        """The issuer in what it says of itself."""
        return self.issuer

    def _jwks(self, _: Request) -> Answer:
        age = self.config.jwks_max_age
        headers = {} if age is None else {"Cache_Control": f"public, max-age={age}, must-revalidate"}
        return json_answer(self.id_tokens.jwks(self.config.signing_key), 200, **headers)

    def _discovery(self, _: Request) -> Answer:
        paths = {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "device_authorization_endpoint": "/device_authorization",
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
                "grant_types_supported": _GRANT_TYPES,
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
        if self.config.pkce or "code_challenge" in params:
            _check_challenge(params)
        if consent.error is not None:
            raise GrantError(consent.error, consent.error_description or "as told by the test")
        granted = consent.scopes if consent.scopes is not None else self.config.scopes
        code = self.grants.new_code(
            client_id=params["client_id"],
            redirect_uri=params["redirect_uri"],
            challenge=params.get("code_challenge"),
            scope=params.get("scope", "") if granted is None else " ".join(granted),
            subject=consent.subject or self.config.subject,
            nonce=params.get("nonce"),
            offline=self._is_offline(params, consent.subject or self.config.subject),
        )
        return {"code": code.value}

    def _is_offline(self, params: dict[str, str], subject: str) -> bool:
        return True

    def _echo(self, params: dict[str, str], consent: Consent) -> dict[str, str]:
        iss = consent.iss if consent.iss is not None else self.calls_itself if self.config.send_iss else ""
        state = consent.state if consent.state is not None else params.get("state", "")
        return {name: value for name, value in (("state", state), ("iss", iss)) if value}

    def _token(self, request: Request) -> Answer:
        form = self._token_form(request)
        request.notes["grant_type"] = form.get("grant_type")
        if form.get("grant_type") == _JWT_BEARER:
            issue = self._by_assertion(request, form)
        else:
            issue = self._issue(form, self._client(request, form))
        request.notes |= {"family": issue.family.id, "serial": issue.serial}
        return json_answer(self._words(issue, form), Cache_Control="no-store", Pragma="no-cache")

    def _token_form(self, request: Request) -> dict[str, str]:
        if self.config.token_method == "GET":
            if request.body:
                raise GrantError("invalid_request", "parameters belong into the query")
            return request.params()
        return _json_form(request) if self.config.token_encoding == "json" else _form(request)

    def _client(self, request: Request, form: dict[str, str]) -> str:
        return self.clients.authenticate(request, form, self._audience())

    def _audience(self) -> str:
        return self.issuer if self.config.assertion_audience == "issuer" else f"{self.issuer}/token"

    def _issue(self, form: dict[str, str], client_id: str) -> Issue:
        match form.get("grant_type"):
            case "authorization_code":
                return self._redeem(form, client_id)
            case "refresh_token":
                (token,) = _required(form, "refresh_token")
                return self.grants.refresh(token, client_id=client_id, scope=form.get("scope"))
            case "client_credentials":
                return self.grants.of_client(client_id, form.get("scope"))
            case "urn:ietf:params:oauth:grant-type:device_code":
                (code,) = _required(form, "device_code")
                return self.devices.poll(code, client_id=client_id)
            case None:
                raise GrantError("invalid_request", "grant_type is missing")
        raise GrantError("unsupported_grant_type", "none of this provider's")

    def _redeem(self, form: dict[str, str], client_id: str) -> Issue:
        (code,) = _required(form, "code")
        if ("redirect_uri" in form) is not self.config.redirect_uri_on_exchange:
            raise GrantError("invalid_request", "redirect_uri is missing, or unwanted")
        return self.grants.redeem(
            code,
            client_id=client_id,
            redirect_uri=form.get("redirect_uri"),
            verifier=form.get("code_verifier"),
        )

    def _by_assertion(self, request: Request, form: dict[str, str]) -> Issue:
        """RFC 7523 section 2.1: the client may authenticate besides, and need not."""
        client_id = self._client(request, form) if self.clients.is_tried(request, form) else None
        (text,) = _required(form, "assertion")
        keys = self.config.issuer_keys
        claims = self.clients.assertions.judge(text, keys, self._audience(), "invalid_grant")
        return self.grants.of_assertion(
            client_id or str(claims["iss"]), str(claims["sub"]), form.get("scope", claims.get("scope"))
        )

    def _device(self, request: Request) -> Answer:
        form = _form(request)
        device = self.devices.begin(self._client(request, form), form.get("scope", ""))
        address = f"{self.issuer}/device"
        words = {
            "device_code": device.device_code,
            "user_code": device.user_code,
            "verification_uri": address,
            "verification_uri_complete": f"{address}?user_code={device.user_code}",
            "expires_in": int(self.config.device_lifetime),
            "interval": self.config.device_interval,
        }
        return json_answer(words, Cache_Control="no-store")

    def _words(self, issue: Issue, form: dict[str, str]) -> dict[str, Any]:
        words: dict[str, Any] = {"access_token": issue.access.value, "token_type": "Bearer"}
        if self.config.send_expires_in:
            words["expires_in"] = issue.lifetime
        if issue.refresh_token is not None:
            words["refresh_token"] = issue.refresh_token
        if self.config.send_scope:
            words["scope"] = issue.access.scope
        wanted = form["grant_type"] in _CONSENTED or self.config.id_token_on_refresh
        if wanted and "openid" in issue.access.scope.split():
            who, kid = self.calls_itself, self.config.signing_key
            words["id_token"] = self.id_tokens.issue(issue.family, who, issue.lifetime, kid)
        return words

    def _revoke(self, request: Request) -> Answer:
        form = _form(request)
        client_id = self._client(request, form)
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


def _json_form(request: Request) -> dict[str, str]:
    kind = " ".join(request.all("content-type")).partition(";")[0].strip().lower()
    if kind != "application/json" or request.query:
        raise GrantError("invalid_request", "the body must be JSON, and all there is")
    pairs = json.loads(request.body, object_pairs_hook=list)
    if not request.body.startswith(b"{") or not all(isinstance(value, str) for _, value in pairs):
        raise GrantError("invalid_request", "the body must be an object of strings")
    if len(dict(pairs)) != len(pairs):
        raise Repeated
    return {name: value for name, value in pairs if value}


def _check_challenge(params: dict[str, str]) -> None:
    if params.get("code_challenge_method") != "S256":
        raise GrantError("invalid_request", "code_challenge_method S256 is required")
    if not _CHALLENGE.fullmatch(params.get("code_challenge", "")):
        raise GrantError("invalid_request", "code_challenge is required")


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
