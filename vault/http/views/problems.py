"""The shape of every refusal."""

from typing import Literal

from vault.http.views.common import View
from vault.http.views.connections import Source


class WrongField(View):
    """A field or parameter that was not understood. What was sent in it is not repeated."""

    field: str
    message: str


class Problem(View, forbid_unknown_fields=True):
    """RFC 9457 problem details. `code` is stable; `detail` is for people. The rest goes with some codes.

    `retry_after` is in seconds, as the header is. `field` is the one that is wrong, `fields` are those
    there are. `advice` is what a person can do about the `reason`. `scope` is the one that the key lacks.
    `abilities` are those there are; `lacks` is the one that these credentials have not.
    `connect_url` is a link for the person who has to act. `source` is whose the connection is that somebody has to
    see to, where it is inherited.
    """

    type: Literal["about:blank"]
    code: str
    title: str
    status: int
    detail: str
    instance: str
    retry_after: int | None = None
    reason: str | None = None
    advice: str | None = None
    scope: str | None = None
    field: str | None = None
    fields: list[str] | None = None
    errors: list[WrongField] | None = None
    abilities: list[str] | None = None
    lacks: list[str] | None = None
    next_action: str | None = None
    connect_url: str | None = None
    paused: str | None = None
    source: Source | None = None
