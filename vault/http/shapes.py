"""The shapes of bodies as JSON Schema: msgspec's account of them, in the words that other tools read."""

from collections.abc import Iterable
from datetime import datetime
from inspect import cleandoc
from typing import Any, Literal, get_args, get_origin

import msgspec

from vault.http.views.common import View

_REFERENCE = "#/components/schemas/{name}"


def shapes(types: Iterable[type]) -> dict[str, Any]:
    """Return the schemas of *types*, and of all in them, by name."""
    ordered = sorted(types, key=lambda one: one.__name__)
    _, found = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    known = {each.__name__: each for each in _all_of(ordered)}
    return {name: _told(known[name], found[name]) for name in sorted(found)}


def reference(shape: type) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=shape.__name__)}


def schema(annotation: Any) -> dict[str, Any]:
    """Return the schema of a parameter. One that is left out is None to us, and null is no way to say so."""
    known: dict[str, Any] = _plain(_without_null(msgspec.json.schema(annotation)))
    return known


def _all_of(types: Iterable[Any]) -> set[type]:
    """Return the structs among *types*, and all that are in them."""
    found, waiting = set[type](), list(types)
    while waiting:
        one = waiting.pop()
        waiting += get_args(one)
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and one not in found:
            found.add(one)
            waiting += [field.type for field in msgspec.structs.fields(one)]
    return found


def _told(shape: type, known: dict[str, Any]) -> dict[str, Any]:
    """Return *known* of *shape* with what msgspec does not say: RFC 3339, the keys of a dictionary, no nulls."""
    if "description" in known:
        known["description"] = " ".join(cleandoc(known["description"]).split())
    for field in msgspec.structs.fields(shape):
        told = known["properties"][field.encode_name]
        if issubclass(shape, View):
            told = _without_null(told)
        if datetime in (field.type, *get_args(field.type)):
            told["format"] = "date-time"
        if keys := _listed_keys(field.type):
            told["propertyNames"] = {"enum": keys}
        known["properties"][field.encode_name] = told
    if never := getattr(shape, "NEVER", None):
        known["not"] = never
    plain: dict[str, Any] = _plain(known)
    return plain


def _listed_keys(annotation: Any) -> list[str]:
    """Return the only keys that a dictionary may have, where it lists them."""
    key = get_args(annotation)[0] if get_origin(annotation) is dict else None
    return list(get_args(key)) if get_origin(key) is Literal else []


def _without_null(known: dict[str, Any]) -> dict[str, Any]:
    others = [one for one in known.get("anyOf", ()) if one != {"type": "null"}]
    if len(others) != 1:
        return known
    return {**{word: value for word, value in known.items() if word not in {"anyOf", "default"}}, **others[0]}


def _plain(known: Any) -> Any:
    """Return *known* with patterns that every engine reads: half characters and Python's `$` are our concern."""
    if isinstance(known, list):
        return [_plain(one) for one in known]
    if not isinstance(known, dict):
        return known
    told = {word: _plain(value) for word, value in known.items()}
    if isinstance(pattern := told.get("pattern"), str):  # a field can be called that too
        told["pattern"] = pattern.removesuffix(r"(?!\n)").replace(r"\ud800-\udfff", "")
    return told
