"""Handing out a token that works: the point of it all.

A fresh token is answered at once. An old one is refreshed first, and while that cannot be done the
token that still lives is served, whatever state the provider is in.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from integrations.contract import Secret
from vault.access import Access, Caller
from vault.audit import Event
from vault.clock import uptime
from vault.connection import Connection
from vault.errors import CannotOpen, Conflict, NotFound, StorageUnavailable, Unavailable, VaultError
from vault.keyring import Keyring, Sealed
from vault.limits import Overloaded, WaitingRoom
from vault.memory import GATES, Memory
from vault.metrics import Metrics, Source
from vault.refresh import Refresher
from vault.sealing import Place, open_one
from vault.store import connections, leases
from vault.store.changes import Stale
from vault.store.database import Database
from vault.store.writer import Transaction, Writer
from vault.tickets import Tickets

Path = tuple[str, str, str]
Stored = tuple[Sealed, int]  # a sealed access token, and the generation it is of
FIRST_POLL, SLOWEST_POLL = 0.05, 0.5  # seconds between looks at a refresh on another replica


@dataclass(frozen=True, slots=True)
class Ready:
    """A token that is fresh at *now*, the database's time."""

    connection: Connection
    stored: Stored
    now: datetime
    source: Source


@dataclass(frozen=True, kw_only=True)
class HandedOut:
    """An access token on its way to a caller, whose audit row is written."""

    connection: Connection
    access_token: Secret
    expires_at: datetime
    expires_in: int  # seconds


@dataclass
class _Patience:
    """How long this caller still waits, and how often to look meanwhile."""

    ends_at: float
    poll: float = FIRST_POLL
    begun: bool = False
    crowded: bool = False  # there was no place to wait in
    for_others: float = 0.0  # seconds waited for a refresh that was somebody else's

    def left(self) -> float:
        return max(self.ends_at - uptime(), 0.0)

    def is_over(self) -> bool:
        """Say whether to give up: even who would not wait at all has a refresh begun for whoever comes next."""
        first, self.begun = not self.begun, True
        return not first and self.left() == 0

    async def pause(self) -> None:
        await asyncio.sleep(min(self.poll, self.left()))
        self.poll = min(self.poll * 2, SLOWEST_POLL)

    def note(self, began: float) -> None:
        """Count what has passed since *began* as waited for somebody else."""
        self.for_others += uptime() - began


