"""The shapes of /v1/providers."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from integrations.contract import (
    ClientAuthMethod,
    ClientErrorsScope,
    Field,
    Kind,
    Provider,
    RevocationScope,
    Rotation,
)
from integrations.definition import AMinute, Definition, Most
from integrations.knobs import Errors, Probe, Revocation, TokenFields
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
# What a token request says for us.
_OURS_OF_TOKENS = frozenset(
    {
        "grant_type",
        "code",
        "code_verifier",
        "redirect_uri",
        "refresh_token",
        "device_code",
        "assertion",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
    }
)


GrantType = Literal["authorization_code", "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"]


class PutProvider(Body, omit_defaults=True):
    """A generic provider: an `issuer` to be discovered, or endpoints (RFC 8414) and knobs (RFC 7591).

    The defaults are the standards'. README, "Providers of your own", says what each knob is for.
    """

    issuer: Url | None = None
    authorization_endpoint: Url | None = None
    token_endpoint: Url | None = None
    device_authorization_endpoint: Url | None = None
    revocation_endpoint: Url | None = None
    userinfo_endpoint: Url | None = None
    probe_endpoint: Url | None = None
    jwks_uri: Url | None = None
    name: Line | None = None
    docs: Url | None = None
    scopes: Annotated[list[ScopeWord], Meta(max_length=100)] | None = None
    grant_types: Annotated[list[GrantType], Meta(min_length=1, max_length=10)] | None = None
    token_endpoint_auth_method: ClientAuthMethod | None = None
    client_secret_basic_encoded: bool | None = None
    assertion_audience: Literal["token_endpoint", "issuer"] | None = None
    assertion_lifetime: Annotated[int, Meta(ge=10, le=300)] | None = None
    assertion_scope_claim: bool | None = None
    authorization_response_iss_parameter_supported: bool | None = None
    authorization_parameters: dict[Line, Line] | None = None
    code_challenge_methods_supported: Annotated[list[Literal["S256"]], Meta(max_length=1)] | None = None
    redirect_uri_on_exchange: bool | None = None
    scope_parameter: ScopeWord | None = None
    scope_separator: Annotated[str, Meta(min_length=1, max_length=4, pattern=r"^[ -~]+$(?!\n)")] | None = None
    token_request_method: Literal["POST", "GET"] | None = None
    token_request_encoding: Literal["form", "json"] | None = None
    token_parameters: dict[Line, Line] | None = None
    refresh_parameters: dict[Line, Line] | None = None
    token_response: TokenFields | None = None
    errors: Errors | None = None
    client_errors_scope: ClientErrorsScope | None = None
    rotation: Rotation | None = None
    rotation_grace_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] | None = None
    revocation_scope: RevocationScope | None = None
    default_lifetime: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    refresh_every: Annotated[int, Meta(ge=60, le=31_536_000)] | None = None
    refresh_margin: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    min_refresh_interval: Annotated[int, Meta(ge=0, le=31_536_000)] | None = None
    concurrency: Most | None = None
    requests_per_minute: AMinute | None = None
    client_concurrency: Most | None = None
    client_requests_per_minute: AMinute | None = None
    probe: Probe | None = None
    revocation: Revocation | None = None

    def __post_init__(self) -> None:
        _leave_to_us(self.authorization_parameters, _OURS)
        _leave_to_us(self.token_parameters, _OURS_OF_TOKENS)
        _leave_to_us(self.refresh_parameters, _OURS_OF_TOKENS)
        if self.scope_parameter in _OURS - {"scope"}:
            raise ValueError("This parameter has another meaning.")

    @classmethod
    def of(cls, definition: Definition) -> "PutProvider":
        """Return what would define it anew, without what is as by default."""
        return cls(**msgspec.to_builtins(definition))

    def given(self) -> dict[str, Any]:
        """Return the fields that were sent."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}


def _leave_to_us(parameters: dict[str, str] | None, ours: frozenset[str]) -> None:
    if ours.intersection(parameters or ()):
        raise ValueError("These parameters are for the vault to set: " + ", ".join(sorted(ours)))


class FieldView(View):
    """Something that a person enters. `help` says where to find it at the provider; `pattern` is of the whole."""

    name: str
    label: str
    secret: bool
    required: bool
    pattern: str | None = None
    help: str | None = None
    multiline: bool = False

    @classmethod
    def of(cls, field: Field) -> "FieldView":
        return cls(**vars(field))


class KindView(View):
    """One way of having credentials. `uses_client` says that a client has to be registered for it."""

    id: str
    label: str
    how: Literal["consent", "enter"]
    renewal: str
    uses_client: bool
    fields: list[FieldView]
    abilities: list[str]

    @classmethod
    def of(cls, kind: Kind) -> "KindView":
        return cls(
            id=kind.id,
            label=kind.label,
            how=kind.how,
            renewal=kind.renewal,
            uses_client=kind.needs_client,
            fields=[FieldView.of(field) for field in kind.fields],
            abilities=list(kind.abilities),
        )


class ProviderView(View):
    """A catalogue entry: where the provider is, and the ways of having credentials there.

    `client_settings` are those that a client's registration has here alone.
    Of one provider that was defined at run time, `definition` is what PUT took, less what is as by default.
    """

    id: str
    name: str
    endpoints: dict[str, str]
    kinds: list[KindView]
    fields: list[FieldView]
    renewal: str
    docs: str | None = None
    client_settings: list[FieldView] | None = None
    paused_at: datetime | None = None
    definition: PutProvider | None = None

    @classmethod
    def of(
        cls, provider: Provider, paused_at: datetime | None, definition: Definition | None = None
    ) -> "ProviderView":
        kinds = [KindView.of(kind) for kind in provider.kinds]
        return cls(
            id=provider.id,
            name=provider.name,
            docs=provider.docs,
            endpoints=dict(provider.endpoints),
            kinds=kinds,
            fields=kinds[0].fields,
            renewal=kinds[0].renewal,
            client_settings=[FieldView.of(field) for field in provider.client_settings] or None,
            paused_at=None if paused_at is None else whole(paused_at),
            definition=None if definition is None else PutProvider.of(definition),
        )


class ProviderList(View):
    items: list[ProviderView]
    next: str | None = None
