"""A definition's requests: the same parameters, in the method and encoding that its endpoints take."""

from collections.abc import Mapping

import httpx

from integrations.calls import bearer, call
from integrations.clientauth import authenticated
from integrations.contract import Client, Secret
from integrations.definition import Definition


def token_request(definition: Definition, client: Client | None, parameters: Mapping[str, str]) -> httpx.Request:
    """Return a request to the token endpoint, from *client* where there is one."""
    parameters = {**definition.token_parameters, **parameters}
    headers: dict[str, str] = {}
    if client is not None:
        parameters, headers = authenticated(definition, client, parameters)
    if definition.token_request_method == "GET":  # noqa: S105
        return call("GET", definition.token_endpoint, headers=headers, query=parameters)
    if definition.token_request_encoding == "json":  # noqa: S105
        return call("POST", definition.token_endpoint, headers=headers, body=parameters)
    return call("POST", definition.token_endpoint, headers=headers, form=parameters)


def device_request(
    definition: Definition, endpoint: str, client: Client, parameters: Mapping[str, str]
) -> httpx.Request:
    """Return a request to the device authorization *endpoint* (RFC 8628 section 3.1)."""
    parameters, headers = authenticated(definition, client, parameters)
    return call("POST", endpoint, headers=headers, form=parameters)


def probe_request(definition: Definition, endpoint: str, access_token: Secret) -> httpx.Request:
    """Return what tries *access_token* at *endpoint*."""
    token = access_token.reveal()
    headers = {name: value.replace("{access_token}", token) for name, value in definition.probe.headers.items()}
    return call(definition.probe.method, endpoint, headers=headers)


def revocation_request(
    definition: Definition, endpoint: str, client: Client | None, token: Secret
) -> httpx.Request | None:
    """Return what ends *token* at *endpoint*; None where that takes a client and there is none."""
    knob, value = definition.revocation, token.reveal()
    if knob.token_in == "header":  # noqa: S105
        return call(knob.method, endpoint, authorization=bearer(token))
    if knob.token_in == "query":  # noqa: S105
        return call(knob.method, endpoint, query={knob.token_parameter: value})
    if client is None:
        return None
    parameters = {knob.token_parameter: value, "token_type_hint": "refresh_token"}
    parameters, headers = authenticated(definition, client, parameters)
    return call(knob.method, endpoint, headers=headers, form=parameters)
