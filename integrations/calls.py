"""HTTP requests as dialects make them: nothing of a secret is in an error, whatever it is made of."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx

from integrations.contract import Misused, Secret

FORM = "application/x-www-form-urlencoded;charset=UTF-8"
Parameters = Mapping[str, str]


def call(
    method: str,
    address: str,
    *,
    headers: Mapping[str, str] | None = None,
    authorization: Secret | None = None,
    query: Parameters | None = None,
    form: Parameters | None = None,
    body: Any = None,
) -> httpx.Request:
    """Return a request with a *form*, or with a *body* as JSON. Raises Misused where it cannot be one."""
    sent = {"Accept": "application/json", **(headers or {})}
    content = None
    if form is not None:
        sent["Content-Type"], content = FORM, urlencode(form).encode()
    elif body is not None:
        sent["Content-Type"], content = "application/json", json.dumps(body).encode()
    if authorization is not None:
        sent["Authorization"] = authorization.reveal()
    return _request(method, _with_query(address, query or {}), sent, content)


def plain(credentials: Mapping[str, Secret], name: str) -> str:
    """Return what was entered as *name*, as it goes into a request; an empty text where nothing was."""
    found = credentials.get(name)
    return found.reveal().strip() if found else ""


def bearer(token: Secret) -> Secret:
    """Return the value of an Authorization header (RFC 6750 section 2.1)."""
    return Secret(f"Bearer {token.reveal()}")


def basic(user: str, password: Secret) -> Secret:
    """Return the value of an Authorization header (RFC 7617)."""
    return Secret("Basic " + base64.b64encode(f"{user}:{password.reveal()}".encode()).decode())


def _with_query(address: str, parameters: Parameters) -> str:
    if not parameters:
        return address
    parts = urlsplit(address)
    query = "&".join(part for part in (parts.query, urlencode(parameters)) if part)
    return urlunsplit(parts._replace(query=query))


def _request(method: str, address: str, headers: Mapping[str, str], content: bytes | None) -> httpx.Request:
    # Bytes, because httpx complains of other characters with the whole value in its words.
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        request = httpx.Request(method, address, headers=encoded, content=content)
    except httpx.InvalidURL:  # too long, with a token in it
        request = None
    if request is None:
        raise Misused("address_too_long")
    return request
