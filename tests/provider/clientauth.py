"""Who is asking: client_secret_basic, client_secret_post, private_key_jwt, or a public client's bare client_id."""

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from tests.provider.assertions import Assertions
from tests.provider.config import Config
from tests.provider.tokens import GrantError
from tests.provider.wire import Request

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OF_CLIENTS = ("client_id", "client_secret", "client_assertion", "client_assertion_type")


@dataclass
class ClientAuth:
    config: Config
    assertions: Assertions = field(default_factory=Assertions)

    def is_tried(self, request: Request, form: dict[str, str]) -> bool:
        return bool(request.all("authorization")) or any(name in form for name in _OF_CLIENTS)

    def authenticate(self, request: Request, form: dict[str, str], audience: str) -> str:
        """The client_id, or invalid_client; two methods at once are an invalid_request (RFC 6749 section 2.3)."""
        if "client_assertion" in form or "client_assertion_type" in form:
            client_id = self._asserted(request, form, audience)
        else:
            client_id = self._with_secret(request, form)
        if self.config.auth_method not in (None, request.notes["auth"]):
            raise GrantError("invalid_client", "another way of client authentication is registered")
        return client_id

    def _asserted(self, request: Request, form: dict[str, str], audience: str) -> str:
        request.notes["auth"] = "private_key_jwt"
        if request.all("authorization") or "client_secret" in form:
            raise GrantError("invalid_request", "more than one way of client authentication")
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise GrantError("invalid_client", "another client_assertion_type")
        keys = self.config.client_keys
        claims = self.assertions.judge(form.get("client_assertion", ""), keys, audience, "invalid_client")
        request.notes["client_id"] = claims["iss"]
        if not claims["iss"] == claims["sub"] == form.get("client_id", claims["iss"]):
            raise GrantError("invalid_client", "iss, sub and client_id are not the same")
        return str(claims["iss"])

    def _with_secret(self, request: Request, form: dict[str, str]) -> str:
        client_id, secret = _credentials(request, form, self.config)
        request.notes["client_id"] = client_id
        if client_id in self.config.client_keys:
            raise GrantError("invalid_client", "this client signs")
        try:
            secrets = self.config.secrets(client_id)
        except KeyError:
            raise GrantError("invalid_client", "unknown client") from None
        if secret not in secrets if secrets else secret is not None:
            raise GrantError("invalid_client", "wrong client secret")
        return client_id


def _credentials(request: Request, form: dict[str, str], config: Config) -> tuple[str, str | None]:
    headers = request.all("authorization")
    if len(headers) > 1 or (headers and "client_secret" in form):
        raise GrantError("invalid_request", "more than one way of client authentication")
    if not headers:
        request.notes["auth"] = "client_secret_post" if "client_secret" in form else "none"
        return _from_form(form)
    client_id, secret = _from_basic(headers[0], decoded=config.basic_decoded)
    if form.get("client_id", client_id) != client_id:
        raise GrantError("invalid_request", "two different client_ids")
    request.notes["auth"] = "client_secret_basic"
    return client_id, secret


def _from_form(form: dict[str, str]) -> tuple[str, str | None]:
    if "client_id" not in form:
        raise GrantError("invalid_client", "no client authentication")
    return form["client_id"], form.get("client_secret")


def _from_basic(header: str, *, decoded: bool) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise GrantError("invalid_client", "not the Basic scheme")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise GrantError("invalid_client", "unreadable Basic credentials") from None
    client_id, colon, secret = text.partition(":")
    if not colon:
        raise GrantError("invalid_client", "Basic credentials without a colon")
    # RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
    return (unquote_plus(client_id), unquote_plus(secret)) if decoded else (client_id, secret)
