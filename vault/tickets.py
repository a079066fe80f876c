"""Links for people: each good until it has succeeded, and told again as long as it is open."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Connection
from vault.errors import Gone
from vault.keyring import Keyring
from vault.providers import Providers, asked_of
from vault.store import connections
from vault.store import tickets as store
from vault.store.writer import Transaction, Writer

LEAST_LEFT = timedelta(hours=1)  # an open ticket with less is not handed out again


class Tickets:
    """Links that a person can follow to connect an account."""

    def __init__(
        self, writer: Writer, keyring: Keyring, providers: Providers, *, public_url: str, lifetime: float
    ) -> None:
        self._writer = writer
        self._keyring = keyring
        self._providers = providers
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
            provider = await self._providers.get(connection.provider, tx.connection)
            url, _ = await self.issue(
                tx.connection,
                connection.id,
                scopes=asked_of(provider, connection),
                return_url=None,
                replace_account=False,
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
