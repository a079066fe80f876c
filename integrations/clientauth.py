"""How a client shows who it is at an endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2)."""

from collections.abc import Mapping
from urllib.parse import quote_plus

from integrations.assertions import ASSERTION_TYPE, signer
from integrations.calls import basic
from integrations.contract import Client, ClientUnusable, Secret, Unreadable
from integrations.definition import Definition

Fields = dict[str, str]


def authenticated(definition: Definition, client: Client, parameters: Mapping[str, str]) -> tuple[Fields, Fields]:
    """Return *parameters* with what *client* adds to them, and its headers.

    Raises ClientUnusable where it lacks what its method needs.
    """
    method = client.token_endpoint_auth_method or definition.token_endpoint_auth_method
    if method == "client_secret_basic":
        return dict(parameters), {"Authorization": _basic(client, encoded=definition.client_secret_basic_encoded)}
    if method == "client_secret_post":
        return {**parameters, "client_id": client.client_id, "client_secret": _secret(client)}, {}
    if method == "private_key_jwt":
        return {**parameters, **_assertion(definition, client)}, {}
    return {**parameters, "client_id": client.client_id}, {}


def _secret(client: Client) -> str:
    return client.client_secret.reveal() if client.client_secret else ""


def _basic(client: Client, *, encoded: bool) -> str:
    pair = client.client_id, _secret(client)
    # RFC 6749 2.3.1: each part is form-encoded before it is joined and put in base64.
    client_id, secret = map(quote_plus, pair) if encoded else pair
    return basic(client_id, Secret(secret)).reveal()


def _assertion(definition: Definition, client: Client) -> Fields:
    if client.private_key is None:
        raise ClientUnusable("no_private_key")
    try:
        signs, problem = signer(client.private_key, key_id=client.key_id, algorithm=client.algorithm), ""
    except Unreadable as error:
        signs, problem = None, error.code
    if signs is None:
        raise ClientUnusable(problem)
    assertion = signs.assertion(
        issuer=client.client_id,
        subject=client.client_id,
        audience=definition.audience,
        lifetime=definition.assertion_lifetime,
    )
    return {
        "client_id": client.client_id,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion.reveal(),
    }
