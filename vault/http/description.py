"""The OpenAPI document, made of the routes: nothing in here is about one of them alone.

Shapes are described by msgspec, since msgspec is what takes and makes the bodies. What an operation
can answer is in `operations.py`, and what that looks like in `examples.py`.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, ParameterKwarg, PathParameter, QueryParameter
from litestar.routes import HTTPRoute

from vault.http.examples import EXAMPLES, problem
from vault.http.operations import Said, answers
from vault.http.parameters import PARAMETERS
from vault.http.problems import PROBLEM_JSON
from vault.http.shapes import reference, schema, shapes
from vault.http.views.connections import ConnectionView
from vault.http.views.problems import Problem
from vault.http.views.tenants import TenantView

_HEADERS = {
    "X-Request-ID": ("Finds this request in the log; the sender's own where that is harmless.", "string"),
    "Retry-After": ("Seconds after which it is worth asking again.", "integer"),
    "WWW-Authenticate": ("How to say who asks.", "string"),
    "Location": ("Where the browser goes on.", "string"),
    "ETag": ("Stands for what people edit of it, for `If-Match`.", "string"),
}
_PLACES = {PathParameter: "path", QueryParameter: "query", HeaderParameter: "header"}
TAGGED = (ConnectionView, TenantView)  # what people edit
_MEANT = {
    200: "Done",
    201: "Made",
    204: "Done, and there is nothing to say",
    302: "To the provider",
    303: "Back to the application, with `status`, `tenant`, `provider`, `name` and `code` in the query",
    400: "Malformed",
    401: "No good API key",
    403: "The key lacks the scope",
    404: "Missing, or not for this key to see",
    409: "It contradicts what is stored",
    410: "The link was used, is too old, or belongs to another browser",
    413: "More than 64 KiB",
    415: "Not JSON",
    422: "Well-formed, and cannot be carried out",
    429: "Too many requests with this key",
    500: "A fault of the vault",
    503: "Not now; later perhaps",
}


def described(app: Litestar) -> dict[str, Any]:
    """Return the description of all routes of *app* that are in it."""
    document = app.openapi_config.to_openapi_schema().to_schema()  # type: ignore[union-attr]
    document["paths"], used, shared = {}, set[type](), set[tuple[int, str]]()
    for path, method, handler in operations(app):
        document["paths"].setdefault(path, {})[method.lower()] = _operation(handler)
        used |= {one for one in (_sent(handler), _answered(handler)) if one is not None}
        shared |= {(status, said[0]) for status, said in _said(handler).items() if _is_shared(said)}
    document["components"] |= {
        "schemas": shapes({*used, Problem}),
        "responses": {f"{code}.{status}": _answer(status, (code,)) for status, code in sorted(shared)},
        "headers": {name: _header(*about) for name, about in _HEADERS.items()},
        "examples": {shape.__name__: {"value": EXAMPLES[shape]} for shape in sorted(used, key=str)},
    }
    return document


def operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Give path, method and handler of every described route, in a fixed order."""
    found = (
        (route.path_format or "/", method, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if handler.resolve_include_in_schema()
    )
    return iter(sorted(found, key=lambda one: one[:2]))


def operation_id(handler: HTTPRouteHandler) -> str:
    """Return what an operation is called: its tag and the name of its function."""
    return f"{next(iter(handler.resolve_tags()), 'vault')}.{handler.handler_name}"


def _operation(handler: HTTPRouteHandler) -> dict[str, Any]:
    known: dict[str, Any] = {
        "operationId": operation_id(handler),
        "tags": sorted(handler.resolve_tags()),
        "summary": handler.summary,
        "description": handler.description or " ".join((handler.fn.__doc__ or "").split()),
        "parameters": list(_parameters(handler)),
        "responses": {str(status): _response(handler, status, said) for status, said in _said(handler).items()},
    }
    if (body := _sent(handler)) is not None:
        known["requestBody"] = {"required": True, "content": _json(body)}
    if handler.opt.get("public"):
        known["security"] = []
    return {name: value for name, value in known.items() if value or name == "security"}


def _parameters(handler: HTTPRouteHandler) -> Iterator[dict[str, Any]]:
    for name, field in handler.parsed_fn_signature.parameters.items():
        limits = field.kwarg_definition
        place = next((place for kind, place in _PLACES.items() if isinstance(limits, kind)), None)
        if place is None or not isinstance(limits, ParameterKwarg):
            continue
        description, pattern = PARAMETERS[name]
        told = {"minimum": limits.ge, "maximum": limits.le, "pattern": pattern}
        told["default"] = field.default if field.has_default else None
        yield {
            "name": limits.name or name,
            "in": place,
            "required": place == "path",
            "description": description,
            "schema": schema(field.annotation) | {word: each for word, each in told.items() if each is not None},
        }


def _said(handler: HTTPRouteHandler) -> dict[int, Said]:
    """Return what *handler* answers, success and refusals, by status."""
    places = {one["name"]: one["in"] for one in _parameters(handler)}
    found: dict[int, Said] = {handler.status_code: "same", **answers(operation_id(handler), handler, places)}
    return dict(sorted(found.items()))


def _is_shared(said: Said) -> bool:
    """Say whether an answer is that of many operations: a refusal with one code, mostly by a rule."""
    return isinstance(said, tuple) and len(said) == 1


def _response(handler: HTTPRouteHandler, status: int, said: Said) -> dict[str, Any]:
    if _is_shared(said):
        return {"$ref": f"#/components/responses/{said[0]}.{status}"}
    # A whole response, and not only its content: then there is a tag on it.
    tagged = said == "same" and handler.parsed_return_field.is_subclass_of(Response)
    return _answer(status, said, _answered(handler), tagged=tagged and _answered(handler) in TAGGED)


def _answer(status: int, said: Said, shape: type | None = None, *, tagged: bool = False) -> dict[str, Any]:
    headers = ["X-Request-ID"]
    headers += ["Retry-After"] if status in {429, 503} else []
    headers += ["WWW-Authenticate"] if status == 401 else []
    headers += ["Location"] if said == "redirect" else []
    headers += ["ETag"] if tagged else []
    known: dict[str, Any] = {
        "description": _meaning(status, said),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
    }
    if said == "page":
        known["content"] = {"text/html": {"schema": {"type": "string"}}}
    elif isinstance(said, tuple):
        known["content"] = {PROBLEM_JSON: _refused(status, said)}
    elif said == "same" and shape is not None:
        known["content"] = _json(shape)
    return known


def _meaning(status: int, said: Said) -> str:
    phrase = HTTPStatus(status).phrase
    return f"A page for the person ({phrase})" if said == "page" else _MEANT.get(status, phrase)


def _refused(status: int, codes: tuple[str, ...]) -> dict[str, Any]:
    """Return what a refusal looks like that has one of *codes*."""
    narrowed = {"type": "object", "properties": {"code": {"enum": sorted(codes)}, "status": {"const": status}}}
    return {
        "schema": {"allOf": [reference(Problem), narrowed]},
        "examples": {code: {"value": problem(status, code)} for code in sorted(codes)},
    }


def _json(shape: type) -> dict[str, Any]:
    usual = {"$ref": f"#/components/examples/{shape.__name__}"}
    return {"application/json": {"schema": reference(shape), "examples": {"usual": usual}}}


def _header(description: str, type_: str) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": type_}}


def _sent(handler: HTTPRouteHandler) -> type | None:
    """Return the shape of the body that *handler* takes."""
    return None if handler.parsed_data_field is None else handler.parsed_data_field.annotation


def _answered(handler: HTTPRouteHandler) -> type | None:
    """Return the shape of what *handler* answers with."""
    returned = handler.parsed_return_field
    if returned.is_subclass_of(Response):
        returned = returned.inner_types[0] if returned.inner_types else returned
    shapes = [returned.annotation, *(inner.annotation for inner in returned.inner_types)]  # it, or it and None
    return next((shape for shape in shapes if shape in EXAMPLES), None)
