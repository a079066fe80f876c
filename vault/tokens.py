"""Handing out a token that works: the point of it all.

A fresh token is answered at once. An old one is refreshed first, and while that cannot be done the
token that still lives is served, whatever state the provider is in.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from integrations.contract import Secret
from vault.access import Access, Caller
from vault.audit import Event
from vault.clock import uptime
from vault.connection import Connection
from vault.errors import CannotOpen, Conflict, Invalid, NotFound, StorageUnavailable, Unavailable, VaultError
from vault.keyring import Keyring
from vault.limits import Overloaded, WaitingRoom
from vault.memory import GATES, STALE_AFTER, Memory
from vault.metrics import Metrics, Source
from vault.refresh import Refresher
from vault.sealing import Kept, Place
from vault.store import connections, leases, rejections
from vault.store.changes import Stale
from vault.store.database import Database
from vault.store.writer import Transaction, Writer
from vault.tickets import Tickets
from vault.waiting import Renewal, Wait, Wanted

Path = tuple[str, str, str]
Found = tuple[Connection, Kept | None]  # a connection and its access token


class Ready(Struct, frozen=True):
    """A token that is fresh at *now*, the database's time."""

    connection: Connection
    token: Kept
    now: datetime
    source: Source


class HandedOut(Struct, frozen=True, kw_only=True):
    """An access token on its way to a caller, whose audit row is written."""

    connection: Connection
    access_token: Secret
    expires_at: datetime
    expires_in: int  # seconds


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
        self._renewal = Renewal(refresher, waiting)
        self._tickets = tickets
        self._memory = memory
        self._metrics = metrics

    async def fetch(self, caller: Caller, path: Path, *, min_ttl: timedelta, wait: float) -> HandedOut:
        """Return a token of the connection at *path* that lives *min_ttl* longer, or the best there is.

        Waits up to *wait* seconds for a refresh. Raises NotFound, Conflict where a person has to
        act, Unavailable where waiting may help.
        """
        await self._access.require_reach(caller, *path)
        waits = Wait(uptime() + wait)
        if ready := self._recalled(path, min_ttl):
            return await self.hand_out(caller, ready)
        return await self._best(caller, path, await self._read(path), Wanted(min_ttl=min_ttl), waits)

    async def replace(
        self, caller: Caller, path: Path, generation: int, *, min_ttl: timedelta, wait: float
    ) -> HandedOut:
        """Take it from *caller* that its token of that *generation* was refused; return another one like `fetch`.

        Whoever is the first to say so of the current tokens has them refreshed although they are fresh.
        All others wait for that, and have nothing refreshed for their report. Raises Invalid too,
        where there are no tokens of that generation yet.
        """
        await self._access.require_reach(caller, *path)
        waits = Wait(uptime() + wait)
        reported, _ = await self._read(path)
        if not reported.state.holds_tokens:
            raise await self._refusal(reported)
        if generation > reported.state.generation:
            raise Invalid("There are no tokens of this generation yet.", code="unknown_generation")
        first = await self._note_rejection(caller, reported, generation)
        wanted = Wanted(min_ttl=min_ttl, refused=generation, insists=first)
        return await self._best(caller, path, await self._read(path), wanted, waits)

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
        held: tuple[Connection, Kept] | None = self._memory.recall(("connection", *path)) if now else None
        if now is None or held is None or not held[0].state.fresh(min_ttl, now):
            return None
        return Ready(*held, now, "memory")

    async def _read(self, path: Path) -> Found:
        """Return the connection at *path* as it is in the database now, to be remembered."""
        found = await self._memory.load(("connection", *path), lambda: self._load(path))
        if found is None:
            raise NotFound
        if not found[0].enabled:
            raise Conflict("This connection is switched off.", code="disabled")
        if (paused := found[0].paused) is not None:
            raise Conflict(f"The {paused} is paused.", code="disabled", paused=paused)
        return found

    async def _load(self, path: Path) -> tuple[Found | None, Sequence[Stale]]:
        async with self._database.read() as tx:
            found = await connections.find_with_token(tx, *path)
        if found is None:
            return None, ()
        connection, stored = found
        place = Place(connection.tenant, connection.provider, "connection", connection.id)
        token = stored and Kept(self._keyring, place, "access_token", stored)
        is_served = token and connection.enabled and not connection.paused
        return (connection, token), (Stale("connection", connection.id), GATES) if is_served else ()

    async def _best(self, caller: Caller, path: Path, found: Found, wanted: Wanted, wait: Wait) -> HandedOut:
        """Hand out a token that is *wanted*, or the best there is when *wait* is over; *found* is what is now."""
        connection, token = found
        asked_of = connection.state.generation
        while not wanted.is_met_by(connection):
            renewed = connection.state.generation > asked_of
            if renewed or not await self._renewal.step(connection, wanted, caller.actor, wait):
                break
            connection, token = await self._read(path)
            await self._access.require_still(caller, *path)
        if wait.for_others:
            self._metrics.waited(connection.provider, wait.for_others)
        if connection.state.living(connection.read_at) and token is not None:
            source: Source = "refreshed" if connection.state.generation > asked_of else "database"
            return await self.hand_out(caller, Ready(connection, token, connection.read_at, source))
        raise Overloaded if wait.crowded else await self._refusal(connection, left_behind=wait.left_behind)

    async def _note_rejection(self, caller: Caller, connection: Connection, generation: int) -> bool:
        """Write down what *caller* reports. Returns whether it is the first to report the current tokens."""
        about = (connection.tenant, connection.provider, connection.name, generation)
        if generation < connection.state.generation:
            await self._writer.record(Event(caller.actor, "token.rejected", "outdated", *about))
            return False

        async def unit(tx: Transaction) -> bool:
            first = await rejections.reject(tx.connection, connection)
            if first:
                tx.outdate(Stale("connection", connection.id))
            tx.record(Event(caller.actor, "token.rejected", "ok" if first else "repeated", *about))
            return first

        # Alone: two groups of writes that wait for each other's rows are a deadlock.
        return await self._writer.submit(unit, alone=True)

    async def hand_out(self, caller: Caller, ready: Ready) -> HandedOut:
        """Open and return what is *ready*, once it is written that *caller* gets it.

        Raises Conflict where it does not open, StorageUnavailable.
        """
        began, connection, now = uptime(), ready.connection, ready.now
        try:
            token = ready.token.open()
        except CannotOpen:
            raise await self._undecryptable(connection) from None
        about = (connection.tenant, connection.provider, connection.name, ready.token.generation)
        await self._writer.record(Event(caller.actor, "token.handed_out", "ok", *about))
        if uptime() - began >= STALE_AFTER:
            # What was true when it was looked at may have ended, and been answered as over, by now.
            await self._read(about[:3])
            await self._access.require_still(caller, *about[:3])
        living = connection.state.remaining(now)
        left = living.total_seconds() - (uptime() - began)
        if left <= 0:
            raise StorageUnavailable  # which took so long that the token died meanwhile
        self._metrics.handed_out(connection.provider, ready.source)
        return HandedOut(
            connection=connection,
            access_token=token,
            expires_at=now + living,
            expires_in=int(left),
        )

    async def _undecryptable(self, connection: Connection) -> VaultError:
        async def unit(tx: Transaction) -> None:
            await connections.mark_undecryptable(tx.connection, connection.id, connection.state.generation)
            tx.outdate(Stale("connection", connection.id))

        await self._writer.submit(unit)
        return Conflict("A stored value does not open.", code="operator_required")

    async def _refusal(self, connection: Connection, *, left_behind: bool = False) -> VaultError:
        """Return why nothing was handed out, with what would help.

        *left_behind* says that a refresh was still under way when nobody waited for it any more. It
        may have ended between the last look at *connection* and now, and then the next one finds it.
        """
        state = connection.state
        if state.status == "unconfigured":
            return Conflict("Nobody has connected this yet.", code="not_connected", reason=state.reason)
        if state.reason == "undecryptable":
            return Conflict("A stored value does not open.", code="operator_required")
        if state.next_action == "fix_credentials":
            return Conflict(
                "The provider refuses what was entered: it has to be corrected.",
                code="credentials_rejected",
                reason=state.last_error_code or state.reason,
            )
        if state.status == "failed":
            connect_url = await self._tickets.reconnect_url(connection)
            return Conflict(
                "A person has to connect this again.",
                code="reconnect_required",
                reason=state.reason,
                connect_url=connect_url,
            )
        settled_badly = state.retry_not_before is not None and state.retry_not_before > connection.read_at
        refreshing = self._refresher.is_refreshing(connection.id) or (left_behind and not settled_badly)
        await self._writer.submit(lambda tx: _note_asked(tx, connection.id))
        return _come_back(connection, refreshing=refreshing)


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
