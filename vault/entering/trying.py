"""Credentials that a person enters, or brings from elsewhere: read as their kind wants them, and tried first.

Three answers are possible. What the provider refuses is not stored. What it takes is stored as
verified, with the tokens that came of the try. Where nobody can tell now, it is stored as it is, and
the sweep finds out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.advice import ADVICE
from integrations.contract import (
    Account,
    Client,
    ClientRejected,
    Finding,
    GrantRejected,
    Kind,
    Misused,
    Provider,
    ProviderError,
    Root,
    Secret,
    TokenSet,
    Unreadable,
    fits_a_header,
)
from vault.carrying import carried
from vault.clients.as_client import as_client, note
from vault.clients.registration import Registration, registration
from vault.clock import storable, uptime
from vault.errors import Conflict, Invalid
from vault.exchange.blame import blame
from vault.feeding import feed_of
from vault.grants import NOT_TRIED
from vault.means import Means
from vault.proof.probe import probed
from vault.store import clients, connections, sealed
from vault.store.schema import AnyRow

_OF_TOKENS = ("access_token", "refresh_token", "expires_at")
# With a zone; a blank in the place of the T, and small letters, are among what section 5.6 allows.
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_NOTHING = TokenSet(Secret(""), expires_in=0)  # none yet: due at once
STATIC = TokenSet(Secret(""), ends=False)  # none, now or ever


@dataclass(frozen=True, kw_only=True)
class Entered:
    """What was given for a connection: tokens from elsewhere, with when they end; or the fields of its *kind*."""

    kind: Kind
    tokens: TokenSet | None = None
    expires_at: datetime | None = None
    fields: Mapping[str, Secret] = field(default_factory=dict)

    @property
    def scopes(self) -> tuple[str, ...]:
        """What was entered as `scope`: an answer has it that names none (RFC 6749 section 5.1)."""
        scope = self.fields.get("scope")
        return () if scope is None else tuple(scope.reveal().split())

    @property
    def kept(self) -> Mapping[str, Secret]:
        """What is stored of it beside tokens: not what those took the place of."""
        return {} if self.kind.of_tokens else self.fields

    def ended(self, now: datetime) -> bool:
        """Say whether only the refresh token counts: what is over is not worth asking about, and due at once."""
        renewable = self.tokens is not None and self.tokens.refresh_token is not None
        return renewable and self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of a try that *began* then (uptime): the tokens to store, whose they are, and their client."""

    finding: Finding
    tokens: TokenSet
    began: float
    account: Account | None = None
    client: AnyRow | None = None

    @property
    def got(self) -> bool:
        """Whether the provider gave the tokens during the try: what was entered says nothing of their end."""
        return self.finding.tokens is not None


def checked(kind: Kind, fields: Mapping[str, str]) -> dict[str, Secret]:
    """Return *fields* as the form of *kind* wants them. Raises Invalid, naming the field, or all there are.

    What is sent as the name of a field is not repeated: it may be a secret in the wrong place.
    """
    known = {one.name: one for one in kind.fields}
    for name in fields:
        if name not in known:
            raise Invalid("This kind has no such field.", code="unknown_field", fields=sorted(known))
    for name, one in known.items():
        if one.required and not fields.get(name):
            raise Invalid("A field is missing.", code="credentials_missing", field=name)
        if name in fields and one.pattern and not re.fullmatch(one.pattern, fields[name]):
            raise Invalid("This does not look like what the field asks for.", code="invalid_field", field=name)
    return {name: Secret(value) for name, value in fields.items() if value}


def imported(kind: Kind, fields: Mapping[str, str]) -> Entered:
    """Return the token set in *fields*: `access_token`, `refresh_token`, `expires_at`. Raises Invalid."""
    for name in fields:
        if name not in _OF_TOKENS:
            raise Invalid("Tokens have no such field.", code="unknown_field", fields=list(_OF_TOKENS))
    access, refresh = fields.get("access_token", ""), fields.get("refresh_token", "")
    if not access and not refresh:
        raise Invalid("Credentials need an access_token or a refresh_token.", code="credentials_missing")
    for name, token in (("access_token", access), ("refresh_token", refresh)):
        if not fits_a_header(token):
            raise Invalid("A token is of printable ASCII characters.", code="invalid_field", field=name)
    if kind.renewal == "self_exchange":
        return Entered(kind=kind, fields={"access_token": Secret(access or refresh)})
    tokens = TokenSet(Secret(access), Secret(refresh) if refresh else None)
    return Entered(kind=kind, tokens=tokens, expires_at=_moment(fields.get("expires_at")))


