"""Who may call what: API keys, and the limits that each one carries.

    tv_<12 letters of id>_<64 hex digits of secret>_<8 hex digits of checksum>

The prefix and the checksum let scanners recognise a leaked key, and let us refuse a mistyped one
without a look into the database. What is stored is a keyed hash: 256 random bits need no slow one.
"""

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Secret
from vault.audit import Event
from vault.errors import InsufficientScope, NotFound, Unauthenticated
from vault.keyring import Keyring
from vault.limits import CallerLimits
from vault.memory import TENANTS, Memory
from vault.store import callers as store
from vault.store import tenants
from vault.store.changes import Stale
from vault.store.database import Database
from vault.store.writer import Writer

SCOPES = (
    "tokens:read",
    "connections:read",
    "connections:write",
    "tenants:write",
    "clients:write",
    "providers:write",
    "callers:write",
    "audit:read",
    "admin",
)
_ID = slice(3, 15)  # where the id is in a key
_ID_ALPHABET = string.ascii_lowercase + "234567"
_KEY = re.compile(r"(?P<body>tv_(?P<id>[a-z2-7]{12})_[0-9a-f]{64})_(?P<checksum>[0-9a-f]{8})")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A program with an API key, and what that key is limited to; None is no limit."""

    id: str
    name: str
    tenant: str
    scopes: frozenset[str]
    providers: frozenset[str] | None
    names: frozenset[str] | None
    expires_at: datetime | None
    actor: str  # as the audit names it

    def has(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, provider: str | None, name: str | None) -> bool:
        """Say whether *provider* and *name* are within the limits; None stands for none in particular."""
        return (provider is None or self.providers is None or provider in self.providers) and (
            name is None or self.names is None or name in self.names
        )

    def covers(self, row: dict[str, Any]) -> bool:
        """Say whether the limits of the caller in a *row* of the store are within these ones."""
        return self.narrower_than(row) is None

    def narrower_than(self, wanted: dict[str, Any]) -> str | None:
        """Return which of the *wanted* limits, `providers` or `names`, goes beyond these; None where none does."""
        for name, mine in (("providers", self.providers), ("names", self.names)):
            if mine is not None and (wanted[name] is None or not mine.issuperset(wanted[name])):
                return name
        return None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Caller":
        """Return the caller in a row of the store."""
        limits = {name: None if row[name] is None else frozenset(row[name]) for name in ("providers", "names")}
        return cls(
            id=row["id"],
            name=row["name"],
            tenant=row["tenant_id"],
            scopes=frozenset(row["scopes"]),
            expires_at=row["expires_at"],
            actor=f"caller:{row['id']}",
            **limits,
        )


def new_key() -> tuple[str, Secret]:
    """Return a fresh caller id and its key."""
    caller = "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))
    body = f"tv_{caller}_{secrets.token_hex(32)}"
    return caller, Secret(f"{body}_{_checksum(body)}")


def key_digest(keyring: Keyring, key: Secret) -> bytes:
    """Return what is stored of *key*."""
    return keyring.mac("caller key", key.reveal())


@dataclass(frozen=True, slots=True)
class _Known:
    """A caller and what its key has to hash to."""

    caller: Caller
    key_digest: bytes


class Access:
    """Checks keys and limits, and writes down what a known caller was denied."""

    def __init__(
        self, database: Database, writer: Writer, keyring: Keyring, memory: Memory, limits: CallerLimits
    ) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._memory = memory
        self._limits = limits

    async def identify(self, key: str) -> Caller:
        """Return the caller whose API key *key* is. Raises Unauthenticated, for every reason alike."""
        caller_id = _id_of(key)
        if caller_id is None:
            raise Unauthenticated
        known = await self._memory.get(("caller", caller_id), lambda: self._load_caller(caller_id))
        # Compared for an unknown id too, so that the time taken tells nothing.
        if not self._fits(known, key) or known is None:
            raise Unauthenticated
        if _is_over(known.caller):
            # A flood of requests must not become a flood of records. Who goes on is counted by `ApiKey`.
            if self._limits.take(known.caller.id):
                await self.denied(known.caller, "expired_key")
            raise Unauthenticated
        return known.caller

    def recognised(self, key: str) -> Caller | None:
        """Return the caller whose key *key* is, where it is remembered and its key is good; else None."""
        # Of what shape it is need not be asked: only the very key has the right hash.
        known: _Known | None = self._memory.recall(("caller", key[_ID]))
        if known is None or not self._fits(known, key) or _is_over(known.caller):
            return None
        return known.caller

    async def require_scope(self, caller: Caller, scope: str) -> None:
        """Raise InsufficientScope where the key lacks *scope*."""
        if not caller.has(scope):
            await self.denied(caller, "insufficient_scope")
            raise InsufficientScope(scope=scope)

    async def require_reach(
        self, caller: Caller, tenant: str, provider: str | None = None, name: str | None = None
    ) -> list[str]:
        """Return *tenant* and its ancestors. Raises NotFound where any of it lies outside the key's limits.

        A tenant that does not exist and one that belongs to somebody else look the same.
        """
        above = await self._memory.get(("tenant", tenant), lambda: self._load_ancestors(tenant))
        if caller.tenant in above and caller.reaches(provider, name):
            return above
        if above:
            await self.denied(caller, "out_of_reach", tenant, provider, name)
        raise NotFound

    async def require_still(self, caller: Caller, tenant: str, provider: str, name: str) -> None:
        """Raise what `identify` and `require_reach` would, had *caller* come only now and not waited."""
        known = await self._memory.get(("caller", caller.id), lambda: self._load_caller(caller.id))
        if known is None or _is_over(known.caller):
            raise Unauthenticated
        await self.require_reach(known.caller, tenant, provider, name)

    async def require_switch(self, caller: Caller, tenant: str, provider: str | None = None) -> None:
        """Raise NotFound where what changes all of *tenant*, or of its *provider*, is beyond the key's limits."""
        await self.require_reach(caller, tenant, provider)
        await self.require_whole(caller, tenant, provider)

    async def require_whole(self, caller: Caller, tenant: str, provider: str | None = None) -> None:
        """Raise NotFound where the key is limited to some of what hangs on *tenant*, or on its *provider*."""
        if caller.names is not None or (provider is None and caller.providers is not None):
            await self.denied(caller, "out_of_reach", tenant, provider)
            raise NotFound

    def is_in_reach(self, caller: Caller, tenant: str, provider: str, name: str) -> bool:
        """Say whether it is remembered that *caller* reaches all of it."""
        above: list[str] | None = self._memory.recall(("tenant", tenant))
        return above is not None and caller.tenant in above and caller.reaches(provider, name)

    def _fits(self, known: _Known | None, key: str) -> bool:
        return hmac.compare_digest(
            key_digest(self._keyring, Secret(key)), known.key_digest if known else bytes(32)
        )

    async def _load_caller(self, caller_id: str) -> tuple[_Known | None, Sequence[Stale]]:
        async with self._database.read() as tx:
            row = await store.find(tx, caller_id)
        if row is None:
            return None, ()
        return _Known(Caller.of(row), row["key_digest"]), (Stale("caller", caller_id),)

    async def _load_ancestors(self, tenant: str) -> tuple[list[str], Sequence[Stale]]:
        async with self._database.read() as tx:
            above = await tenants.ancestors(tx, tenant)
        return above, (TENANTS,) if above else ()

    async def denied(
        self,
        caller: Caller,
        reason: str,
        tenant: str | None = None,
        provider: str | None = None,
        name: str | None = None,
    ) -> None:
        await self._writer.record(Event(caller.actor, "caller.denied", reason, tenant, provider, name))


