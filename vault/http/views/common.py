"""What the shapes of all requests and answers share. Absent is absent: no field is null."""

import base64
import json
from datetime import datetime
from typing import Annotated

from litestar.params import QueryParameter
from msgspec import Meta, Struct, ValidationError, convert

from integrations.contract import encodable
from vault.clock import storable
from vault.errors import Invalid

# Printable, because no database takes a NUL and no log should take a line break. `$` alone would
# let a last line break pass.
_PRINTABLE = r"^[^\x00-\x1f\x7f\ud800-\udfff]*$(?!\n)"
Line = Annotated[str, Meta(min_length=1, max_length=256, pattern=_PRINTABLE)]
AskedLine = Annotated[str | None, QueryParameter(min_length=1, max_length=256, pattern=_PRINTABLE)]
Url = Annotated[str, Meta(min_length=1, max_length=2048, pattern=_PRINTABLE)]
Token = Annotated[str, Meta(min_length=1, max_length=16_384, pattern=_PRINTABLE)]
# What is entered into a form: a key file has line breaks.
Entry = Annotated[str, Meta(max_length=32_768, pattern=r"^[^\x00\ud800-\udfff]*$(?!\n)")]
Instant = Annotated[datetime, Meta(tz=True)]
ScopeWord = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$(?!\n)")]

# Words of ours, as the audit has them: `caller:abc`, `invalid_grant`.
Word = Annotated[str | None, QueryParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@~-]{0,127}$(?!\n)")]
Moment = Annotated[str | None, QueryParameter(format="date-time", description="RFC 3339, with its zone")]
Limit = Annotated[int, QueryParameter(ge=1, le=200)]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a caller sends."""


class View(Struct, omit_defaults=True, kw_only=True):
    """What a caller gets."""


def moment_of(text: str | None, field: str) -> datetime | None:
    """Return the moment that *text* names. Raises Invalid where it names none, or leaves the zone open."""
    try:
        return None if text is None else storable(convert(text, Instant), field)
    except ValidationError:
        raise Invalid(
            "A moment is written as in 2026-01-31T12:00:00Z.", code="invalid_moment", field=field
        ) from None


def whole(moment: datetime) -> datetime:
    """Return *moment* without the fraction of a second, as answers show it."""
    return moment.replace(microsecond=0)


def encode_cursor(parts: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, length: int) -> list[str] | None:
    """Return the parts of a cursor that we gave out. Raises Invalid for any other."""
    if cursor is None:
        return None
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != length or not all(storable_text(part) for part in parts):
        raise Invalid("This cursor is not one of ours.", code="invalid_cursor")
    return list(parts)


def number(part: str, *, digits: int = 18) -> int:
    """Return a whole number of a cursor. Raises Invalid for one that the column could not hold."""
    if not part.isascii() or not part.isdigit() or len(part) > digits:
        raise Invalid("This cursor is not one of ours.", code="invalid_cursor")
    return int(part)


def storable_text(part: object) -> bool:
    """Say whether a database could compare with *part*: neither NUL nor half a character is in it."""
    return isinstance(part, str) and "\x00" not in part and encodable(part)
