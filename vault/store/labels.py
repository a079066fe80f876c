"""Looking into what people write on a connection, kept as one JSON object, for what fits into a line.

Those are texts, whole numbers and true or false, as JSON writes them; null, fractions, lists and objects
equal nothing. Keys and values are data: they are parameters, and no part of a path that a database reads.
"""

from typing import Any

from sqlalchemy import JSON, String, Text, and_, case, cast, exists, func, or_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

# PostgreSQL would refuse the whole list for one, and SQLite reads a text only up to it: where there is one,
# nothing is found.
_ESCAPED_NUL = r"\u0000"


def says(tx: AsyncConnection, column: Any, key: str, value: str) -> Any:
    """Return the condition that the object in *column* has *value* under *key*, in the language of *tx*."""
    return (_on_postgresql if tx.dialect.name == "postgresql" else _on_sqlite)(column, key, value)


def _on_postgresql(column: Any, key: str, value: str) -> Any:
    readable = case((func.strpos(column, _ESCAPED_NUL) > 0, "{}"), else_=column)
    each = func.json_each(cast(readable, JSON)).table_valued("key", "value")
    kind, text = func.json_typeof(each.c.value), each.c.value.op("#>>")(cast([], ARRAY(Text)))
    plain = or_(kind.in_(["string", "boolean"]), and_(kind == "number", text.regexp_match("^-?[0-9]+$")))
    return exists().where(each.c.key == key, text == value, plain)


def _on_sqlite(column: Any, key: str, value: str) -> Any:
    readable = case((func.instr(column, _ESCAPED_NUL) > 0, "{}"), else_=column)
    each = func.json_each(readable).table_valued("key", "value", "type")
    # true and false come as 1 and 0: their name is their type's.
    text = case((each.c.type.in_(["true", "false"]), each.c.type), else_=cast(each.c.value, String))
    plain = each.c.type.in_(["text", "integer", "true", "false"])
    return exists().where(each.c.key == key, text == value, plain)
