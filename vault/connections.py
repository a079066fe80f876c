"""Looking at connections, changing what people may change, entering credentials, and disconnecting."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from integrations.contract import Kind, Provider
from vault.access import Caller, subtree
from vault.audit import Event
from vault.conditions import UNCONDITIONAL, Condition
from vault.connection import Connection, Path
from vault.disconnect import Last, Outcome, Revoking, bury, end
from vault.editing import Edit, columns, version
from vault.entering.brought import Brought, entered_for
from vault.entering.completing import completed, continued, continues
from vault.entering.told import NOTHING_TOLD, Told
from vault.entering.trying import tried
from vault.errors import NotFound, PreconditionFailed
from vault.feeding import feed_of
from vault.grants import Received, begun, held, require_client, store_grant
from vault.inheritance import served_by
from vault.means import Means
from vault.providers import kind_of
from vault.store import connections as store
from vault.store import parking, tenants, ways, works
from vault.store.changes import Stale
from vault.store.parking import Scope
from vault.store.writer import Transaction, Unit
from vault.tries import count_try
from vault.works.rotating import every, reschedule
from vault.works.running import SET_UP, Works

T = TypeVar("T")
NOTHING: Mapping[str, str] = {}


Reach = Callable[[str, str, str], Awaitable[object]]


async def anywhere(_tenant: str, _provider: str, _name: str) -> None:
    """Let an operator use any connection."""


@dataclass(frozen=True, kw_only=True)
class Change(Edit):
    """What a person wants of a connection; what is not given stays as it is."""

    kind: str | None = None
    credentials: dict[str, str] | None = None  # the fields of the kind, or tokens from elsewhere
    told: Told = NOTHING_TOLD  # of tokens from elsewhere
    verify: bool = True
    reach: Reach = anywhere  # raises what keeps whoever wants it from another connection that it rests on


class Connections:
    def __init__(self, means: Means, works: Works) -> None:
        self._means = means
        self._works = works

    async def get(self, path: Path) -> Connection:
        """Return the connection at *path*, without opening anything. Raises NotFound."""
        async with self._means.database.read() as tx:
            found = await store.find(tx, *path)
        if found is None:
            raise NotFound
        return found

    async def source(self, path: Path) -> Path | None:
        """Return which connection serves *path*, its own or an inherited one; None where none does.

        A kill switch does not change that: it only keeps what is there from being handed out.
        """
        async with self._means.database.read() as tx:
            way = [stop.connection for stop in (await ways.find(tx, *path)).stops]
        number = served_by(way)
        serving = None if number is None else way[number]
        return None if serving is None else (serving.tenant, serving.provider, serving.name)

    async def page(
        self,
        caller: Caller,
        *,
        tenant: str | None,
        provider: str | None,
        status: str | None,
        expiring_within: timedelta | None,
        metadata: Mapping[str, str] = NOTHING,
        after: list[str] | None,
        limit: int,
    ) -> list[Connection]:
        """Return up to *limit* connections that *caller* may see, in the order of their paths.

        Those whose *metadata* says all of what is asked for, where anything is.
        """
        filters: dict[str, Any] = {"metadata": metadata}
        if caller.names is not None:
            filters["name"] = sorted(caller.names)
        if status is not None:
            filters["status"] = [status]
        providers = caller.providers
        if provider is not None:
            providers = frozenset({provider}) if providers is None else providers & {provider}
        if providers is not None:
            filters["provider"] = sorted(providers)
        async with self._means.database.read() as tx:
            within = await subtree(tx, caller, tenant)
            if expiring_within is not None:
                filters["expiring_before"] = await store.database_time(tx) + expiring_within
            return await store.page(tx, within, filters, after, limit)

    async def put(
        self, actor: str, path: Path, above: list[str], change: Change, condition: Condition = UNCONDITIONAL
    ) -> tuple[Connection, bool]:
        """Store *change*, the connection too where it is new; return it and whether it is.

        Credentials are tried first: what the provider refuses is not stored. Raises PreconditionFailed where
        *condition* is not met.
        """
        provider, known = await self._known(path)
        condition.check(_version(known))  # before anything is tried; and once more when it is stored
        brought = await self._tried(path, provider, known, above, change)

        async def unit(tx: Transaction) -> tuple[Connection, bool]:
            if await tenants.find(tx.connection, path[0]) is None:
                raise NotFound
            connection = await held(tx, path)
            new = connection is None
            condition.check(_version(connection))
            if connection is None:
                connection = await _begun(tx, path, provider, change, brought)
            elif known is not None and brought is not None:
                _check_rotated(known, connection)
            received = None if brought is None else brought.received(provider, connection.read_at)
            tx.record(Event(actor, "connection.changed", "created" if new else "ok", *path))
            return await self._stored(tx, actor, connection, change, provider, received), new

        stored, new = await self._submitted(unit, change)
        return await self._set_up(actor, stored, change, provider, brought), new

    async def patch(
        self, actor: str, path: Path, above: list[str], change: Change, condition: Condition = UNCONDITIONAL
    ) -> Connection:
        """Store *change* of a connection that is there, as `put` does; what it leaves out of credentials stays.

        Raises NotFound, and PreconditionFailed also where other credentials came during the try.
        """
        provider, known = await self._known(path)
        if known is None:
            raise NotFound
        condition.check(version(known))
        kind = kind_of(provider, change.kind or known.kind)
        credentials = await completed(self._means, kind, known, change.credentials)
        brought = await self._tried(path, provider, known, above, replace(change, credentials=credentials))
        if brought is not None and brought.says_nothing and change.credentials == {} and _holds(known, kind):
            brought = None  # what is stored was tried once more, and nobody can tell: it stays as it is
        goes_on = continues(kind, known, change.credentials)

        async def unit(tx: Transaction) -> Connection:
            connection = await held(tx, path)
            if connection is None:
                raise NotFound
            condition.check(version(connection))
            received = None
            if brought is not None:
                _check_unchanged(known, connection)
                received = brought.received(provider, connection.read_at)
                if goes_on:
                    received = await continued(tx, self._means, connection, provider, received)
            tx.record(Event(actor, "connection.changed", "ok", *path))
            return await self._stored(tx, actor, connection, change, provider, received)

        return await self._set_up(actor, await self._submitted(unit, change), change, provider, brought)

    async def _known(self, path: Path) -> tuple[Provider, Connection | None]:
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(path[1], tx)
            return provider, await store.find(tx, *path)

    async def _tried(
        self, path: Path, provider: Provider, known: Connection | None, above: list[str], change: Change
    ) -> Brought | None:
        """Try the credentials of *change* as far as it wants that; return them, None where there are none."""
        every(change.settings or {})  # what is wrong with it is said before anything is tried
        entered = entered_for(provider, known, change.kind, change.credentials)
        if entered is None:
            return None
        feed = feed_of(entered.kind, path[0], change.credentials or {})
        if feed is not None:
            await change.reach(*feed)  # whoever uses the one gets the token of the other with it
        if change.verify:
            await count_try(self._means.writer, path)
        found = await tried(self._means, provider, entered, above, verify=change.verify)
        return Brought(entered, found, change.verify, change.told)

    async def _stored(
        self,
        tx: Transaction,
        actor: str,
        connection: Connection,
        change: Change,
        provider: Provider,
        received: Received | None,
    ) -> Connection:
        """Return *connection* with what *change* edits, and what was *received* as its grant."""
        await _edit(tx, actor, connection, change)
        if received is not None:
            if received.client is not None:
                await require_client(tx, received.client)
            await store_grant(tx, self._means, connection, provider, received)
        changed = await store.get(tx.connection, connection.id)
        assert changed is not None
        kind = kind_of(provider, changed.kind)
        await reschedule(tx, kind, connection, changed)
        if received is not None and SET_UP in kind.abilities:
            if change.verify:
                await works.begin(tx.connection, changed.id, SET_UP)
            else:  # nothing is made with what nobody has tried: what was begun is for a repair to finish
                await works.end(tx.connection, changed.id)
        return changed

    async def _set_up(
        self, actor: str, stored: Connection, change: Change, provider: Provider, brought: Brought | None
    ) -> Connection:
        """Return what was *stored* as it is once its kind is of use, as far as that can be brought about now."""
        if brought is None or not change.verify or SET_UP not in kind_of(provider, stored.kind).abilities:
            return stored
        return await self._works.set_up(actor, stored)

    async def _submitted(self, unit: Unit[T], change: Change) -> T:
        """Carry *unit* out; done when nobody gets any more what *change* takes away."""
        stored = await self._means.writer.submit(unit, alone=True)
        if change.takes_away:
            await self._means.memory.elsewhere()
        return stored

    async def delete(
        self, actor: str, path: Path, condition: Condition = UNCONDITIONAL, *, revoking: Revoking
    ) -> Outcome:
        """Disconnect: unusable at once, its secrets gone. Says truthfully what the provider made of it."""

        async def unit(tx: Transaction) -> Last:
            connection = await held(tx, path)
            if connection is None:
                raise NotFound
            condition.check(version(connection))
            return await bury(tx, self._means, actor, connection, revoking)

        last = await self._means.writer.submit(unit, alone=True)
        outcome = await end(self._means, actor, last, revoking)
        await self._means.memory.elsewhere()
        return outcome


def _version(connection: Connection | None) -> str | None:
    return None if connection is None else version(connection)


def _holds(known: Connection, kind: Kind) -> bool:
    return known.state.holds_tokens and known.kind == kind.id


def _check_unchanged(known: Connection, connection: Connection) -> None:
    """Raise PreconditionFailed where other credentials would be replaced than those that *known* holds."""
    if connection.id != known.id or connection.state.granted_generation != known.state.granted_generation:
        raise PreconditionFailed
    _check_rotated(known, connection)


def _check_rotated(known: Connection, connection: Connection) -> None:
    """Raise PreconditionFailed where what *known* holds was rotated since: what was tried may be over by now."""
    same = connection.id == known.id and connection.state.renewal == "none"
    granted = connection.state.granted_generation == known.state.granted_generation
    if same and granted and connection.state.generation != known.state.generation:
        raise PreconditionFailed


async def _begun(
    tx: Transaction, path: Path, provider: Provider, change: Change, brought: Brought | None
) -> Connection:
    """Return a new connection, without credentials where *change* says something else of its path."""
    if brought is None:
        change.require_something()
    kind = kind_of(provider, change.kind) if brought is None else brought.entered.kind
    return await begun(tx, path, kind.id)


async def _edit(tx: Transaction, actor: str, connection: Connection, change: Change) -> None:
    values = columns(change, connection)
    whose = {"changed_by": actor, "changed_at": connection.read_at}
    await store.edit(tx.connection, connection.id, {**values, **whose})
    if values:
        await parking.park(tx.connection, Scope("connection", connection.id))
        tx.outdate(Stale("connection", connection.id))
