"""Rotation on a schedule: a connection's setting `rotate_every_days`, and the line that says when it is due."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from integrations.contract import Kind
from vault.connection import Connection
from vault.errors import Invalid
from vault.store import connections, works
from vault.store.writer import Transaction

ROTATE = "rotate"
SETTING = "rotate_every_days"
MOST_DAYS = 3650


def every(settings: Mapping[str, Any]) -> timedelta | None:
    """Return how often *settings* have the credentials rotated, None for never. Raises Invalid."""
    days = settings.get(SETTING)
    if days is None:
        return None
    if type(days) is not int or not 1 <= days <= MOST_DAYS:
        detail = f"Days are a whole number from 1 to {MOST_DAYS}."
        raise Invalid(detail, code="invalid_setting", field=SETTING)
    return timedelta(days=days)


async def reschedule(tx: Transaction, kind: Kind, former: Connection, connection: Connection) -> None:
    """Have *connection* rotated as its settings say, counted from now where those of *former* said otherwise.

    What is begun goes on, but not with another account. Raises Invalid where its *kind* cannot be rotated.
    """
    wanted = every(connection.settings)
    if wanted is not None and ROTATE not in kind.abilities:
        detail = "Credentials of this kind cannot be rotated."
        raise Invalid(detail, code="invalid_setting", field=SETTING)
    another = (former.kind, former.account) != (connection.kind, connection.account)
    if another:
        await works.end(tx.connection, connection.id)
    elif former.settings.get(SETTING) == connection.settings.get(SETTING):
        return
    if wanted is None:
        await works.unschedule(tx.connection, connection.id)
    else:
        await works.schedule(tx.connection, connection.id, ROTATE, wanted)


async def schedule_next(tx: Transaction, connection: str) -> None:
    """Have what has ended followed by the next rotation, as the settings say."""
    about = await connections.get(tx.connection, connection)
    wanted = None if about is None else every(about.settings)
    if wanted is not None:
        await works.schedule(tx.connection, connection, ROTATE, wanted)
