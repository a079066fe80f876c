"""Statements are compiled once a process, not once a vault: that alone was a fifth of what the tests cost.

SQLAlchemy keeps what it compiled by the dialect, and every engine has one of its own. Here those of one kind
are equal and their engines keep it in one place. What is sent to a database stays the same.
"""

from typing import Any

from sqlalchemy import URL, Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite

_compiled = dict[Any, Any]()


class _Alike:
    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=_compiled)


class Sqlite(_Alike, SQLiteDialect_aiosqlite):
    supports_statement_cache = True


class AsyncPostgres(_Alike, PGDialectAsync_psycopg):
    supports_statement_cache = True


class Postgres(_Alike, PGDialect_psycopg):
    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[AsyncPostgres]:
        return AsyncPostgres


def share() -> None:
    """Have every engine that is made from now on share what it compiles."""
    registry.register("sqlite.aiosqlite", __name__, Sqlite.__name__)
    registry.register("postgresql.psycopg", __name__, Postgres.__name__)
