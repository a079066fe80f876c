"""Waiting for new tokens: having them refreshed, joining whoever is at it, or watching another replica do it."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.clock import uptime
from vault.connection import Connection
from vault.refresh import Refresher

FIRST_POLL, SLOWEST_POLL = 0.05, 0.5  # seconds between looks at a refresh on another replica


@dataclass
class Wait:
    """How long a caller still waits, and how often to look meanwhile."""

    ends_at: float
    poll: float = FIRST_POLL
    begun: bool = False

    def left(self) -> float:
        return max(self.ends_at - uptime(), 0.0)

    def is_over(self) -> bool:
        """Say whether to give up: even who would not wait at all has a refresh begun for whoever comes next."""
        first, self.begun = not self.begun, True
        return not first and self.left() == 0

    async def pause(self) -> None:
        await asyncio.sleep(min(self.poll, self.left()))
        self.poll = min(self.poll * 2, SLOWEST_POLL)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The token that would do: with *min_ttl* to live, and of a later generation than the one *refused*."""

    min_ttl: timedelta
    refused: int = 0
    insists: bool = False  # a fresh token is refreshed too, where it is the one refused

    def is_met_by(self, connection: Connection) -> bool:
        return connection.state.generation > self.refused and self._fresh(connection)

    def is_worth_a_refresh(self, connection: Connection) -> bool:
        """Say whether to have *connection* refreshed for it, and not only to wait for somebody who does."""
        return self.insists or not self._fresh(connection)

    def _fresh(self, connection: Connection) -> bool:
        return connection.state.fresh(self.min_ttl, connection.read_at)


class Renewal:
    """Lets refreshes happen, a step at a time."""

    def __init__(self, refresher: Refresher) -> None:
        self._refresher = refresher

    async def step(self, connection: Connection, wanted: Wanted, actor: str, wait: Wait) -> bool:
        """Let a refresh happen, here or elsewhere. Returns whether another look is worth it."""
        if not _renewable(connection) or wait.is_over():
            return False
        if self._refresher.is_refreshing(connection.id):
            return await self._joined(connection, actor, wait)
        if wanted.is_worth_a_refresh(connection):
            waits_for = _startable_at(connection, wanted) - connection.read_at
            if waits_for <= timedelta(0):
                return await self._joined(connection, actor, wait)
            leased_until = connection.state.lease_expires_at
            somebody_has_it = leased_until is not None and leased_until > connection.read_at
            if not somebody_has_it and waits_for.total_seconds() > wait.left():
                return False
        await wait.pause()
        return True

    async def _joined(self, connection: Connection, actor: str, wait: Wait) -> bool:
        try:
            async with asyncio.timeout(wait.left()):
                moved = await self._refresher.refresh(connection, actor)
        except TimeoutError:
            return True  # one last look: the refusal is to say how things stand now
        if not moved:
            await wait.pause()
        return True


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


def _startable_at(connection: Connection, wanted: Wanted) -> datetime:
    """Return when a refresh may start. Tokens that arrive dead, or are rejected, wait until they are due."""
    state, now = connection.state, connection.read_at
    arrived_dead = state.status == "verified" and not state.living(now)
    at = state.claimable_at(now)
    return max(at, state.next_refresh_at) if (arrived_dead or wanted.insists) and state.next_refresh_at else at
