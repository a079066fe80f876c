"""What a use case that speaks to providers works with."""

from dataclasses import dataclass

from vault.clock import uptime
from vault.keyring import Keyring
from vault.memory import Memory
from vault.metrics import Metrics
from vault.outbound import Outbound
from vault.providers import Providers
from vault.signing_keys import SigningKeys
from vault.sources import Sources
from vault.store.database import Database
from vault.store.writer import Writer
from vault.timing import Jitter


@dataclass(frozen=True, kw_only=True)
class Means:
    """Stores, keys and the way out, for whoever needs all of them. *timeout* is that of one call, in seconds."""

    database: Database
    writer: Writer
    keyring: Keyring
    memory: Memory
    metrics: Metrics
    outbound: Outbound
    providers: Providers
    signing_keys: SigningKeys
    sources: Sources
    timeout: float
    jitter: Jitter

    def deadline(self, started: float | None = None) -> float:
        """Return when a call that counts from *started* (by default from now) has to be over."""
        return (uptime() if started is None else started) + self.timeout
