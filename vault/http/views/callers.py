"""The shapes of /v1/callers."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from vault.http.views.common import Body, Instant, Line, View, whole


class CreateCaller(Body):
    name: Line
    scopes: Annotated[list[Line], Meta(min_length=1, max_length=20)]
    tenant: Line | None = None
    # Never empty: "limited to nothing" is no key, and is easily taken for "not limited".
    providers: Annotated[list[Line], Meta(min_length=1, max_length=100)] | None = None
    names: Annotated[list[Line], Meta(min_length=1, max_length=100)] | None = None
    expires_at: Instant | None = None


class CallerView(View):
    id: str
    name: str
    scopes: list[str]
    tenant: str
    providers: list[str] | None = None
    names: list[str] | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "CallerView":
        moments = {name: whole(row[name]) for name in ("created_at", "expires_at") if row[name] is not None}
        return cls(
            id=row["id"],
            name=row["name"],
            scopes=list(row["scopes"]),
            tenant=row["tenant_id"],
            providers=row["providers"],
            names=row["names"],
            **moments,
        )


class CallerList(View):
    items: list[CallerView]
    next: str | None = None


class CreatedCaller(View):
    """`key` is shown now and never again."""

    id: str
    key: str
    name: str
    scopes: list[str]
    tenant: str
