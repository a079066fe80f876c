"""Connecting an account: a ticket for a person, a visit to the provider, and what comes back.

The ticket is good until it succeeds, and a link preview does not use it up: what is single-use is
the state, minted at each visit, bound to the browser by a cookie and kept as a keyed hash.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import (
    Account,
    AuthorizationRequest,
    Provider,
    ProviderError,
    Secret,
    TokenSet,
    Unreadable,
)
from integrations.verdicts import OAUTH_ERRORS
from vault.audit import Event
from vault.clients import opened
from vault.clock import uptime
from vault.connection import Connection, Jitter
from vault.errors import CannotOpen, Conflict, Gone, Invalid, NotFound, StorageUnavailable
from vault.grants import Received, store_grant
from vault.keyring import Keyring
from vault.outbound import Outbound
from vault.providers import Providers
from vault.sealing import Place, open_one, seal_all
from vault.store import clients, connections, sealed, tenants
from vault.store import tickets as store
from vault.store.database import Database
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer

log = logging.getLogger(__name__)
KIND = "oauth2"
STATE_LIFETIME = timedelta(minutes=10)
SLOWEST_REWRITE = 5.0  # seconds between tries to write down a grant
LEAST_LEFT = timedelta(hours=1)  # an open ticket with less is not handed out again


@dataclass(frozen=True)
class Result:
    """How a visit ended, to be shown to the person or told to the program that sent them."""

    code: str  # "connected", or why not
    connection: Connection
    return_url: str | None

    @property
    def connected(self) -> bool:
        return self.code == "connected"


class Tickets:
    """Links that a person can follow to connect an account."""

    def __init__(self, writer: Writer, keyring: Keyring, *, public_url: str, lifetime: float) -> None:
        self._writer = writer
        self._keyring = keyring
        self._public_url = public_url
        self._lifetime = timedelta(seconds=lifetime)

    async def issue(
        self,
        tx: AsyncConnection,
        connection: str,
        *,
        scopes: Sequence[str],
        return_url: str | None,
        replace_account: bool,
    ) -> tuple[str, datetime]:
        """Return a new link and when it ends."""
        ticket = secrets.token_hex(16)
        expires_at = await connections.database_time(tx) + self._lifetime
        await store.add(
            tx,
            ticket,
            connection,
            scopes=scopes,
            return_url=return_url,
            replace_account=replace_account,
            expires_at=expires_at,
        )
        return self._url(ticket), expires_at

    async def reconnect_url(self, connection: Connection) -> str:
        """Return a link to connect *connection* again: an open one, or a new one."""

        async def unit(tx: Transaction) -> str:
            still_open = await store.open_for(tx.connection, connection.id, connection.read_at + LEAST_LEFT)
            if still_open is not None:
                return self._url(still_open.id)
            url, _ = await self.issue(
                tx.connection, connection.id, scopes=connection.scopes, return_url=None, replace_account=False
            )
            return url

        return await self._writer.submit(unit)

    def read(self, ticket: str) -> str:
        """Return the id in *ticket*. Raises Gone where we did not issue it."""
        identity, _, proof = ticket.partition(".")
        if not ticket.isascii() or not secrets.compare_digest(proof, self._proof(identity)):
            raise Gone
        return identity

    def _url(self, ticket: str) -> str:
        return f"{self._public_url}/connect/{ticket}.{self._proof(ticket)}"

    def _proof(self, ticket: str) -> str:
        # So that the link can be told again from the row, and the row alone is no link.
        return self._keyring.mac("ticket", ticket)[:16].hex()


class Authorize:
    """The way from a ticket to a stored grant."""

    def __init__(
        self,
        *,
        database: Database,
        writer: Writer,
        keyring: Keyring,
        outbound: Outbound,
        providers: Providers,
        tickets: Tickets,
        public_url: str,
        timeout: float,
        jitter: Jitter,
    ) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._outbound = outbound
        self._providers = providers
        self._tickets = tickets
        self._public_url = public_url
        self._timeout = timeout
        self._jitter = jitter
        self._exchanges: set[asyncio.Task[Result]] = set()

    async def request(
        self,
        actor: str,
        path: tuple[str, str, str],
        above: list[str],
        *,
        kind: str | None,
        scopes: list[str] | None,
        return_url: str | None,
        replace_account: bool,
    ) -> tuple[str, datetime]:
        """Return a link with which a person connects *path*, and when it ends.

        Raises NotFound for an unknown provider, Conflict where no client is registered, Invalid
        for a return address that the tenant has not listed.
        """
        tenant, provider_id, name = path
        if kind not in (None, KIND):
            raise Invalid("This provider has no such kind.", code="unknown_kind")

        async def unit(tx: Transaction) -> tuple[str, datetime]:
            provider = await self._providers.get(provider_id, tx.connection)
            client = await clients.nearest(tx.connection, above, provider_id)
            if client is None:
                raise Conflict("No client is registered for this provider.", code="no_client")
            await _check_return_url(tx.connection, tenant, return_url)
            connection = await self._ensure(tx, path, client.id)
            tx.record(Event(actor, "connection.authorized", "ok", tenant, provider_id, name))
            wanted = scopes if scopes is not None else connection.scopes or provider.default_scopes
            return await self._tickets.issue(
                tx.connection,
                connection.id,
                scopes=wanted,
                return_url=return_url,
                replace_account=replace_account,
            )

        return await self._writer.submit(unit, alone=True)

    async def visit(self, ticket: str, browser: str) -> str:
        """Return the provider's address for a person who follows *ticket* with *browser*'s cookie. Raises Gone."""
        ticket_id = self._tickets.read(ticket)

        async def unit(tx: Transaction) -> str:
            row = await store.find_open(tx.connection, ticket_id)
            connection = None if row is None else await connections.get(tx.connection, row.connection_id)
            if row is None or connection is None:
                raise Gone
            return await self._begin(tx.connection, row, connection, browser)

        return await self._writer.submit(unit, alone=True)

    async def finish(self, provider: str, parameters: Mapping[str, str], browser: str | None) -> Result:
        """Take what the provider sent the person back with, and connect.

        Raises Gone where the state is unknown, used, late, or of another browser: then nothing
        has been asked of the provider. The exchange goes on when the person closes the page.
        """
        state, started = parameters.get("state", ""), uptime()
        digest = self._keyring.mac("state", state)
        bound = self._keyring.mac("browser", browser or "")

        async def unit(tx: Transaction) -> tuple[AnyRow, AnyRow, Connection]:
            pending = await store.redeem(tx.connection, digest, bound, provider)
            ticket = None if pending is None else await store.find_open(tx.connection, pending.ticket_id)
            connection = (
                None if ticket is None else await connections.get(tx.connection, str(ticket.connection_id))
            )
            if pending is None or ticket is None or connection is None:
                raise Gone
            return pending, ticket, connection

        pending, ticket, connection = await self._writer.submit(unit)
        task = asyncio.create_task(self._connect(pending, ticket, connection, parameters, state, started))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until every code that was sent has its grant stored."""
        while self._exchanges:
            await asyncio.wait(self._exchanges)

    async def _ensure(self, tx: Transaction, path: tuple[str, str, str], client: str) -> Connection:
        connection = await connections.find(tx.connection, *path)
        if connection is not None:
            return connection
        tenant, provider, name = path
        identity = secrets.token_hex(16)
        row = {
            "id": identity,
            "tenant_id": tenant,
            "provider": provider,
            "name": name,
            "kind": KIND,
            "client": client,
            "created_at": await connections.database_time(tx.connection),
        }
        await connections.add(tx.connection, row)
        made = await connections.get(tx.connection, identity)
        assert made is not None
        return made

    async def _begin(self, tx: AsyncConnection, ticket: AnyRow, connection: Connection, browser: str) -> str:
        provider = await self._providers.get(connection.provider, tx)
        above = await tenants.ancestors(tx, connection.tenant)
        client = await clients.nearest(tx, above, connection.provider)
        if client is None:
            raise Gone("No client is registered for this provider any more.")
        state, verifier = secrets.token_urlsafe(32), Secret(secrets.token_urlsafe(32))
        digest = self._keyring.mac("state", state)
        asked = self._asked(await opened(tx, self._keyring, client), connection, state, verifier, ticket)
        row = {
            "state_digest": digest,
            "browser_digest": self._keyring.mac("browser", browser),
            "ticket_id": ticket.id,
            "provider": connection.provider,
            "client": client.id,
            "redirect_uri": asked.redirect_uri,
            "expires_at": connection.read_at + STATE_LIFETIME,
        }
        await store.begin(tx, row)
        place = _verifier_place(connection, digest)
        await sealed.put(
            tx,
            place.owner_kind,
            place.owner_id,
            0,
            seal_all(self._keyring, place, 0, {"code_verifier": verifier}),
        )
        return provider.authorization_url(asked)

    def _asked(
        self, client: Any, connection: Connection, state: str, verifier: Secret, ticket: AnyRow
    ) -> AuthorizationRequest:
        return AuthorizationRequest(
            client=client,
            redirect_uri=f"{self._public_url}/oauth/callback/{connection.provider}",
            state=state,
            nonce=self._keyring.mac("nonce", state).hex(),
            code_verifier=verifier,
            scopes=json.loads(ticket.scopes),
        )

    async def _connect(
        self,
        pending: AnyRow,
        ticket: AnyRow,
        connection: Connection,
        parameters: Mapping[str, str],
        state: str,
        started: float,
    ) -> Result:
        try:
            code = await self._connected(pending, ticket, connection, parameters, state, started)
        except (ProviderError, CannotOpen) as error:
            code = getattr(error, "code", "undecryptable")
        if code != "connected":
            await self._note_failure(connection, code)
        return Result(code, connection, ticket.return_url)

    async def _connected(
        self,
        pending: AnyRow,
        ticket: AnyRow,
        connection: Connection,
        parameters: Mapping[str, str],
        state: str,
        started: float,
    ) -> str:
        """Return "connected", or the word for why not."""
        async with self._database.read() as tx:
            provider = await self._providers.get(connection.provider, tx)
            row = await clients.get(tx, pending.client)
            if row is None:
                return "no_client"
            client = await opened(tx, self._keyring, row)
            values = await sealed.load(tx, "authorization", pending.state_digest.hex())
        provider.check_authorization_answer(parameters)
        if "code" not in parameters or "error" in parameters:
            return _refused(parameters.get("error", ""))
        place = _verifier_place(connection, pending.state_digest)
        verifier = open_one(self._keyring, place, "code_verifier", values["code_verifier"])
        asked = self._asked(client, connection, state, verifier, ticket)
        tokens = await self._exchange(provider, asked, Secret(parameters["code"]), started)
        nonce = asked.nonce if "openid" in asked.scopes else None
        try:
            account = provider.account(tokens, client=client, nonce=nonce)
            received = Received(tokens, account, pending.client, tuple(asked.scopes), uptime() - started)
            outcome = await self._store(connection, ticket, provider, received)
        except Unreadable as error:
            outcome = error.code
        if outcome != "connected":
            await self._give_back(provider, asked, tokens)
        return outcome

    async def _exchange(
        self, provider: Provider, asked: AuthorizationRequest, code: Secret, started: float
    ) -> TokenSet:
        request = provider.code_request(asked, code)
        answer = await self._outbound.send(request, deadline=started + self._timeout)
        return provider.read_tokens(answer)

    async def _store(self, connection: Connection, ticket: AnyRow, provider: Provider, received: Received) -> str:
        async def unit(tx: Transaction) -> str:
            now = await connections.get(tx.connection, connection.id)
            if now is None:
                return "connection_deleted"
            if _is_another(now, received.account) and not ticket.replace_account:
                return "account_mismatch"
            generation = await store_grant(tx, self._keyring, now, provider, received, self._jitter)
            await store.succeed(tx.connection, ticket.id)
            tx.record(
                Event("person", "connection.connected", "ok", now.tenant, now.provider, now.name, generation)
            )
            return "connected"

        return await self._until_written(unit)

    async def _until_written(self, unit: Callable[[Transaction], Awaitable[str]]) -> str:
        """Write what a code was spent for: nobody can get it a second time."""
        delay = 0.1
        while True:
            try:
                return await self._writer.submit(unit)
            except StorageUnavailable:
                log.error("a new grant waits to be written", extra={"retry_in": delay})
                await asyncio.sleep(delay)
                delay = min(delay * 2, SLOWEST_REWRITE)

    async def _give_back(self, provider: Provider, asked: AuthorizationRequest, tokens: TokenSet) -> None:
        """End a grant that is not going to be used, as far as the provider lets us."""
        request = provider.revoke_request(asked.client, tokens.refresh_token or tokens.access_token)
        if request is None:
            return
        try:
            await self._outbound.send(request, deadline=uptime() + self._timeout)
        except ProviderError as error:
            log.warning("a refused grant could not be revoked", extra={"code": error.code})

    async def _note_failure(self, connection: Connection, code: str) -> None:
        event = Event(
            "person",
            "connection.connect_failed",
            code,
            connection.tenant,
            connection.provider,
            connection.name,
        )

        async def unit(tx: Transaction) -> None:
            tx.record(event)

        await self._writer.submit(unit)


def _is_another(connection: Connection, account: Account | None) -> bool:
    return account is not None and connection.account is not None and account.subject != connection.account


def _refused(error: str) -> str:
    """Return the provider's word where it is one of the standard's (RFC 6749 4.1.2.1), ours otherwise."""
    standard = error in OAUTH_ERRORS or error == "unsupported_response_type"
    return error if standard else "authorization_failed"


def _verifier_place(connection: Connection, state_digest: bytes) -> Place:
    return Place(connection.tenant, connection.provider, "authorization", state_digest.hex())


async def _check_return_url(tx: AsyncConnection, tenant: str, return_url: str | None) -> None:
    """An exact match: what is nearly the listed address is another address."""
    row = await tenants.find(tx, tenant)
    if row is None:
        raise NotFound
    if return_url is not None and return_url not in row["return_urls"]:
        raise Invalid("return_url is not one of the tenant's return_urls.", code="invalid_return_url")
