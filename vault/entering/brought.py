"""Credentials that a change brings for a connection: as their kind wants them, and as they are stored."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from integrations.contract import Account, Provider, TokenSet
from vault.clock import uptime
from vault.connection import Connection
from vault.entering.masking import masked
from vault.entering.told import Told
from vault.entering.trying import Entered, Tried, checked, imported
from vault.errors import Invalid
from vault.grants import Received
from vault.providers import kind_of


@dataclass(frozen=True)
class Brought:
    """What was *entered*, and what became of the try; the provider was asked only where that was *wanted*."""

    entered: Entered
    tried: Tried
    wanted: bool
    told: Told

    @property
    def says_nothing(self) -> bool:
        """Whether nobody could tell if it works."""
        return self.tried.finding.verdict == "unknown"

    def received(self, provider: Provider, now: datetime) -> Received:
        """Return what is to be stored of it at *now*."""
        entered, tried, told = self.entered, self.tried, self.told
        tokens = tried.tokens if tried.got else _dated(entered, tried.tokens, now)
        valid = tried.finding.verdict in {"valid", "limited"}
        return Received(
            tokens=tokens if tokens.scopes else replace(tokens, scopes=told.scopes),
            account=_whose(tried.account, told.account),
            client=None if tried.client is None else tried.client.id,
            scopes=told.asked_scopes or _asked(provider, entered),
            age=uptime() - tried.began if tried.got else 0.0,
            consented=False,
            granted_at=told.granted_at,
            refresh_expires_at=None if tried.got else told.refresh_expires_at,
            kind=entered.kind.becomes or entered.kind.id,
            renewal=entered.kind.renewal,
            credentials=entered.kept,
            shown=masked(entered.kind, entered.kept) if entered.kept else None,
            check_every=entered.kind.check_every,
            finding=tried.finding,
            status="verified" if valid else "configured",
            reason=None if valid else "probe_unknown" if self.wanted else "unverified",
        )


def entered_for(
    provider: Provider, known: Connection | None, kind: str | None, given: Mapping[str, str] | None
) -> Entered | None:
    """Return what was *given* of a *kind* for a connection, None where that is no credentials. Raises Invalid."""
    wanted = kind_of(provider, kind or (known.kind if known else None))
    another = known is not None and known.kind != wanted.id
    if wanted.how == "consent":
        if given is None and another:
            raise Invalid("Another kind needs credentials of that kind.", code="credentials_missing")
        return None if given is None else imported(wanted, given)
    takes_nothing = kind is not None and not any(field.required for field in wanted.fields)
    if given is None and (takes_nothing or another):
        given = {}  # to be wanted is enough, or what is missing is named
    return None if given is None else Entered(kind=wanted, fields=checked(wanted, given))


def _asked(provider: Provider, entered: Entered) -> tuple[str, ...]:
    """Return the scopes that were entered; the provider's own are asked for where a form leaves them open."""
    left_open = any(field.name == "scope" for field in entered.kind.fields)
    return entered.scopes or (tuple(provider.default_scopes) if left_open else ())


def _whose(found: Account | None, told: Account | None) -> Account | None:
    """Return whose credentials these are: as *found*, by the label that was *told* where that is all there is."""
    nameless = found is None or found.label is None
    same = found is None or (told is not None and told.subject == found.subject)
    return told if nameless and same else found


def _dated(entered: Entered, tokens: TokenSet, now: datetime) -> TokenSet:
    """Return tokens from elsewhere with the rest of their life in seconds, where it is known."""
    if not tokens.ends:
        return tokens
    if not tokens.access_token:
        return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=0)
    if entered.expires_at is None:
        return tokens
    rest = max(int((entered.expires_at - now).total_seconds()), 0)
    return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=rest)
