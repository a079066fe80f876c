"""Vendors' OpenAPI files, where they stand beside the project: what our requests and our fakes are held against.

They are not ours to give away, so the project lives without them: then a test that would use them says so in a
line of its output, and so does the head of the run.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from openapi_core import OpenAPI
from openapi_core.templating.paths.finders import APICallPathFinder
from openapi_core.testing import MockRequest, MockResponse

from integrations.contract import Answer

ROOT = Path(__file__).resolve().parents[2]
_METHODS = {"get", "put", "post", "delete", "patch"}


def folder() -> Path | None:
    """Return where the files are: in `shared/specs` beside the project, or further up; None where nowhere."""
    found = (parent / "shared" / "specs" for parent in ROOT.parents)
    return next((one for one in found if one.is_dir()), None)


def described(name: str) -> "Described | None":
    """Return what the file *name* describes (`resend/resend.json`); None, and a line that says so, without it."""
    path = (folder() or ROOT) / name
    if not path.is_file():
        print(f"{name} is not beside the project: nothing was held against it")  # noqa: T201
        return None
    return _read(path)


class Described:
    """One vendor's API as its OpenAPI file has it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._api = OpenAPI.from_dict(document)

    def operations(self) -> set[tuple[str, str]]:
        """Return every method and path there is: `("GET", "/domains/{domain_id}")`."""
        paths = self._document["paths"].items()
        return {(method.upper(), path) for path, item in paths for method in item if method in _METHODS}

    def accepted(self, method: str, path: str) -> set[str]:
        """Return the names of all that an operation takes in its query and its body."""
        item = self._document["paths"][path]
        operation = item[method.lower()]
        parameters = map(self._resolved, [*item.get("parameters", ()), *operation.get("parameters", ())])
        names = {one["name"] for one in parameters if one["in"] == "query"}
        content = self._resolved(operation.get("requestBody", {})).get("content", {})
        return names.union(*(self._resolved(body["schema"]).get("properties", ()) for body in content.values()))

    def check(self, request: httpx.Request) -> None:
        """Raise what is wrong with *request*: its address, security and values, or a name that is not accepted."""
        asked = _as_theirs(request)
        self._api.validate_request(asked)
        found = APICallPathFinder(self._api.spec).find(asked.method, str(request.url.copy_with(query=None)))
        unknown = _names(request) - self.accepted(asked.method, found.path_result.pattern)
        assert not unknown, f"not accepted: {sorted(unknown)}"

    def check_answer(self, request: httpx.Request, answer: Answer) -> None:
        """Raise what is wrong with an *answer* of a fake to *request*."""
        kind = answer.headers.get("content-type", "")
        theirs = MockResponse(answer.body, answer.status, dict(answer.headers), kind)
        self._api.validate_response(_as_theirs(request), theirs)

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return *node*, or what it refers to in the same document."""
        if "$ref" not in node:
            return node
        found: Any = self._document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return self._resolved(found)


def _as_theirs(request: httpx.Request) -> MockRequest:
    return MockRequest(
        f"{request.url.scheme}://{request.url.netloc.decode()}",
        request.method.lower(),
        request.url.path,
        args=dict(parse_qsl(request.url.query.decode(), keep_blank_values=True)),
        headers=dict(request.headers),
        data=request.content or None,
        content_type=_media_type(request),
    )


def _names(request: httpx.Request) -> set[str]:
    """Return the names of what *request* sends in its query and its body."""
    body = request.content.decode()
    if _media_type(request) == "application/json":
        sent = set(json.loads(body))
    else:
        sent = {name for name, _ in parse_qsl(body, keep_blank_values=True)}
    return sent | set(request.url.params)


def _media_type(request: httpx.Request) -> str:
    return str(request.headers.get("Content-Type", "")).partition(";")[0]


@cache
def _read(path: Path) -> Described:
    return Described(json.loads(path.read_text()))
