"""Holding requests and answers against a vendor's description: what is wrong with them is found."""

import json
from typing import Any

import pytest
from openapi_core.exceptions import OpenAPIError

from integrations.calls import bearer, call
from integrations.contract import Answer, Secret
from tests.vendors import specs

ITEM = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 9}}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "a vendor", "version": "1"},
    "servers": [{"url": "https://vendor.example"}],
    "security": [{"key": []}],
    "paths": {
        "/things": {
            "parameters": [{"$ref": "#/components/parameters/Limit"}],
            "get": {
                "responses": {
                    "200": {
                        "description": "them",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    }
                }
            },
        },
        "/things/{id}": {
            "post": {
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                        "application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/Thing"}},
                    }
                },
                "responses": {"204": {"description": "done"}},
            }
        },
    },
    "components": {
        "parameters": {"Limit": LIMIT},
        "schemas": {"Thing": ITEM},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    },
}
DESCRIBED = specs.Described(DOCUMENT)
KEY = bearer(Secret("canary-key"))
THINGS = "https://vendor.example/things"


def test_what_an_operation_accepts_is_read_with_what_it_refers_to() -> None:
    """Of its path and its own, in the query and in every kind of body."""
    assert DESCRIBED.operations() == {("GET", "/things"), ("POST", "/things/{id}")}
    assert DESCRIBED.accepted("GET", "/things") == {"limit"}
    assert DESCRIBED.accepted("POST", "/things/{id}") == {"id"}


def test_right_requests_and_answers_pass() -> None:
    """In a query, as JSON and as a form."""
    listing = call("GET", THINGS, authorization=KEY, query={"limit": "9"})
    DESCRIBED.check(listing)
    DESCRIBED.check(call("POST", f"{THINGS}/a", authorization=KEY, body={"id": 1}))
    DESCRIBED.check(call("POST", f"{THINGS}/a", authorization=KEY, form={"id": "1"}))
    DESCRIBED.check_answer(listing, Answer(200, {"content-type": "application/json"}, b'{"id": 1}'))


@pytest.mark.parametrize(
    "changed",
    [
        {"address": "https://elsewhere.example/things"},
        {"address": "https://vendor.example/thing"},
        {"method": "DELETE"},
        {"authorization": None},
        {"query": {"limit": "10"}},
        {"query": {"limt": "1"}},
        {"method": "POST", "address": f"{THINGS}/a", "body": {}},
        {"method": "POST", "address": f"{THINGS}/a", "body": {"id": 1, "name": "x"}},
        {"method": "POST", "address": f"{THINGS}/a", "form": {"id": "1", "Id": "1"}},
    ],
)
def test_a_wrong_request_is_found(changed: dict[str, Any]) -> None:
    """A wrong host, path, method or value, no key, and a name that is not in the description."""
    right = {"method": "GET", "address": THINGS, "authorization": KEY}

    with pytest.raises((OpenAPIError, AssertionError)):
        DESCRIBED.check(call(**{**right, **changed}))


@pytest.mark.parametrize(("status", "body"), [(200, {}), (200, {"id": "x"}), (404, {"id": 1})])
def test_a_wrong_answer_is_found(status: int, body: dict[str, Any]) -> None:
    """What a fake answers is what the vendor says that it does."""
    answer = Answer(status, {"content-type": "application/json"}, json.dumps(body).encode())

    with pytest.raises(OpenAPIError):
        DESCRIBED.check_answer(call("GET", THINGS, authorization=KEY), answer)


def test_without_the_files_a_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for a description that is not there gets none, and the output tells."""
    assert specs.described("nobody/nothing.json") is None

    assert (
        capsys.readouterr().out == "nobody/nothing.json is not beside the project: nothing was held against it\n"
    )
