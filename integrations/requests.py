"""A definition's requests: the same parameters, in the method and encoding that its endpoints take."""

import json
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx

from integrations.clientauth import authenticated
from integrations.contract import Client, Misused, Secret
from integrations.definition import Definition

_FORM = "application/x-www-form-urlencoded;charset=UTF-8"


def token_request(definition: Definition, client: Client | None, parameters: Mapping[str, str]) -> httpx.Request:
    """Return a request to the token endpoint, from *client* where there is one."""
    parameters = {**definition.token_parameters, **parameters}
    headers: dict[str, str] = {}
    if client is not None:
        parameters, headers = authenticated(definition, client, parameters)
    if definition.token_request_method == "GET":  # noqa: S105
        return _asking("GET", definition.token_endpoint, parameters, headers)
    if definition.token_request_encoding == "json":  # noqa: S105
        body, headers = json.dumps(parameters), {**headers, "Content-Type": "application/json"}
        return _request("POST", definition.token_endpoint, headers, body.encode())
    return _form("POST", definition.token_endpoint, parameters, headers)


def device_request(
    definition: Definition, endpoint: str, client: Client, parameters: Mapping[str, str]
) -> httpx.Request:
    """Return a request to the device authorization *endpoint* (RFC 8628 section 3.1)."""
    return _form("POST", endpoint, *authenticated(definition, client, parameters))


def probe_request(definition: Definition, endpoint: str, access_token: Secret) -> httpx.Request:
    """Return what tries *access_token* at *endpoint*."""
    token = access_token.reveal()
    headers = {name: value.replace("{access_token}", token) for name, value in definition.probe.headers.items()}
    return _request(definition.probe.method, endpoint, headers)


def revocation_request(
    definition: Definition, endpoint: str, client: Client | None, token: Secret
) -> httpx.Request | None:
    """Return what ends *token* at *endpoint*; None where that takes a client and there is none."""
    knob, value = definition.revocation, token.reveal()
    if knob.token_in == "header":  # noqa: S105
        return _request(knob.method, endpoint, {"Authorization": f"Bearer {value}"})
    if knob.token_in == "query":  # noqa: S105
        return _asking(knob.method, endpoint, {knob.token_parameter: value}, {})
    if client is None:
        return None
    parameters = {knob.token_parameter: value, "token_type_hint": "refresh_token"}
    return _form(knob.method, endpoint, *authenticated(definition, client, parameters))


def _asking(
    method: str, endpoint: str, parameters: Mapping[str, str], headers: Mapping[str, str]
) -> httpx.Request:
    parts = urlsplit(endpoint)
    query = "&".join(part for part in (parts.query, urlencode(parameters)) if part)
    return _request(method, urlunsplit(parts._replace(query=query)), headers)


def _form(method: str, endpoint: str, parameters: Mapping[str, str], headers: Mapping[str, str]) -> httpx.Request:
    return _request(method, endpoint, {**headers, "Content-Type": _FORM}, urlencode(parameters).encode())


def _request(method: str, address: str, headers: Mapping[str, str], body: bytes | None = None) -> httpx.Request:
    """Return a request. Raises Misused where the address or a header cannot be what it would have to be."""
    # Bytes, because httpx complains of other characters with the whole value in its words.
    sent = {"Accept": "application/json", **headers}
    encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
    try:
        request = httpx.Request(method, address, headers=encoded, content=body)
    except httpx.InvalidURL:  # too long, with a token in it
        request = None
    if request is None:
        raise Misused("address_too_long")
    return request
