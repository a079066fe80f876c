"""A Secret does not show, whatever is done to it short of `reveal()`."""

import copy
import dataclasses
import io
import json
import logging
import marshal
import pickle
import pprint
import reprlib
import string
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from integrations.contract import Client, Secret, TokenSet

Way = Callable[[Any], object]

HIDDEN = "hunter2-Kx7"
MASK = "Secret(***)"
secrets = st.text(min_size=12, max_size=40)  # longer than the mask, so that it cannot be a part of that


@dataclasses.dataclass(frozen=True)
class Holder:
    secret: Secret


class Pair(NamedTuple):
    name: str
    secret: Secret


class Struct(msgspec.Struct):
    secret: Secret


def logged(secret: Secret, message: str = "%s %r", *, extra: dict[str, Any] | None = None) -> str:
    """Return the line that a logger writes of *secret*."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(args)s %(held)s", defaults={"held": None}))
    logger = logging.Logger("secret")
    logger.addHandler(handler)
    logger.error(message, secret, Holder(secret), extra=extra)
    return stream.getvalue()


def fails_with(secret: Secret) -> None:
    holder, several = Holder(secret), {"secret": [secret]}
    raise ValueError(secret, holder, several)


def traced(secret: Secret) -> str:
    """Return the traceback of an error that holds *secret*, with every frame's locals."""
    try:
        fails_with(secret)
    except ValueError as error:
        return printed(error)
    raise AssertionError


def printed(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


SHOWS: dict[str, Way] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "f-string": lambda secret: f"{secret} {secret!s} {secret!r} {secret!a}",
    "debug f-string": lambda secret: f"{secret=}",
    "format spec": lambda secret: f"{secret:>40}{secret:s}{secret:.3}",
    "format": lambda secret: format(secret, "x"),
    "str.format": lambda secret: "{} {0!r}".replace("{}", "{0}").format(secret),
    "percent s": lambda secret: "%s" % secret,  # noqa: UP031
    "percent r": lambda secret: "%r %a" % (secret, secret),  # noqa: UP031
    "template": lambda secret: string.Template("$secret").substitute(secret=secret),
    "print": lambda secret: print(secret, file=(out := io.StringIO())) or out.getvalue(),
    "list": lambda secret: str([secret, (secret,), {secret}, {"secret": secret}, {secret: 1}]),
    "dataclass": lambda secret: repr(Holder(secret)),
    "token set": lambda secret: repr(TokenSet(secret, refresh_token=secret, id_token=secret)),
    "client": lambda secret: repr(Client("id", secret)),
    "named tuple": lambda secret: repr(Pair("name", secret)),
    "struct": lambda secret: repr(Struct(secret)),
    "pprint": lambda secret: pprint.pformat([secret, Holder(secret)]),
    "reprlib": reprlib.repr,
    "exception": lambda secret: repr(ValueError(secret)) + str(ValueError(secret)),
    "key error": lambda secret: str(KeyError(secret)),
    "json default=str": lambda secret: json.dumps({"secret": secret}, default=str),
    "json default=repr": lambda secret: json.dumps([secret], default=repr),
    "msgspec enc_hook": lambda secret: msgspec.json.encode(Struct(secret), enc_hook=str).decode(),
    "log arguments": logged,
    "log extra": lambda secret: logged(secret, extra={"held": {"secret": secret}}),
    "traceback": traced,
}

RAISES: dict[str, Way] = {
    "percent d": lambda secret: "%d" % secret,  # noqa: UP031
    "json": json.dumps,
    "json of a holder": lambda secret: json.dumps({"secret": secret}),
    "json key": lambda secret: json.dumps({secret: 1}),
    "json of fields": lambda secret: json.dumps(vars(Holder(secret))),
    "json default=vars": lambda secret: json.dumps(secret, default=vars),
    "msgspec json": msgspec.json.encode,
    "msgspec json of a dataclass": lambda secret: msgspec.json.encode(TokenSet(secret)),
    "msgspec json of a struct": lambda secret: msgspec.json.encode(Struct(secret)),
    "msgspec json of a dict": lambda secret: msgspec.json.encode({"secret": secret}),
    "msgspec msgpack": msgspec.msgpack.encode,
    "msgspec builtins": lambda secret: msgspec.to_builtins(Struct(secret)),
    "msgspec convert": lambda secret: msgspec.convert(secret, str, from_attributes=True),
    "pickle of a holder": lambda secret: pickle.dumps(Holder(secret)),
    "marshal": marshal.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy of a holder": lambda secret: copy.deepcopy({"secret": [secret]}),
    "asdict": lambda secret: dataclasses.asdict(Holder(secret)),
    "astuple": lambda secret: dataclasses.astuple(Holder(secret)),
    "vars": vars,
    "iterating": list,
    "length": len,
    "index": lambda secret: secret[0],
    "bytes": bytes,
    "int": int,
    "join": lambda secret: "".join([secret]),
    "adding": lambda secret: "Bearer " + secret,
    "ordering": lambda secret: sorted([secret, Secret("z")]),
    "searching": lambda secret: "a" in secret,
    "setting more": lambda secret: setattr(secret, "more", 1),
}


