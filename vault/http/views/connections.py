"""The shapes of /v1/connections."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from integrations.advice import ADVICE
from integrations.contract import Handout, Secret, Verdict
from vault.connection import Connection, Prefer
from vault.devices import Asked
from vault.disconnect import Outcome
from vault.exchange.endings import ends_within
from vault.http.views.common import Body, Entry, Line, ScopeWord, Url, View, whole
from vault.tokens import HandedOut

LARGEST_GENERATION = 2**63 - 1


class Source(View):
    tenant: str
    provider: str
    name: str


class TokenView(View):
    """A token that works now; or the `credentials` that were entered, where they are what one works with.

    `expires_in` is in seconds and true: it is what is really left. What has no end has neither that nor
    `expires_at`. `authorization` is the value of an HTTP header, where that is how they are used. `generation` is
    what a report that they were refused is about: where another connection feeds this one, it is that one's.
    """

    scopes: tuple[str, ...]
    generation: int
    status: str
    source: Source
    access_token: str | None = None
    token_type: str | None = None
    authorization: str | None = None
    expires_at: datetime | None = None
    expires_in: int | None = None
    credentials: dict[str, str] | None = None

    @classmethod
    def of(cls, handed: HandedOut) -> "TokenView":
        about = handed.connection
        return cls(
            **_token(handed.access_token) if handed.access_token else _static(handed.static),
            expires_at=None if handed.expires_at is None else whole(handed.expires_at),
            expires_in=handed.expires_in,
            scopes=about.scopes,
            generation=handed.generation,
            status=about.state.status,
            source=Source(tenant=about.tenant, provider=about.provider, name=about.name),
        )


def _token(access_token: Secret) -> dict[str, Any]:
    token = access_token.reveal()
    return {"access_token": token, "token_type": "Bearer", "authorization": f"Bearer {token}"}


def _static(handout: Handout | None) -> dict[str, Any]:
    assert handout is not None, "an empty token is never handed out"
    found: dict[str, Any] = {"credentials": {name: one.reveal() for name, one in handout.credentials.items()}}
    return found | ({"authorization": handout.authorization.reveal()} if handout.authorization else {})


class ConnectionView(View):
    """A connection and its health, readable without opening anything.

    `credentials` are what was entered: what is secret of it shows its last characters at most. `lacks` are
    abilities that it turned out not to have.
    """

    tenant: str
    provider: str
    name: str
    kind: str
    status: str
    next_action: str
    enabled: bool
    prefer: Prefer
    shared: bool
    generation: int
    renewal: str
    scopes: tuple[str, ...]
    metadata: dict[str, Any]
    created_at: datetime
    reason: str | None = None
    client_id: str | None = None  # of the registration that it was got with, and goes on with
    account: str | None = None
    account_label: str | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    refreshed_at: datetime | None = None
    verified_at: datetime | None = None
    next_refresh_at: datetime | None = None
    retry_not_before: datetime | None = None
    failing_since: datetime | None = None
    granted_at: datetime | None = None  # when a person consented to what is renewed
    checked_at: datetime | None = None  # when it was last tried, whatever came of it
    next_check_at: datetime | None = None
    changed_at: datetime | None = None  # when somebody last changed it
    changed_by: str | None = None
    credentials: dict[str, str] | None = None
    lacks: tuple[str, ...] = ()
    missing_scopes: tuple[str, ...] = ()  # asked for and not granted
    last_error_code: str | None = None
    warning: str | None = None  # that somebody will be needed soon
    advice: str | None = None  # what a person can do about it
    paused: Literal["provider", "client", "tenant"] | None = None  # whose kill switch is on
    learned_lifetime: int | None = None  # seconds that tokens really live, where the provider says more
    settings: dict[str, Any] = field(default_factory=dict)
    source: Source | None = None  # whose token is served for it now, where that was looked up
    verdict: Verdict | None = None  # of a verification that was just asked for

    @classmethod
    def of(
        cls,
        connection: Connection,
        verdict: Verdict | None = None,
        *,
        source: tuple[str, str, str] | None = None,
    ) -> "ConnectionView":
        state = connection.state
        soon = ends_within(state, connection.read_at)
        warning = None if soon is None else f"ends_within_{soon}_days"
        times = {
            # Of what was entered and is itself handed out, it is only when it was refused.
            "expires_at": None if state.renewal == "none" and connection.shown else state.access_expires_at,
            "refresh_expires_at": state.refresh_expires_at,
            "granted_at": state.granted_at,
            "checked_at": state.checked_at,
            "next_check_at": state.next_check_at,
            "changed_at": connection.changed_at,
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
            prefer=connection.prefer,
            shared=connection.shared,
            generation=state.generation,
            renewal=state.renewal,
            scopes=connection.scopes,
            metadata=dict(connection.metadata),
            created_at=whole(connection.created_at),
            client_id=connection.client_id,
            account=connection.account,
            account_label=connection.account_label,
            missing_scopes=connection.missing_scopes,
            changed_by=connection.changed_by,
            credentials=None if connection.shown is None else dict(connection.shown),
            lacks=state.lacks,
            last_error_code=state.last_error_code,
            warning=warning,
            advice=ADVICE.get(warning or state.last_error_code or ""),
            paused=connection.paused,
            learned_lifetime=state.learned_lifetime,
            verdict=verdict,
            settings=dict(connection.settings),
            source=None if source is None else Source(tenant=source[0], provider=source[1], name=source[2]),
            **{name: whole(moment) for name, moment in times.items() if moment is not None},
        )


class ConnectionList(View):
    items: list[ConnectionView]
    next: str | None = None


class PutConnection(Body):
    """`credentials` are the fields of the kind, as the catalogue lists them. Where a person would consent, they
    are tokens from elsewhere: `access_token`, `refresh_token`, `expires_at`, at least one of the tokens."""

    kind: Line | None = None
    credentials: Annotated[dict[Line, Entry], Meta(max_length=30)] | None = None
    metadata: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    verify: bool = True
    enabled: bool | None = None
    prefer: Prefer | None = None
    shared: bool | None = None


class PatchConnection(Body):
    """What is not sent stays as it is; only `metadata` and `settings`, and what is in them, can be null."""

    kind: Line | UnsetType = UNSET
    credentials: Annotated[dict[Line, Entry], Meta(max_length=30)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    settings: dict[str, Any] | UnsetType | None = UNSET
    verify: bool = True
    enabled: bool | UnsetType = UNSET
    prefer: Prefer | UnsetType = UNSET
    shared: bool | UnsetType = UNSET


class AuthorizeBody(Body):
    """`replace_account` allows that a person connects another account than the one that is stored."""

    kind: Line | None = None
    scopes: Annotated[list[ScopeWord], Meta(max_length=100)] | None = None
    return_url: Url | None = None
    replace_account: bool = False


class ReportedSource(Body):
    """Where a token came from, as the token answer says it."""

    tenant: Line
    provider: Line
    name: Line


class RejectionBody(Body):
    """`generation` and `source` are those of the token answer whose token was refused."""

    generation: Annotated[int, Meta(ge=1, le=LARGEST_GENERATION)]
    source: ReportedSource | None = None


class ConnectLink(View):
    connect_url: str
    expires_at: datetime


class DeviceBody(Body):
    """`replace_account` allows that a person connects another account than the one that is stored."""

    scopes: Annotated[list[ScopeWord], Meta(max_length=100)] | None = None
    replace_account: bool = False


class DeviceCode(View):
    """A person opens `verification_uri` on any device and types `user_code`; the vault finds out by itself."""

    user_code: str
    verification_uri: str
    expires_at: datetime
    interval: int  # seconds between two looks of the vault
    verification_uri_complete: str | None = None  # with the code in it: nothing is left to type

    @classmethod
    def of(cls, asked: Asked) -> "DeviceCode":
        about = asked.authorization
        return cls(
            user_code=about.user_code,
            verification_uri=about.verification_uri,
            verification_uri_complete=about.verification_uri_complete,
            expires_at=whole(asked.expires_at),
            interval=about.interval,
        )


class Deleted(View):
    """What became of its grant at the provider.

    `not_asked`: nobody wished it to end, or there was none. `withheld`: ending it would have ended what
    another connection lives on.
    """

    revoked: Outcome
