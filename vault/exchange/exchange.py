"""One exchange: new tokens are asked for with the root of a claimed turn, and whatever comes of it is settled.

    send      once, before a deadline counted from before the claim; the lease is checked at the socket
    settle    one statement: the outcome, and the lease given back

No database transaction is open while the provider is called.
"""

from contextlib import ExitStack
from dataclasses import replace

from integrations.contract import Client, ProviderError, TokenSet
from vault.breaker import Breaker, works
from vault.carrying import carried
from vault.clients.as_client import Done, as_client, note, used
from vault.clock import uptime
from vault.errors import CannotOpen
from vault.exchange.blame import blame
from vault.exchange.failing import Failing
from vault.exchange.failure import outcome_of
from vault.exchange.grant import Claimed, Grant, Superseded, granted
from vault.exchange.patience import Patience
from vault.exchange.storing import Storing
from vault.exchange.whose import learn
from vault.gates import Gates
from vault.means import Means
from vault.metrics import Outcome
from vault.store import settle
from vault.store.leases import Turn

_OUTCOMES: dict[settle.Stored, Outcome] = {
    "stored": "success",
    "orphaned": "orphaned",
    "outdated": "superseded",
    "superseded": "superseded",
}


class Exchange:
    """Spends turns."""

    def __init__(self, means: Means, patience: Patience, gates: Gates) -> None:
        self._means = means
        self._storing = Storing(means, gates)
        self._failing = Failing(means, patience, gates)
        self._breaker = Breaker()

    async def spend(self, claimed: Claimed, started: float, actor: str, place: ExitStack) -> bool:
        """Spend a turn: send the root of its generation, and settle whatever comes of it.

        The *place* at the provider is free again once it has answered well. After a failure it is kept
        until that is written, so that no more calls fail alike meanwhile than there are places.
        """
        with place:
            outcome = await self._spent(claimed, started, actor, place)
        self._means.metrics.refreshed(claimed.turn.provider, outcome, uptime() - started)
        return True

    async def _spent(self, claimed: Claimed, started: float, actor: str, place: ExitStack) -> Outcome:
        turn = claimed.turn
        try:
            grant = granted(self._means, claimed)
            sent = await self._send(grant, started)
        except Superseded:
            await self._means.writer.insist(lambda tx: settle.release(tx.connection, turn), vital=False)
            return "superseded"
        except (ProviderError, CannotOpen) as error:
            trips = self._noted(turn, works(error))
            await self._failing.write(turn, started, error, actor, trips=trips)
            return outcome_of(error)
        place.close()
        self._noted(turn, True)
        stored = await self._storing.write(turn, grant, sent.value, actor)
        await note(self._means, sent.other)
        if grant.nameless and grant.registration is not None and stored == "stored":
            client = used(grant.registration, sent.other)
            await learn(self._means, grant.provider, client, turn, sent.value)
        return _OUTCOMES[stored]

    def _noted(self, turn: Turn, worked: bool | None) -> bool:
        """Tell the breaker whether the provider *worked*, None where that says nothing; say whether it opens."""
        return self._breaker.note(turn.provider, turn.connection, worked, uptime())

    async def _send(self, grant: Grant, started: float) -> Done[TokenSet]:
        async def renew(client: Client | None) -> TokenSet:
            root, deadline = replace(grant.root, client=client), self._means.deadline(started)
            return await carried(self._means.outbound, grant.provider.renew(root), deadline=deadline)

        try:
            return await as_client(self._means, grant.registration, renew)
        except ProviderError as error:
            raise blame(error, grant.provider, grant.root, grant.registration) from None