async def tried(means: Means, provider: Provider, entered: Entered, above: list[str], *, verify: bool) -> Tried:
    """Try what was *entered*, if that is wanted and possible.

    Raises Invalid where the provider refuses it, Conflict where the client it needs is missing or refused.
    """
    began = uptime()
    async with means.database.read() as tx:
        client = await _client_for(tx, entered, above, provider.id)
        values = {} if client is None else await sealed.load(tx, "client", client.id)
        now = await connections.database_time(tx)
    user = None if client is None else registration(means.keyring, client, values)
    if entered.tokens is not None:
        finding = await _of_tokens(means, provider, entered, user, now) if verify else NOT_TRIED
        if finding.verdict == "invalid":
            raise Invalid("The provider refuses this access token.", code="credentials_rejected")
        tokens = _together(entered.tokens, finding.tokens)
        return Tried(finding=finding, tokens=tokens, began=began, client=client)
    account = account_of(provider, entered.kind, entered.fields)
    root = Root(kind=entered.kind.id, credentials=entered.fields)
    token = await _fed(means, entered, above[0])
    finding = await _proven(means, provider, root, user, token) if verify else NOT_TRIED
    if finding.verdict == "invalid":
        raise _refused(finding.code)
    tokens = finding.tokens or _untried(entered)
    account = finding.account or account
    return Tried(finding=finding, tokens=tokens, began=began, account=account, client=client)


async def _of_tokens(
    means: Means, provider: Provider, entered: Entered, user: Registration | None, now: datetime
) -> Finding:
    """Return what a try of tokens from elsewhere found out.

    A refresh token alone is used once, where that does not use it up: what comes of it is its proof.
    """
    tokens = entered.tokens
    assert tokens is not None
    if tokens.access_token and not entered.ended(now):
        return await probed(means, provider, user, Root(kind=entered.kind.id), tokens.access_token)
    if provider.rotation != "never":
        return NOT_TRIED
    return await _proven(means, provider, Root(kind=entered.kind.id, refresh_token=tokens.refresh_token), user)


def _together(brought: TokenSet, got: TokenSet | None) -> TokenSet:
    """Return what was *brought*, or what was *got* with its refresh token in its place."""
    if got is None:
        return brought
    return replace(got, refresh_token=got.refresh_token or brought.refresh_token)


async def _fed(means: Means, entered: Entered, tenant: str) -> Secret | None:
    """Return the token that goes with what was *entered*, None where none does, or none lives."""
    feed = feed_of(entered.kind, tenant, {name: one.reveal() for name, one in entered.fields.items()})
    fed = None if feed is None else await means.sources.living(feed)
    return None if fed is None else fed.token


def _untried(entered: Entered) -> TokenSet:
    """Return the tokens that there are before any try. Raises Invalid where that is all it is good for."""
    if entered.kind.renewal != "self_exchange":
        return STATIC if entered.kind.static else _NOTHING
    token = entered.fields.get("access_token")
    if token is None:
        raise Invalid("This is good for one try, and has to be tried.", code="invalid_field", field="verify")
    return TokenSet(token, token)


async def _client_for(tx: AsyncConnection, entered: Entered, above: list[str], provider: str) -> AnyRow | None:
    """Return the registration that *entered* is renewed with. Raises Conflict where there has to be one."""
    if not entered.kind.needs_client:
        return None
    client = await clients.nearest(tx, above, provider)
    brought = entered.tokens
    if client is None and (brought is None or brought.refresh_token is not None):
        raise Conflict("No client is registered that could use these credentials.", code="no_client")
    return client


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # What else is ISO 8601, a week or a day without its time, is more easily a mistake than meant.
        moment = datetime.fromisoformat(text.upper()) if _RFC_3339.fullmatch(text) else None
    except ValueError:
        moment = None
    if moment is None:
        detail = "A moment is RFC 3339: 2026-11-25T09:00:00Z."
        raise Invalid(detail, code="invalid_moment", field="expires_at")
    return storable(moment, "expires_at")


def account_of(provider: Provider, kind: Kind, fields: Mapping[str, Secret]) -> Account | None:
    """Return whose *fields* of a *kind* these are, as far as they say. Raises Invalid where they cannot be any."""
    try:
        return provider.entered(kind.id, fields)
    except Unreadable as error:
        raise _refused(error.code, "These credentials cannot be any of this kind.") from None


def _refused(code: str | None, detail: str = "The provider refuses these credentials.") -> Invalid:
    return Invalid(detail, code="credentials_rejected", reason=code, advice=ADVICE.get(code or ""))


async def _proven(
    means: Means, provider: Provider, root: Root, user: Registration | None, token: Secret | None = None
) -> Finding:
    """Return what trying *root* as the client *user* found out, "unknown" where nobody can tell now.

    With the *token* that it is fed with, if it is.
    """
    deadline = means.deadline()

    async def prove(client: Client | None) -> Finding:
        as_this = replace(root, client=client)
        steps = provider.prove(as_this) if token is None else provider.probe(as_this, token)
        return await carried(means.outbound, steps, deadline=deadline)

    try:
        done = await as_client(means, user, prove)
    except ProviderError as error:
        _refuse(blame(error, provider, root, user))
        return Finding(verdict="unknown", code=error.code)
    await note(means, done.other)
    return done.value


def _refuse(error: ProviderError) -> None:
    """Raise Invalid or Conflict where *error* says whose fault it is."""
    if isinstance(error, GrantRejected | Misused):  # what is wrong with the request, was entered
        raise _refused(error.code) from None
    if isinstance(error, ClientRejected):
        detail = "The provider refuses the client registration that they are used with."
        raise Conflict(
            detail, code="client_misconfigured", reason=error.code, advice=ADVICE.get(error.code)
        ) from None
