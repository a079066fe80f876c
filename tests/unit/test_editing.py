"""What an edit makes of what was there: merging, and the conditions under which it is made."""

from typing import Any

import pytest

from vault.conditions import Condition
from vault.editing import merged
from vault.errors import Invalid, PreconditionFailed
from vault.http.conditional import condition

# RFC 7396, appendix A, as far as what is merged is an object.
CASES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({"a": "foo"}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"a": "b"}, {}, {"a": "b"}),
    ({"a": "b"}, None, {}),
]


@pytest.mark.parametrize(("target", "patch", "result"), CASES)
def test_a_merge_is_that_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    """Null removes, objects are merged, all else takes the place of what was there; the target stays as it is."""
    before = repr(target)

    assert merged(target, patch) == result
    assert repr(target) == before


MEANT: list[tuple[str | None, str | None, dict[str | None, bool]]] = [
    (None, None, {"v": True, None: True}),
    ("*", None, {"v": True, None: False}),
    ('"v"', None, {"v": True, "w": False, None: False}),
    ('"u", "v"', None, {"u": True, "v": True, "w": False, None: False}),
    ('W/"v"', None, {"v": False, None: False}),
    ('W/"v","w"', None, {"v": False, "w": True}),
    ('"v,w"', None, {"v": False, "w": False, "v,w": True}),
    ('""', None, {"": True, "v": False}),
    (None, "*", {"v": False, None: True}),
    ("*", "*", {"v": False, None: False}),
    ('"v"', "*", {"v": False, None: False}),
]


@pytest.mark.parametrize(("if_match", "if_none_match", "outcomes"), MEANT)
def test_conditions_mean_what_the_rfc_says(
    if_match: str | None, if_none_match: str | None, outcomes: dict[str | None, bool]
) -> None:
    """Strong comparison, lists, and * for whatever is there or that nothing is (RFC 9110, 13.1)."""
    asked = condition(if_match, if_none_match)

    assert {version: _holds(asked, version) for version in outcomes} == outcomes


def _holds(asked: Condition, version: str | None) -> bool:
    try:
        asked.check(version)
    except PreconditionFailed:
        return False
    return True


@pytest.mark.parametrize(
    ("if_match", "if_none_match"),
    [
        ("v", None),
        ("", None),
        ('"v', None),
        ('"v" "w"', None),
        ('"v",', None),
        ("*, *", None),
        ('w/"v"', None),
        (None, '"v"'),
        (None, ""),
        (None, "**"),
    ],
)
def test_what_is_no_condition_is_refused(if_match: str | None, if_none_match: str | None) -> None:
    """It is not ignored: a change that was meant to be conditional would be made without one."""
    with pytest.raises(Invalid):
        condition(if_match, if_none_match)
