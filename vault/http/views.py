"""The shapes of requests and answers (DESIGN's API, version 1). Absent is absent: no field is null."""

import base64
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from integrations.contract import ClientAuthMethod, Provider, Rotation, encodable
from vault.connection import Connection
from vault.errors import Invalid
from vault.tokens import HandedOut

# Printable, because no database takes a NUL and no log should take a line break. `$` alone would
# let a last line break pass.
_PRINTABLE = r"^[^\x00-\x1f\x7f\ud800-\udfff]*$(?!\n)"
Line = Annotated[str, Meta(min_length=1, max_length=256, pattern=_PRINTABLE)]
Url = Annotated[str, Meta(min_length=1, max_length=2048, pattern=_PRINTABLE)]
Token = Annotated[str, Meta(min_length=1, max_length=16_384, pattern=_PRINTABLE)]
Instant = Annotated[datetime, Meta(tz=True)]
ScopeWord = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$(?!\n)")]

_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
# What an authorization request says for us, and what the library that makes it calls its own arguments.
_OURS = frozenset(
    {
        "uri",
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
    }
)


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a caller sends."""


class View(Struct, omit_defaults=True, kw_only=True):
    """What a caller gets."""


class Source(View):
    tenant: str
    provider: str
    name: str


class TokenView(View):
    """A token that works now. `expires_in` is in seconds and true: it is what is really left."""

    access_token: str
    token_type: str
    authorization: str
    expires_at: datetime
    expires_in: int
    scopes: tuple[str, ...]
    generation: int
    status: str
    source: Source

    @classmethod
    def of(cls, handed: HandedOut) -> "TokenView":
        about, token = handed.connection, handed.access_token.reveal()
        return cls(
            access_token=token,
            token_type="Bearer",  # noqa: S106 - a scheme, not a password
            authorization=f"Bearer {token}",
            expires_at=whole(handed.expires_at),
            expires_in=handed.expires_in,
            scopes=about.scopes,
            generation=about.state.generation,
            status=about.state.status,
            source=Source(tenant=about.tenant, provider=about.provider, name=about.name),
        )


class ConnectionView(View):
    """A connection and its health, readable without opening anything."""

    tenant: str
    provider: str
    name: str
    kind: str
    status: str
    next_action: str
    enabled: bool
    generation: int
    renewal: str
    scopes: tuple[str, ...]
    metadata: dict[str, Any]
    created_at: datetime
    reason: str | None = None
    account: str | None = None
    account_label: str | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    refreshed_at: datetime | None = None
    verified_at: datetime | None = None
    next_refresh_at: datetime | None = None
    retry_not_before: datetime | None = None
    failing_since: datetime | None = None
    last_error_code: str | None = None

    @classmethod
    def of(cls, connection: Connection) -> "ConnectionView":
        state = connection.state
        times = {
            "expires_at": state.access_expires_at,
            "refresh_expires_at": state.refresh_expires_at,
            "refreshed_at": state.refreshed_at,
            "verified_at": state.verified_at,
            "next_refresh_at": state.next_refresh_at,
            "retry_not_before": state.retry_not_before,
            "failing_since": state.first_failed_at,
        }
        return cls(
            tenant=connection.tenant,
            provider=connection.provider,
            name=connection.name,
            kind=connection.kind,
            status=state.status,
            reason=state.reason,
            next_action=state.next_action,
            enabled=connection.enabled,
            generation=state.generation,
            renewal=state.renewal,
            scopes=connection.scopes,
            metadata=dict(connection.metadata),
            created_at=whole(connection.created_at),
            account=connection.account,
            account_label=connection.account_label,
            last_error_code=state.last_error_code,
            **{name: whole(moment) for name, moment in times.items() if moment is not None},
        )


class ConnectionList(View):
    items: list[ConnectionView]
    next: str | None = None


class Credentials(Body):
    """A token set from elsewhere. At least one of the two tokens."""

    access_token: Token | None = None
    refresh_token: Token | None = None
    expires_at: Instant | None = None


class PutConnection(Body):
    kind: Line | None = None
    credentials: Credentials | None = None
    metadata: dict[str, Any] | None = None
    verify: bool = True
    enabled: bool | None = None


class AuthorizeBody(Body):
    """`replace_account` allows that a person connects another account than the one that is stored."""

    kind: Line | None = None
    scopes: Annotated[list[ScopeWord], Meta(max_length=100)] | None = None
    return_url: Url | None = None
    replace_account: bool = False


class ConnectLink(View):
    connect_url: str
    expires_at: datetime


class Deleted(View):
    """What became of it at the provider: not_asked, revoked, not_supported or failed."""

    revoked: Literal["not_asked", "revoked", "not_supported", "failed"]


class PutTenant(Body):
    name: Line
    parent: Line = "platform"
    return_urls: Annotated[list[Url], Meta(max_length=20)] = []


class TenantView(View):
    id: str
    name: str
    return_urls: list[str]
    parent: str | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "TenantView":
        return cls(id=row["id"], parent=row["parent_id"], name=row["name"], return_urls=row["return_urls"])


class PutClient(Body):
    client_id: Line
    client_secret: Token | None = None


class ClientView(View):
    """A registration. Its secret is never shown, not even in part."""

    tenant: str
    provider: str
    client_id: str
    state: str
    rejected_at: datetime | None = None
    retry_not_before: datetime | None = None


class PutProvider(Body):
    """A generic provider: an `issuer` to be discovered, or endpoints (RFC 8414) and knobs (RFC 7591)."""

    issuer: Url | None = None
    authorization_endpoint: Url | None = None
    token_endpoint: Url | None = None
    revocation_endpoint: Url | None = None
    userinfo_endpoint: Url | None = None
    name: Line | None = None
    docs: Url | None = None
    scopes: Annotated[list[ScopeWord], Meta(max_length=100)] | None = None
    token_endpoint_auth_method: ClientAuthMethod | None = None
    authorization_response_iss_parameter_supported: bool | None = None
    authorization_parameters: dict[Line, Line] | None = None
    rotation: Rotation | None = None
    rotation_grace_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] | None = None
    default_lifetime: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None

    def __post_init__(self) -> None:
        if _OURS.intersection(self.authorization_parameters or ()):
            raise ValueError("These parameters are for the vault to set: " + ", ".join(sorted(_OURS)))

    def given(self) -> dict[str, Any]:
        """Return the fields that were sent."""
        return {name: value for name, value in structs.asdict(self).items() if value is not None}


class FieldView(View):
    name: str
    label: str
    secret: bool
    required: bool


class KindView(View):
    id: str
    label: str
    how: Literal["consent", "enter"]
    renewal: str
    fields: list[FieldView]


class ProviderView(View):
    """A catalogue entry: where the provider is, and the ways of having credentials there."""

    id: str
    name: str
    endpoints: dict[str, str]
    kinds: list[KindView]
    fields: list[FieldView]
    renewal: str
    docs: str | None = None

    @classmethod
    def of(cls, provider: Provider) -> "ProviderView":
        kind = KindView(id="oauth2", label="Connect an account", how="consent", renewal="refresh_token", fields=[])
        return cls(
            id=provider.id,
            name=provider.name,
            docs=provider.docs,
            endpoints=dict(provider.endpoints),
            kinds=[kind],
            fields=kind.fields,
            renewal=kind.renewal,
        )


class ProviderList(View):
    items: list[ProviderView]
    next: str | None = None


class CreateCaller(Body):
    name: Line
    scopes: Annotated[list[Line], Meta(min_length=1, max_length=20)]
    tenant: Line | None = None
    # Never empty: "limited to nothing" is no key, and is easily taken for "not limited".
    providers: Annotated[list[Line], Meta(min_length=1, max_length=100)] | None = None
    names: Annotated[list[Line], Meta(min_length=1, max_length=100)] | None = None
    expires_at: Instant | None = None


class CallerView(View):
    id: str
    name: str
    scopes: list[str]
    tenant: str
    providers: list[str] | None = None
    names: list[str] | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "CallerView":
        moments = {name: whole(row[name]) for name in ("created_at", "expires_at") if row[name] is not None}
        return cls(
            id=row["id"],
            name=row["name"],
            scopes=list(row["scopes"]),
            tenant=row["tenant_id"],
            providers=row["providers"],
            names=row["names"],
            **moments,
        )


class CallerList(View):
    items: list[CallerView]
    next: str | None = None


class CreatedCaller(View):
    """`key` is shown now and never again."""

    id: str
    key: str
    name: str
    scopes: list[str]
    tenant: str


def storable(moment: datetime | None, field: str) -> datetime | None:
    """Return *moment*. Raises Invalid for one so late that reckoning with it leaves the calendar."""
    if moment is not None and moment >= _LATEST:
        raise Invalid("This moment is too far ahead.", code="invalid_moment", field=field)
    return moment


def whole(moment: datetime) -> datetime:
    """Return *moment* without the fraction of a second, as answers show it."""
    return moment.replace(microsecond=0)


def encode_cursor(parts: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, length: int) -> list[str] | None:
    """Return the parts of a cursor that we gave out. Raises Invalid for any other."""
    if cursor is None:
        return None
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != length or not all(_storable_text(part) for part in parts):
        raise Invalid("This cursor is not one of ours.", code="invalid_cursor")
    return list(parts)


def _storable_text(part: object) -> bool:
    """Say whether a database could compare with *part*: neither NUL nor half a character is in it."""
    return isinstance(part, str) and "\x00" not in part and encodable(part)
