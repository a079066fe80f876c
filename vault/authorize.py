"""Connecting an account: a link for a person, and the visit that sends them to the provider.

The link is good until it succeeds, and a link preview does not use it up: what is single-use is
the state, minted at each visit, bound to the browser by a cookie and kept as a keyed hash.
"""

import json
import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import AuthorizationRequest, Client, Secret
from vault.audit import Event
from vault.connection import Connection
from vault.errors import Conflict, Gone, Invalid, NotFound
from vault.grants import awaited, keeps_refresh_token
from vault.keyring import Keyring
from vault.providers import Providers, asked_of, kind_of
from vault.sealing import Place, seal_all
from vault.store import clients, connections, sealed, tenants
from vault.store import tickets as store
from vault.store.schema import AnyRow
from vault.store.writer import Transaction, Writer
from vault.tickets import Tickets

STATE_LIFETIME = timedelta(minutes=10)


class Authorize:
    """The way to the provider."""

    def __init__(
        self, *, writer: Writer, keyring: Keyring, providers: Providers, tickets: Tickets, public_url: str
    ) -> None:
        self._writer = writer
        self._keyring = keyring
        self._providers = providers
        self._tickets = tickets
        self._public_url = public_url

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

        async def unit(tx: Transaction) -> tuple[str, datetime]:
            provider = await self._providers.get(provider_id, tx.connection)
            consent = kind_of(provider, kind, how="consent")
            client = await clients.nearest(tx.connection, above, provider_id)
            if client is None:
                raise Conflict("No client is registered for this provider.", code="no_client")
            await _check_return_url(tx.connection, tenant, return_url)
            connection = await awaited(tx, path, consent.id, client.id)
            tx.record(Event(actor, "connection.authorized", "ok", tenant, provider_id, name))
            return await self._tickets.issue(
                tx.connection,
                connection.id,
                scopes=asked_of(provider, connection, scopes),
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

    async def _begin(self, tx: AsyncConnection, ticket: AnyRow, connection: Connection, browser: str) -> str:
        provider = await self._providers.get(connection.provider, tx)
        above = await tenants.ancestors(tx, connection.tenant)
        client = await clients.nearest(tx, above, connection.provider)
        if client is None:
            raise Gone("No client is registered for this provider any more.")
        state, verifier = secrets.token_urlsafe(32), Secret(secrets.token_urlsafe(32))
        digest = self._keyring.mac("state", state)
        registration = Client(client.client_id, **json.loads(client.settings))  # the address takes no secret
        redirect_uri = f"{self._public_url}/oauth/callback/{connection.provider}"
        asked = authorization(self._keyring, registration, redirect_uri, state, verifier, ticket)
        holds = not ticket.replace_account and keeps_refresh_token(connection, client.id, provider)
        asked = replace(asked, holds_refresh_token=holds and set(asked.scopes) <= set(connection.scopes))
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
        place = verifier_place(connection, digest)
        await sealed.put(
            tx,
            place.owner_kind,
            place.owner_id,
            0,
            seal_all(self._keyring, place, 0, {"code_verifier": verifier}),
        )
        return provider.authorization_url(asked)


def authorization(
    keyring: Keyring,
    client: Client,
    redirect_uri: str,
    state: str,
    verifier: Secret,
    ticket: AnyRow,
) -> AuthorizationRequest:
    """Return what is asked of the provider: the same at the visit and, from the same state, at the callback."""
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        state=state,
        nonce=keyring.mac("nonce", state).hex(),
        code_verifier=verifier,
        scopes=json.loads(ticket.scopes),
    )


def verifier_place(connection: Connection, state_digest: bytes) -> Place:
    """Return where the PKCE verifier of one visit is sealed."""
    return Place(connection.tenant, connection.provider, "authorization", state_digest.hex())


async def _check_return_url(tx: AsyncConnection, tenant: str, return_url: str | None) -> None:
    """An exact match: what is nearly the listed address is another address."""
    row = await tenants.find(tx, tenant)
    if row is None:
        raise NotFound
    if return_url is not None and return_url not in row["return_urls"]:
        raise Invalid("return_url is not one of the tenant's return_urls.", code="invalid_return_url")
