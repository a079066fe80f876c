"""Disconnecting: unusable at once and its secrets gone; then, where that is wanted, its grant at the provider."""

import logging
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Provider
from vault.audit import Event
from vault.clients.registration import Registration, registered
from vault.connection import Connection, Path
from vault.errors import CannotOpen, StorageUnavailable
from vault.holding import Holding, Stored, held_in
from vault.means import Means
from vault.revoke import Revoked, revoke
from vault.store import connections, revocations, sealed, settle
from vault.store.changes import Stale
from vault.store.writer import Transaction

log = logging.getLogger(__name__)
Revoking = Literal["false", "true", "all"]  # all: also where that takes other connections with it
Outcome = Revoked | Literal["not_asked"]
Ended = Outcome | Literal["unknown"]  # the process that asked has died over it


@dataclass(frozen=True)
class Last:
    """What a connection held when it was deleted. *grant* is None where it was nothing, or does not open."""

    connection: Connection
    held: bool
    grant: tuple[Provider, Registration | None, Holding] | None


async def bury(tx: Transaction, means: Means, actor: str, connection: Connection, revoking: Revoking) -> Last:
    """Delete *connection*; return what is needed to end its grant, as far as *revoking* wants that."""
    # First, so that no other replica can settle a successor behind our back.
    await settle.supersede(tx.connection, connection.id)
    values = await sealed.load(tx.connection, "connection", connection.id)
    last = Last(connection, bool(values), await _grant(tx.connection, means, connection, values))
    await connections.bury(tx.connection, connection.id)
    if last.held and revoking != "false":
        await revocations.begin(tx.connection, connection.id)
    tx.outdate(Stale("connection", connection.id))
    tx.record(Event(actor, "connection.deleted", "ok", *path(connection)))
    return last


async def end(means: Means, actor: str, last: Last, revoking: Revoking, *, doomed: str | None = None) -> Outcome:
    """End the grant of a connection that was deleted, as far as is wanted; return what came of it.

    Grants of the tenant *doomed* and below may go with it.
    """
    if revoking == "false" or not last.held:
        return "not_asked"
    outcome: Revoked = "failed"
    if last.grant is not None:
        provider, user, holds = last.grant
        about = (provider, user, holds.root, holds.token, last.connection.account)
        outcome = await revoke(means, *about, doomed=doomed, regardless=revoking == "all")

    async def unit(tx: Transaction) -> None:
        await revocations.end(tx.connection, last.connection.id)
        tx.record(Event(actor, "connection.revoked", outcome, *path(last.connection)))

    try:
        await means.writer.submit(unit)
    except StorageUnavailable:
        log.error("what came of a revocation is not in the audit", extra={"outcome": outcome})
    return outcome


def path(connection: Connection) -> Path:
    return connection.tenant, connection.provider, connection.name


async def _grant(
    tx: AsyncConnection, means: Means, connection: Connection, values: Stored
) -> tuple[Provider, Registration | None, Holding] | None:
    try:
        holds = held_in(means.keyring, connection, values)
        if holds is None:
            return None
        provider = await means.providers.get(connection.provider, tx)
        return provider, await registered(tx, means.keyring, connection.client), holds
    except CannotOpen:
        return None
