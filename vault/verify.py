"""Finding out now how a connection is: renewing its tokens, and asking the provider about them."""

import asyncio
import contextlib
from dataclasses import replace
from typing import NamedTuple

from integrations.contract import Finding, Verdict
from vault.audit import Event
from vault.clients.registration import registered
from vault.connection import Connection, Path
from vault.connections import Change, Connections
from vault.errors import CannotOpen, Conflict, Invalid, NotFound, does_not_open
from vault.feeding import fed_by
from vault.holding import holding
from vault.learning import learned, next_check
from vault.means import Means
from vault.probe import probed
from vault.providers import check_every, is_entered, kind_of
from vault.refresh import Refresher
from vault.store import connections as store
from vault.store.changes import Stale
from vault.store.writer import Transaction

LONGEST_QUEUE = 2.0  # seconds that somebody stands in it, beside what one call may take


class Tried(NamedTuple):
    """What came of a try of tokens, or of what was entered itself, which is tried *every* so many seconds."""

    finding: Finding
    static: bool
    every: int | None


class Verify:
    """What a person asks for who does not want to wait for the sweep."""

    def __init__(self, means: Means, connections: Connections, refresher: Refresher) -> None:
        self._means = means
        self._connections = connections
        self._refresher = refresher

    async def refresh(self, actor: str, path: Path) -> Connection:
        """Renew the tokens at *path* once, however fresh they are; return the connection as it is then.

        A backoff, a lease of somebody else and a closed gate are respected: then nothing is tried.
        Raises NotFound, Conflict where nothing can renew it.
        """
        connection = await self._connections.get(path)
        if connection.state.renewal == "none":
            raise Conflict("Nothing renews these credentials.", code="not_renewable")
        if connection.state.status == "failed":
            action = connection.state.next_action
            raise Conflict("A person has to act first.", code="not_renewable", next_action=action)
        await self._refreshed(connection, actor)
        return await self._connections.get(path)

    async def verify(self, actor: str, path: Path, above: list[str]) -> tuple[Connection, Verdict]:
        """Ask the provider whether what is stored at *path* works; return the connection and the answer.

        A token that is old, or that the provider refuses, is renewed first: a probe spends no refresh token. What
        was entered and then refused is tried as if it were entered again: it may be that it works by now.
        """
        connection = await self._connections.get(path)
        if connection.state.next_action == "fix_credentials" and connection.state.renewal != "none":
            return await self._entered_again(actor, path, above)
        if not connection.state.holds_tokens:
            return connection, "unknown"
        self._means.tries.take(path)
        renewable = connection.state.renewal != "none" and connection.state.status != "failed"
        if renewable and not connection.state.living(connection.read_at):
            await self._refreshed(connection, actor)
            connection, renewable = await self._connections.get(path), False
        tried = await self._probed(connection)
        if tried.finding.verdict == "invalid" and renewable:
            await self._refreshed(connection, actor)
            connection = await self._connections.get(path)
            tried = await self._probed(connection)
        await self._note(actor, connection, tried)
        return await self._connections.get(path), tried.finding.verdict

    async def _entered_again(self, actor: str, path: Path, above: list[str]) -> tuple[Connection, Verdict]:
        try:
            connection = await self._connections.patch(actor, path, above, Change(credentials={}))
        except Invalid as refusal:
            if refusal.code != "credentials_rejected":
                raise
            return await self._connections.get(path), "invalid"
        return connection, "valid" if connection.state.status == "verified" else "unknown"

    async def check(self, path: Path) -> None:
        """Try what is never renewed, as is done now and then. Raises NotFound."""
        connection = await self._connections.get(path)
        await self._note("scheduler", connection, await self._probed(connection))

    async def _refreshed(self, connection: Connection, actor: str) -> None:
        """Have a refresh tried, and wait for it, but not for a long queue before the provider."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._means.timeout + LONGEST_QUEUE):
                await self._refresher.refresh(connection, actor)

    async def _probed(self, connection: Connection) -> Tried:
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(connection.provider, tx)
            try:
                holds = await holding(tx, self._means.keyring, connection)
                user = await registered(tx, self._means.keyring, connection.client)
            except CannotOpen:
                raise does_not_open() from None
        if holds is None:
            raise NotFound  # it holds nothing, or was deleted a moment ago
        state = connection.state
        every = check_every(provider, connection.kind) if state.renewal == "none" else None
        if holds.access_token is not None and not state.living(connection.read_at):
            verdict: Verdict = "invalid" if state.status == "failed" else "unknown"
            return Tried(Finding(verdict=verdict, code=state.last_error_code), False, every)
        unchanging = state.renewal == "none" and is_entered(provider, connection.kind)
        if holds.access_token is not None and not unchanging:
            return Tried(await probed(self._means, provider, user, holds.root, holds.access_token), False, every)
        kind = kind_of(provider, connection.kind)
        feed = None if holds.access_token else fed_by(kind, connection)
        token = holds.access_token if feed is None else await self._means.sources.living_token(feed)
        finding = await probed(self._means, provider, user, holds.root, token)
        if feed is not None and finding.verdict == "invalid":
            # It was the token, most likely, and that is another connection's: what was entered here stays.
            finding = replace(finding, verdict="unknown")
        return Tried(finding, True, every)

    async def _note(self, actor: str, connection: Connection, tried: Tried) -> None:
        """Write down what the provider said of these very tokens, and of no later ones."""
        finding, static, every = tried
        changed = learned(connection, finding, static=static)
        changed["next_check_at"] = next_check(connection, changed, every, self._means.jitter)

        async def unit(tx: Transaction) -> None:
            await store.note_probe(tx.connection, connection.id, connection.state.generation, changed)
            tx.outdate(Stale("connection", connection.id))
            about = (connection.tenant, connection.provider, connection.name, connection.state.generation)
            tx.record(Event(actor, "connection.verified", finding.verdict, *about, {"code": finding.code}))

        await self._means.writer.submit(unit)
