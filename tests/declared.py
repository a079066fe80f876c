"""Holds every answer that a test gets to the description of the API: its status, its type, its shape, its code."""

import json
from functools import cache
from typing import Any

import jsonschema_rs

from vault.http.connections import TOKEN_ROUTE
from vault.http.description import described
from vault.http.server import litestar
from vault.services import Vault

Document = dict[str, Any]
_known: list[Document] = []


def document(vault: Vault) -> Document:
    """Return the description of the API, which is the same for every vault: made once a run."""
    if not _known:
        _known.append(described(litestar(vault)))
    return _known[0]


class Declared:
    """The application, whose whole answers have to be as it describes them. A wrong one fails the request."""

    def __init__(self, app: Any, described: Document) -> None:
        self._app = app
        self._document = described

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sent: list[dict[str, Any]] = []

        async def seen(message: dict[str, Any]) -> None:
            sent.append(message)
            await send(message)

        await self._app(scope, receive, seen)
        if len(sent) > 1 and not sent[-1].get("more_body") and scope["method"] not in {"HEAD", "OPTIONS"}:
            headers = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
            body = b"".join(message["body"] for message in sent[1:])
            self._judge(scope, sent[0]["status"], headers, body)

    def _judge(self, scope: Any, status: int, headers: dict[str, str], body: bytes) -> None:
        # What is answered before the framework is asked has no template.
        path = scope.get("path_template") or (TOKEN_ROUTE if status == 200 else None)
        operation = self._document["paths"].get(path, {}).get(scope["method"].lower())
        if operation is None:
            _judge_outside(path, status, headers, body)
            return
        about = f"{operation['operationId']} answered {status} {body[:300]!r}"
        declared = operation["responses"].get(str(status))
        assert declared is not None, f"{about}: no such status is declared (vault/http/operations.py)"
        declared = _followed(self._document, declared)
        missing = {name.lower() for name in declared["headers"]} - set(headers)
        assert not missing, f"{about}: without the declared headers {missing}"
        kind = headers.get("content-type", "").partition(";")[0]
        shapes = declared.get("content", {})
        assert kind in shapes or not (shapes or body), f"{about} as {kind}: declared is {list(shapes)}"
        if kind.endswith("json"):
            wrong = [f"{one.instance_path}: {one.message}" for one in self._validator(shapes[kind]).iter_errors(json.loads(body))]
            assert not wrong, f"{about}: {wrong} (vault/http/operations.py says which codes a route has)"

    def _validator(self, content: Document) -> Any:
        return _compiled(json.dumps(content["schema"], sort_keys=True), id(self._document))


def _judge_outside(path: str | None, status: int, headers: dict[str, str], body: bytes) -> None:
    """Judge what is no operation: an address or a method that there is not, or a page that is not described."""
    if headers.get("content-type") == "application/problem+json":
        code = json.loads(body)["code"]
        assert code in {"not_found", "method_not_allowed", "internal_error"} or not (path or "").startswith("/v1/"), (
            f"{path} answered {status} {code}"
        )


def _followed(document: Document, declared: Document) -> Document:
    while "$ref" in declared:
        found: Any = document
        for step in declared["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        declared = found
    return declared


@cache
def _compiled(schema: str, _document: int) -> Any:
    whole = {**json.loads(schema), "components": {"schemas": _known[0]["components"]["schemas"]}}
    return jsonschema_rs.validator_for(whole, validate_formats=True)
