"""How long past a lapsed lease an open intent is respected."""

from dataclasses import dataclass
from datetime import timedelta

from integrations.contract import Provider


@dataclass(frozen=True)
class Patience:
    """The one judgement that depends on what a provider's consumed refresh token is worth."""

    lease: timedelta
    timeout: timedelta

    def of(self, provider: Provider) -> timedelta:
        """Return the wait before an intent without an outcome may be taken over.

        A provider that does not rotate can be asked again at once; so can one that takes a consumed
        token for long enough that even two slow holders in a row are over by then. Elsewhere the
        holder may only have been slow: it gets a lease's time more to store what it has, because a
        second use of its token would end the grant.
        """
        if provider.rotation == "never":
            return timedelta(0)
        long_enough = 2 * self.lease + self.timeout
        if provider.rotation == "grace" and timedelta(seconds=provider.rotation_grace) >= long_enough:
            return timedelta(0)
        return self.lease
