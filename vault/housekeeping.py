"""What has to be cleared away now and then. Nothing here touches a living grant."""

import logging
from datetime import timedelta

from vault import watch
from vault.errors import StorageUnavailable
from vault.gates import Gates
from vault.store import changes, connections, sign_ins, tickets
from vault.store.writer import Transaction, Writer

log = logging.getLogger(__name__)
KEPT = timedelta(days=1)  # that ended authorizations and tickets stay, for whoever asks what happened


async def tidy(writer: Writer, gates: Gates, lease: float) -> None:
    """Drop tombstones that no lease points to any more, and what is left of ended authorizations and sessions.

    Finish what a process died over as it closed or opened a gate.
    """

    async def unit(tx: Transaction) -> None:
        await connections.purge(tx.connection, timedelta(seconds=lease))
        await tickets.prune(tx.connection, KEPT)
        await sign_ins.prune(tx.connection)
        await changes.prune(tx.connection, watch.KEPT)

    try:
        await writer.submit(unit, alone=True)
        await gates.finish_all()
    except StorageUnavailable:
        log.warning("housekeeping cannot reach the database")
