"""The least that Litestar can do: what a fetch is held to."""

from litestar import Litestar, get
from litestar.types import ASGIApp


@get("/")
async def _hello() -> dict[str, str]:
    return {"hello": "world"}


def application() -> ASGIApp:
    """Return an application with one route."""
    return Litestar([_hello], openapi_config=None, logging_config=None)
