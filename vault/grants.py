"""Storing what a person just gave, by consent or by hand, in place of whatever the connection held before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from integrations.contract import Account, Finding, Provider, Renewal, Secret, TokenSet
from vault.connection import OF_ITS_TOKEN, Connection, Reason, Status, TokenState
from vault.errors import CannotOpen, Conflict, NotFound
from vault.holding import held_as
from vault.keyring import Keyring
from vault.means import Means
from vault.sealing import Place, fields_together, seal_all
from vault.store import clients, connections, parking, sealed, settle
from vault.store.changes import Stale, vacancy
from vault.store.parking import Scope
from vault.store.writer import Transaction
from vault.timing import Jitter, NewTokens, check_at, due_at, new_tokens

NOT_TRIED = Finding(verdict="unknown")


@dataclass(frozen=True, kw_only=True)
class Received:
    """A grant as it arrived: whose it is, which client got it, and how many seconds ago it was asked for."""

    tokens: TokenSet
    account: Account | None
    client: str | None
    scopes: tuple[str, ...]
    age: float
    consented: bool  # by a person just now, and not imported
    granted_at: datetime | None = None  # where not just now
    refresh_expires_at: datetime | None = None  # where that is known as a moment
    kind: str
    renewal: Renewal = "refresh_token"  # where it holds one
    credentials: Mapping[str, Secret] = field(default_factory=dict)  # what was entered, by field
    shown: Mapping[str, str] | None = None  # that, as people may see it
    check_every: int | None = None  # seconds between two tries of what is never renewed
    finding: Finding = NOT_TRIED
    status: Status = "verified"
    reason: Reason | None = None
    continues: bool = False  # the stored grant: its refresh token is the stored one

    @property
    def got(self) -> bool:
        """Whether tokens are got with it: what was entered is not itself what is handed out."""
        return self.renewal != "none" or not self.credentials


async def held(tx: Transaction, path: tuple[str, str, str]) -> Connection | None:
    """Return the connection at *path*, which nobody else changes in this transaction; None where there is none.

    Parking passes by what somebody else is writing.
    """
    await parking.stand_still(tx.connection)
    found = await connections.find(tx.connection, *path)
    return None if found is None else await connections.hold(tx.connection, found.id)


async def require_client(tx: Transaction, client: str) -> None:
    """Raise Conflict where the registration with which a provider was asked is gone meanwhile."""
    if await clients.get(tx.connection, client) is None:
        raise Conflict("The client registration that was used is gone.", code="no_client")


async def begun(tx: Transaction, path: tuple[str, str, str], kind: str, client: str | None = None) -> Connection:
    """Return a new connection at *path* that holds nothing yet. A taken path violates a constraint."""
    tx.outdate(vacancy(*path))  # who inherited there has one of their own from now on
    return await connections.begin(tx.connection, path, kind, client)


async def awaited(tx: Transaction, path: tuple[str, str, str], kind: str, client: str) -> Connection:
    """Return the connection at *path*, a new one where there is none, which a person is asked to connect."""
    connection = await held(tx, path) or await begun(tx, path, kind, client)
    if connection.state.reason == "empty":
        await connections.edit_state(tx.connection, connection.id, {"reason": "awaiting_consent"})
        tx.outdate(Stale("connection", connection.id))
    return connection


async def store_grant(
    tx: Transaction, means: Means, connection: Connection, provider: Provider, received: Received
) -> int | None:
    """Make *received* the grant of *connection*; return its generation.

    Whoever is out refreshing the former grant settles nothing over it. None, and nothing is stored, where
    the provider gave no refresh token and that is no good.
    """
    await parking.stand_still(tx.connection)
    # Held first: what another replica claims or settles meanwhile decides what of it may be kept.
    held = await connections.hold(tx.connection, connection.id)
    if held is None:
        raise NotFound  # another replica has deleted it
    connection = held
    place = Place(connection.tenant, connection.provider, "connection", connection.id)
    renewing = received.tokens.refresh_token or await _still_good(
        tx, means.keyring, connection, received, provider
    )
    if renewing is None and received.consented and provider.needs_refresh_token:
        return None
    pending = await _pending(tx, means.keyring, connection, received)
    generation, now = await settle.supersede(tx.connection, connection.id)
    tx.outdate(Stale("connection", connection.id))
    asked_at = now - timedelta(seconds=received.age)
    times = _times(received, provider, asked_at, means.jitter)
    entered = fields_together(received.credentials) if received.credentials else None
    token = received.tokens.access_token if received.got else None
    kept = {"access_token": token, "refresh_token": renewing, "credentials": entered, "pending": pending}
    values = seal_all(means.keyring, place, generation, kept)
    await sealed.forget(tx.connection, "connection", connection.id)
    await sealed.put(tx.connection, "connection", connection.id, generation, values)
    await connections.edit(tx.connection, connection.id, _whose(received))
    renewal = _renewal(received, renewing)
    state = _begun(received, times, now, renewal) | _tried(received, renewal, now, means.jitter)
    if received.continues or (renewing is not None and received.tokens.refresh_token is None):
        state |= _of_kept(connection.state, times, now, means.jitter)
    await connections.edit_state(tx.connection, connection.id, state)
    await parking.park(tx.connection, Scope("connection", connection.id))
    return generation


def _whose(received: Received) -> dict[str, Any]:
    """Return the columns of a connection that a new grant decides."""
    account = received.account  # what stands behind the former grant need not stand behind this one
    return {
        "kind": received.kind,
        "client": received.client,
        "account": account.subject if account else None,
        "account_label": account.label if account else None,
        "scopes": json.dumps(received.tokens.scopes or received.scopes),
        "asked_scopes": json.dumps(received.scopes),
        "shown": None if received.shown is None else json.dumps(received.shown),
    }


def _renewal(received: Received, refresh_token: Secret | None) -> Renewal:
    return "none" if received.renewal in OF_ITS_TOKEN and refresh_token is None else received.renewal


def _begun(received: Received, times: NewTokens, now: datetime, renewal: Renewal) -> dict[str, Any]:
    """Return the columns of a token state with which a new grant begins: nothing has failed yet."""
    return {
        **vars(times),
        "client": received.client,
        "status": received.status,
        "reason": received.reason,
        "renewal": renewal,
        "next_refresh_at": _due(received, times, now, renewal),
        "refreshed_at": now,
        "verified_at": now if received.status == "verified" else None,
        "failures": 0,
        "first_failed_at": None,
        "last_error_code": None,
        "retry_not_before": None,
        "retry_dictated": False,
        "granted_at": now if received.consented else received.granted_at,
    }


def _times(received: Received, provider: Provider, asked_at: datetime, jitter: Jitter) -> NewTokens:
    """Return the moments that follow from its tokens; a refresh token is used before it ends."""
    times = new_tokens(received.tokens, provider, received.kind, asked_at, jitter)
    return _ending(times, received.refresh_expires_at, asked_at, jitter)


def _ending(times: NewTokens, ends: datetime | None, now: datetime, jitter: Jitter) -> NewTokens:
    """Return *times* of a refresh token that is older than they are: where that *ends*, it is used before."""
    if ends is None:
        return times
    early = due_at(now, max(int((ends - now).total_seconds()), 0), jitter)
    due = early if times.next_refresh_at is None else min(times.next_refresh_at, early)
    return replace(times, refresh_expires_at=ends, next_refresh_at=due)


def _due(received: Received, times: NewTokens, now: datetime, renewal: Renewal) -> datetime | None:
    """Return when it is renewed first: at once where only that tells when a token ends that renews itself."""
    unproven = received.status == "configured" and renewal == "self_exchange"
    return None if renewal == "none" else now if unproven else times.next_refresh_at


def _tried(received: Received, renewal: Renewal, now: datetime, jitter: Jitter) -> dict[str, Any]:
    """Return the columns about whether it was tried, and when it is again."""
    finding, again = received.finding, check_at(now, received.check_every, jitter)
    return {
        "last_error_code": finding.code,
        "lacks": json.dumps(finding.lacks),
        "checked_at": None if finding is NOT_TRIED else now,
        "next_check_at": again if renewal == "none" else None,
    }


def _of_kept(former: TokenState, times: NewTokens, now: datetime, jitter: Jitter) -> dict[str, Any]:
    """Return the columns about a refresh token that is kept, and no longer lived: it is used before it ends."""
    ended = _ending(times, times.refresh_expires_at or former.refresh_expires_at, now, jitter)
    ends, due = ended.refresh_expires_at, ended.next_refresh_at
    return {"granted_at": former.granted_at, "refresh_expires_at": ends, "next_refresh_at": due}


def renews(connection: Connection) -> bool:
    """Say whether *connection* has a refresh token that nobody has called dead."""
    state = connection.state
    return state.renewal == "refresh_token" and state.status not in {"unconfigured", "failed"}


def may_be_spent(state: TokenState, provider: Provider) -> bool:
    """Say whether somebody has sent the refresh token, or may have, where it is good for one time only."""
    sent = state.inflight_generation == state.generation or state.uncertain
    return sent and provider.rotation != "never"


def keeps_refresh_token(connection: Connection, client: str | None, provider: Provider) -> bool:
    """Say whether the refresh token of *connection* would stay in force if its account agreed once more.

    Not one of another client than *client*, nor one that may be spent; nor one of an unknown account, as imports
    are: whoever consents may be somebody else.
    """
    mine = connection.client == client and connection.account is not None
    return mine and renews(connection) and not may_be_spent(connection.state, provider)


async def _still_good(
    tx: Transaction, keyring: Keyring, connection: Connection, received: Received, provider: Provider
) -> Secret | None:
    """Return the refresh token that a second consent leaves in force: many providers give only one."""
    mine = received.account is not None and received.account.subject == connection.account
    if not received.consented or not mine or not keeps_refresh_token(connection, received.client, provider):
        return None
    return await _opened(tx, keyring, connection, "refresh_token")


async def _pending(tx: Transaction, keyring: Keyring, connection: Connection, received: Received) -> Secret | None:
    """Return what an unfinished work has kept, which other credentials of the same account do not end.

    A rotation may have come so far that nothing else is any good.
    """
    account = received.account and received.account.subject
    if account is None or (received.kind, account) != (connection.kind, connection.account):
        return None
    return await _opened(tx, keyring, connection, "pending")


async def _opened(tx: Transaction, keyring: Keyring, connection: Connection, field: str) -> Secret | None:
    """Return a *field* of what *connection* holds, None where it is not there, or does not open."""
    try:
        return await held_as(tx.connection, keyring, connection, field)
    except CannotOpen:
        return None
