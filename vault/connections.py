"""Looking at connections, changing what people may change, entering credentials, and disconnecting."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from integrations.contract import Provider, TokenSet
from vault.access import Caller, subtree
from vault.audit import Event
from vault.completing import completed
from vault.conditions import UNCONDITIONAL, Condition
from vault.connection import Connection, Path
from vault.disconnect import Last, Outcome, Revoking, bury, end
from vault.editing import Edit, columns, version
from vault.entering import Entered, Tried, checked, imported, tried
from vault.errors import Invalid, NotFound, PreconditionFailed
from vault.grants import Received, begun, held, require_client, store_grant
from vault.inheritance import served_by
from vault.masking import masked
from vault.means import Means
from vault.providers import kind_of
from vault.store import connections as store
from vault.store import parking, tenants, ways
from vault.store.changes import Stale
from vault.store.parking import Scope
from vault.store.writer import Transaction

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Change(Edit):
    """What a person wants of a connection; what is not given stays as it is."""

    kind: str | None = None
    credentials: dict[str, str] | None = None  # the fields of the kind, or tokens from elsewhere
    verify: bool = True


class Connections:
    def __init__(self, means: Means) -> None:
        self._means = means

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
        self,
        actor: str,
        path: Path,
        above: list[str],
        change: Change,
        condition: Condition = UNCONDITIONAL,
        *,
        new_too: bool = True,
    ) -> tuple[Connection, bool]:
        """Store *change*, the connection too where it is new; return it and whether it is.

        Credentials are tried first: what the provider refuses is not stored.
        Raises PreconditionFailed where *condition* is not met, NotFound for a new one unless *new_too*.
        """
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(path[1], tx)
            known = await store.find(tx, *path)
        # Before anything is tried; and once more when it is stored.
        _check(known, condition, new_too=new_too)
        if known is not None and not new_too:
            change = await self._completed(provider, known, change)
        entered = _entered(provider, known, change)
        found = None
        if entered is not None:
            if change.verify:
                self._means.tries.take(path)
            found = await tried(self._means, provider, entered, above, verify=change.verify)

        async def unit(tx: Transaction) -> tuple[Connection, bool]:
            if await tenants.find(tx.connection, path[0]) is None:
                raise NotFound
            connection = await held(tx, path)
            new = connection is None
            _check(connection, condition, new_too=new_too)
            if known is not None and entered is not None and not new_too:
                _check_unchanged(known, connection)
            if found is not None and found.client is not None:
                await require_client(tx, found.client.id)
            if connection is None:
                if entered is None:
                    raise Invalid("A new connection needs credentials.", code="credentials_missing")
                connection = await begun(tx, path, entered.kind.id)
            await _edit(tx, connection, change)
            await store.edit(tx.connection, connection.id, {"changed_by": actor, "changed_at": connection.read_at})
            if entered is not None and found is not None:
                received = _received(entered, found, connection.read_at, verified=change.verify)
                await store_grant(tx, self._means, connection, provider, received)
            tx.record(Event(actor, "connection.changed", "created" if new else "ok", *path))
            changed = await store.get(tx.connection, connection.id)
            assert changed is not None
            return changed, new

        stored = await self._means.writer.submit(unit, alone=True)
        if change.takes_away:
            await self._means.memory.elsewhere()
        return stored

    async def _completed(self, provider: Provider, known: Connection, change: Change) -> Change:
        """Return *change* with what it leaves out of the credentials of *known*, where they stay of their kind."""
        kind = kind_of(provider, change.kind or known.kind)
        if kind.id != known.kind or change.credentials is None:
            return change
        return replace(change, credentials=await completed(self._means, kind, known, change.credentials))

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


def _check_unchanged(known: Connection, connection: Connection | None) -> None:
    """Raise PreconditionFailed where other credentials would be replaced than those that *known* holds."""
    if connection is None or connection.id != known.id:
        raise PreconditionFailed
    if connection.state.granted_generation != known.state.granted_generation:
        raise PreconditionFailed


def _check(known: Connection | None, condition: Condition, *, new_too: bool) -> None:
    if known is None and not new_too:
        raise NotFound
    condition.check(None if known is None else version(known))


async def _edit(tx: Transaction, connection: Connection, change: Change) -> None:
    values = columns(change, connection)
    if values:
        await store.edit(tx.connection, connection.id, values)
        await parking.park(tx.connection, Scope("connection", connection.id))
        tx.outdate(Stale("connection", connection.id))


def _entered(provider: Provider, known: Connection | None, change: Change) -> Entered | None:
    """Return what *change* brings for a connection, None where that is no credentials. Raises Invalid."""
    kind = kind_of(provider, change.kind or (known.kind if known else None))
    given, another = change.credentials, known is not None and known.kind != kind.id
    if kind.how == "consent":
        if given is None and another:
            raise Invalid("Another kind needs credentials of that kind.", code="credentials_missing")
        return None if given is None else imported(kind, given)
    takes_nothing = change.kind is not None and not any(field.required for field in kind.fields)
    if given is None and (takes_nothing or another):
        given = {}  # to be wanted is enough, or what is missing is named
    return None if given is None else Entered(kind=kind, fields=checked(kind, given))


def _received(entered: Entered, found: Tried, now: datetime, *, verified: bool) -> Received:
    """Return what is to be stored of credentials after the try, *verified* if that was wanted."""
    valid = found.finding.verdict in {"valid", "limited"}
    return Received(
        tokens=_dated(entered, found.tokens, now),
        account=found.account,
        client=None if found.client is None else found.client.id,
        scopes=entered.scopes,
        age=0.0,
        consented=False,
        kind=entered.kind.id,
        renewal=entered.kind.renewal,
        credentials=entered.fields,
        shown=masked(entered.kind, entered.fields) if entered.fields else None,
        check_every=entered.kind.check_every,
        finding=found.finding,
        status="verified" if valid else "configured",
        reason=None if valid else "probe_unknown" if verified else "unverified",
    )


def _dated(entered: Entered, tokens: TokenSet, now: datetime) -> TokenSet:
    """Return tokens from elsewhere with the rest of their life in seconds, where it is known."""
    if not tokens.ends:
        return tokens
    if not tokens.access_token:
        return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=0)
    if entered.expires_at is None:
        return tokens
    rest = max(int((entered.expires_at - now).total_seconds()), 0)
    return TokenSet(tokens.access_token, tokens.refresh_token, expires_in=rest)
