"""What has to be cleared away now and then. Nothing here touches a living grant."""

import logging
from datetime import timedelta

from vault import watch
from vault.chain import Position
from vault.errors import StorageUnavailable
from vault.gates import Gates
from vault.store import changes, clients, connections, parking, sign_ins, tickets, tries
from vault.store.revocations import give_up
from vault.store.trail import Trail
from vault.store.writer import Transaction, Writer

log = logging.getLogger(__name__)
KEPT = timedelta(days=1)  # that ended authorizations and tickets stay, for whoever asks what happened


async def tidy(writer: Writer, gates: Gates, lease: float) -> None:
    """Drop tombstones that no lease points to any more, and what is left of ended authorizations and sessions.

    Then drop retired registrations that nothing uses any more: nobody could put a rejected one right.
    Finish what a process died over as it closed or opened a gate.
    """

    async def unit(tx: Transaction) -> None:
        await give_up(tx, "scheduler", await connections.buried_before(tx.connection, KEPT))
        await connections.purge(tx.connection, timedelta(seconds=lease))
        await tickets.prune(tx.connection, KEPT)
        await sign_ins.prune(tx.connection)
        await tries.prune(tx.connection)
        await changes.prune(tx.connection, watch.KEPT)

    async def registrations(tx: Transaction) -> None:
        await parking.hold(tx.connection)  # so that no connection comes to use one meanwhile
        await clients.prune(tx.connection)

    try:
        await writer.submit(unit, alone=True)
        await writer.submit(registrations, alone=True)
        await gates.finish_all()
    except StorageUnavailable:
        log.warning("housekeeping cannot reach the database")


async def anchor(writer: Writer, trail: Trail) -> None:
    """Sign how far the audit of this process goes; say so in the log, which whoever has the database has not.

    Alone in its transaction: whatever was submitted before is durable by then, and counts.
    """

    async def unit(tx: Transaction) -> Position | None:
        return await trail.move_head(tx.connection)

    try:
        head = await writer.submit(unit, alone=True)
    except StorageUnavailable:
        log.warning("the head of the audit cannot be written")
        return
    if head is not None:
        log.info("audit head", extra={"stream": trail.stream, "seq": head.seq, "mac": head.mac.hex()})
