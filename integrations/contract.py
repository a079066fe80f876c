"""What the vault and every provider's dialect have agreed on: secrets, token sets, clients, and how a call fails.

Protocol code has no `await` and sends nothing: a dialect makes a request and reads an answer,
and somebody else carries them. Where that takes several, they are the steps of a generator.
"""

import hmac
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Protocol, TypeAlias, TypeVar

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
    """One token-endpoint answer (RFC 6749 section 5.1). Durations are seconds from when it was asked for.

    *refresh_token* is what the next renewal sends: where a token renews itself, that same token once more.
    """

    access_token: Secret
    refresh_token: Secret | None = None  # None: the answer had none, so the old one stays in force
    token_type: str = "Bearer"  # noqa: S105 - a scheme, not a password
    expires_in: int | None = None  # None: the provider did not say
    refresh_expires_in: int | None = None
    scopes: tuple[str, ...] | None = None  # None: as asked
    id_token: Secret | None = None
    ends: bool = True  # False: the provider said that the access token never does
    account: "Account | None" = None  # whose they are, where the provider said so beside


# How a connection gets new tokens: by what it was given, by its client alone, by a key of its own, or not at all.
Renewal = Literal["refresh_token", "client_credentials", "jwt_bearer", "self_exchange", "login_refresh", "none"]
Verdict = Literal["valid", "limited", "invalid", "unknown"]  # limited: good, but not for all that it should do


@dataclass(frozen=True, kw_only=True)
class Field:
    """Something that a person enters, described for a form. *help* says where to find it at the provider.

    *pattern* is of the whole, in the words that Python and browsers (the `v` flag of ECMAScript) have in common.
    """

    name: str
    label: str
    secret: bool = True
    required: bool = True
    pattern: str | None = None
    help: str | None = None
    multiline: bool = False


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way of having credentials at a provider. *abilities* are words for what it can do, or lack.

    *uses_client* says that a registration of ours takes part in its renewal. Tokens are renewed *refresh_margin*
    seconds before they end, give or take a fifth, and not in the first half of their life for it; None: a
    quarter of their life before, from 1 to 15 minutes. *check_every* is in seconds: how often one may ask whether
    what never changes still works, if at all. *fed_by* is the provider whose connection of the same tenant gives
    the access token that goes with it, by the name that was entered as `connection`. What is used up as it is
    tried *becomes* a connection of another kind.
    """

    id: str
    label: str
    how: Literal["consent", "enter"]
    renewal: Renewal
    fields: tuple[Field, ...] = ()
    abilities: tuple[str, ...] = ()
    uses_client: bool = True
    refresh_margin: int | None = None
    check_every: int | None = None
    fed_by: str | None = None
    becomes: str | None = None

    @property
    def of_tokens(self) -> bool:
        """Whether tokens are all that is kept: what was entered was the first of them, or gave it."""
        return self.how == "consent" or self.renewal == "self_exchange"

    @property
    def static(self) -> bool:
        """Whether what was entered is itself what is handed out: nothing is got with it."""
        return self.how == "enter" and self.renewal == "none"

    @property
    def needs_client(self) -> bool:
        """Whether a registration has to be there: nothing is got as a client with what is static."""
        return self.uses_client and not self.static


Jwks = Sequence[Mapping[str, Any]]  # the keys of a JWK Set (RFC 7517)
# What ends when one token is revoked: it, its whole grant, or all that the account granted to the project.
RevocationScope = Literal["token", "grant", "project"]

# Whose fault it is where a provider calls the client wrong: our registration's, or what the connection was given.
ClientErrorsScope = Literal["client", "connection"]

ClientAuthMethod = Literal["client_secret_basic", "client_secret_post", "none", "private_key_jwt"]


@dataclass(frozen=True)
class Client:
    """A registration at a provider: ours, or a tenant's own (RFC 7591 names).

    *token_endpoint_auth_method* counts more than the provider's; None leaves it to the provider.
    *private_key* (PEM or JWK) signs the client's assertions (RFC 7523), as *key_id* and with
    *algorithm* (RFC 7518) where they are given. The rest is for those providers whose `client_settings` name it:
    *config_id* is a login dialog's configuration, and *embedded_signup* says that its codes come from a script
    in a page, and not by a redirect.
    """

    client_id: str
    client_secret: Secret | None = None
    token_endpoint_auth_method: ClientAuthMethod | None = None
    private_key: Secret | None = None
    key_id: str | None = None
    algorithm: str | None = None
    config_id: str | None = None
    embedded_signup: bool = False


@dataclass(frozen=True, kw_only=True)
class Root:
    """What new tokens are got with, whatever the kind: a renewal needs this and nothing else.

    *credentials* are what a person entered, by field; *pending* is what a `Work` has kept for itself.
    *scopes* are what was granted or is wanted.
    """

    kind: str
    client: Client | None = None
    refresh_token: Secret | None = None
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    pending: Mapping[str, Secret] = field(default_factory=dict)
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


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many calls a provider takes at once, and begun a minute: in all, and of each client. None: any number.

    Without `concurrency`, the vault's own setting counts.
    """

    concurrency: int | None = None
    requests_per_minute: int | None = None
    client_concurrency: int | None = None
    client_requests_per_minute: int | None = None


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


