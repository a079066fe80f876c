"""Bringing the tables up to date, by one replica at a time."""

from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

Standing = Literal["earlier", "current", "later"]
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


async def standing(connection: AsyncConnection) -> Standing:
    """Say how the tables stand to those that this code was written for.

    *later* ones serve it as well: a migration does not break the version before it.
    """
    scripts = ScriptDirectory.from_config(config())
    stored = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    if stored == scripts.get_current_head():
        return "current"
    known = {script.revision for script in scripts.walk_revisions()}
    return "earlier" if stored is None or stored in known else "later"
