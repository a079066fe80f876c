"""The description of the API at /schema: the page, its local assets, and what every route may answer."""

from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router

from vault.http.description import described, operation_id

_STATIC = Path(__file__).parent / "static"
_ASSETS = "/static"
# Everything is ours and on this host; Swagger UI draws its icons from data: addresses.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'"
)
_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Token Vault API</title>
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{_ASSETS}/swagger/favicon-32x32.png">
<link rel="stylesheet" href="{_ASSETS}/swagger/swagger-ui.css"></head>
<body><div id="api"></div>
<script src="{_ASSETS}/swagger/swagger-ui-bundle.js"></script>
<script src="{_ASSETS}/docs/start.js"></script></body></html>
"""


class _Page(OpenAPIRenderPlugin):
    """Swagger UI without an inline script and without a content network."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return _PAGE.encode()


class _Document(JsonRenderPlugin):
    """Our description of the routes in place of the framework's, written down once."""

    def __init__(self) -> None:
        super().__init__()
        self._written: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._written is None:
            self._written = msgspec.json.encode(described(request.app))
        return self._written


def openapi() -> OpenAPIConfig:
    """Return how the API describes itself."""
    return OpenAPIConfig(
        title="Token Vault",
        version="1",
        description="Connect an account once, fetch a token that works. Errors are RFC 9457 problems.",
        operation_id_creator=lambda handler, _method, _path: operation_id(handler),
        openapi_router=Router(path="/schema", route_handlers=[], opt={"public": True}, include_in_schema=False),
        render_plugins=[_Page(path="/"), _Document()],
        components=Components(
            security_schemes={"api_key": SecurityScheme(type="http", scheme="bearer", bearer_format="tv_…")}
        ),
        security=[{"api_key": []}],
    )


def assets() -> Router:
    """Return the route of the page's files."""
    return create_static_files_router(
        path=_ASSETS, directories=[_STATIC], include_in_schema=False, opt={"public": True}
    )
