"""A provider as data: endpoints and knobs, spelled as in RFC 8414 (server) and RFC 7591 (client)."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct, structs

from integrations.contract import ClientAuthMethod, Rotation

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Word = Annotated[str, Meta(min_length=1, max_length=256)]
Seconds = Annotated[int, Meta(ge=0, le=31_536_000)]

ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "userinfo_endpoint",
)


class Definition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One OAuth 2.0 or OpenID provider.

    `rotation` says what a consumed refresh token is worth: `never` (it is not consumed), `grace` (it
    works for `rotation_grace_seconds` more, and every successor given for it works too), `strict`
    (using it again ends the grant). `unknown` is treated as `strict`. `default_lifetime` counts where
    an answer has no `expires_in`.
    """

    authorization_endpoint: Url
    token_endpoint: Url
    revocation_endpoint: Url | None = None
    userinfo_endpoint: Url | None = None
    issuer: Url | None = None
    name: Word | None = None
    docs: Url | None = None
    scopes: tuple[Word, ...] = ()  # asked for where a consent names none
    token_endpoint_auth_method: ClientAuthMethod = "client_secret_basic"  # noqa: S105 - a method
    grant_types: tuple[Word, ...] = ("authorization_code",)
    authorization_response_iss_parameter_supported: bool = False
    authorization_parameters: dict[Word, Word] = {}
    rotation: Rotation = "unknown"
    rotation_grace_seconds: Seconds = 0
    default_lifetime: Annotated[int, Meta(ge=1, le=31_536_000)] = 3600

    def endpoints(self) -> dict[str, str]:
        """Return the endpoints this provider has, by their RFC 8414 names."""
        return dict(self._addresses())

    def with_endpoints(self, replaced: dict[str, str]) -> "Definition":
        """Return the same provider at other addresses."""
        return structs.replace(self, **replaced)

    def _addresses(self) -> Iterator[tuple[str, str]]:
        for name in ENDPOINTS:
            address = getattr(self, name)
            if address:
                yield name, address
