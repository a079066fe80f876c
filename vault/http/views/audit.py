"""The shapes of /v1/audit."""

import json
from datetime import datetime
from typing import Any

from vault.http.views.common import View


class RecordView(View):
    """One line of the audit. `stream` and `seq` are what `tokenvault audit verify` calls it by."""

    at: datetime
    stream: str
    seq: int
    actor: str
    action: str
    outcome: str
    detail: dict[str, Any]
    tenant: str | None = None
    provider: str | None = None
    name: str | None = None
    generation: int | None = None
    request_id: str | None = None

    @classmethod
    def of(cls, row: Any) -> "RecordView":
        columns = {name: getattr(row, name) for name in cls.__struct_fields__ if name != "detail"}
        return cls(detail=_object(row.detail), **columns)


class RecordList(View):
    items: list[RecordView]
    next: str | None = None


def _object(text: str) -> dict[str, Any]:
    """Return *text* as the object that it is; what somebody has altered must not hide all the rest."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"unreadable": True}
