"""Who is asking: client_secret_basic, client_secret_post, or a public client's bare client_id."""

import base64
import binascii
from urllib.parse import unquote_plus

from tests.provider.config import Config
from tests.provider.tokens import GrantError
from tests.provider.wire import Request


def authenticate(request: Request, form: dict[str, str], config: Config) -> str:
    """The client_id, or invalid_client; two methods at once are an invalid_request (RFC 6749 section 2.3)."""
    client_id, secret = _credentials(request, form)
    request.notes["client_id"] = client_id
    try:
        secrets = config.secrets(client_id)
    except KeyError:
        raise GrantError("invalid_client", "unknown client") from None
    if secret not in secrets if secrets else secret is not None:
        raise GrantError("invalid_client", "wrong client secret")
    return client_id


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str | None]:
    headers = request.all("authorization")
    if len(headers) > 1 or (headers and "client_secret" in form):
        raise GrantError("invalid_request", "more than one way of client authentication")
    if not headers:
        return _from_form(form)
    client_id, secret = _from_basic(headers[0])
    if form.get("client_id", client_id) != client_id:
        raise GrantError("invalid_request", "two different client_ids")
    request.notes["auth"] = "client_secret_basic"
    return client_id, secret


def _from_form(form: dict[str, str]) -> tuple[str, str | None]:
    if "client_id" not in form:
        raise GrantError("invalid_client", "no client authentication")
    return form["client_id"], form.get("client_secret")


def _from_basic(header: str) -> tuple[str, str]:
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
    return unquote_plus(client_id), unquote_plus(secret)