def exceeds(maker: Caller, *, above: Sequence[str], wanted: dict[str, Any]) -> str | None:
    """Return what of the *wanted* key goes beyond its *maker*'s, None where nothing does.

    *above* are the wanted tenant and its ancestors.
    """
    if maker.tenant not in above:
        return "tenant"
    if any(not maker.has(scope) for scope in wanted["scopes"]):
        return "scopes"
    if (name := maker.narrower_than(wanted)) is not None:
        return name
    if maker.expires_at is not None and (wanted["expires_at"] is None or wanted["expires_at"] > maker.expires_at):
        return "expires_at"
    return None


async def subtree(tx: AsyncConnection, caller: Caller, tenant: str | None) -> Any:
    """Return a select of the tenants that a list for *caller* may cover, *tenant*'s subtree if given."""
    if tenant is None:
        return tenants.below(caller.tenant)
    if caller.tenant not in await tenants.ancestors(tx, tenant):
        raise NotFound
    return tenants.below(tenant)


def _id_of(key: str) -> str | None:
    parts = _KEY.fullmatch(key)
    if parts is None or not hmac.compare_digest(parts["checksum"], _checksum(parts["body"])):
        return None
    return parts["id"]


def _is_over(caller: Caller) -> bool:
    return caller.expires_at is not None and caller.expires_at <= datetime.now(UTC)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
