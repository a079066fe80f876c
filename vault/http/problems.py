"""Every error as application/problem+json (RFC 9457). The only place that knows which status an error has."""

import logging
import math
import re
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from vault import errors
from vault.audit import request_id

log = logging.getLogger(__name__)
PROBLEM_JSON = "application/problem+json"

STATUS: dict[type[errors.VaultError], int] = {
    errors.Unauthenticated: 401,
    errors.InsufficientScope: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.Invalid: 422,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
}
# What the framework itself refuses, by status.
_FRAMEWORK = {
    400: ("invalid_request", "The request is malformed."),
    404: ("not_found", "There is nothing here that this API key may see."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("body_too_large", "A body may have 64 KiB at most."),
    415: ("unsupported_media_type", "The body has to be application/json."),
}


def render(_request: Request[Any, Any, Any], error: errors.VaultError) -> Response[bytes]:
    """Answer an error of a use case."""
    status = next(STATUS[known] for known in type(error).__mro__ if known in STATUS)
    headers = {}
    members = dict(error.members)
    if error.retry_after is not None:
        members["retry_after"] = max(1, math.ceil(error.retry_after))
        headers["Retry-After"] = str(members["retry_after"])
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tokenvault"'
    return problem(status, error.code, error.detail, members, headers)


def render_framework(_request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what Litestar refused. What was sent is not repeated: it may be a secret in the wrong place."""
    status = error.status_code
    code, detail = _FRAMEWORK.get(status, (f"http_{status}", "The request cannot be carried out."))
    members = {"errors": _errors(error)} if isinstance(error, ValidationException) and error.extra else {}
    return problem(status, code, detail, members, dict(error.headers or {}))


def render_unexpected(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a fault of ours, of which the caller learns only the request id."""
    log.error("a request ended in an error of ours", exc_info=error)
    return problem(500, "internal_error", "This is a fault of the vault; the request id finds it in the log.", {})


def problem(
    status: int, code: str, detail: str, members: dict[str, Any], headers: dict[str, str] | None = None
) -> Response[bytes]:
    """Return a problem; *members* extend it."""
    body = {
        "type": "about:blank",
        "code": code,
        "title": titled(code),
        "status": status,
        "detail": detail,
        "instance": f"urn:request:{request_id.get()}",
    }
    present = {name: value for name, value in members.items() if value is not None}
    return Response(
        msgspec.json.encode(body | present),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=headers or {},
    )


def titled(code: str) -> str:
    """Return *code* in words."""
    return code.replace("_", " ").capitalize()


def _errors(error: ValidationException) -> list[dict[str, str]]:
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        {"field": str(entry.get("key", "")), "message": _without_values(str(entry.get("message", "")))}
        for entry in extra
        if isinstance(entry, dict)
    ]


def _without_values(message: str) -> str:
    """Return a validation message with everything in it that the sender may have written left out.

    msgspec quotes two such things: values in quotation marks, and the name of an unknown field.
    """
    message = re.sub(r"(unknown field) `.*`", r"\1", message, flags=re.DOTALL)
    return re.sub(r"'.*'|\".*\"", "…", message, flags=re.DOTALL)
