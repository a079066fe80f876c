"""Where a server publishes its metadata, and what of it is believed (RFC 8414, OpenID Discovery 1.0)."""

from typing import Any
from urllib.parse import urlsplit

from integrations.answers import json_object, text
from integrations.contract import Answer, ClientAuthMethod, Unreadable

# What of the metadata becomes a part of the definition; everything else is ignored.
_TAKEN = (
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
)
_PREFERRED: tuple[ClientAuthMethod, ...] = (
    "client_secret_basic",
    "client_secret_post",
    "none",
    "private_key_jwt",  # only where there is no other, for it takes more than a secret
)


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Return where to look: OpenID appends its path to the issuer, RFC 8414 section 3.1 inserts one."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    )


def read_metadata(issuer: str, answer: Answer) -> dict[str, Any]:
    """Return the fields of a Definition that *answer* gives.

    Raises Unreadable where it is no metadata, speaks for another issuer (RFC 8414 section 3.3), or
    rules out PKCE with S256: to do without it takes endpoints that somebody has entered.
    """
    found = json_object(answer.body)
    if answer.status != 200 or not found:
        raise Unreadable("no_metadata")
    if found.get("issuer") != issuer:
        raise Unreadable("issuer_mismatch")
    methods = found.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        raise Unreadable("pkce_unsupported")
    return _fields(issuer, found)


def _fields(issuer: str, found: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: text(found.get(name)) for name in _TAKEN}
    if not fields["token_endpoint"]:  # a definition says itself whether it needs the other one
        raise Unreadable("endpoints_missing")
    fields["issuer"] = issuer
    fields["token_endpoint_auth_method"] = _auth_method(found)
    fields["authorization_response_iss_parameter_supported"] = (
        found.get("authorization_response_iss_parameter_supported") is True
    )
    return {name: value for name, value in fields.items() if value is not None}


def _auth_method(found: dict[str, Any]) -> ClientAuthMethod:
    offered = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    for method in _PREFERRED:
        if isinstance(offered, list) and method in offered:
            return method
    raise Unreadable("client_auth_unsupported")
