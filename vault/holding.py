"""What a connection holds, opened: what its tokens are got with, and the token that is in force."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Client, Root, Secret
from vault.connection import Connection
from vault.keyring import Keyring, Sealed
from vault.sealing import Place, fields_apart, open_one
from vault.store import sealed

Stored = Mapping[str, tuple[Sealed, int]]  # values by field, each with its generation


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
    return held_in(keyring, connection, await sealed.load(tx, "connection", connection.id))


async def held_as(tx: AsyncConnection, keyring: Keyring, connection: Connection, field: str) -> Secret | None:
    """Return one *field* of what *connection* holds, whatever becomes of the others. Raises CannotOpen."""
    stored = (await sealed.load(tx, "connection", connection.id)).get(field)
    return None if stored is None else open_one(keyring, _place(connection), field, stored)


def held_in(keyring: Keyring, connection: Connection, values: Stored) -> Holding | None:
    """Return what *connection* holds, of which the stored *values* are known. Raises CannotOpen."""
    if not values:
        return None
    place = _place(connection)

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


def _place(connection: Connection) -> Place:
    return Place(connection.tenant, connection.provider, "connection", connection.id)
