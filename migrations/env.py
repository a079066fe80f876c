"""How Alembic reaches the database: a connection that the program gives it, or DATABASE_URL by hand."""

import asyncio
import os
from typing import Any

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from vault.store.moments import Moment
from vault.store.schema import metadata


def render_item(kind: str, item: Any, autogen_context: Any) -> Any:
    """Write our own column types into a migration as what they are stored as: revisions import nothing of ours."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Moment) else False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        render_item=render_item,
        compare_type=True,
        compare_server_default=False,
        # All migrations in one transaction, on SQLite too: whoever is killed leaves the old tables.
        transactional_ddl=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_by_hand() -> None:
    engine = create_async_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.config.attributes.get("connection") is not None:
    migrate(context.config.attributes["connection"])
else:
    asyncio.run(migrate_by_hand())
