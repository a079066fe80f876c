"""Storing what a work keeps: sealed, and committed, before the work goes on."""

import contextlib
import json
from datetime import datetime
from typing import Any

from integrations.contract import Keep, Kind, Secret
from vault.entering.masking import masked
from vault.errors import CannotOpen
from vault.keyring import Sealed
from vault.means import Means
from vault.sealing import Place, fields_together, open_one, seal_all
from vault.store import connections, sealed, works
from vault.store.changes import Stale
from vault.store.writer import Transaction
from vault.timing import check_at
from vault.works.ending import Claimed

APART = frozenset({"credentials", "pending"})  # what a work changes


class Superseded(Exception):
    """The connection was entered anew or deleted, or somebody else took its work over."""


class Keeping:
    """What a *claimed* work knows of its credentials, of a *kind*: what it kept, if *anything*, and the rest."""

    def __init__(self, means: Means, kind: Kind, claimed: Claimed) -> None:
        self.anything = False
        self._means = means
        self._kind = kind
        self._claimed = claimed
        self._connection, self._turn = claimed.connection, claimed.turn
        self._credentials = dict(claimed.root.credentials)

    async def keep(self, kept: Keep) -> None:
        """Store *kept* as the next generation, for as long as that takes. Raises Superseded.

        It may be the only copy there is: a provider tells some secrets once.
        """
        self._credentials |= kept.credentials

        async def unit(tx: Transaction) -> bool:
            if not await works.keep(tx.connection, self._turn):
                return False
            await self._store(tx, kept)
            tx.record(self._claimed.event("work.kept"))
            tx.outdate(Stale("connection", self._connection.id))
            return True

        if not await self._means.writer.insist(unit):
            raise Superseded
        self._turn.generation += 1
        self.anything = True

    async def _store(self, tx: Transaction, kept: Keep) -> None:
        connection, generation = self._connection, self._turn.generation + 1
        place = Place(connection.tenant, connection.provider, "connection", connection.id)
        fields: dict[str, Secret | None] = dict(
            self._others(place, await sealed.load(tx.connection, "connection", connection.id))
        )
        fields["credentials"] = fields_together(self._credentials)
        fields["pending"] = fields_together(kept.pending) if kept.pending else None
        await sealed.drop(tx.connection, "connection", connection.id, ["pending"])
        values = seal_all(self._means.keyring, place, generation, fields)
        await sealed.put(tx.connection, "connection", connection.id, generation, values)
        if kept.credentials:
            now = await connections.database_time(tx.connection)
            shown = json.dumps(masked(self._kind, self._credentials))
            await connections.edit(tx.connection, connection.id, {"shown": shown})
            await connections.edit_state(tx.connection, connection.id, self._good(now))

    def _others(self, place: Place, values: dict[str, tuple[Sealed, int]]) -> dict[str, Secret]:
        """Return what else is stored, opened: it is sealed to the generation, too."""
        found = {}
        for field in values.keys() - APART:
            with contextlib.suppress(CannotOpen):
                found[field] = open_one(self._means.keyring, place, field, values[field])
        return found

    def _good(self, now: datetime) -> dict[str, Any]:
        """Return the state of credentials that the provider has just taken, whatever was found of former ones."""
        again = check_at(now, self._kind.check_every, self._means.jitter)
        over = {"access_expires_at": None, "last_error_code": None}
        return {"status": "verified", "reason": None, "verified_at": now, "next_check_at": again, **over}
