"""One exchange: new tokens are asked for with the root of a claimed turn, and whatever comes of it is settled.

    send      once, before a deadline counted from before the claim; the lease is checked at the socket
    settle    one statement: the outcome, and the lease given back

No database transaction is open while the provider is called.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from msgspec import structs

from integrations.contract import (
    Client,
    GrantRejected,
    Misused,
    Provider,
    ProviderError,
    RateLimited,
    Root,
    TokenSet,
)
from vault.audit import Action, Event
from vault.breaker import Breaker, works
from vault.carrying import carried
from vault.clients.as_client import Done, Refused, as_client, note, used
from vault.clients.registration import Registration, of_grant
from vault.clock import uptime
from vault.connection import OF_ITS_TOKEN, Connection, TokenState, check_at, new_tokens, paced, still_learned
from vault.errors import CannotOpen
from vault.exchange import endings
from vault.exchange.blame import blame
from vault.exchange.failure import Expired, aftermath, outcome_of, pause_of_provider
from vault.exchange.patience import Patience
from vault.exchange.whose import learn
from vault.gates import Gates
from vault.keyring import Sealed
from vault.means import Means
from vault.metrics import Outcome
from vault.providers import is_entered
from vault.revoke import give_back_successor
from vault.sealing import Place, open_one, opened_fields, seal_all, sealed_anew
from vault.store import connections, gates, sealed, settle
from vault.store.changes import Stale
from vault.store.leases import Turn
from vault.store.schema import AnyRow
from vault.store.writer import Transaction

log = logging.getLogger(__name__)
_OUTCOMES: dict[settle.Stored, Outcome] = {
    "stored": "success",
    "orphaned": "orphaned",
    "outdated": "superseded",
    "superseded": "superseded",
}


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What is sent: the root of one generation's tokens, and whose it is.

    The root has no client yet: *registration* says which it is, and it is None where none takes part.
    """

    tenant: str
    provider: Provider
    name: str
    root: Root
    registration: Registration | None
    client_rejected: bool
    nameless: bool  # nobody knows whose account it is

    def place(self, owner_kind: str, owner_id: str) -> Place:
        return Place(self.tenant, self.provider.id, owner_kind, owner_id)


@dataclass(frozen=True)
class Claimed:
    """A turn and, read in the same transaction, what it is to be spent with; None where that is deleted."""

    turn: Turn
    row: AnyRow | None


@dataclass(frozen=True, kw_only=True)
class _News:
    """An answer with new tokens, on its way to be stored with others. *event* says so in the audit."""

    success: settle.Success
    grant: Grant
    scopes: tuple[str, ...] | None
    event: Event


class Superseded(Exception):
    """The connection was deleted or connected anew since the claim."""


