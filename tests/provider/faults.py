"""What can go wrong: which request is hit, and by what."""

import base64
import dataclasses
import json
import random
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.provider.config import BadControl
from tests.provider.wire import Answer

ENDPOINTS = (
    *("token", "device_authorization", "authorize", "revoke", "userinfo", "me", "discovery", "jwks", "tokeninfo"),
    "any",
)

When = Literal["before", "after"]


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Everything that is done to one request; *before* and *after* are seen from the processing."""

    # Before: with status, redirect, hang="before" or reset="before" the request is never processed.
    latency: float = 0.0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = b""  # text, bytes, or something to be sent as JSON
    redirect: str | None = None

    # Either side of the processing.
    hold: When | None = None  # until a control call releases it
    hang: When | None = None  # for ever
    reset: When | None = None  # RST; "before" has read no more than the head

    # After: the request did all it does; only what the client gets to see is different.
    latency_after: float = 0.0
    answer_status: int | None = None
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer_body: Any = None
    answer_raw: Any = None  # bytes instead of any HTTP, then close
    patch: dict[str, Any] = field(default_factory=dict)  # laid over the good JSON answer
    drop: list[str] = field(default_factory=list)  # members taken out of it
    huge_body: int = 0  # so many spaces before the good answer
    gzip_bomb: int = 0  # the same, compressed
    chunked: bool = False  # no Content-Length
    slow_body: float = 0.0  # seconds before each byte of the body
    reset_after_bytes: int | None = None  # of head and body together, then RST
    close_after_bytes: int | None = None  # the same, then FIN
    close: bool = False  # a whole answer, then an end of the connection

    def names(self) -> list[str]:
        """Which effects are set, for the ledger."""
        nothing = Effects()
        settings = [one.name for one in dataclasses.fields(self)]
        return [name for name in settings if getattr(self, name) != getattr(nothing, name)]

    @property
    def instead(self) -> Answer | None:
        """The answer that is given without processing the request."""
        if self.redirect is not None:
            return Answer(302, {"Location": self.redirect})
        if self.status is None:
            return None
        return Answer(self.status, {"Content-Type": _content_type(self.body)} | self.headers, octets(self.body))

    @property
    def prevents_processing(self) -> bool:
        return "before" in (self.hang, self.reset) or self.instead is not None

    def reshape(self, answer: Answer) -> Answer:
        """The answer as the client shall see it."""
        headers, body = answer.headers | self.answer_headers, answer.body
        if self.patch or self.drop:
            members = json.loads(body) | self.patch
            body = json.dumps({key: value for key, value in members.items() if key not in self.drop}).encode()
        if self.answer_body is not None:
            body = octets(self.answer_body)
            headers = headers | {"Content-Type": _content_type(self.answer_body)} | self.answer_headers
        body = b" " * self.huge_body + body  # still the good answer, for whoever reads that far
        if self.close:
            headers = headers | {"Connection": "close"}
        return Answer(self.answer_status or answer.status, headers, body)


@dataclass(kw_only=True)
class Rule:
    """Which requests are hit: *times* counts down; None lasts until cleared."""

    effects: Effects
    endpoint: str = "token"
    times: int | None = 1
    skip: int = 0  # let so many pass first
    chance: float = 1.0

    def hits(self, endpoint: str, dice: random.Random) -> bool:
        if self.endpoint not in (endpoint, "any"):
            return False
        if self.skip:
            self.skip -= 1
            return False
        return dice.random() < self.chance


class Faults:
    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._dice = random.Random(0)

    def add(self, order: dict[str, Any]) -> None:
        selection = {key: order.pop(key) for key in ("endpoint", "times", "skip", "chance") if key in order}
        try:
            rule = Rule(effects=Effects(**order), **selection)
        except TypeError as error:
            raise BadControl(str(error)) from error
        if rule.endpoint not in ENDPOINTS or not rule.effects.names():
            raise BadControl(f"no such endpoint, or no effect: {rule}")
        self._rules.append(rule)

    def clear(self) -> None:
        self._rules.clear()

    def pick(self, endpoint: str) -> Effects:
        """The oldest counted fault that hits, laid over all the lasting ones."""
        lasting = [rule for rule in self._rules if rule.times is None and rule.hits(endpoint, self._dice)]
        counted = (rule for rule in self._rules if rule.times is not None and rule.hits(endpoint, self._dice))
        chosen = lasting
        if (first := next(counted, None)) is not None:
            self._use_up(first)
            chosen = [*lasting, first]
        merged: dict[str, Any] = {}
        for rule in chosen:
            merged |= {name: getattr(rule.effects, name) for name in rule.effects.names()}
        return Effects(**merged)

    def _use_up(self, rule: Rule) -> None:
        assert rule.times is not None
        rule.times -= 1
        if rule.times <= 0:
            self._rules.remove(rule)


def same_tokens(sent: Answer, meant: Answer) -> bool:
    """Whether a client that understands *sent* gets the tokens it was *meant* to get."""
    if sent.status != meant.status:
        return False
    if sent.body == meant.body:
        return True
    try:
        got, want = json.loads(sent.body), json.loads(meant.body)
        return all(got.get(name) == want.get(name) for name in ("access_token", "refresh_token"))
    except (ValueError, AttributeError):
        return False


def octets(value: Any) -> bytes:
    """A body from a control call: text, {"$base64": …} for arbitrary bytes, or anything else as JSON."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"$base64"}:
        return base64.b64decode(value["$base64"])
    return json.dumps(value).encode()


def _content_type(body: Any) -> str:
    text = isinstance(body, str | bytes) or (isinstance(body, dict) and "$base64" in body)
    return "text/html; charset=utf-8" if text else "application/json"
