"""The built service, as its controllers and jobs receive it."""

from dataclasses import dataclass
from typing import Any

from vault.access import Access
from vault.authorize import Authorize
from vault.callback import Callback
from vault.callers import Callers
from vault.chain import Chain
from vault.checks import Checks
from vault.client_tokens import ClientTokens
from vault.clients.clients import Clients
from vault.connections import Connections
from vault.devices import Devices
from vault.gates import Gates
from vault.housekeeping import anchor, tidy
from vault.limits import CallerLimits
from vault.live_keyring import LiveKeyring
from vault.memory import Memory
from vault.metrics import Metrics
from vault.offboarding import Offboarding
from vault.outbound import Outbound
from vault.providers import Providers
from vault.refresh import Refresher
from vault.request_log import RequestLog
from vault.scrape import Scrape
from vault.settings import Settings
from vault.signing_in import SigningIn
from vault.store.database import Database
from vault.store.trail import Trail
from vault.store.writer import Writer
from vault.sweep import Sweeper
from vault.tenants import Tenants
from vault.tickets import Tickets
from vault.tokens import Tokens
from vault.trail.records import Records
from vault.trail.retention import prune
from vault.trail.usage import Usage, roll_up
from vault.verify import Verify
from vault.watch import Watch
from vault.works.running import Works


@dataclass(frozen=True, kw_only=True)
class Vault:
    """The running service, for its controllers and its jobs."""

    settings: Settings
    database: Database
    chain: Chain
    trail: Trail
    writer: Writer
    keyring: LiveKeyring
    memory: Memory
    metrics: Metrics
    requests: RequestLog
    scrape: Scrape
    watch: Watch
    outbound: Outbound
    access: Access
    limits: CallerLimits
    callers: Callers
    tenants: Tenants
    clients: Clients
    providers: Providers
    gates: Gates
    tickets: Tickets
    signing_in: SigningIn
    authorize: Authorize
    callback: Callback
    devices: Devices
    connections: Connections
    offboarding: Offboarding
    refresher: Refresher
    sweeper: Sweeper
    records: Records
    usage: Usage
    tokens: Tokens
    client_tokens: ClientTokens
    verify: Verify
    checks: Checks
    works: Works
    sandbox: Any | None  # an ASGI application, where it is switched on

    async def tidy(self) -> None:
        await tidy(self.writer, self.gates, self.settings.lease)
        if self.settings.audit_retention_days:
            await prune(self.database, self.writer, self.chain, self.settings.audit_retention_days)

    async def roll_up(self) -> None:
        await roll_up(self.database, self.writer)

    async def anchor(self) -> None:
        await anchor(self.writer, self.trail)

    async def drain(self) -> None:
        """Begin nothing more, and wait until all that was sent is written."""
        self.refresher.stop_claiming()
        self.writer.begin_closing()
        await self.sweeper.finished()
        await self.checks.drain()
        await self.works.drain()
        await self.refresher.settled()
        await self.callback.drain()
        await self.devices.drain()

    async def close(self) -> None:
        """Drain, then close from the outside in; the database last."""
        await self.drain()
        self.requests.flush()
        await self.outbound.close()
        await self.watch.close()
        await self.anchor()
        await self.writer.close()
        await self.scrape.close()
        await self.database.close()
