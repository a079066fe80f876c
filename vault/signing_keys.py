"""The keys that providers sign their ID tokens with: fetched, and kept for as long as they say."""

import logging
from dataclasses import dataclass

import httpx

from integrations import jwks
from integrations.contract import Jwks, Provider, ProviderError, Secret
from vault.clock import uptime
from vault.outbound import Outbound

log = logging.getLogger(__name__)
TIMEOUT = 5.0  # seconds: a person waits, and what they brought is not stored yet
UNSAID = 300  # seconds that keys are kept where the answer does not say
LONGEST = 86_400  # seconds
MOST = 256  # providers whose keys are kept


@dataclass(frozen=True)
class _Kept:
    keys: Jwks
    until: float  # monotonic seconds


class SigningKeys:
    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._kept: dict[str, _Kept] = {}

    async def of(self, provider: Provider, id_token: Secret | None) -> Jwks | None:
        """Return the keys of *provider* to verify *id_token* with; None where there are none to be had.

        They are fetched anew, once, where the one that it names is not among those that are kept.
        Raises Unreadable where it is no token.
        """
        if provider.jwks_uri is None or id_token is None:
            return None
        kept = self._kept.get(provider.jwks_uri)
        if kept is not None and uptime() < kept.until and jwks.has_key_of(kept.keys, id_token):
            return kept.keys
        return await self._fetched(provider.id, provider.jwks_uri)

    async def _fetched(self, provider: str, uri: str) -> Jwks | None:
        try:
            answer = await self._outbound.send(httpx.Request("GET", uri), deadline=uptime() + TIMEOUT)
            keys = jwks.read_keys(answer)
        except ProviderError as error:
            log.warning("an ID token is taken unverified", extra={"provider": provider, "code": error.code})
            return None
        said = jwks.max_age(answer)
        self._kept.pop(uri, None)  # so that the oldest comes first
        self._kept[uri] = _Kept(keys, uptime() + min(UNSAID if said is None else said, LONGEST))
        while len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        return keys