class ClientUnusable(ClientRejected):
    """Our registration cannot be used as it is stored: nothing was sent, and no provider has said so."""


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


@dataclass(frozen=True, kw_only=True)
class MailLogin:
    """An SMTP session that signs in and sends nothing (RFC 4954), over TLS or not at all.

    With a *password* it is PLAIN or LOGIN, with an *access_token* XOAUTH2.
    """

    host: str
    port: int
    tls: Literal["implicit", "starttls"]
    username: str
    password: Secret | None = None
    access_token: Secret | None = None


@dataclass(frozen=True)
class Answer:
    """A whole answer, already read and capped, so that judging it needs no socket.

    Of a MailLogin, *status* is the reply code of the last command and *body* its text.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Account:
    """The provider's stable subject behind a connection, and a label that a person recognises."""

    subject: str
    label: str | None = None


T = TypeVar("T")
Call: TypeAlias = httpx.Request | MailLogin
# What takes any number of calls: each is sent once, and the answer given back, or the ProviderError raised in it
# that came of it instead.
Steps: TypeAlias = Generator[Call, Answer, T]


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What has to be stored, sealed, before anything else is done.

    Each field of *credentials* takes the place of its former self. *pending* takes that of all that was pending:
    nobody is handed any of it, and it is there when the work begins anew, and after the same account's credentials
    were entered anew.
    """

    credentials: Mapping[str, Secret] = field(default_factory=dict)
    pending: Mapping[str, Secret] = field(default_factory=dict)


# Steps with a memory, which may end between any two of them, for good or to begin anew from what they kept.
Work: TypeAlias = Generator[Call | Keep, Answer, T]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one found out about credentials, and why: *code* is a machine word, of those in `advice` if it can be.

    *lacks* are the abilities that a "limited" one has not. *tokens* are what came of trying, where anything did.
    """

    verdict: Verdict
    code: str | None = None
    lacks: tuple[str, ...] = ()
    account: Account | None = None
    tokens: TokenSet | None = None


@dataclass(frozen=True, kw_only=True)
class Handout:
    """What a program gets of static credentials: by field, and as the value of an Authorization header."""

    credentials: Mapping[str, Secret]
    authorization: Secret | None = None


@dataclass(frozen=True, kw_only=True)
class ClientTokenRequest:
    """A token for the app of somebody who gets nothing else of a connection.

    *grants* are what it is good for, in the provider's words. It lives *ttl* seconds. *identity* is who uses
    the app, as it knows them.
    """

    grants: Mapping[str, Any]
    ttl: int
    identity: str | None = None


