"""Looking into what people write on a connection, kept as one JSON object, for what fits into a line.

Those are texts, whole numbers and true or false, as JSON writes them; null, fractions, lists and objects
equal nothing. Keys and values are data: they are parameters, and no part of a path that a database reads.
"""

from typing import Any

from sqlalchemy import JSON, String, and_, case, cast, exists, func, literal, or_
from sqlalchemy.ext.asyncio import AsyncConnection

_ESCAPED_NUL = r"\u0000"  # which PostgreSQL cannot unescape: it would refuse the whole list for it


def says(tx: AsyncConnection, column: Any, key: str, value: str) -> Any:
    """Return the condition that the object in *column* has *value* under *key*, in the language of *tx*."""
    return (_on_postgresql if tx.dialect.name == "postgresql" else _on_sqlite)(column, key, value)


def _on_postgresql(column: Any, key: str, value: str) -> Any:
    readable = case((func.strpos(column, _ESCAPED_NUL) > 0, "{}"), else_=column)
    each = func.json_each(cast(readable, JSON)).table_valued("key", "value")
    kind, text = func.json_typeof(each.c.value), each.c.value.op("#>>")(literal("{}", String))
    plain = or_(kind.in_(["string", "boolean"]), and_(kind == "number", text.regexp_match("^-?[0-9]+$")))
    return exists().where(each.c.key == key, text == value, plain)


def _on_sqlite(column: Any, key: str, value: str) -> Any:
    each = func.json_each(column).table_valued("key", "value", "type")
    # true and false come as 1 and 0: their name is their type's.
    text = case((each.c.type.in_(["true", "false"]), each.c.type), else_=cast(each.c.value, String))
    plain = each.c.type.in_(["text", "integer", "true", "false"])
    return exists().where(each.c.key == key, text == value, plain)
