"""The shapes of /v1/usage."""

from datetime import date, timedelta
from typing import Any

from vault.http.views.common import View

_FIRST = date(1970, 1, 1)


class UsageView(View):
    """How many tokens were handed out on a day for one path. `source` is the tenant whose connection it was."""

    day: date
    tenant: str
    provider: str
    name: str
    source: str
    handed_out: int

    @classmethod
    def of(cls, row: Any) -> "UsageView":
        return cls(
            day=_FIRST + timedelta(days=row.day),
            tenant=row.tenant,
            provider=row.provider,
            name=row.name,
            source=row.source,
            handed_out=row.handed_out,
        )


class UsageList(View):
    items: list[UsageView]
    next: str | None = None