class Tokens:
    def __init__(
        self,
        *,
        database: Database,
        writer: Writer,
        keyring: Keyring,
        access: Access,
        refresher: Refresher,
        tickets: Tickets,
        memory: Memory,
        waiting: WaitingRoom,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._access = access
        self._refresher = refresher
        self._tickets = tickets
        self._memory = memory
        self._waiting = waiting
        self._metrics = metrics

    async def fetch(self, caller: Caller, path: Path, *, min_ttl: timedelta, wait: float) -> HandedOut:
        """Return a token of the connection at *path* that lives *min_ttl* longer, or the best there is.

        Waits up to *wait* seconds for a refresh. Raises NotFound, Conflict where a person has to
        act, Unavailable where waiting may help.
        """
        await self._access.require_reach(caller, *path)
        patience = _Patience(uptime() + wait)
        if ready := self._recalled(path, min_ttl):
            return await self.hand_out(caller, ready)
        connection, token = await self._read(path)
        asked_of = connection.state.generation
        while not connection.state.fresh(min_ttl, connection.read_at):
            renewed = connection.state.generation > asked_of
            if renewed or not await self._renew(connection, caller.actor, patience):
                break
            connection, token = await self._read(path)
        if patience.for_others:
            self._metrics.waited(connection.provider, patience.for_others)
        if connection.state.living(connection.read_at) and token is not None:
            source: Source = "refreshed" if connection.state.generation > asked_of else "database"
            return await self.hand_out(caller, Ready(connection, token, connection.read_at, source))
        raise Overloaded if patience.crowded else await self._refusal(connection)

    def at_once(self, caller: Caller, path: Path, *, min_ttl: timedelta) -> Ready | None:
        """Return what `fetch` would hand out, if all it takes is remembered and nothing stands against it.

        None where anything does: `fetch` finds out what, and says so. The scope is looked at too, as
        the route's guard would.
        """
        if not caller.has("tokens:read") or not self._access.is_in_reach(caller, *path):
            return None
        return self._recalled(path, min_ttl)

    def _recalled(self, path: Path, min_ttl: timedelta) -> Ready | None:
        """Return what is remembered of the connection at *path* where its token is fresh."""
        now = self._memory.now()
        held: tuple[Connection, Stored] | None = self._memory.recall(("connection", *path)) if now else None
        if now is None or held is None or not held[0].state.fresh(min_ttl, now):
            return None
        return Ready(*held, now, "memory")

    async def _read(self, path: Path) -> tuple[Connection, Stored | None]:
        """Return the connection at *path* as it is in the database now, to be remembered."""
        found = await self._memory.load(("connection", *path), lambda: self._load(path))
        if found is None:
            raise NotFound
        if not found[0].enabled:
            raise Conflict("This connection is switched off.", code="disabled")
        if (paused := found[0].paused) is not None:
            raise Conflict(f"The {paused} is paused.", code="disabled", paused=paused)
        return found

    async def _load(self, path: Path) -> tuple[tuple[Connection, Stored | None] | None, Sequence[Stale]]:
        async with self._database.read() as tx:
            found = await connections.find_with_token(tx, *path)
        if found is None or found[1] is None or not found[0].enabled or found[0].paused:
            return found, ()
        return found, (Stale("connection", found[0].id), GATES)

    async def _renew(self, connection: Connection, actor: str, patience: _Patience) -> bool:
        """Let a refresh happen, here or elsewhere. Returns whether another look is worth it."""
        if not _renewable(connection) or patience.is_over():
            return False
        waits_for = _startable_at(connection) - connection.read_at
        ours = waits_for <= timedelta(0) or self._refresher.is_refreshing(connection.id)
        leased_until = connection.state.lease_expires_at
        somebody_has_it = leased_until is not None and leased_until > connection.read_at
        if not ours and not somebody_has_it and waits_for.total_seconds() > patience.left():
            return False
        try:
            with self._waiting.place(connection.id) if patience.left() else contextlib.nullcontext():
                return await self._waited(connection, actor, patience, ours=ours, elsewhere=somebody_has_it)
        except Overloaded:
            patience.crowded = True
            return False

    async def _waited(
        self, connection: Connection, actor: str, patience: _Patience, *, ours: bool, elsewhere: bool
    ) -> bool:
        if ours:
            return await self._joined(connection, actor, patience)
        began = uptime()
        await patience.pause()
        if elsewhere:
            patience.note(began)
        return True

    async def _joined(self, connection: Connection, actor: str, patience: _Patience) -> bool:
        theirs, began = self._refresher.is_refreshing(connection.id), uptime()
        try:
            async with asyncio.timeout(patience.left()):
                moved = await self._refresher.refresh(connection, actor)
        except TimeoutError:
            return True  # one last look: the refusal is to say how things stand now
        finally:
            if theirs:
                patience.note(began)
        if not moved:
            await patience.pause()
        return True

    async def hand_out(self, caller: Caller, ready: Ready) -> HandedOut:
        """Open and return what is *ready*, once it is written that *caller* gets it.

        Raises Conflict where it does not open, StorageUnavailable.
        """
        began, connection, stored, now = uptime(), ready.connection, ready.stored, ready.now
        place = Place(connection.tenant, connection.provider, "connection", connection.id)
        try:
            token = open_one(self._keyring, place, "access_token", stored)
        except CannotOpen:
            raise await self._undecryptable(connection) from None
        about = (connection.tenant, connection.provider, connection.name, stored[1])
        await self._writer.record(Event(caller.actor, "token.handed_out", "ok", *about))
        living = connection.state.remaining(now)
        left = living - timedelta(seconds=uptime() - began)
        if left <= timedelta(0):
            raise StorageUnavailable  # which took so long that the token died meanwhile
        self._metrics.handed_out(connection.provider, ready.source)
        return HandedOut(
            connection=connection,
            access_token=token,
            expires_at=now + living,
            expires_in=int(left.total_seconds()),
        )

    async def _undecryptable(self, connection: Connection) -> VaultError:
        async def unit(tx: Transaction) -> None:
            await connections.mark_undecryptable(tx.connection, connection.id, connection.state.generation)
            tx.outdate(Stale("connection", connection.id))

        await self._writer.submit(unit)
        return Conflict("A stored value does not open.", code="operator_required")

    async def _refusal(self, connection: Connection) -> VaultError:
        """Return why nothing was handed out, with what would help."""
        state = connection.state
        if state.status == "unconfigured":
            return Conflict("Nobody has connected this yet.", code="not_connected", reason=state.reason)
        if state.reason == "undecryptable":
            return Conflict("A stored value does not open.", code="operator_required")
        if state.status == "failed":
            connect_url = await self._tickets.reconnect_url(connection)
            return Conflict(
                "A person has to connect this again.",
                code="reconnect_required",
                reason=state.reason,
                connect_url=connect_url,
            )
        await self._writer.submit(lambda tx: _note_asked(tx, connection.id))
        return _come_back(connection, refreshing=self._refresher.is_refreshing(connection.id))


def _renewable(connection: Connection) -> bool:
    """Say whether a refresh could help. A failure is not waited out while there is a token to serve."""
    state, now = connection.state, connection.read_at
    backing_off = state.retry_not_before is not None and state.retry_not_before > now
    return (
        state.renewal == "refresh_token"
        and state.status not in {"unconfigured", "failed"}
        and connection.held_back_until() is None
        and not (backing_off and state.living(now))
    )


def _startable_at(connection: Connection) -> datetime:
    """Return when a refresh may start. Tokens that arrive dead are asked for no more often than the sweep does."""
    state, now = connection.state, connection.read_at
    arrived_dead = state.status == "verified" and not state.living(now)
    at = state.claimable_at(now)
    return max(at, state.next_refresh_at) if arrived_dead and state.next_refresh_at else at


def _come_back(connection: Connection, *, refreshing: bool) -> Unavailable:
    """Return the refusal of a connection that may mend by itself, and when to ask again."""
    state, now = connection.state, connection.read_at
    held = connection.held_back_until()
    if connection.client_rejected:
        code, detail = "client_misconfigured", "The provider refuses our client registration."
    elif held is None and (refreshing or (state.lease_expires_at is not None and state.lease_expires_at > now)):
        code, detail = "refresh_in_progress", "A refresh is under way."
        return Unavailable(detail, code=code, retry_after=1)
    else:
        code, detail = "provider_unavailable", "The provider gives no token now."
    again = max(held or now, state.claimable_at(now), now + timedelta(seconds=1))
    return Unavailable(detail, code=code, retry_after=(again - now).total_seconds(), reason=state.reason)


async def _note_asked(tx: Transaction, connection: str) -> None:
    await tx.execute(leases.ASKED, {"connection": connection})
