"""The shapes of /v1/tenants."""

from typing import Annotated, Any

from msgspec import Meta, field

from vault.http.views.common import Body, Line, Url, View


class PutTenant(Body):
    name: Line
    parent: Line = "platform"
    return_urls: Annotated[list[Url], Meta(max_length=20)] = field(default_factory=list)


class TenantView(View):
    id: str
    name: str
    return_urls: list[str]
    parent: str | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "TenantView":
        return cls(id=row["id"], parent=row["parent_id"], name=row["name"], return_urls=row["return_urls"])
