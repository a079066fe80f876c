"""The shapes of /v1/providers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, structs

from integrations.contract import ClientAuthMethod, Field, Kind, Provider, Rotation
from vault.http.views.common import Body, Line, ScopeWord, Url, View, whole

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


GrantType = Literal["authorization_code", "client_credentials"]


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
    grant_types: Annotated[list[GrantType], Meta(min_length=1, max_length=10)] | None = None
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
    """Something that a person enters. `help` says where to find it at the provider."""

    name: str
    label: str
    secret: bool
    required: bool
    pattern: str | None = None
    help: str | None = None

    @classmethod
    def of(cls, field: Field) -> "FieldView":
        return cls(**vars(field))


class KindView(View):
    id: str
    label: str
    how: Literal["consent", "enter"]
    renewal: str
    fields: list[FieldView]
    abilities: list[str]

    @classmethod
    def of(cls, kind: Kind) -> "KindView":
        return cls(
            id=kind.id,
            label=kind.label,
            how=kind.how,
            renewal=kind.renewal,
            fields=[FieldView.of(field) for field in kind.fields],
            abilities=list(kind.abilities),
        )


class ProviderView(View):
    """A catalogue entry: where the provider is, and the ways of having credentials there."""

    id: str
    name: str
    endpoints: dict[str, str]
    kinds: list[KindView]
    fields: list[FieldView]
    renewal: str
    docs: str | None = None
    paused_at: datetime | None = None

    @classmethod
    def of(cls, provider: Provider, paused_at: datetime | None) -> "ProviderView":
        kinds = [KindView.of(kind) for kind in provider.kinds]
        return cls(
            id=provider.id,
            name=provider.name,
            docs=provider.docs,
            endpoints=dict(provider.endpoints),
            kinds=kinds,
            fields=kinds[0].fields,
            renewal=kinds[0].renewal,
            paused_at=None if paused_at is None else whole(paused_at),
        )


class ProviderList(View):
    items: list[ProviderView]
    next: str | None = None
