"""Where the token for a path comes from, remembered until anything on the way there changes."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from integrations.contract import Provider, Secret
from vault.audit import Action, Event
from vault.connection import Connection, Path
from vault.errors import CannotOpen, Conflict
from vault.feeding import fed_by
from vault.inheritance import served_by
from vault.keyring import Keyring
from vault.memory import GATES, TENANTS, Memory
from vault.providers import Providers, kind_of
from vault.sealing import Kept, Place
from vault.store import ways
from vault.store.changes import Stale
from vault.store.database import Database
from vault.store.ways import Way


class Found(Struct, frozen=True):
    """The connection that serves *path*, its own or an inherited one, and what of it is handed out.

    That is its access token; or what was entered, as its *provider* wants it given on.
    """

    path: Path
    connection: Connection
    value: Kept | None
    provider: Provider | None = None
    feed: Path | None = None  # whose access token goes with it

    @property
    def source(self) -> Path:
        return self.connection.tenant, self.connection.provider, self.connection.name

    @property
    def inherited(self) -> bool:
        return self.connection.tenant != self.path[0]

    @property
    def inherited_from(self) -> dict[str, str] | None:
        """Whose it is, as token answers say it, for a refusal; None where it is the path's own."""
        tenant, provider, name = self.source
        return {"tenant": tenant, "provider": provider, "name": name} if self.inherited else None

    def event(self, actor: str, action: Action, outcome: str, generation: int) -> Event:
        """Return a line of the audit: about the path, and whose connection it is where that is another's."""
        detail = {"source": self.connection.tenant} if self.inherited else {}
        return Event(actor, action, outcome, *self.path, generation, detail)


class Living(NamedTuple):
    """A *token* that lives, opened, and the connection where it was *found*."""

    found: Found
    token: Secret


class Sources:
    def __init__(self, database: Database, keyring: Keyring, memory: Memory, providers: Providers) -> None:
        self._database = database
        self._keyring = keyring
        self._memory = memory
        self._providers = providers

    def recall(self, path: Path) -> Found | None:
        """Return what is remembered to serve *path*. Whoever asks has asked the memory for the time."""
        found: Found | None = self._memory.recall(("connection", *path))
        return found

    async def read(self, path: Path) -> Found:
        """Return what serves *path* by the database now, to be remembered.

        Raises NotFound where there is no such tenant or provider, Conflict where nothing is connected
        or a kill switch is on.
        """
        return await self._memory.load(("connection", *path), lambda: self._load(path))

    async def living(self, path: Path) -> Living | None:
        """Return the access token that serves *path* now, with whose it is; None where none lives."""
        try:
            found = await self.read(path)
            living = found.connection.state.living(found.connection.read_at)
            return Living(found, found.value.open()) if found.value is not None and living else None
        except (Conflict, CannotOpen):  # not connected, or switched off
            return None

    async def _load(self, path: Path) -> tuple[Found, Sequence[Stale]]:
        async with self._database.read() as tx:
            way = await ways.find(tx, *path)
            if not way.stops:
                await self._providers.get(path[1], tx)
                raise _not_connected()
            number = served_by([stop.connection for stop in way.stops])
            connection, field, stored, _ = way.stops[number or 0]
            speaks = await self._providers.get(path[1], tx) if field == "credentials" else None
        _check_switches(connection, way)
        if number is None or connection is None:
            raise _not_connected(connection)
        if field is None or stored is None:
            return Found(path, connection, None), ()
        place = Place(connection.tenant, connection.provider, "connection", connection.id)
        value = Kept(self._keyring, place, field, stored)
        return Found(path, connection, value, speaks, _feed(connection, speaks)), _because(way, number)


def _feed(connection: Connection, provider: Provider | None) -> Path | None:
    if provider is None:
        return None
    return fed_by(kind_of(provider, connection.kind), connection)


def _not_connected(own: Connection | None = None) -> Conflict:
    reason = None if own is None or own.state.holds_tokens else own.state.reason
    return Conflict("Nobody has connected this yet.", code="not_connected", reason=reason)


def _check_switches(connection: Connection | None, way: Way) -> None:
    """Raise Conflict where a kill switch is on: of *connection* or what it depends on, or above the path."""
    if connection is not None and not connection.enabled:
        raise Conflict("This connection is switched off.", code="disabled")
    paused = (connection and connection.paused) or ("tenant" if way.tenant_paused else None)
    if paused is not None:
        raise Conflict(f"The {paused} is paused.", code="disabled", paused=paused)


def _because(way: Way, number: int) -> Sequence[Stale]:
    """Return what makes it untrue that the place with that *number* serves: a change there, or nearer."""
    changes = tuple(stop.change for stop in way.stops[: number + 1])
    return (*changes, GATES) if number == 0 else (*changes, TENANTS, GATES)
