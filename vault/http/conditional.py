"""Conditional requests (RFC 9110, 13): entity tags on what people edit, and the headers that ask about them.

A tag is strong and stands for what people edit, not for what the machine writes: so no tag answers a GET
(304), for its connection's health may be another one by then.
"""

import re
from typing import Annotated, TypeVar

from litestar import Response
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.params import HeaderParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from vault.conditions import Condition
from vault.errors import Invalid
from vault.http.views.common import View

_TAGS = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"(?:[ \t]*,[ \t]*(?:W/)?"[\x21\x23-\x7e]*")*')
V = TypeVar("V", bound=View)
_TAG = re.compile(r'(W/)?"([^"]*)"')
_ASKING = (b"if-match", b"if-none-match")

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", max_length=4096, description="Only while this is its ETag; `*`: if it is there"
    ),
]
IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(name="If-None-Match", max_length=4096, description="`*`: only if it is not there yet"),
]


class OneLine(ASGIMiddleware):
    """Makes one line of each of the headers that ask, however many they were sent as (RFC 9110, 5.3).

    The framework hands out the first line alone, so the tags of the others would go unread.
    """

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        for asking in _ASKING:
            lines = [value for name, value in scope["headers"] if name == asking]
            if len(lines) > 1:
                others = [pair for pair in scope["headers"] if pair[0] != asking]
                scope["headers"] = [*others, (asking, b", ".join(lines))]
        await next_app(scope, receive, send)


def condition(if_match: str | None, if_none_match: str | None = None) -> Condition:
    """Return the condition that these headers are. Raises Invalid where they are none."""
    if if_none_match not in (None, "*"):
        raise Invalid("If-None-Match takes * here.", code="invalid_condition", field="If-None-Match")
    exists = False if if_none_match else None
    if if_match is None:
        return Condition(exists=exists)
    if if_match == "*":
        return Condition(exists=True) if exists is None else Condition(frozenset(), exists)
    if not _TAGS.fullmatch(if_match):
        raise Invalid("If-Match takes entity tags, or *.", code="invalid_condition", field="If-Match")
    # A weak tag matches nothing: the comparison is the strong one.
    return Condition(frozenset(tag for weak, tag in _TAG.findall(if_match) if not weak), exists)


def tagged(view: V, version: str, status: int = 200) -> Response[V]:
    """Return an answer with its entity tag."""
    return Response(view, status_code=status, headers={"ETag": f'"{version}"'})