class Provider(Protocol):
    """One third party's dialect. Every method is pure: a request out, an answer in, or the steps of both."""

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
    def min_refresh_interval(self) -> int:
        """Seconds between two tries to renew the same tokens at least, while they live; 0: as few as it takes."""
        ...

    @property
    def limits(self) -> Limits:
        """How often it may be asked for new tokens."""
        ...

    @property
    def default_scopes(self) -> Sequence[str]:
        """The scopes that are asked for where a consent names none."""
        ...

    @property
    def endpoints(self) -> Mapping[str, str]: ...

    @property
    def kinds(self) -> Sequence[Kind]:
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
    def client_settings(self) -> Sequence[Field]:
        """The settings of a client that mean something here alone."""
        ...

    @property
    def needs_refresh_token(self) -> bool:
        """Whether a consent that brings no refresh token, and leaves none in force, is no good."""
        ...

    @property
    def revocation_scope(self) -> RevocationScope:
        """What ends with a token that is revoked."""
        ...

    @property
    def client_errors_scope(self) -> ClientErrorsScope:
        """What stops where the provider calls a client wrong: all that use it, or the connection alone."""
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

    def redeem(self, asked: AuthorizationRequest, code: Secret) -> Steps[TokenSet]:
        """Exchange the *code* that a consent gave, or raise the ProviderError that the answer amounts to."""
        ...

    def renew(self, root: Root) -> Steps[TokenSet]:
        """Get new tokens with *root*, or raise the ProviderError that the answer amounts to.

        Raises Unreadable, before anything is sent, where it cannot be used for that.
        """
        ...

    def account(self, tokens: TokenSet, *, client: Client, nonce: str | None, keys: Jwks | None) -> Account | None:
        """Whose grant it is, as far as the answer itself says. Raises Unreadable where it lies.

        *keys* are those of `jwks_uri`; None where they could not be had.
        """
        ...

    def entered(self, kind: str, credentials: Mapping[str, Secret]) -> Account | None:
        """Whose *credentials* of a *kind* these are. Raises Unreadable where they cannot be any."""
        ...

    def prove(self, root: Root) -> Steps[Finding]:
        """Try what a person has just entered, with the tokens that come of it where it is used to get some.

        Raises the ProviderError that an answer amounts to: GrantRejected and Misused say that it is no good.
        """
        ...

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        """Return what a program gets of static *credentials*, with the *access_token* that they are fed with."""
        ...

    def client_token(self, root: Root, asked: ClientTokenRequest, issued_at: int) -> Secret:
        """Sign a token for an app with *root*, as of *issued_at*, a Unix time.

        For kinds that have the ability `client_tokens`.

        Raises Unreadable, whose code says what is wrong with what is *asked* for.
        """
        ...

    def work(self, ability: str, root: Root) -> "Work[Finding] | None":
        """Do with what *root* holds what its kind is able to: one of its `abilities`, "rotate" or "repair".

        None for any other ability. It begins anew from what it kept, wherever it ended: what may have been done
        is looked for before it is done again. "limited" says what it could not do, and with which code.
        """
        ...

    def why_over(self, code: str, lived: int, promised: int | None) -> str:
        """Return the code that tells why a grant is over that was rejected with *code*.

        It *lived* so many seconds, of which the provider had *promised* so many, if it ever said.
        """
        ...

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        """Ask whether *access_token* works, which *root* gave; or *root* itself, where it is static.

        What is static may need the *access_token* that it is fed with. It spends nothing. The scopes of *root*
        are what it should be good for. Whatever is raised on the way means that nobody knows.
        """
        ...

    def revoke(self, root: Root, token: Secret | None) -> Steps[bool] | None:
        """End *token*, or *root* itself where it is static, and say whether it is dead then.

        None where the provider has no way to. May raise the ProviderError that an answer amounts to.
        """
        ...

    def device_request(self, client: Client, scopes: Sequence[str]) -> httpx.Request | None:
        """Return what begins a consent on another device; None where the provider has no such thing."""
        ...

    def read_device(self, answer: Answer) -> DeviceAuthorization:
        """Return what the person is to do. Raises Unreadable, or the ProviderError that the answer amounts to."""
        ...

    def device_token_request(self, client: Client, device_code: Secret) -> httpx.Request:
        """Return one poll for what the person has decided."""
        ...

    def read_device_tokens(self, answer: Answer) -> TokenSet | DeviceWaiting:
        """Return the token set, or how to go on waiting.

        Raises the ProviderError of an answer that is neither: Transient, RateLimited and OutcomeUnknown are of
        this poll alone; any other ends it, as GrantRejected `access_denied` and `expired_token` do.
        """
        ...
