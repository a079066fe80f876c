"""The bad outcome of an exchange: what it does to the connection, to its client and to its provider."""

import logging
from datetime import datetime, timedelta
from typing import NamedTuple

from integrations.contract import GrantRejected, Misused, Provider, ProviderError, RateLimited
from vault.audit import Event
from vault.breaker import works
from vault.clients.as_client import Refused
from vault.clock import uptime
from vault.connection import Connection, TokenState
from vault.errors import CannotOpen
from vault.exchange import endings
from vault.exchange.failure import Expired, aftermath, pause_of_provider
from vault.exchange.patience import Patience
from vault.gates import Gates
from vault.means import Means
from vault.proof.asking import ask_about
from vault.providers import is_entered
from vault.store import connections, gates, settle
from vault.store.changes import Stale
from vault.store.leases import Turn
from vault.store.writer import Transaction

log = logging.getLogger(__name__)


class _Failure(NamedTuple):
    """A failure that was written down: of which connection, and of how many *days* that it has left to tell.

    *doubted* says that nobody has asked yet about its token, which was reported.
    """

    about: Connection
    days: int | None
    doubted: bool


class Failing:
    def __init__(self, means: Means, patience: Patience, gates: Gates) -> None:
        self._means = means
        self._patience = patience
        self._gates = gates

    async def write(
        self, turn: Turn, started: float, error: ProviderError | CannotOpen, actor: str, *, trips: bool
    ) -> None:
        """Write down that *turn*, which began at *started*, failed; *trips*: the breaker opens with it."""
        now = turn.claimed_at + timedelta(seconds=uptime() - started)

        async def unit(tx: Transaction) -> _Failure | None:
            await self._gates.judge(tx, turn, works(error), trips=trips)
            about = await connections.get(tx.connection, turn.connection)
            if about is None:
                return None
            provider = await self._means.providers.get(about.provider, tx.connection)
            told = _explained(error, provider, about.state, now)
            entered = is_entered(provider, about.kind)
            failed = self._failed(told, turn, provider, now, asked=actor != "scheduler", entered=entered)
            if not await settle.failure(tx.connection, turn, failed):
                return None
            tx.outdate(Stale("connection", turn.connection))
            if isinstance(error, RateLimited):
                await gates.hold_provider(tx.connection, about.provider, pause_of_provider(error, now))
            tx.record(_refused(actor, about, turn, failed))
            days = endings.news(about.state, failed.retry_not_before)
            if days is not None:
                tx.record(_expiring(about, turn, days))
            return _Failure(about, days, await _doubted(tx, about, failed))

        counted = await self._means.writer.insist(unit, vital=False)
        if counted is None:
            return
        await self._tell_client(error, counted.about)
        _tell_of_its_end(counted.about, counted.days)
        if counted.doubted:
            await ask_about(self._means, actor, turn.connection)

    def _failed(
        self,
        error: ProviderError | CannotOpen,
        turn: Turn,
        provider: Provider,
        now: datetime,
        *,
        asked: bool,
        entered: bool,
    ) -> settle.Failed:
        if isinstance(error, CannotOpen):
            log.critical("a stored value does not open", extra={"connection": turn.connection})
            return settle.Failed(
                status="failed",
                reason="undecryptable",
                failures=turn.failures + 1,
                error_code="undecryptable",
            )
        if isinstance(error, Misused):
            log.error(
                "the provider calls our request wrong",
                extra={"connection": turn.connection, "code": error.code},
            )
        in_grace = turn.renewal != "refresh_token" or self._patience.of(provider) == timedelta(0)
        pace = timedelta(seconds=provider.min_refresh_interval)
        return aftermath(
            error,
            turn,
            now=now,
            asked=asked,
            in_grace=in_grace,
            entered=entered,
            pace=pace,
            jitter=self._means.jitter,
        )

    async def _tell_client(self, error: ProviderError | CannotOpen, about: Connection) -> None:
        """Take from one failure what concerns all grants of its client."""
        if about.client is None:
            return
        if isinstance(error, Refused):
            event = Event("scheduler", "client.rejected", error.code, about.tenant, about.provider)
            await self._gates.reject_client(about.client, error.generation, event)
        elif isinstance(error, GrantRejected) and about.client_rejected:
            # The provider looked at the grant, so it knew the client.
            event = Event("scheduler", "client.recovered", error.code, about.tenant, about.provider)
            await self._gates.accept_client(about.client, event)


async def _doubted(tx: Transaction, about: Connection, failed: settle.Failed) -> bool:
    """Say whether to ask about the token of *about*, which could not be renewed: where it was reported, once."""
    if not about.state.in_doubt or failed.status != "degraded" or failed.reason == "rate_limited":
        return False
    asked = {"checked_at": about.read_at}  # by us, even if we die over it
    await connections.note_probe(tx.connection, about.id, about.state.generation, asked)
    return True


def _refused(actor: str, about: Connection, turn: Turn, failed: settle.Failed) -> Event:
    path = (about.tenant, about.provider, about.name, turn.generation)
    became = {"status": failed.status, "reason": failed.reason}
    return Event(actor, "token.refresh_failed", failed.error_code, *path, became)


def _expiring(about: Connection, turn: Turn, days: int) -> Event:
    path = (about.tenant, about.provider, about.name, turn.generation)
    return Event("scheduler", "connection.expiring", f"within_{days}_days", *path)


def _tell_of_its_end(about: Connection, days: int | None) -> None:
    if days is not None:
        log.warning("a token that is not renewed ends soon", extra={"connection": about.id, "days": days})


def _explained(
    error: ProviderError | CannotOpen, provider: Provider, state: TokenState, now: datetime
) -> ProviderError | CannotOpen:
    """Return *error*, with a better word for why a grant is over where its age gives one."""
    begun, ends = state.granted_at, state.refresh_expires_at
    if not isinstance(error, GrantRejected | Expired) or begun is None:
        return error
    promised = None if ends is None else int((ends - begun).total_seconds())
    return type(error)(provider.why_over(error.code, int((now - begun).total_seconds()), promised))
