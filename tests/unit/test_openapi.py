"""How the API describes itself: whole, true to the code, and not changed by mistake.

`python -m tests.unit.test_openapi` writes the description down anew.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vault import errors
from vault.http.examples import EXAMPLES, PROBLEMS
from vault.http.operations import OPERATIONS
from vault.http.problems import PROBLEM_JSON, STATUS
from vault.http.server import description
from vault.http.views.problems import Problem

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "openapi.json"
# What only ever ends as a page, and the classes that are always raised with a code of their own.
_NO_PROBLEMS = {"error", "gone", "invalid", "conflict", "unavailable"}


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@pytest.fixture(scope="module", name="document")
def _document() -> dict[str, Any]:
    return description()


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def problems(document: dict[str, Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Give status, code and example of every problem of every operation."""
    for operation in operations(document):
        for status, answer in operation["responses"].items():
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            examples = answer.get("content", {}).get(PROBLEM_JSON, {}).get("examples", {})
            yield from ((int(status), code, example["value"]) for code, example in examples.items())


def test_the_description_is_the_one_that_was_agreed_on(document: dict[str, Any]) -> None:
    """Whatever changes for callers changes in openapi.json, where a reviewer sees it."""
    assert SNAPSHOT.read_text() == written(document), (
        "the API has changed: run `make schema`, and look at what it changes in openapi.json"
    )


def test_every_operation_says_what_it_takes_and_what_it_answers(document: dict[str, Any]) -> None:
    """Words for the operation and each parameter; a shape and an example for each body and success."""
    for operation in operations(document):
        name = operation["operationId"]
        assert operation["summary"], name
        assert all(one["description"] for one in operation.get("parameters", ())), name
        for status in {"200", "201"} & set(operation["responses"]):
            assert operation["responses"][status].get("content"), f"{name} has no example (vault/http/examples.py)"
        assert min(operation["responses"]) < "400", name


def test_the_table_of_operations_names_no_other(document: dict[str, Any]) -> None:
    """A line of an operation that was renamed would be no line of any."""
    assert set(OPERATIONS) <= {operation["operationId"] for operation in operations(document)}


def test_every_example_is_one(document: dict[str, Any]) -> None:
    """What is shown would be taken, or could have been answered; what is never shown is not kept."""
    for shape, example in EXAMPLES.items():
        decoded: Any = msgspec.convert(example, shape, strict=False)
        assert msgspec.json.decode(msgspec.json.encode(decoded), type=shape) == decoded
    for status, code, example in problems(document):
        decoded_problem = msgspec.convert(example, Problem)
        assert (decoded_problem.status, decoded_problem.code) == (status, code)
        assert decoded_problem.detail
    assert set(document["components"]["examples"]) == {shape.__name__ for shape in EXAMPLES}
    assert {code for _, code, _ in problems(document)} == set(PROBLEMS)


def test_examples_hold_no_secret(document: dict[str, Any]) -> None:
    """Nothing in them is long and random enough to be taken for one, by people or by scanners."""
    for found in re.findall(r"[A-Za-z0-9_+/=-]{24,}", json.dumps({**EXAMPLES_BY_NAME, **PROBLEMS})):
        assert found.startswith("/") or "_" in found or found.isalpha(), found


EXAMPLES_BY_NAME = {shape.__name__: example for shape, example in EXAMPLES.items()}


_COMMANDS = {"keys", "moving"}  # what they refuse is said at a terminal


def raised() -> Iterator[tuple[int, str, object, str]]:
    """Give status, code, the literal detail and the place of every refusal in the code that has a literal code."""
    statuses = {known.__name__: status for known, status in STATUS.items()}
    for path in (ROOT / "vault").rglob("*.py"):
        if _COMMANDS.intersection(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in statuses:
                code = next((word.value for word in node.keywords if word.arg == "code"), None)
                detail = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
                if isinstance(code, ast.Constant):
                    yield statuses[node.func.id], str(code.value), detail, f"{path.name}:{node.lineno}"


def test_every_refusal_in_the_code_is_declared_for_some_route(document: dict[str, Any]) -> None:
    """A new code has its line in the table and its example, under the status that its class has."""
    declared = {(status, code) for status, code, _ in problems(document)}
    classes = {(status, known.code) for known, status in STATUS.items() if known.code not in _NO_PROBLEMS}

    assert classes <= declared
    assert {
        (status, code, where) for status, code, _, where in raised() if (status, code) not in declared
    } == set()
    assert errors.StorageUnavailable.code in PROBLEMS


def test_an_example_of_a_refusal_says_what_the_code_says() -> None:
    """Where the words of a refusal are fixed, its example has them."""
    details: dict[str, set[object]] = {}
    for _, code, detail, _ in raised():
        details.setdefault(code, set()).add(detail)
    fixed = {code for code, said in details.items() if None not in said}
    words = {
        node.value
        for path in (ROOT / "vault").rglob("*.py")
        if path.name != "examples.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    }

    assert {code: PROBLEMS[code][0] for code in fixed if PROBLEMS[code][0] not in words} == {}


if __name__ == "__main__":
    SNAPSHOT.write_text(written(description()))
