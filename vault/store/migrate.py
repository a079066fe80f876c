"""Bringing the tables up to date, by one replica at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

_SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


class Newer(Exception):
    """The database was brought up to date by a later version than this."""


def config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, the same from any working directory."""
    made = Config()
    made.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


async def upgrade(connection: AsyncConnection) -> None:
    """Run the missing migrations on *connection*, all or none. Raises Newer."""
    try:
        await connection.run_sync(lambda sync: command.upgrade(config(sync), "head"))
    except CommandError:
        raise Newer from None


async def is_current(connection: AsyncConnection) -> bool:
    """Say whether the tables are those that this code was written for."""
    head = ScriptDirectory.from_config(config()).get_current_head()
    return head == await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
