"""What a provider sends a person back with: checked, exchanged, and stored as the connection's grant."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from integrations.contract import (
    AuthorizationRequest,
    Provider,
    ProviderError,
    Secret,
    TokenSet,
    Unreadable,
)
from integrations.verdicts import OAUTH_ERRORS
from vault.audit import Event
from vault.authorize import authorization, verifier_place
from vault.clients import opened
from vault.clock import uptime
from vault.connection import Connection, Jitter
from vault.errors import CannotOpen, Gone
from vault.grants import Received, store_grant
from vault.keyring import Keyring
from vault.outbound import Outbound
from vault.providers import Providers
from vault.revoke import revoke
from vault.sealing import open_one
from vault.store import clients, connections, sealed
from vault.store import tickets as store
from vault.store.database import Database
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer


@dataclass(frozen=True)
class Result:
    """How a visit ended, to be shown to the person or told to the program that sent them."""

    code: str  # "connected", or why not
    connection: Connection
    return_url: str | None

    @property
    def connected(self) -> bool:
        return self.code == "connected"


class Callback:
    """The way from a code to a stored grant."""

    def __init__(
        self,
        *,
        database: Database,
        writer: Writer,
        keyring: Keyring,
        outbound: Outbound,
        providers: Providers,
        timeout: float,
        jitter: Jitter,
    ) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._outbound = outbound
        self._providers = providers
        self._timeout = timeout
        self._jitter = jitter
        self._exchanges: set[asyncio.Task[Result]] = set()

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
        if "code_verifier" not in values:
            return "connection_deleted"
        place = verifier_place(connection, pending.state_digest)
        verifier = open_one(self._keyring, place, "code_verifier", values["code_verifier"])
        asked = authorization(self._keyring, client, pending.redirect_uri, state, verifier, ticket)
        tokens = await self._exchange(provider, asked, Secret(parameters["code"]), started)
        nonce = asked.nonce if "openid" in asked.scopes else None
        try:
            account = provider.account(tokens, client=client, nonce=nonce)
            received = Received(tokens, account, pending.client, tuple(asked.scopes), uptime() - started, True)
            outcome = await self._store(connection, ticket, provider, received)
        except Unreadable as error:
            outcome = error.code
        if outcome != "connected":
            await revoke(
                self._outbound, provider, client, tokens.refresh_token or tokens.access_token, self._timeout
            )
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
            doubt = None if ticket.replace_account else _doubt(now, received)
            if doubt is not None:
                return doubt
            generation = await store_grant(tx, self._keyring, now, provider, received, self._jitter)
            await store.succeed(tx.connection, ticket.id)
            tx.record(
                Event("person", "connection.connected", "ok", now.tenant, now.provider, now.name, generation)
            )
            return "connected"

        return await self._writer.insist(unit)

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


def _doubt(connection: Connection, received: Received) -> str | None:
    """Return why *received* may be of another account than the one that is stored; None where nothing says so."""
    if connection.account is None:
        return None
    if received.account is None:
        return "account_unknown" if "openid" in received.scopes else None
    return None if received.account.subject == connection.account else "account_mismatch"


def _refused(error: str) -> str:
    """Return the provider's word where it is one of the standard's (RFC 6749 4.1.2.1), ours otherwise."""
    standard = error in OAUTH_ERRORS or error == "unsupported_response_type"
    return error if standard else "authorization_failed"
