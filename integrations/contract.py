"""What the vault and every provider's dialect have agreed on: secrets, token sets, clients, and how a call fails.

Protocol code has no `await` and sends nothing: a dialect makes a request and reads an answer,
and somebody else carries them.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Protocol

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


def fits_a_header(token: str) -> bool:
    """Say whether *token* is of the characters that tokens are made of (RFC 6749 appendix A), printable ASCII."""
    return token.isascii() and token.isprintable()


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


# How a connection gets new tokens: by what it was given, by its client alone, by a key of its own, or not at all.
Renewal = Literal["refresh_token", "client_credentials", "jwt_bearer", "self_exchange", "login_refresh", "none"]
Verdict = Literal["valid", "limited", "invalid", "unknown"]  # limited: good, but not for all that it should do


@dataclass(frozen=True, kw_only=True)
class Field:
    """Something that a person enters, described for a form. *help* says where to find it at the provider."""

    name: str
    label: str
    secret: bool = True
    required: bool = True
    pattern: str | None = None
    help: str | None = None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way of having credentials at a provider. *abilities* are words for what else it can do.

    *uses_client* says that a registration of ours takes part in its renewal.
    """

    id: str
    label: str
    how: Literal["consent", "enter"]
    renewal: Renewal
    fields: tuple[Field, ...] = ()
    abilities: tuple[str, ...] = ()
    uses_client: bool = True


Jwks = Sequence[Mapping[str, Any]]  # the keys of a JWK Set (RFC 7517)
# What ends when one token is revoked: it, its whole grant, or all that the account granted to the project.
RevocationScope = Literal["token", "grant", "project"]

ClientAuthMethod = Literal["client_secret_basic", "client_secret_post", "none", "private_key_jwt"]


@dataclass(frozen=True)
class Client:
    """A registration at a provider: ours, or a tenant's own (RFC 7591 names).

    *token_endpoint_auth_method* counts more than the provider's; None leaves it to the provider.
    *private_key* (PEM or JWK) signs the client's assertions (RFC 7523), as *key_id* and with
    *algorithm* (RFC 7518) where they are given.
    """

    client_id: str
    client_secret: Secret | None = None
    token_endpoint_auth_method: ClientAuthMethod | None = None
    private_key: Secret | None = None
    key_id: str | None = None
    algorithm: str | None = None


@dataclass(frozen=True, kw_only=True)
class Root:
    """What new tokens are got with, whatever the kind: a renewal needs this and nothing else.

    *credentials* are what a person entered, by field. *scopes* are what was granted or is wanted.
    """

    kind: str
    client: Client | None = None
    refresh_token: Secret | None = None
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuthorizationRequest:
    """What one visit to the authorization endpoint asks for, and what its answer is held against.

    *holds_refresh_token* says that one is stored already which is good for all of it.
    """

    client: Client
    redirect_uri: str
    state: str
    nonce: str
    code_verifier: Secret
    scopes: Sequence[str]
    holds_refresh_token: bool = False


@dataclass(frozen=True, kw_only=True)
class DeviceAuthorization:
    """A person is to type *user_code* at *verification_uri*, while we poll with *device_code* (RFC 8628 3.2).

    *expires_in* and *interval* are in seconds: how long the codes are good, and the least time between two polls.
    """

    device_code: Secret
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None = None  # with the code in it: nothing is left to type
    expires_in: int
    interval: int = 5


# What a poll is told while the person has not decided: ask again after the interval, or after 5 s more than
# that from now on (RFC 8628 section 3.5).
DeviceWaiting = Literal["authorization_pending", "slow_down"]

Rotation = Literal["never", "grace", "strict", "unknown"]


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
    def default_lifetime(self) -> int:
        """Seconds an access token is taken to live where the answer does not say."""
        ...

    @property
    def refresh_every(self) -> int | None:
        """Seconds after which tokens are renewed, however long they live: what nobody uses may end.

        None where nothing ends for that.
        """
        ...

    @property
    def default_scopes(self) -> Sequence[str]:
        """The scopes that are asked for where a consent names none."""
        ...

    @property
    def endpoints(self) -> Mapping[str, str]: ...

    @property
    def kinds(self) -> "Sequence[Kind]":
        """The ways of having credentials here, the usual one first."""
        ...

    @property
    def jwks_uri(self) -> str | None:
        """Where the keys are that ID tokens are signed with; None where nobody said."""
        ...

    @property
    def token_endpoint_auth_method(self) -> ClientAuthMethod:
        """How a client authenticates that does not say so itself."""
        ...

    @property
    def needs_refresh_token(self) -> bool:
        """Whether a consent that brings no refresh token, and leaves none in force, is no good."""
        ...

    @property
    def revocation_scope(self) -> RevocationScope:
        """What ends with a token that is revoked."""
        ...

    def asking(self, scopes: Sequence[str]) -> Sequence[str]:
        """Return what a consent asks for where *scopes* are wanted, spelled as the answer will spell it."""
        ...

    def authorization_url(self, asked: AuthorizationRequest) -> str: ...

    def check_authorization_answer(self, parameters: Mapping[str, str]) -> None:
        """Raise Unreadable where the answer does not come from this provider (RFC 9207).

        May raise what an error means that it has a word of its own for.
        """
        ...

    def code_request(self, asked: AuthorizationRequest, code: Secret) -> httpx.Request: ...

    def renew_request(self, root: Root) -> httpx.Request:
        """Return what gets new tokens with *root*. Raises Unreadable where it cannot be used for that."""
        ...

    def read_tokens(self, answer: "Answer") -> TokenSet:
        """Return the token set, or raise the ProviderError that the answer amounts to."""
        ...

    def account(
        self, tokens: TokenSet, *, client: Client, nonce: str | None, keys: Jwks | None
    ) -> "Account | None":
        """Whose grant it is, as far as the answer itself says. Raises Unreadable where it lies.

        *keys* are those of `jwks_uri`; None where they could not be had.
        """
        ...

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> "Account | None":
        """Whose *credentials* of a *kind* these are. Raises Unreadable where they cannot be any."""
        ...

    def why_over(self, code: str, lived: int, promised: int | None) -> str:
        """Return the code that tells why a grant is over that was rejected with *code*.

        It *lived* so many seconds, of which the provider had *promised* so many, if it ever said.
        """
        ...

    def probe_request(self, access_token: Secret) -> httpx.Request | None: ...

    def read_probe(self, answer: "Answer", client: Client | None, scopes: Sequence[str]) -> Verdict:
        """Return what the answer to a probe says of the access token, which is to be good for *scopes*."""
        ...

    def revoke_request(self, client: Client | None, token: Secret) -> httpx.Request | None: ...

    def revoked(self, answer: "Answer") -> bool:
        """Say whether the answer to a revocation means that the token is dead."""
        ...

    def device_request(self, client: Client, scopes: Sequence[str]) -> httpx.Request | None:
        """Return what begins a consent on another device; None where the provider has no such thing."""
        ...

    def read_device(self, answer: "Answer") -> DeviceAuthorization:
        """Return what the person is to do. Raises Unreadable, or the ProviderError that the answer amounts to."""
        ...

    def device_token_request(self, client: Client, device_code: Secret) -> httpx.Request:
        """Return one poll for what the person has decided."""
        ...

    def read_device_tokens(self, answer: "Answer") -> TokenSet | DeviceWaiting:
        """Return the token set, or how to go on waiting.

        Raises the ProviderError of an answer that is neither: Transient, RateLimited and OutcomeUnknown are of
        this poll alone; any other ends it, as GrantRejected `access_denied` and `expired_token` do.
        """
        ...


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
