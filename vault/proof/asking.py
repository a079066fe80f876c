"""Asking a provider whether what a connection hands out works, and writing down what it said."""

import logging
from dataclasses import replace
from typing import NamedTuple

from integrations.contract import Finding, Provider, Verdict
from vault.audit import Event
from vault.clients.registration import Registration, registered
from vault.connection import Connection
from vault.errors import CannotOpen, NotFound, VaultError, does_not_open
from vault.feeding import fed_by
from vault.holding import Holding, holding
from vault.means import Means
from vault.proof.learning import learned, next_check
from vault.proof.probe import probed
from vault.providers import check_every, is_entered, kind_of
from vault.sources import Found
from vault.store import connections
from vault.store.changes import Stale
from vault.store.writer import Transaction

log = logging.getLogger(__name__)


class Tried(NamedTuple):
    """What came of a try of tokens, or of what was *entered* itself (*static*).

    What nothing renews is tried again *every* so many seconds. *refused* is the connection whose token was, where
    that feeds the one that was tried.
    """

    finding: Finding
    static: bool
    entered: bool
    every: int | None
    refused: Found | None = None


async def tried(means: Means, connection: Connection) -> Tried:
    """Ask the provider of *connection* about what that hands out, which spends nothing of it.

    Raises NotFound where it holds nothing any more, Conflict where that does not open.
    """
    async with means.database.read() as tx:
        provider = await means.providers.get(connection.provider, tx)
        try:
            holds = await holding(tx, means.keyring, connection)
            user = await registered(tx, means.keyring, connection.client)
        except CannotOpen:
            raise does_not_open() from None
    if holds is None:
        raise NotFound  # it holds nothing, or was deleted a moment ago
    entered = is_entered(provider, connection.kind)
    static = holds.access_token is None or (connection.state.renewal == "none" and entered)
    finding, refused = await _found(means, provider, user, connection, holds)
    every = check_every(provider, connection.kind) if connection.state.renewal == "none" else None
    return Tried(finding, static, entered, every, refused)


async def _found(
    means: Means, provider: Provider, user: Registration | None, connection: Connection, holds: Holding
) -> tuple[Finding, Found | None]:
    """Return what *provider* says of what *connection* holds, and whose token it refused where that feeds it."""
    state = connection.state
    if holds.access_token is not None:
        if state.ended(connection.read_at):
            verdict: Verdict = "invalid" if state.status == "failed" else "unknown"
            return Finding(verdict=verdict, code=state.last_error_code), None
        return await probed(means, provider, user, holds.root, holds.access_token), None
    feed = fed_by(kind_of(provider, connection.kind), connection)
    fed = None if feed is None else await means.sources.living(feed)
    finding = await probed(means, provider, user, holds.root, None if fed is None else fed.token)
    if feed is None or finding.verdict != "invalid":
        return finding, None
    # It was the token, most likely, and that is another connection's: what was entered here stays.
    return replace(finding, verdict="unknown"), None if fed is None else fed.found


async def note(means: Means, actor: str, connection: Connection, found: Tried) -> None:
    """Write down what the provider said of these very tokens of *connection*, and of no later ones."""
    finding = found.finding
    changed = learned(connection, finding, static=found.static, entered=found.entered)
    changed["next_check_at"] = next_check(connection, changed, found.every, means.jitter)

    async def unit(tx: Transaction) -> None:
        await connections.note_probe(tx.connection, connection.id, connection.state.generation, changed)
        tx.outdate(Stale("connection", connection.id))
        about = (connection.tenant, connection.provider, connection.name, connection.state.generation)
        tx.record(Event(actor, "connection.verified", finding.verdict, *about, {"code": finding.code}))

    await means.writer.submit(unit)


async def ask_about(means: Means, actor: str, connection: str) -> None:
    """Ask about a *connection* whose token was reported, and could not be renewed: a report alone is no proof."""
    try:
        async with means.database.read() as tx:
            found = await connections.get(tx, connection)
        if found is not None and found.state.status == "degraded" and found.state.is_reported:
            await note(means, actor, found, await tried(means, found))
    except VaultError as error:
        log.info("nobody could tell of a reported token", extra={"connection": connection, "code": error.code})
