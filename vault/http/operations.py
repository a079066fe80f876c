"""What each operation can answer: by rule where a rule says it, and in one table where it is the route's own.

A new route fits by its rules. What it alone refuses is one line of OPERATIONS, by its tag and the
name of its function; a new code has an example in `examples.PROBLEMS` too. Tests hold both to the
code and to every answer that the tests see.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from litestar.handlers import HTTPRouteHandler

Refused = tuple[str, ...]  # the codes of problems
# A status with codes is a problem; `same` is the answer of success under another status, `bare` has none.
Said = Refused | Literal["same", "page", "redirect", "bare"]

_HANDING_OUT: dict[int, Said] = {
    409: ("not_connected", "disabled", "reconnect_required", "credentials_rejected", "operator_required"),
    503: ("refresh_in_progress", "provider_unavailable", "client_misconfigured", "overloaded"),
}
_ENTERING: dict[int, Said] = {
    409: ("no_client", "client_misconfigured"),
    422: (
        "unknown_kind",
        "unknown_field",
        "credentials_missing",
        "invalid_field",
        "invalid_moment",
        "credentials_rejected",
        "invalid_setting",
        "too_large",
    ),
}
_WORKING: dict[int, Said] = {
    409: ("not_able", "disabled", "credentials_rejected", "superseded", "operator_required"),
    503: ("provider_unavailable", "work_in_progress"),
}
OPERATIONS: dict[str, Mapping[int, Said]] = {
    "connections.token": _HANDING_OUT,
    "connections.reject": {**_HANDING_OUT, 422: ("wrong_source", "unknown_generation")},
    "connections.client_token": {
        409: ("not_connected", "disabled", "credentials_rejected", "operator_required", "no_client_tokens"),
        422: ("invalid_client_token",),
    },
    "connections.authorize": {409: ("no_client",), 422: ("unknown_kind", "invalid_return_url")},
    "connections.device": {
        409: ("no_client", "device_not_supported", "client_misconfigured"),
        422: ("unknown_kind", "request_refused"),
        503: ("provider_unavailable",),
    },
    "connections.page": {404: ("not_found",), 422: ("invalid_filter",)},
    "connections.put": {201: "same", **_ENTERING},
    "connections.patch": {
        **_ENTERING,
        409: ("no_client", "client_misconfigured", "operator_required", "refresh_token_uncertain"),
    },
    "connections.refresh": {409: ("not_renewable",)},
    "connections.verify": {409: ("operator_required",)},
    "connections.rotate": _WORKING,
    "connections.repair": _WORKING,
    "tenants.put": {201: "same", 409: ("tenant_is_root", "tenant_cycle"), 422: ("invalid_url",)},
    "tenants.page": {404: ("not_found",), 422: ("invalid_name",)},
    "tenants.patch": {409: ("tenant_is_root", "tenant_cycle"), 422: ("invalid_url",)},
    "tenants.remove": {204: "bare", 409: ("tenant_is_root", "tenant_not_empty", "client_in_use", "paused_above")},
    "audit.page": {404: ("not_found",), 422: ("invalid_moment",)},
    "usage.page": {404: ("not_found",), 422: ("invalid_moment", "invalid_span")},
    "clients.resume": {409: ("paused_above",)},
    "clients.remove": {409: ("paused_above",)},
    "clients.put": {422: ("credentials_missing", "invalid_private_key", "unknown_field")},
    "providers.put": {
        201: "same",
        409: ("provider_built_in", "provider_in_use"),
        422: ("invalid_definition", "invalid_url", "discovery_failed"),
        503: ("provider_unavailable",),
    },
    "providers.remove": {409: ("provider_built_in", "provider_in_use")},
    "callers.create": {
        404: ("not_found",),
        422: ("invalid_name", "invalid_scope", "invalid_expiry", "invalid_moment"),
    },
    "connect.visit": {302: "redirect", 403: "page", 410: "page"},
    "connect.callback": {200: "page", 303: "redirect", 400: "page", 410: "page"},
    "health.readyz": {503: ("not_ready",)},
}


def answers(operation: str, handler: HTTPRouteHandler, parameters: Mapping[str, str]) -> dict[int, Said]:
    """Return what *operation* says beside its success, by status.

    *parameters* says where each of its parameters is: in the `path` or in the `query`.
    """
    found = dict(OPERATIONS.get(operation, {}))
    for status, code in _by_rule(handler, parameters):
        said = found.get(status, ())
        if isinstance(said, tuple):
            found[status] = (*said, *((code,) if code not in said else ()))
    return dict(sorted(found.items()))


def _by_rule(handler: HTTPRouteHandler, parameters: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Give status and code of what holds for all operations of a sort."""
    named = {"tenant", "provider"} & set(parameters) or "path" in parameters.values()
    if not handler.opt.get("public"):
        yield from ((400, "invalid_request"), (401, "unauthenticated"), (429, "rate_limited"))
        if handler.opt.get("scope") is not None:
            yield 403, "insufficient_scope"
        if "path" in parameters.values():
            yield 404, "not_found"
    if handler.parsed_data_field is not None:
        yield from ((413, "body_too_large"), (415, "unsupported_media_type"))
    if named and "ticket" not in parameters:
        yield 422, "invalid_name"
    if "cursor" in parameters:
        yield 422, "invalid_cursor"
    if "If-Match" in parameters:
        yield from ((412, "precondition_failed"), (422, "invalid_condition"))
    if "vault" in handler.parsed_fn_signature.parameters:
        yield 503, "storage_unavailable"
    yield 500, "internal_error"