def each(ways: dict[str, Way]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", [pytest.param(way, id=name) for name, way in ways.items()])


def spellings(value: str) -> set[str]:
    """Return *value* as it stands, and as repr, ascii and JSON escape it."""
    return {value, repr(value)[1:-1], ascii(value)[1:-1], json.dumps(value)[1:-1]}


def outcome(way: Way, secret: Secret) -> str:
    """Return the error that *way* ends in, with all of its frames' locals."""
    try:
        way(secret)
    except (TypeError, ValueError, AttributeError) as error:
        return printed(error) + repr(error) + repr(error.args) + printed_causes(error)
    raise AssertionError("it did not raise")


def printed_causes(error: BaseException) -> str:
    causes = [cause for cause in (error.__cause__, error.__context__) if cause]
    return "".join(printed(cause) + repr(cause) for cause in causes)


@each(SHOWS)
def test_is_masked(way: Way) -> None:
    """Whatever shows a Secret shows the mask in its place."""
    shown = str(way(Secret(HIDDEN)))

    assert HIDDEN not in shown
    assert "***" in shown


@each(SHOWS)
@settings(max_examples=25)  # of each way
@given(secrets, secrets)
def test_shows_the_same(way: Way, one: str, other: str) -> None:
    """What is shown does not depend on the value in any way, not even on its length."""
    assert way(Secret(one)) == way(Secret(other))


@each(RAISES)
def test_raises(way: Way) -> None:
    """What would have to read a Secret raises, and the error with its frames' locals does not hold it."""
    assert HIDDEN not in outcome(way, Secret(HIDDEN))


@each(RAISES)
@settings(max_examples=25)  # of each way
@given(secrets)
def test_raises_for_any(way: Way, value: str) -> None:
    """No value is in the error, in any spelling."""
    of_any = outcome(way, Secret(HIDDEN))  # names of modules and the like, which a value can be by chance
    assume(not [spelling for spelling in spellings(value) if spelling in of_any])
    told = outcome(way, Secret(value))

    assert not [spelling for spelling in spellings(value) if spelling in told]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_is_not_pickled(protocol: int) -> None:
    """A Secret is pickled by no protocol."""
    with pytest.raises(TypeError, match=r"^a Secret is not pickled$"):
        pickle.dumps(Secret(HIDDEN), protocol)


@given(st.text())
def test_reveal(value: str) -> None:
    """`reveal()` returns the value, whatever it is, and only an empty one is false."""
    assert Secret(value).reveal() == value
    assert bool(Secret(value)) == bool(value)


@given(st.text(), st.text())
def test_equality(one: str, other: str) -> None:
    """Secrets are equal where their values are, and equal ones have one hash."""
    assert (Secret(one) == Secret(other)) == (one == other)
    assert (Secret(one) != Secret(other)) == (one != other)
    assert Secret(one) == Secret(one)
    assert len({Secret(one), Secret(one), Secret(other)}) == len({one, other})


@given(st.text())
def test_equals_no_text(value: str) -> None:
    """A Secret equals nothing but a Secret, and has not the hash of its value: nobody looks it up by text."""
    assert Secret(value) != value
    assert Secret(value) != value.encode()
    assert value not in {Secret(value)}
    assert hash(Secret(value)) != hash(value)


def test_takes_no_attributes() -> None:
    """A Secret has no __dict__ from which generic code could read it."""
    assert not hasattr(Secret(HIDDEN), "__dict__")
    assert sys.getsizeof(Secret(HIDDEN)) == sys.getsizeof(Secret(""))


def test_refuses_what_is_not_unicode() -> None:
    """A value with a lone surrogate, as JSON may hold it, is refused by an error that does not hold it."""
    with pytest.raises(ValueError, match="UTF-8") as refused:
        Secret("hunter2-\ud800")

    assert "hunter2" not in repr(refused.value) + repr(refused.value.args) + repr(refused.value.__context__)
