"""How a work ends: what it changes, when it is done again, and what whoever asked for it is told."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from integrations.advice import ADVICE
from integrations.contract import ClientRejected, Finding, GrantRejected, Misused, ProviderError, Root
from vault.audit import Action, Event
from vault.connection import Connection
from vault.errors import Conflict, Unavailable, VaultError
from vault.proof.learning import learned
from vault.store.works import Turn
from vault.timing import Jitter
from vault.works.rotating import ROTATE

SOONEST, LATEST = timedelta(seconds=10), timedelta(hours=6)  # between two tries of what came to nothing
_WRONG = (GrantRejected, ClientRejected, Misused)  # nothing that passes by itself


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A turn to do *ability* for *actor*, with the connection and its secrets as they were when it was claimed."""

    actor: str
    ability: str
    turn: Turn
    connection: Connection
    root: Root

    def event(self, action: Action, outcome: str = "ok") -> Event:
        about = self.connection
        where = (about.tenant, about.provider, about.name, self.turn.generation)
        return Event(self.actor, action, outcome, *where, {"ability": self.ability})


@dataclass(frozen=True)
class Ended:
    """How it ended: a *code*, what is *changed* of the state, and when it is done *again*, if ever."""

    code: str
    changed: dict[str, Any]
    again: timedelta | None = None


def done(claimed: Claimed, finding: Finding) -> Ended:
    """Return how *claimed* ends that came to *finding*. What a rotation found out, it has stored itself."""
    rotated = claimed.ability == ROTATE
    return Ended(finding.code or "ok", {} if rotated else learned(claimed.connection, finding, static=True))


def failed(claimed: Claimed, error: ProviderError, jitter: Jitter, *, kept: bool) -> Ended:
    """Return how *claimed* ends that came to *error*: to be done again.

    But not what a person has to mend, where nothing was *kept* now, nor anything begun before.
    """
    changed: dict[str, Any] = {"last_error_code": error.code}
    if claimed.ability != ROTATE:
        changed |= learned(claimed.connection, Finding(verdict="unknown", code=error.code), static=True)
    wrong = isinstance(error, _WRONG)
    if wrong and not kept and not claimed.turn.resumed:
        return Ended(error.code, changed)
    delay = LATEST if wrong else min(SOONEST * 2.0 ** min(claimed.turn.failures, 12), LATEST)
    asked = timedelta(seconds=error.retry_after or 0)
    return Ended(error.code, changed, max(delay * jitter(0.5, 1.0), asked))


def unable(code: str | None, ability: str) -> Conflict:
    """Return what is told where it is not in the power of the credentials, for the reason of a *code*."""
    detail = "With these credentials it cannot be done."
    return Conflict(detail, code="not_able", lacks=[ability], reason=code, advice=ADVICE.get(code or ""))


def told(error: ProviderError) -> VaultError:
    """Return what is told of *error*."""
    if isinstance(error, _WRONG):
        detail = "The provider refuses it with these credentials."
        return Conflict(detail, code="credentials_rejected", reason=error.code, advice=ADVICE.get(error.code))
    detail = "The provider did not do it now: it is tried again, from where it was."
    wait = error.retry_after or SOONEST.total_seconds()
    return Unavailable(detail, code="provider_unavailable", retry_after=wait, reason=error.code)
