"""What is read of a request before a controller sees it: bodies that are JSON, and parameters that come once."""

from typing import Any, get_args

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import ClientException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

DEEPEST_BODY = 32  # objects and arrays in one another


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body is JSON of a sane depth, or refused as the sender's mistake."""

    async def json(self) -> Any:
        """Return the body. Raises ClientException."""
        kind = self.headers.get("content-type")
        if kind is not None and kind.partition(";")[0].strip().lower() != "application/json":
            raise ClientException(status_code=415)
        try:
            value = await super().json()
        except (UnicodeDecodeError, RecursionError):
            raise ClientException from None
        if is_deeper(value, DEEPEST_BODY):
            raise ClientException
        return value


def each_once(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a query parameter that comes twice: readers differ in which of the two they believe."""
    names = [name for name, _ in connection.query_params.multi_items()]
    if len(set(names)) != len(names) and not handler.opt.get("public"):
        raise ValidationException


def each_known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a query parameter that the operation has not: what was meant by it would not be done.

    `?revoked=true` is not `?revoke=true`, and it goes with a deletion. To what is public browsers come with
    whatever a provider adds.
    """
    fields = handler.parsed_fn_signature.parameters.items()
    known = {name for name, field in fields if isinstance(field.kwarg_definition, QueryParameter)}
    more = handler.opt.get("more_parameters", "\0")
    unknown = [name for name in connection.query_params if name not in known and not name.startswith(more)]
    if unknown and not handler.opt.get("public"):
        # Not repeated: it may be a secret in the wrong place.
        raise ValidationException(extra=[{"key": "query", "message": "There is no such parameter"}])


def no_null(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse `null` as a number or a word out of a list: it would be taken as if the parameter were not there."""
    fields = handler.parsed_fn_signature.parameters
    for name, value in connection.query_params.multi_items():
        if name in fields and value.lower() == "null" and not _takes_text(fields[name].annotation):
            raise ValidationException(extra=[{"key": name, "message": "Expected a value, got null"}])


def _takes_text(annotation: Any) -> bool:
    return str in (annotation, *get_args(annotation))


def is_deeper(value: Any, levels: int) -> bool:
    """Say whether more than *levels* objects and arrays are in one another."""
    inside = [value]
    for _ in range(levels + 1):
        inside = [
            item
            for outer in inside
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(inside)
