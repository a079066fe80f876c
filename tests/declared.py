"""Holds every answer that a test gets to the description of the API: its status, its type, its shape, its code."""

import json
from functools import cache
from typing import Any

import jsonschema_rs

from vault.http.server import description
from vault.http.tokens import TOKEN_ROUTE

WHERE = "and what a route answers is said in vault/http/operations.py"
Document = dict[str, Any]
document = cache(description)


class Declared:
    """The application, whose whole answers have to be as it describes them. A wrong one fails the request."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sent: list[dict[str, Any]] = []

        async def seen(message: dict[str, Any]) -> None:
            sent.append(message)
            await send(message)

        await self._app(scope, receive, seen)
        if len(sent) > 1 and not sent[-1].get("more_body") and scope["method"] not in {"HEAD", "OPTIONS"}:
            headers = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
            body = b"".join(message["body"] for message in sent[1:])
            _judge(scope, sent[0]["status"], headers, body)


def _judge(scope: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    # What is answered before the framework is asked has no template.
    path = scope.get("path_template") or (TOKEN_ROUTE if status == 200 else None)
    operation = document()["paths"].get(path, {}).get(scope["method"].lower())
    kind = headers.get("content-type", "").partition(";")[0]
    if operation is None:
        # An address or a method that there is not, or a page that is not described.
        assert status in {404, 405} or not (path or "/v1/").startswith("/v1/"), (path, status, body[:300])
        return
    about = f"{operation['operationId']} answered {status} {kind} {body[:300]!r}"
    answer = operation["responses"].get(str(status))
    assert answer is not None, f"{about}: declared are {list(operation['responses'])}, {WHERE}"
    answer = _followed(answer)
    missing = {name.lower() for name in answer["headers"]} - set(headers)
    assert not missing, f"{about}: without {missing}"
    shapes = answer.get("content", {})
    assert kind in shapes or not (shapes or body), f"{about}: declared is {list(shapes)}, {WHERE}"
    if kind.endswith("json"):
        judged = _validator(json.dumps(shapes[kind]["schema"])).iter_errors(json.loads(body))
        wrong = [f"{one.instance_path}: {one.message}" for one in judged]
        assert not wrong, f"{about}: {wrong}, {WHERE}"


def _followed(known: Document) -> Document:
    """Return what *known* refers to, where it does."""
    while "$ref" in known:
        found: Any = document()
        for step in known["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        known = found
    return known


@cache
def _validator(schema: str) -> Any:
    whole = {**json.loads(schema), "components": {"schemas": document()["components"]["schemas"]}}
    return jsonschema_rs.validator_for(whole, validate_formats=True)
