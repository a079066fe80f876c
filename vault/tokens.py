"""Handing out a token that works: the point of it all.

A fresh token is answered at once. An old one is refreshed first, and while that cannot be done the
token that still lives is served, whatever state the provider is in. What is proven not to work
(`TokenState.proven_dead`) lives no more.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from integrations.advice import ADVICE
from integrations.contract import Handout, Secret
from vault.access import Access, Caller
from vault.clock import uptime
from vault.connection import Connection, Path
from vault.errors import CannotOpen, Conflict, Invalid, StorageUnavailable, VaultError
from vault.limits import Overloaded, WaitingRoom
from vault.memory import STALE_AFTER, Memory
from vault.metrics import Metrics, Source
from vault.refresh import Refresher
from vault.reporting import fed_with, outdated, reported
from vault.sealing import Kept, fields_apart
from vault.sources import Found, Sources
from vault.store import leases
from vault.store.writer import Transaction, Writer
from vault.tickets import Tickets
from vault.waiting import Renewal, Wait, Wanted
from vault.withheld import come_back, undecryptable, withheld


class Ready(Struct, frozen=True):
    """What can be handed out at *now*, the database's time."""

    found: Found
    value: Kept
    now: datetime
    source: Source


class HandedOut(Struct, frozen=True, kw_only=True):
    """An access token, or what was entered, on its way to a caller whose audit row is written."""

    connection: Connection
    access_token: Secret | None
    static: Handout | None
    generation: int  # of what a report is about: of the token, or of that of another connection that goes with it
    expires_at: datetime | None  # None: it has no end that anybody knows
    expires_in: int | None  # seconds


