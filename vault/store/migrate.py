"""Bringing the tables up to date, by one replica at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

_SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, the same from any working directory."""
    made = Config()
    made.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


async def upgrade(connection: AsyncConnection) -> None:
    """Run the missing migrations on *connection*, all or none."""
    await connection.run_sync(lambda sync: command.upgrade(config(sync), "head"))


async def is_current(connection: AsyncConnection) -> bool:
    """Say whether the tables are those that this code was written for."""
    head = ScriptDirectory.from_config(config()).get_current_head()
    return head == await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