class Exchange:
    """Spends turns."""

    def __init__(self, means: Means, patience: Patience, gates: Gates) -> None:
        self._means = means
        self._patience = patience
        self._gates = gates
        self._breaker = Breaker()

    async def spend(self, claimed: Claimed, started: float, actor: str, place: ExitStack) -> bool:
        """Spend a turn: send the root of its generation, and settle whatever comes of it.

        The *place* at the provider is free again once it has answered well. After a failure it is kept
        until that is written, so that no more calls fail alike meanwhile than there are places.
        """
        with place:
            outcome = await self._spent(claimed, started, actor, place)
        self._means.metrics.refreshed(claimed.turn.provider, outcome, uptime() - started)
        return True

    async def _spent(self, claimed: Claimed, started: float, actor: str, place: ExitStack) -> Outcome:
        turn = claimed.turn
        try:
            grant = self._granted(claimed)
            sent = await self._send(grant, started)
        except Superseded:
            await self._means.writer.insist(lambda tx: settle.release(tx.connection, turn), vital=False)
            return "superseded"
        except (ProviderError, CannotOpen) as error:
            await self._settle_failure(turn, started, error, actor)
            return outcome_of(error)
        place.close()
        stored = await self._settle_success(turn, grant, sent.value, actor)
        await note(self._means, sent.other)
        if grant.nameless and grant.registration is not None and stored == "stored":
            client = used(grant.registration, sent.other)
            await learn(self._means, grant.provider, client, turn, sent.value)
        return _OUTCOMES[stored]

    def _granted(self, claimed: Claimed) -> Grant:
        turn, row = claimed.turn, claimed.row
        if row is None:
            raise Superseded
        return Grant(
            tenant=row.tenant,
            provider=self._means.providers.speaking(row.provider, row.definition),
            name=row.name,
            root=self._root(turn, row),
            registration=of_grant(self._means.keyring, row),
            client_rejected=bool(row.client_rejected),
            nameless=row.account is None,
        )

    def _root(self, turn: Turn, row: AnyRow) -> Root:
        """Return what is to be sent.

        Raises Expired where it has ended, CannotOpen where it is not there, or is of other tokens.
        """
        if turn.refresh_token_ended:
            raise Expired
        if turn.ended:
            raise Expired("token_expired")
        place = Place(row.tenant, row.provider, "connection", turn.connection)
        token, entered = (sealed.read(row, "connection", name) for name in ("refresh_token", "credentials"))
        if turn.renewal in OF_ITS_TOKEN and (token is None or token[1] != turn.generation):
            raise CannotOpen
        return Root(
            kind=row.kind,
            refresh_token=token and open_one(self._means.keyring, place, "refresh_token", token),
            credentials=opened_fields(self._means.keyring, place, entered) if entered else {},
            scopes=tuple(json.loads(row.scopes)),
        )

    async def _send(self, grant: Grant, started: float) -> Done[TokenSet]:
        async def renew(client: Client | None) -> TokenSet:
            root, deadline = replace(grant.root, client=client), self._means.deadline(started)
            return await carried(self._means.outbound, grant.provider.renew(root), deadline=deadline)

        try:
            return await as_client(self._means, grant.registration, renew)
        except ProviderError as error:
            raise blame(error, grant.provider, grant.root, grant.registration) from None

    async def _settle_success(self, turn: Turn, grant: Grant, tokens: TokenSet, actor: str) -> settle.Stored:
        """Write the new tokens before anything else is asked of them, for as long as that takes."""
        news = self._news(turn, grant, tokens, actor)
        self._breaker.note(turn.provider, turn.connection, True, uptime())
        stored = await self._means.writer.insist_to(self._store, news)
        if grant.client_rejected and grant.registration is not None:
            recovered = structs.replace(news.event, action="client.recovered", outcome="ok")
            await self._gates.accept_client(grant.registration.id, recovered)
        if stored == "orphaned":
            log.critical("renewed tokens found a newer generation", extra={"connection": turn.connection})
        if stored == "superseded":
            token = tokens.refresh_token or tokens.access_token
            about = (grant.provider, grant.registration, grant.root, token, turn.connection)
            await give_back_successor(self._means, *about)
        return stored

    def _news(self, turn: Turn, grant: Grant, tokens: TokenSet, actor: str) -> _News:
        learned = still_learned(turn.learned_lifetime, turn.quiet)
        kind, jitter = grant.root.kind, self._means.jitter
        times = new_tokens(tokens, grant.provider, kind, turn.claimed_at, jitter, learned)
        times = paced(times, grant.provider, turn.claimed_at)
        before = grant.root.refresh_token
        kept = {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token or before}

        def sealed_for(kind: str, owner: str) -> dict[str, Sealed]:
            return seal_all(self._means.keyring, grant.place(kind, owner), turn.generation + 1, kept)

        rotated = tokens.refresh_token is not None and tokens.refresh_token != before
        return _News(
            success=settle.Success(
                turn=turn,
                tokens=times,
                values=sealed_for("connection", turn.connection),
                orphan=sealed_for("orphan", turn.attempt) if rotated else None,
                next_check_at=None if tokens.ends else self._next_check(grant, turn),
            ),
            grant=grant,
            scopes=tokens.scopes,
            event=Event(
                actor,
                "token.refreshed",
                "stored",
                grant.tenant,
                grant.provider.id,
                grant.name,
                turn.generation + 1,
            ),
        )

    def _next_check(self, grant: Grant, turn: Turn) -> datetime | None:
        every = next((one.check_every for one in grant.provider.kinds if one.id == grant.root.kind), None)
        return check_at(turn.claimed_at, every, self._means.jitter)

    async def _store(self, tx: Transaction, news: list[_News]) -> list[settle.Stored]:
        """Store what came of many exchanges in one transaction."""
        outcomes = await settle.successes(tx.connection, [self._under_this_key(one) for one in news])
        for one, outcome in zip(news, outcomes, strict=True):
            turn = one.success.turn
            if outcome == "stored" and one.scopes is not None and one.scopes != one.grant.root.scopes:
                await connections.edit_scopes(tx.connection, turn.connection, one.scopes)
            await self._gates.judge(tx, turn, True, trips=False)
            action: Action = "token.orphaned" if outcome == "orphaned" else "token.refreshed"
            tx.record(structs.replace(one.event, action=action, outcome=outcome))
            tx.outdate(Stale("connection", turn.connection))
        return outcomes

    def _under_this_key(self, news: _News) -> settle.Success:
        """Return what is to be stored: while it waited for the database, another key may have become primary."""
        success, grant, turn = news.success, news.grant, news.success.turn

        def anew(kind: str, owner: str, values: Mapping[str, Sealed]) -> Mapping[str, Sealed]:
            return sealed_anew(self._means.keyring, grant.place(kind, owner), turn.generation + 1, values)

        return replace(
            success,
            values=anew("connection", turn.connection, success.values),
            orphan=success.orphan and anew("orphan", turn.attempt, success.orphan),
        )

    async def _settle_failure(
        self, turn: Turn, started: float, error: ProviderError | CannotOpen, actor: str
    ) -> None:
        now = turn.claimed_at + timedelta(seconds=uptime() - started)
        verdict = works(error)
        trips = self._breaker.note(turn.provider, turn.connection, verdict, uptime())

        async def unit(tx: Transaction) -> tuple[Connection, int | None] | None:
            await self._gates.judge(tx, turn, verdict, trips=trips)
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
            tx.record(
                Event(
                    actor,
                    "token.refresh_failed",
                    failed.error_code,
                    about.tenant,
                    about.provider,
                    about.name,
                    turn.generation,
                    {"status": failed.status, "reason": failed.reason},
                )
            )
            days = endings.news(about.state, failed.retry_not_before)
            if days is not None:
                path = (about.tenant, about.provider, about.name, turn.generation)
                tx.record(Event("scheduler", "connection.expiring", f"within_{days}_days", *path))
            return about, days

        counted = await self._means.writer.insist(unit, vital=False)
        if counted is not None:
            await self._tell_client(error, counted[0])
            _tell_of_its_end(*counted)

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
