"""A provider as data: endpoints and knobs, spelled as in RFC 8414 (server) and RFC 7591 (client)."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from integrations.contract import ClientAuthMethod, ClientErrorsScope, RevocationScope, Rotation
from integrations.knobs import Errors, Probe, Revocation, TokenFields, Word

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Seconds = Annotated[int, Meta(ge=0, le=31_536_000)]
Most = Annotated[int, Meta(ge=1, le=1_000)]
AMinute = Annotated[int, Meta(ge=1, le=60_000)]

ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
    "userinfo_endpoint",
    "probe_endpoint",
    "jwks_uri",
)


class Definition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One OAuth 2.0 or OpenID provider.

    `grant_types` are the ways in: `authorization_code` (by device too, with a `device_authorization_endpoint`),
    `client_credentials`, `urn:ietf:params:oauth:grant-type:jwt-bearer` (without a client, where
    `token_endpoint_auth_method` is `none`). Without `client_secret_basic_encoded`, both parts of Basic are sent as
    they are. `assertion_audience` is whom a signed assertion addresses, for `assertion_lifetime` seconds;
    `assertion_scope_claim` puts the scopes into it.

    An answer that calls the client wrong stops the `client`, and is no connection's fault; or, with
    `client_errors_scope` of `connection`, it is what was entered there that is wrong, and the client goes on.

    `token_request_method` and `token_request_encoding` are of every token request, with `token_parameters` added
    and, to a refresh, `refresh_parameters`. No `code_challenge_methods_supported` means no PKCE.

    `rotation` says what a consumed refresh token is worth: `never` (it is not consumed), `grace` (it
    works for `rotation_grace_seconds` more, and every successor given for it works too), `strict`
    (using it again ends the grant). `unknown` is treated as `strict`. `default_lifetime` counts where
    an answer does not say when a token ends. Within `refresh_every` seconds tokens are renewed however long they
    live, where a grant ends that nobody uses. `refresh_margin` says how many seconds before the access token ends
    they are, give or take a fifth, where the usual 1 to 15 minutes will not do. While they live, two tries are at
    least `min_refresh_interval` seconds apart. `revocation_scope` says what a revocation ends: that `token` and
    what came of it, the whole `grant` of the account to this client, or all its grants to the `project`.

    New tokens are asked for no more than `concurrency` times at once and `requests_per_minute`, evenly apart;
    as any one client, `client_concurrency` and `client_requests_per_minute`. A process counts its own.
    """

    authorization_endpoint: Url | None = None
    token_endpoint: Url
    device_authorization_endpoint: Url | None = None
    revocation_endpoint: Url | None = None
    userinfo_endpoint: Url | None = None
    probe_endpoint: Url | None = None  # where it is not userinfo that tells whether a token works
    jwks_uri: Url | None = None
    issuer: Url | None = None
    name: Word | None = None
    docs: Url | None = None
    scopes: tuple[Word, ...] = ()  # asked for where a consent names none
    grant_types: tuple[Word, ...] = ("authorization_code",)

    token_endpoint_auth_method: ClientAuthMethod = "client_secret_basic"  # noqa: S105 - a method
    client_secret_basic_encoded: bool = True  # as RFC 6749 section 2.3.1 demands, and some servers do not decode
    assertion_audience: Literal["token_endpoint", "issuer"] = "token_endpoint"
    assertion_lifetime: Annotated[int, Meta(ge=10, le=300)] = 180
    assertion_scope_claim: bool = False

    authorization_response_iss_parameter_supported: bool = False
    authorization_parameters: dict[Word, Word] = {}
    code_challenge_methods_supported: tuple[Literal["S256"], ...] = ("S256",)
    redirect_uri_on_exchange: bool = True  # RFC 6749 section 4.1.3; a few servers refuse it
    scope_parameter: Word = "scope"
    scope_separator: Annotated[str, Meta(min_length=1, max_length=4)] = " "

    token_request_method: Literal["POST", "GET"] = "POST"  # noqa: S105
    token_request_encoding: Literal["form", "json"] = "form"  # noqa: S105
    token_parameters: dict[Word, Word] = {}
    refresh_parameters: dict[Word, Word] = {}
    token_response: TokenFields = TokenFields()
    errors: Errors = Errors()
    client_errors_scope: ClientErrorsScope = "client"

    rotation: Rotation = "unknown"
    rotation_grace_seconds: Seconds = 0
    revocation_scope: RevocationScope = "grant"
    default_lifetime: Annotated[int, Meta(ge=1, le=31_536_000)] = 3600
    refresh_every: Annotated[int, Meta(ge=60, le=31_536_000)] | None = None
    refresh_margin: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    min_refresh_interval: Seconds = 0

    concurrency: Most | None = None
    requests_per_minute: AMinute | None = None
    client_concurrency: Most | None = None
    client_requests_per_minute: AMinute | None = None

    probe: Probe = Probe()
    revocation: Revocation = Revocation()

    def __post_init__(self) -> None:
        if "authorization_code" in self.grant_types and self.authorization_endpoint is None:
            raise ValueError("authorization_code needs an authorization_endpoint")
        if self.assertion_audience == "issuer" and self.issuer is None:
            raise ValueError("the audience of assertions needs an issuer")
        if self.token_request_method == "GET" and self.token_request_encoding == "json":  # noqa: S105
            raise ValueError("a GET has no body for JSON")
        if self.refresh_every is not None and self.min_refresh_interval > self.refresh_every:
            raise ValueError("refresh_every is less than min_refresh_interval")

    def endpoints(self) -> dict[str, str]:
        """Return the endpoints this provider has, by their RFC 8414 names."""
        return dict(self._addresses())

    def with_endpoints(self, replaced: dict[str, str]) -> "Definition":
        """Return the same provider at other addresses."""
        return structs.replace(self, **replaced)

    @property
    def audience(self) -> str:
        """Whom an assertion addresses (RFC 7523 section 3)."""
        return self.issuer if self.assertion_audience == "issuer" and self.issuer else self.token_endpoint

    def _addresses(self) -> Iterator[tuple[str, str]]:
        for name in ENDPOINTS:
            address = getattr(self, name)
            if address:
                yield name, address
