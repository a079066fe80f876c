"""The words in which a test orders something from the provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from tests.provider.config import Dialect, Rotation
from tests.provider.faults import When

Body = str | bytes | dict[str, Any] | list[Any]


class Settings(TypedDict, total=False):
    """See `tests.provider.config.Config`."""

    dialect: Dialect
    rotation: Rotation
    grace_seconds: float
    grace_answer: Literal["sibling", "same"]
    access_lifetime: int
    refresh_lifetime: float | None
    code_lifetime: float
    send_expires_in: bool
    send_scope: bool
    send_iss: bool
    issue_refresh_token: bool
    id_token_on_refresh: bool
    subject: str
    signing_key: str
    jwks_max_age: int | None
    clock_ahead: float
    grant_lifetime: int | None
    tells_grant_lifetime: bool
    calls_itself: str
    service_accounts: dict[str, dict[str, Any]]
    delegated: list[str]
    clients: Mapping[str, str | list[str] | None]
    client_keys: dict[str, list[dict[str, Any]]]
    issuer_keys: dict[str, list[dict[str, Any]]]
    assertion_audience: Literal["token_endpoint", "issuer"]
    auth_method: str | None
    basic_decoded: bool
    token_method: Literal["POST", "GET"]
    token_encoding: Literal["form", "json"]
    pkce: bool
    redirect_uri_on_exchange: bool
    device_lifetime: float
    device_interval: int
    device_slow_down: float
    redirect_uris: list[str] | None
    scopes: list[str] | None
    scopes_supported: list[str]


class Selection(TypedDict, total=False):
    """Which requests a fault hits; see `tests.provider.faults.Rule`."""

    times: int | None
    skip: int
    chance: float


class FaultOrder(Selection, total=False):
    """What it does to them; see `tests.provider.faults.Effects`."""

    latency: float
    status: int
    headers: dict[str, str]
    body: Body
    redirect: str
    hold: When
    hang: When
    reset: When
    latency_after: float
    answer_status: int
    answer_headers: dict[str, str]
    answer_body: Body
    answer_raw: str | bytes
    patch: dict[str, Any]
    drop: list[str]
    huge_body: int
    gzip_bomb: int
    chunked: bool
    slow_body: float
    reset_after_bytes: int
    close_after_bytes: int
    close: bool


class ConsentOrder(TypedDict, total=False):
    """How the next authorization request is answered; "" leaves `iss` or `state` out."""

    error: str
    error_description: str
    iss: str
    state: str
    subject: str
    scopes: list[str]


class MintOrder(TypedDict, total=False):
    client_id: str
    subject: str
    scope: str
    access_lifetime: int


@dataclass(frozen=True)
class Grant:
    """A grant that came into being without a consent."""

    family: str
    client_id: str
    subject: str
    scope: str
    access_token: str
    refresh_token: str
    expires_in: int
