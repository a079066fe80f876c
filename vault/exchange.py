"""One exchange: the refresh token of a claimed turn is sent, and whatever comes of it is settled.

    send      once, before a deadline counted from before the claim; the lease is checked at the socket
    settle    one statement: the outcome, and the lease given back

No database transaction is open while the provider is called.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from integrations.contract import (
    Client,
    ClientRejected,
    GrantRejected,
    Misused,
    Provider,
    ProviderError,
    RateLimited,
    Secret,
    TokenSet,
    Transient,
)
from vault.audit import Event
from vault.clock import uptime
from vault.connection import SOONEST, Connection, new_tokens, still_learned
from vault.errors import CannotOpen, StorageUnavailable
from vault.failure import aftermath, pause_of_provider
from vault.keyring import Sealed
from vault.means import Means
from vault.patience import Patience
from vault.revoke import revoke
from vault.sealing import Place, open_one, seal_all
from vault.store import connections, sealed, settle
from vault.store.changes import Stale
from vault.store.leases import Turn
from vault.store.writer import Transaction

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What is sent: the refresh token of one generation, and the client that it belongs to."""

    tenant: str
    provider: Provider
    name: str
    client: Client
    client_row: str
    refresh_token: Secret

    def place(self, owner_kind: str, owner_id: str) -> Place:
        return Place(self.tenant, self.provider.id, owner_kind, owner_id)


class Superseded(Exception):
    """The connection was deleted or connected anew since the claim."""


class Exchange:
    """Spends turns."""

    def __init__(self, means: Means, patience: Patience) -> None:
        self._means = means
        self._patience = patience

    async def spend(self, turn: Turn, started: float, actor: str) -> bool:
        """Spend *turn*: send the refresh token of its generation, and settle whatever comes of it."""
        try:
            grant = await self._granted(turn)
            tokens = await self._send(grant, started)
        except Superseded:
            await self._means.writer.insist(lambda tx: settle.release(tx.connection, turn), vital=False)
        except (ProviderError, CannotOpen) as error:
            await self._settle_failure(turn, started, error, actor)
        else:
            await self._settle_success(turn, grant, tokens, actor)
        return True

    async def _granted(self, turn: Turn) -> Grant:
        try:
            return await self._grant(turn)
        except StorageUnavailable:
            # Nothing was sent: the intent is closed as soon as the database is back.
            raise Transient("storage_unavailable") from None

    async def _grant(self, turn: Turn) -> Grant:
        async with self._means.database.read() as tx:
            row = await connections.grant(tx, turn.connection)
        if row is None:
            raise Superseded
        token, secret = (
            sealed.read(row, "connection", "refresh_token"),
            sealed.read(row, "client", "client_secret"),
        )
        if token is None:
            raise CannotOpen
        if token[1] != turn.generation:
            raise Superseded
        place = Place(row.tenant, row.provider, "connection", turn.connection)
        return Grant(
            tenant=row.tenant,
            provider=self._means.providers.speaking(row.provider, row.definition),
            name=row.name,
            client=Client(row.client_id, self._client_secret(row, secret)),
            client_row=row.client,
            refresh_token=open_one(self._means.keyring, place, "refresh_token", token),
        )

    def _client_secret(self, row: Any, stored: tuple[Sealed, int] | None) -> Secret | None:
        place = Place(row.client_tenant, row.provider, "client", row.client)
        try:
            return None if stored is None else open_one(self._means.keyring, place, "client_secret", stored)
        except CannotOpen:
            # The client's matter, and mended by entering it anew: no connection is to blame.
            raise ClientRejected("undecryptable") from None

    async def _send(self, grant: Grant, started: float) -> TokenSet:
        request = grant.provider.refresh_request(grant.client, grant.refresh_token)
        answer = await self._means.outbound.send(request, deadline=self._means.deadline(started))
        return grant.provider.read_tokens(answer)

    async def _settle_success(self, turn: Turn, grant: Grant, tokens: TokenSet, actor: str) -> None:
        """Write the new tokens before anything else is asked of them, for as long as that takes."""
        learned = still_learned(turn.learned_lifetime, turn.quiet)
        lifetime = grant.provider.default_lifetime
        columns = new_tokens(tokens, lifetime, turn.claimed_at, self._means.jitter, learned)
        columns = replace(columns, next_refresh_at=max(columns.next_refresh_at, turn.claimed_at + SOONEST))
        kept = {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token or grant.refresh_token,
        }
        next_generation = turn.generation + 1
        values = seal_all(self._means.keyring, grant.place("connection", turn.connection), next_generation, kept)
        rotated = tokens.refresh_token is not None and tokens.refresh_token != grant.refresh_token
        place = grant.place("orphan", turn.attempt)
        orphan = seal_all(self._means.keyring, place, next_generation, kept) if rotated else None

        async def unit(tx: Transaction) -> settle.Stored:
            stored = await settle.success(tx.connection, turn, columns, values, orphan)
            tx.outdate(Stale("connection", turn.connection))
            if stored == "stored" and tokens.scopes is not None:
                await connections.edit_scopes(tx.connection, turn.connection, tokens.scopes)
            if await settle.accept_client(tx.connection, grant.client_row):
                tx.record(_event(grant, "client.recovered", actor, turn.generation))
            action = "token.orphaned" if stored == "orphaned" else "token.refreshed"
            tx.record(_event(grant, action, actor, next_generation, outcome=stored))
            return stored

        stored = await self._means.writer.insist(unit)
        if stored == "orphaned":
            log.critical("renewed tokens found a newer generation", extra={"connection": turn.connection})
        if stored == "superseded":
            token = tokens.refresh_token or tokens.access_token
            await revoke(self._means, grant.provider, grant.client, token)

    async def _settle_failure(
        self, turn: Turn, started: float, error: ProviderError | CannotOpen, actor: str
    ) -> None:
        now = turn.claimed_at + timedelta(seconds=uptime() - started)

        async def unit(tx: Transaction) -> None:
            about = await connections.get(tx.connection, turn.connection)
            if about is None:
                return
            provider = await self._means.providers.get(about.provider, tx.connection)
            failed = self._failed(error, turn, provider, now, asked=actor != "scheduler")
            if not await settle.failure(tx.connection, turn, failed):
                return
            tx.outdate(Stale("connection", turn.connection))
            await self._spread(tx, error, about, now)
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

        await self._means.writer.insist(unit, vital=False)

    def _failed(
        self, error: ProviderError | CannotOpen, turn: Turn, provider: Provider, now: datetime, *, asked: bool
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
        in_grace = self._patience.of(provider) == timedelta(0)
        return aftermath(error, turn, now=now, asked=asked, in_grace=in_grace, jitter=self._means.jitter)

    async def _spread(
        self, tx: Transaction, error: ProviderError | CannotOpen, about: Connection, now: datetime
    ) -> None:
        """Take from one failure what concerns the whole provider, or all grants of a client."""
        if isinstance(error, RateLimited):
            await settle.hold_provider(tx.connection, about.provider, pause_of_provider(error, now))
        if isinstance(error, ClientRejected) and about.client:
            if await settle.reject_client(tx.connection, about.client):
                log.critical("a client registration was rejected", extra={"client": about.client})
                tx.record(Event("scheduler", "client.rejected", error.code, about.tenant, about.provider))
        elif isinstance(error, GrantRejected) and about.client:
            # The provider looked at the grant, so it knew the client.
            await settle.accept_client(tx.connection, about.client)


def _event(grant: Grant, action: Any, actor: str, generation: int, outcome: str = "ok") -> Event:
    return Event(actor, action, outcome, grant.tenant, grant.provider.id, grant.name, generation)
