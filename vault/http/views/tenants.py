"""The shapes of /v1/tenants."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, field

from vault.http.views.common import Body, Line, Url, View, whole


class PutTenant(Body):
    name: Line
    parent: Line = "platform"
    return_urls: Annotated[list[Url], Meta(max_length=20)] = field(default_factory=list)


class TenantView(View):
    id: str
    name: str
    return_urls: list[str]
    parent: str | None = None
    paused_at: datetime | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "TenantView":
        paused_at = row["paused_at"]
        return cls(
            id=row["id"],
            parent=row["parent_id"],
            name=row["name"],
            return_urls=row["return_urls"],
            paused_at=None if paused_at is None else whole(paused_at),
        )
