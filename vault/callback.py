"""What a provider sends a person back with: checked, exchanged, and stored as the connection's grant."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from integrations.contract import (
    AuthorizationRequest,
    Client,
    Provider,
    ProviderError,
    Secret,
    TokenSet,
)
from integrations.verdicts import OAUTH_ERRORS
from vault.authorize import authorization, verifier_place
from vault.carrying import carried
from vault.clients.as_client import Done, as_client, note, used
from vault.clients.registration import Registration, registered
from vault.clock import uptime
from vault.connection import Connection
from vault.consent import Consent, accept, note_failure
from vault.errors import CannotOpen, Gone
from vault.means import Means
from vault.sealing import open_one
from vault.store import connections, sealed
from vault.store import tickets as store
from vault.store.schema import AnyRow
from vault.store.writer import Transaction


@dataclass(frozen=True)
class Result:
    """How a visit ended, to be shown to the person or told to the program that sent them."""

    code: str  # "connected", or why not
    connection: Connection
    return_url: str | None

    @property
    def connected(self) -> bool:
        return self.code == "connected"


@dataclass(frozen=True)
class Visit:
    """A person who came back from the provider: what was asked, what was answered, and since when."""

    pending: AnyRow
    ticket: AnyRow
    connection: Connection
    parameters: Mapping[str, str]
    state: str
    started: float


class Callback:
    """The way from a code to a stored grant."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._exchanges: set[asyncio.Task[Result]] = set()

    async def finish(self, provider: str, parameters: Mapping[str, str], browser: str | None) -> Result:
        """Take what the provider sent the person back with, and connect.

        Raises Gone where the state is unknown, used, late, or of another browser: then nothing
        has been asked of the provider. The exchange goes on when the person closes the page.
        """
        state, started = parameters.get("state", ""), uptime()
        digest = self._means.keyring.mac("state", state)
        bound = self._means.keyring.mac("browser", browser or "")

        async def unit(tx: Transaction) -> tuple[AnyRow, AnyRow, Connection] | None:
            pending = await store.redeem(tx.connection, digest, bound, provider)
            ticket = None if pending is None else await store.find_open(tx.connection, pending.ticket_id)
            connection = (
                None if ticket is None else await connections.get(tx.connection, str(ticket.connection_id))
            )
            return (
                None if pending is None or ticket is None or connection is None else (pending, ticket, connection)
            )

        # Raised out here: in there, it would part the units of others that share the transaction.
        found = await self._means.writer.submit(unit)
        if found is None:
            raise Gone
        visit = Visit(*found, parameters, state, started)
        task = asyncio.create_task(self._connect(visit))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until every code that was sent has its grant stored."""
        while self._exchanges:
            await asyncio.wait(self._exchanges)

    async def _connect(self, visit: Visit) -> Result:
        try:
            code = await self._connected(visit)
        except (ProviderError, CannotOpen) as error:
            code = getattr(error, "code", "undecryptable")
        if code != "connected":
            await note_failure(self._means, visit.connection, code)
        return Result(code, visit.connection, visit.ticket.return_url)

    async def _connected(self, visit: Visit) -> str:
        """Return "connected", or the word for why not."""
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(visit.connection.provider, tx)
            client = await registered(tx, self._means.keyring, visit.pending.client)
            if client is None:
                return "no_client"
            values = await sealed.load(tx, "authorization", visit.pending.state_digest.hex())
        provider.check_authorization_answer(visit.parameters)
        if "code" not in visit.parameters or "error" in visit.parameters:
            return _refused(visit.parameters.get("error", ""))
        if "code_verifier" not in values:
            return "connection_deleted"
        place = verifier_place(visit.connection, visit.pending.state_digest)
        verifier = open_one(self._means.keyring, place, "code_verifier", values["code_verifier"])
        redirect_uri = visit.pending.redirect_uri
        bare = Client(client.client_id)
        asked = authorization(self._means.keyring, bare, redirect_uri, visit.state, verifier, visit.ticket)
        return await self._granted(visit, provider, client, asked)

    async def _granted(
        self, visit: Visit, provider: Provider, client: Registration, asked: AuthorizationRequest
    ) -> str:
        """Exchange the code and store what comes of it; what cannot be stored is given back."""
        sent = await self._exchange(visit, provider, client, asked)
        consent = Consent(
            connection=visit.connection,
            provider=provider,
            registration=client,
            client=used(client, sent.other),
            scopes=tuple(asked.scopes),
            nonce=asked.nonce if "openid" in asked.scopes else None,
            started=visit.started,
            replace_account=visit.ticket.replace_account,
        )
        ticket = visit.ticket.id
        outcome = await accept(self._means, consent, sent.value, lambda tx: store.succeed(tx.connection, ticket))
        await note(self._means, sent.other)
        return outcome

    async def _exchange(
        self, visit: Visit, provider: Provider, registration: Registration, asked: AuthorizationRequest
    ) -> Done[TokenSet]:
        async def redeem(client: Client | None) -> TokenSet:
            steps = provider.redeem(
                replace(asked, client=client or asked.client), Secret(visit.parameters["code"])
            )
            return await carried(self._means.outbound, steps, deadline=self._means.deadline(visit.started))

        return await as_client(self._means, registration, redeem)


def _refused(error: str) -> str:
    """Return the provider's word where it is one of the standard's (RFC 6749 4.1.2.1), ours otherwise."""
    standard = error in OAUTH_ERRORS or error == "unsupported_response_type"
    return error if standard else "authorization_failed"
