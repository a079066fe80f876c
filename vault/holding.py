"""What a connection holds, opened: what its tokens are got with, and the token that is in force."""

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Client, Root, Secret
from vault.connection import Connection
from vault.keyring import Keyring
from vault.sealing import Place, fields_apart, open_one
from vault.store import sealed


class Holding(NamedTuple):
    """A *root*, whose client has no secret, and the *access_token* that it gave: None where it is static."""

    root: Root
    access_token: Secret | None

    @property
    def token(self) -> Secret | None:
        """What a revocation is asked for: with the refresh token all that came of it ends."""
        return self.root.refresh_token or self.access_token


async def holding(tx: AsyncConnection, keyring: Keyring, connection: Connection) -> Holding | None:
    """Return what *connection* holds, None where that is nothing. Raises CannotOpen."""
    values = await sealed.load(tx, "connection", connection.id)
    if not values:
        return None
    place = Place(connection.tenant, connection.provider, "connection", connection.id)

    def opened(field: str) -> Secret | None:
        return open_one(keyring, place, field, values[field]) if field in values else None

    def fields(name: str) -> dict[str, Secret]:
        return fields_apart(together) if (together := opened(name)) else {}

    root = Root(
        kind=connection.kind,
        client=None if connection.client_id is None else Client(connection.client_id),
        refresh_token=opened("refresh_token"),
        credentials=fields("credentials"),
        pending=fields("pending"),
        scopes=connection.asked_scopes,
    )
    return Holding(root, opened("access_token"))
