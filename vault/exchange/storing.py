"""The good outcome of an exchange: its tokens are stored before anything else is asked of them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from msgspec import structs

from integrations.contract import TokenSet
from vault.audit import Action, Event
from vault.exchange.grant import Grant
from vault.gates import Gates
from vault.keyring import Sealed
from vault.lessons import still_learned
from vault.means import Means
from vault.providers import check_every
from vault.revoke import give_back_successor
from vault.sealing import seal_all, sealed_anew
from vault.store import connections, settle
from vault.store.changes import Stale
from vault.store.leases import Turn
from vault.store.writer import Transaction
from vault.timing import check_at, new_tokens, paced

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _News:
    """An answer with new tokens, on its way to be stored with others. *event* says so in the audit."""

    success: settle.Success
    grant: Grant
    scopes: tuple[str, ...] | None
    event: Event


class Storing:
    def __init__(self, means: Means, gates: Gates) -> None:
        self._means = means
        self._gates = gates

    async def write(self, turn: Turn, grant: Grant, tokens: TokenSet, actor: str) -> settle.Stored:
        """Write the new tokens before anything else is asked of them, for as long as that takes."""
        news = self._news(turn, grant, tokens, actor)
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
        return check_at(turn.claimed_at, check_every(grant.provider, grant.root.kind), self._means.jitter)

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
