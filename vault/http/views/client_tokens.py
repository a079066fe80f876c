"""The shapes of tokens for apps."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from vault.client_tokens import SignedToken
from vault.http.views.common import Body, Line, View
from vault.http.views.connections import Source

LONGEST_TTL = 31_536_000  # seconds; a provider's own limit is shorter


class ClientTokenBody(Body):
    """`grants` are what the app may use, by the provider's names for it. `ttl` is in seconds. `identity` is who
    uses the app, as it calls them."""

    grants: dict[str, Any]
    ttl: Annotated[int, Meta(ge=1, le=LONGEST_TTL)] = 3600
    identity: Line | None = None


class ClientTokenView(View):
    """A token to give to an app, and nothing else. `expires_in` is in seconds."""

    token: str
    expires_at: datetime
    expires_in: int
    source: Source

    @classmethod
    def of(cls, signed: SignedToken) -> "ClientTokenView":
        about = signed.connection
        return cls(
            token=signed.token.reveal(),
            expires_at=signed.expires_at,
            expires_in=signed.expires_in,
            source=Source(tenant=about.tenant, provider=about.provider, name=about.name),
        )
