"""Finding out now how a connection is: renewing its tokens, and asking the provider about them."""

import asyncio
import contextlib

from integrations.contract import Verdict
from vault.connection import Connection, Path
from vault.connections import Change, Connections
from vault.errors import Conflict, Invalid
from vault.means import Means
from vault.proof.asking import Tried, note, tried
from vault.refresh import Refresher
from vault.reporting import reported
from vault.sources import Found
from vault.tries import count_try

LONGEST_QUEUE = 2.0  # seconds that somebody stands in it, beside what one call may take


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
        if connection.state.next_action == "fix_credentials" and not connection.state.is_its_token:
            return await self._entered_again(actor, path, above)
        if not connection.state.holds_tokens:
            return connection, "unknown"
        await count_try(self._means.writer, path)
        renewable = not connection.state.is_its_token and connection.state.status != "failed"
        if renewable and not connection.state.living(connection.read_at):
            await self._refreshed(connection, actor)
            connection, renewable = await self._connections.get(path), False
        found = await self._tried(actor, connection)
        if found.finding.verdict == "invalid" and renewable:
            await self._refreshed(connection, actor)
            connection = await self._connections.get(path)
            found = await self._tried(actor, connection)
        await note(self._means, actor, connection, found)
        return await self._connections.get(path), found.finding.verdict

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
        await note(self._means, "scheduler", connection, await self._tried("scheduler", connection))

    async def _tried(self, actor: str, connection: Connection) -> Tried:
        """Try *connection*. Where the token that feeds it is refused, that counts as a report, as of any caller.

        Whoever is the first to say so has another one got, and that tried.
        """
        found = await tried(self._means, connection)
        if found.refused is None:
            return found
        about = Found((connection.tenant, connection.provider, connection.name), connection, None)
        if not await reported(self._means.writer, actor, about, found.refused):
            return found
        await self._refreshed(found.refused.connection, actor)
        return await tried(self._means, connection)

    async def _refreshed(self, connection: Connection, actor: str) -> None:
        """Have a refresh tried, and wait for it, but not for a long queue before the provider."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._means.timeout + LONGEST_QUEUE):
                await self._refresher.refresh(connection, actor)
