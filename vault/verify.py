"""Finding out now how a connection is: renewing its tokens, and asking the provider about them."""

from typing import Any

from integrations.contract import Verdict
from vault.audit import Event
from vault.connection import Connection, Path
from vault.connections import Connections
from vault.errors import CannotOpen, Conflict, NotFound
from vault.holding import holding
from vault.means import Means
from vault.probe import probed
from vault.refresh import Refresher
from vault.store import connections as store
from vault.store.changes import Stale
from vault.store.writer import Transaction


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
        await self._refresher.refresh(connection, actor)
        return await self._connections.get(path)

    async def verify(self, actor: str, path: Path) -> tuple[Connection, Verdict]:
        """Ask the provider whether what is stored at *path* works; return the connection and the answer.

        A token that is old, or that the provider refuses, is renewed first: a probe spends no refresh token.
        """
        connection = await self._connections.get(path)
        renewable = connection.state.renewal != "none" and connection.state.status != "failed"
        if renewable and not connection.state.living(connection.read_at):
            await self._refresher.refresh(connection, actor)
            connection, renewable = await self._connections.get(path), False
        verdict = await self._probed(connection)
        if verdict == "invalid" and renewable:
            await self._refresher.refresh(connection, actor)
            connection = await self._connections.get(path)
            verdict = await self._probed(connection)
        await self._note(actor, connection, verdict)
        return await self._connections.get(path), verdict

    async def _probed(self, connection: Connection) -> Verdict:
        if not connection.state.living(connection.read_at):
            return "invalid" if connection.state.status == "failed" else "unknown"
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(connection.provider, tx)
            try:
                holds = await holding(tx, self._means.keyring, connection)
            except CannotOpen:
                raise Conflict("A stored value does not open.", code="operator_required") from None
        if holds is None:
            raise NotFound  # it was deleted a moment ago
        return (await probed(self._means, provider, holds.root, holds.access_token)).verdict

    async def _note(self, actor: str, connection: Connection, verdict: Verdict) -> None:
        """Write down what the provider said of these very tokens, and of no later ones."""
        changed = _learned(connection, verdict)

        async def unit(tx: Transaction) -> None:
            if changed:
                await store.note_probe(tx.connection, connection.id, connection.state.generation, changed)
                tx.outdate(Stale("connection", connection.id))
            about = (connection.tenant, connection.provider, connection.name, connection.state.generation)
            tx.record(Event(actor, "connection.verified", verdict, *about))

        await self._means.writer.submit(unit)


def _learned(connection: Connection, verdict: Verdict) -> dict[str, Any]:
    """Return what a probe changes of a state. What a refresh found out is for the next one to correct."""
    state = connection.state
    unproven = state.status == "configured" or state.reason == "probe_unknown"
    if verdict in {"valid", "limited"}:
        proven = {"status": "verified", "reason": None} if unproven else {}
        return {"verified_at": connection.read_at, **proven}
    if verdict == "invalid" and state.renewal == "none" and state.status != "failed":
        # It is over, whatever was said of its life: what does not work is not served.
        return {"status": "failed", "reason": "grant_rejected", "access_expires_at": connection.read_at}
    return {"reason": "probe_unknown"} if state.status == "configured" else {}
