"""The shapes of /v1/clients."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, convert, structs

from integrations.contract import Client, ClientAuthMethod, Secret
from vault.clients.clients import Held, Registered
from vault.http.views.common import Body, Line, Token, View, whole

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
# A PEM file has line breaks.
PrivateKey = Annotated[str, Meta(min_length=1, max_length=32_768, pattern=r"^[^\x00\ud800-\udfff]*$(?!\n)")]


class ClientSettings(Body, omit_defaults=True):
    """How a client authenticates, where that is not as its provider's definition says.

    At WhatsApp: `config_id` is the configuration of its login dialog, and `embedded_signup` says that the codes of
    that dialog come from a page's script, and not by a redirect.
    """

    token_endpoint_auth_method: ClientAuthMethod | None = None
    key_id: Line | None = None
    algorithm: Algorithm | None = None
    config_id: Line | None = None
    embedded_signup: bool = False


class PutClient(Body):
    """`current: false` changes a registration that is known, and leaves which one new consents use as it is."""

    client_id: Line
    client_secret: Token | None = None
    private_key: PrivateKey | None = None
    settings: ClientSettings | None = None
    current: bool = True

    def client(self) -> Client:
        settings = self.settings or ClientSettings()
        return Client(
            self.client_id,
            client_secret=None if self.client_secret is None else Secret(self.client_secret),
            private_key=None if self.private_key is None else Secret(self.private_key),
            **structs.asdict(settings),
        )


class SecretView(View):
    """What there is to authenticate with, never its value."""

    client_secret: bool = False
    private_key: bool = False
    since: datetime | None = None
    settings: ClientSettings | None = None


class SecretsView(View):
    """Up to two secrets are live at once; `in_use` is the one that is tried first."""

    in_use: Literal["current", "previous"]
    current: SecretView
    previous: SecretView | None = None


class ClientView(View):
    """A registration. Its secrets are never shown, not even in part."""

    tenant: str
    provider: str
    client_id: str
    current: bool  # whether new consents use it; else it only serves what was got with it
    state: str
    created_at: datetime
    secrets: SecretsView
    rejected_at: datetime | None = None
    retry_not_before: datetime | None = None
    paused_at: datetime | None = None

    @classmethod
    def of(cls, registered: Registered) -> "ClientView":
        row, previous = registered.row, registered.previous
        moments = {name: row._mapping[name] for name in ("rejected_at", "retry_not_before", "paused_at")}
        return cls(
            tenant=row.tenant_id,
            provider=row.provider,
            client_id=row.client_id,
            current=bool(row.current),
            state=row.state,
            created_at=whole(row.created_at),
            secrets=SecretsView(
                current=_secret(registered.current),
                previous=None if previous is None else _secret(previous),
                in_use="previous" if row.previous_first else "current",
            ),
            **{name: whole(moment) for name, moment in moments.items() if moment is not None},
        )


def _secret(held: Held) -> SecretView:
    return SecretView(
        client_secret=held.client_secret,
        private_key=held.private_key,
        since=None if held.since is None else whole(held.since),
        settings=convert(held.settings, ClientSettings) if held.settings else None,
    )