class Tokens:
    def __init__(
        self,
        *,
        writer: Writer,
        access: Access,
        sources: Sources,
        refresher: Refresher,
        tickets: Tickets,
        memory: Memory,
        waiting: WaitingRoom,
        metrics: Metrics,
    ) -> None:
        self._writer = writer
        self._access = access
        self._sources = sources
        self._refresher = refresher
        self._renewal = Renewal(refresher, waiting)
        self._tickets = tickets
        self._memory = memory
        self._metrics = metrics

    async def fetch(self, caller: Caller, path: Path, *, min_ttl: timedelta, wait: float) -> HandedOut:
        """Return a token of what serves *path* that lives *min_ttl* longer, or the best there is.

        Waits up to *wait* seconds for a refresh. Raises NotFound, Conflict where a person has to
        act, Unavailable where waiting may help.
        """
        await self._access.require_reach(caller, *path)
        waits = Wait(uptime() + wait)
        if ready := self._recalled(path, min_ttl):
            return await self.hand_out(caller, ready)
        return await self._best(caller, await self._sources.read(path), Wanted(min_ttl=min_ttl), waits)

    async def replace(
        self,
        caller: Caller,
        path: Path,
        generation: int,
        source: Path | None,
        *,
        min_ttl: timedelta,
        wait: float,
    ) -> HandedOut:
        """Take it from *caller* that its token of that *generation* was refused; return another one like `fetch`.

        Whoever is the first to say so of the current tokens has them refreshed although they are fresh.
        All others wait for that, and have nothing refreshed for their report. Where another connection
        feeds what serves *path*, its token is meant. *source* is where that token came from: if
        something else serves *path* since, nothing is said of its tokens. Raises Invalid too, where
        there are no tokens of that generation yet, or the source cannot be right.
        """
        above = await self._access.require_reach(caller, *path)
        waits, fresh = Wait(uptime() + wait), Wanted(min_ttl=min_ttl)
        found = await self._sources.read(path)
        fed = None if found.feed is None else await self._sources.read(found.feed)
        whose = (fed or found).connection
        elsewhere = source is not None and source != found.source
        if elsewhere and source is not None and (source[0] not in above or source[1:] != path[1:]):
            raise Invalid("The token came from another connection.", code="wrong_source", field="source")
        if elsewhere or generation < whose.state.generation:
            await outdated(self._writer, caller.actor, found, fed, generation)
            return await self._best(caller, await self._sources.read(path), fresh, waits)
        if generation > whose.state.generation:
            raise Invalid("There are no tokens of this generation yet.", code="unknown_generation")
        first = await reported(self._writer, caller.actor, found, fed)
        refused = Wanted(min_ttl=min_ttl, of=whose.id, refused=generation, insists=first)
        return await self._best(caller, await self._sources.read(path), refused, waits)

    def at_once(self, caller: Caller, path: Path, *, min_ttl: timedelta) -> Ready | None:
        """Return what `fetch` would hand out, if all it takes is remembered and nothing stands against it.

        None where anything does: `fetch` finds out what, and says so. The scope is looked at too, as
        the route's guard would.
        """
        if not caller.has("tokens:read") or not self._access.is_in_reach(caller, *path):
            return None
        return self._recalled(path, min_ttl)

    def _recalled(self, path: Path, min_ttl: timedelta) -> Ready | None:
        """Return what is remembered to serve *path* where its token is fresh."""
        now = self._memory.now()
        found = self._sources.recall(path) if now else None
        if (
            now is None
            or found is None
            or found.value is None
            or found.feed
            or not found.connection.state.fresh(min_ttl, now)
        ):
            return None
        return Ready(found, found.value, now, "memory")

    async def _best(self, caller: Caller, found: Found, wanted: Wanted, wait: Wait) -> HandedOut:
        """Hand out a token that is *wanted*, or the best there is when *wait* is over; *found* is what is now."""
        ready = await self._ready(caller, found, wanted, wait)
        feed = ready.found.feed
        if feed is None:
            return await self.hand_out(caller, ready)
        fed = await self._ready(caller, await self._sources.read(feed), wanted, wait, feeds=ready.found)
        return await self.hand_out(caller, ready, fed)

    async def _ready(
        self, caller: Caller, found: Found, wanted: Wanted, wait: Wait, feeds: Found | None = None
    ) -> Ready:
        """Return what `_best` hands out to *caller*, who may lose what was asked for while waiting.

        That is the path of what was *found*, or of what that *feeds*.
        """
        began_with = found.connection
        while not wanted.is_met_by(found.connection):
            renewed = found.connection.state.generation > began_with.state.generation
            if renewed or not await self._renewal.step(found.connection, wanted, caller.actor, wait):
                break
            found = await self._sources.read(found.path)
            await self._access.require_still(caller, *(feeds or found).path)
            if found.connection.id != began_with.id:
                began_with = found.connection
        connection, value = found.connection, found.value
        if wait.for_others:
            self._metrics.waited(connection.provider, wait.for_others)
        if connection.state.living(connection.read_at) and value is not None:
            renewed = connection.state.generation > began_with.state.generation
            return Ready(found, value, connection.read_at, "refreshed" if renewed else "database")
        if wait.crowded:
            raise Overloaded
        raise await self._refusal(caller, found, feeds or found, left_behind=wait.left_behind)

    async def hand_out(self, caller: Caller, ready: Ready, fed: Ready | None = None) -> HandedOut:
        """Open and return what is *ready*, *fed* or not, once it is written that *caller* gets it.

        Raises Conflict where it does not open, or holds nothing yet; StorageUnavailable.
        """
        began, found, now = uptime(), ready.found, ready.now
        connection = found.connection
        value = await self._opened(ready, found)
        feeds = None if fed is None else await self._opened(fed, found)
        token, static = _given(ready, value, feeds)
        event = found.event(caller.actor, "token.handed_out", "ok", ready.value.generation)
        if fed is not None:  # whose token left, too
            event = fed_with(event, fed.found, fed.value.generation)
        await self._writer.record(event)
        if uptime() - began >= STALE_AFTER:
            # What was true when it was looked at may have ended, and been answered as over, by now.
            await self._require_still(found)
            if fed is not None:
                await self._require_still(fed.found)
            await self._access.require_still(caller, *found.path)
        ending, now = (connection.state, now) if fed is None else (fed.found.connection.state, fed.now)
        living = ending.remaining(now)
        left = living.total_seconds() - (uptime() - began)
        if left <= 0:
            raise StorageUnavailable  # which took so long that the token died meanwhile
        self._metrics.handed_out(connection.provider, ready.source)
        ends = ending.access_expires_at is not None
        return HandedOut(
            connection=connection,
            access_token=token,
            static=static,
            generation=(fed or ready).value.generation,
            expires_at=now + living if ends else None,
            expires_in=int(left) if ends else None,
        )

    async def _opened(self, ready: Ready, asked: Found) -> Secret:
        """Return the value that is *ready*. Raises Conflict where it does not open, which is written down.

        *asked* is what was asked for, whose source is told.
        """
        try:
            return ready.value.open()
        except CannotOpen:
            source = asked.inherited_from
            raise await undecryptable(self._writer, ready.found.connection, source) from None

    async def _require_still(self, found: Found) -> None:
        """Raise what `Sources.read` does, and StorageUnavailable where *found* serves no more."""
        now = (await self._sources.read(found.path)).connection
        if now.id != found.connection.id or not now.state.living(now.read_at):
            raise StorageUnavailable  # it has to be asked for anew

    async def _refusal(
        self, caller: Caller, found: Found, asked: Found, *, left_behind: bool = False
    ) -> VaultError:
        """Return why *caller* gets nothing of what was *found*, and what would help.

        What was *asked* for is that, or what it feeds: its source is told, as token answers do. *left_behind* says
        that a refresh was still under way when nobody waited for it any more. It may have ended between the last
        look at the connection and now, and then the next one finds it.
        """
        connection, state = found.connection, found.connection.state
        if stops := withheld(state, asked.inherited_from):
            return stops
        if state.status == "failed":
            # Not the link to another tenant's connection, nor to one that feeds this and is out of reach:
            # whoever has that can put their own account there.
            own = connection.tenant == asked.path[0]
            reaches = own and caller.reaches(connection.provider, connection.name)
            return Conflict(
                "A person has to connect this again.",
                code="reconnect_required",
                reason=state.reason,
                advice=ADVICE.get(state.last_error_code or ""),
                connect_url=await self._tickets.reconnect_url(connection) if reaches else None,
                source=asked.inherited_from,
            )
        settled_badly = state.retry_not_before is not None and state.retry_not_before > connection.read_at
        refreshing = self._refresher.is_refreshing(connection.id) or (left_behind and not settled_badly)
        await self._writer.submit(lambda tx: _note_asked(tx, connection.id))
        return come_back(connection, refreshing=refreshing, queue=self._refresher.waits(connection))


def _given(ready: Ready, value: Secret, token: Secret | None) -> tuple[Secret | None, Handout | None]:
    """Return the token that the *value* of what is *ready* is, or what its provider gives of it with *token*.

    Raises Conflict where that is nothing, as of a trunk that nobody has set up.
    """
    speaks = ready.found.provider
    if speaks is None:
        return value, None
    static = speaks.handout(ready.found.connection.kind, fields_apart(value), token)
    if not static.credentials:
        source = ready.found.inherited_from
        raise Conflict("There is nothing to hand out of it yet.", code="not_connected", source=source)
    return None, static


async def _note_asked(tx: Transaction, connection: str) -> None:
    await tx.execute(leases.ASKED, {"connection": connection})
