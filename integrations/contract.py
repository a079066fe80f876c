"""What the vault and every provider's dialect have agreed on: secrets, token sets, clients, and how a call fails.

Protocol code has no `await` and sends nothing: a dialect makes a request and reads an answer,
and somebody else carries them.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn, Protocol

import httpx


class Secret:
    """A string that refuses to be printed, pickled, serialised or compared in variable time."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not encodable(value):
            # Raised here and now, because UnicodeEncodeError would carry the whole value with it.
            raise ValueError("a secret has to be text that UTF-8 can hold")
        self._value = value

    def reveal(self) -> str:
        """Return the plain value. Grep for this word to see every place that does."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


def encodable(value: str) -> bool:
    """Say whether *value* is free of lone surrogates, which JSON can smuggle in and no encoding takes."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


@dataclass(frozen=True)
class TokenSet:
    """One token-endpoint answer (RFC 6749 section 5.1). Durations are seconds from when it was asked for."""

    access_token: Secret
    refresh_token: Secret | None = None  # None: the answer had none, so the old one stays in force
    token_type: str = "Bearer"  # noqa: S105 - a scheme, not a password
    expires_in: int | None = None  # None: the provider did not say
    refresh_expires_in: int | None = None
    scopes: tuple[str, ...] | None = None  # None: as asked
    id_token: Secret | None = None


ClientAuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]


@dataclass(frozen=True)
class Client:
    """A registration at a provider: ours, or a tenant's own (RFC 7591 names)."""

    client_id: str
    client_secret: Secret | None = None


@dataclass(frozen=True)
class AuthorizationRequest:
    """What one visit to the authorization endpoint asks for, and what its answer is held against."""

    client: Client
    redirect_uri: str
    state: str
    nonce: str
    code_verifier: Secret
    scopes: Sequence[str]


Rotation = Literal["never", "grace", "strict", "unknown"]
# What a revocation ends: that token and what came of it, all that the account has granted the client, or all
# that it has granted any client of the same project.
RevocationScope = Literal["token", "grant", "project"]


class ProviderError(Exception):
    """A provider call that did not give what was asked.

    *code* is a short machine word fit for logs and answers: an OAuth `error`, or our own word for
    what was seen. It never holds text from the provider. *retry_after* is in seconds.
    """

    def __init__(self, code: str, *, retry_after: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after


class GrantRejected(ProviderError):
    """This grant is over. Only the person who gave it can mend it."""


class ClientRejected(ProviderError):
    """Our registration is wrong, whatever the grant: nobody's connection is to blame."""


class RateLimited(ProviderError):
    """We ask too often. The whole provider waits, not only this connection."""


class Transient(ProviderError):
    """It may pass: a refusal that proves nothing, or a request that never left."""


class OutcomeUnknown(ProviderError):
    """The request left and no usable answer came: the refresh token may or may not be spent."""


class Misused(ProviderError):
    """The provider says that our request is wrong. Asking again soon is pointless; it is a bug."""


class Unreadable(ProviderError):
    """Metadata or an identity that contradicts itself or the standard."""


class Provider(Protocol):
    """One third party's dialect. Every method is pure: a request out, or an answer in."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def docs(self) -> str | None: ...

    @property
    def rotation(self) -> Rotation: ...

    @property
    def rotation_grace(self) -> int:
        """Seconds for which a consumed refresh token still works; 0 where there is no such time."""
        ...

    @property
    def revocation_scope(self) -> RevocationScope: ...

    @property
    def default_lifetime(self) -> int:
        """Seconds an access token is taken to live where the answer does not say."""
        ...

    @property
    def default_scopes(self) -> Sequence[str]:
        """The scopes that are asked for where a consent names none."""
        ...

    @property
    def endpoints(self) -> Mapping[str, str]: ...

    def authorization_url(self, asked: AuthorizationRequest) -> str: ...

    def check_authorization_answer(self, parameters: Mapping[str, str]) -> None:
        """Raise Unreadable where the answer does not come from this provider (RFC 9207)."""
        ...

    def code_request(self, asked: AuthorizationRequest, code: Secret) -> httpx.Request: ...

    def refresh_request(self, client: Client, refresh_token: Secret) -> httpx.Request: ...

    def read_tokens(self, answer: "Answer") -> TokenSet:
        """Return the token set, or raise the ProviderError that the answer amounts to."""
        ...

    def account(self, tokens: TokenSet, *, client: Client, nonce: str | None) -> "Account | None":
        """Whose grant it is, as far as the answer itself says. Raises Unreadable where it lies."""
        ...

    def probe_request(self, access_token: Secret) -> httpx.Request | None: ...

    def revoke_request(self, client: Client, token: Secret) -> httpx.Request | None: ...


@dataclass(frozen=True)
class Answer:
    """A whole answer, already read and capped, so that judging it needs no socket."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Account:
    """The provider's stable subject behind a connection, and a label that a person recognises."""

    subject: str
    label: str | None = None
