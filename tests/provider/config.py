"""How this provider behaves: every setting a test can change, before or while it runs."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Rotation = Literal["strict", "grace", "lax", "never"]
Dialect = Literal["standard", "google"]

CLIENT_ID = "client-1"
CLIENT_SECRET = "canary-client-secret-1"


class BadControl(Exception):
    """A control call asked for something that does not exist."""


@dataclass
class Config:
    """Set by `FakeProvider(..., name=value)`, or by POST /control/config."""

    dialect: Dialect = "standard"
    """Set at the start: whether it follows the standards, or has Google's habits (`google.py`)."""

    rotation: Rotation = "strict"
    """strict: reuse revokes the family; grace: a sibling for a while; lax: old ones go on working;
    never: one token for ever, and no refresh_token in refresh answers."""

    grace_seconds: float = 30.0
    grace_answer: Literal["sibling", "same"] = "sibling"
    """What a consumed token gets within grace: another successor, or the first one again."""

    access_lifetime: int = 3600
    refresh_lifetime: float | None = None
    """Seconds a refresh token lives unused; None is for ever."""

    code_lifetime: float = 60.0
    send_expires_in: bool = True
    send_scope: bool = True
    send_iss: bool = True
    issue_refresh_token: bool = True
    """False: the code exchange answers without one, as vendors do on a second consent."""

    id_token_on_refresh: bool = False
    subject: str = "account-1"
    signing_key: str = "fake-1"
    """The kid of the key that ID tokens are signed with, and the only one that is published."""

    jwks_max_age: int | None = None
    """What the published keys' Cache-Control says."""

    clock_ahead: float = 0.0
    """Google's habits only: seconds that its clock is ahead of everybody's, or how far time has gone."""

    grant_lifetime: int | None = None
    """Google's habits only: seconds that a grant lives."""

    tells_grant_lifetime: bool = True
    calls_itself: str = "https://accounts.google.com"
    service_accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Google's habits only: e-mail address: its public key, a JWK with a kid."""

    delegated: list[str] = field(default_factory=list)
    """Whom service accounts may act for."""

    clients: dict[str, str | list[str] | None] = field(default_factory=lambda: {CLIENT_ID: CLIENT_SECRET})
    """client_id: its secret, several live secrets, or None for a public client."""

    client_keys: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """client_id: the public keys (JWK) of a client that authenticates with private_key_jwt, and not otherwise."""

    issuer_keys: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """issuer: the public keys with which its assertions are a grant."""

    assertion_audience: Literal["token_endpoint", "issuer"] = "token_endpoint"
    auth_method: str | None = None
    """The only way of client authentication that is taken; None takes any that fits the client."""

    basic_decoded: bool = True
    """False: Basic credentials are taken as they are, against RFC 6749 section 2.3.1."""

    token_method: Literal["POST", "GET"] = "POST"
    token_encoding: Literal["form", "json"] = "form"
    pkce: bool = True
    """False: a code_challenge is not required, and without one a code_verifier is refused."""

    redirect_uri_on_exchange: bool = True
    """False: a redirect_uri in the token request is refused."""

    device_lifetime: float = 600.0
    device_interval: int = 5
    device_slow_down: float = 5.0
    """Seconds that each early poll adds to the interval."""

    redirect_uris: list[str] | None = None
    """None accepts any; otherwise only these, compared as strings."""

    scopes: list[str] | None = None
    """What is granted, whatever was asked; None grants what was asked."""

    scopes_supported: list[str] = field(
        default_factory=lambda: ["openid", "email", "offline_access", "read", "write"]
    )

    def update(self, changes: dict[str, Any]) -> None:
        known = {setting.name for setting in dataclasses.fields(self)}
        if unknown := changes.keys() - known:
            raise BadControl(f"unknown settings: {sorted(unknown)}")
        if changes.get("rotation", self.rotation) not in get_args(Rotation):
            raise BadControl(f"unknown rotation: {changes['rotation']}")
        for name, value in changes.items():
            setattr(self, name, value)

    def secrets(self, client_id: str) -> list[str]:
        """The live secrets of a client; empty for a public one. KeyError for a stranger."""
        secret = self.clients[client_id]
        if secret is None:
            return []
        return [secret] if isinstance(secret, str) else secret
