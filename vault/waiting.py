"""Waiting for new tokens: having them refreshed, joining whoever is at it, or watching another replica do it."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.clock import uptime
from vault.connection import Connection
from vault.limits import Overloaded, WaitingRoom
from vault.refresh import Refresher

FIRST_POLL, SLOWEST_POLL = 0.05, 0.5  # seconds between looks at a refresh on another replica


@dataclass
class Wait:
    """How long a caller still waits, and how often to look meanwhile."""

    ends_at: float
    poll: float = FIRST_POLL
    begun: bool = False
    crowded: bool = False  # there was no place to wait in
    left_behind: bool = False  # a refresh that it had joined was still under way when it was over
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


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The token that would do: with *min_ttl* to live.

    Of the connection *of*, it is of a later generation than the one *refused*.
    """

    min_ttl: timedelta
    of: str | None = None
    refused: int = 0
    insists: bool = False  # a fresh token is refreshed too, where it is the one refused

    def is_met_by(self, connection: Connection) -> bool:
        refused = connection.id == self.of and connection.state.generation <= self.refused
        return not refused and self._fresh(connection)

    def insists_on(self, connection: Connection) -> bool:
        return self.insists and connection.id == self.of

    def is_worth_a_refresh(self, connection: Connection) -> bool:
        """Say whether to have *connection* refreshed for it, and not only to wait for somebody who does."""
        return self.insists_on(connection) or not self._fresh(connection)

    def _fresh(self, connection: Connection) -> bool:
        return connection.state.fresh(self.min_ttl, connection.read_at)


class Renewal:
    """Lets refreshes happen, a step at a time. Whoever waits has a place in the *room*."""

    def __init__(self, refresher: Refresher, room: WaitingRoom) -> None:
        self._refresher = refresher
        self._room = room

    async def step(self, connection: Connection, wanted: Wanted, actor: str, wait: Wait) -> bool:
        """Let a refresh happen, here or elsewhere. Returns whether another look is worth it."""
        if not _renewable(connection) or wait.is_over():
            return False
        ours, worth = self._refresher.is_refreshing(connection.id), wanted.is_worth_a_refresh(connection)
        waits_for = _startable_at(connection, wanted) - connection.read_at
        leased_until = connection.state.lease_expires_at
        elsewhere = leased_until is not None and leased_until > connection.read_at
        ours = ours or (worth and waits_for <= timedelta(0))
        if worth and not ours and not elsewhere and waits_for.total_seconds() > wait.left():
            return False
        try:
            with self._room.place(connection.id) if wait.left() else contextlib.nullcontext():
                await (self._joined(connection, actor, wait) if ours else _watched(wait, elsewhere=elsewhere))
        except Overloaded:
            wait.crowded = True
        return not wait.crowded

    async def _joined(self, connection: Connection, actor: str, wait: Wait) -> None:
        theirs, began = self._refresher.is_refreshing(connection.id), uptime()
        try:
            async with asyncio.timeout(wait.left()):
                moved = await self._refresher.refresh(connection, actor)
        except TimeoutError:
            wait.left_behind = True
            return  # one last look: the refusal is to say how things stand now
        finally:
            if theirs:
                wait.note(began)
        if not moved:
            await wait.pause()


async def _watched(wait: Wait, *, elsewhere: bool) -> None:
    """Give another replica time to do it."""
    began = uptime()
    await wait.pause()
    if elsewhere:
        wait.note(began)


def _renewable(connection: Connection) -> bool:
    """Say whether a refresh could help. A failure is not waited out while there is a token to serve."""
    state, now = connection.state, connection.read_at
    backing_off = state.retry_not_before is not None and state.retry_not_before > now
    return (
        state.renewal != "none"
        and state.status not in {"unconfigured", "failed"}
        and connection.held_back_until() is None
        and not (backing_off and state.living(now))
    )


def _startable_at(connection: Connection, wanted: Wanted) -> datetime:
    """Return when a refresh may start. Tokens that arrive dead, or are rejected, wait until they are due."""
    state, now = connection.state, connection.read_at
    arrived_dead = state.status == "verified" and not state.living(now)
    at = state.claimable_at(now)
    waits = arrived_dead or wanted.insists_on(connection)
    return max(at, state.next_refresh_at) if waits and state.next_refresh_at else at
