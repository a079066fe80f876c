"""The shapes of /v1/tenants."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType, field

from vault.disconnect import Ended
from vault.http.views.common import Body, Line, Url, View, whole
from vault.offboarding import Report

ReturnUrls = Annotated[list[Url], Meta(max_length=20)]


class PutTenant(Body):
    """All of a tenant: what is left out is as for a new one."""

    name: Line
    parent: Line = "platform"
    inherit: bool = True
    return_urls: ReturnUrls = field(default_factory=list)


class PatchTenant(Body):
    """What is not sent stays as it is, and nothing can be null."""

    name: Line | UnsetType = UNSET
    parent: Line | UnsetType = UNSET
    inherit: bool | UnsetType = UNSET
    return_urls: ReturnUrls | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """Return what is sent, as columns."""
        columns = {
            "name": self.name,
            "parent_id": self.parent,
            "inherit": self.inherit,
            "return_urls": self.return_urls,
        }
        return {name: value for name, value in columns.items() if value is not UNSET}


class TenantView(View):
    id: str
    name: str
    inherit: bool
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
            inherit=row["inherit"],
            return_urls=row["return_urls"],
            paused_at=None if paused_at is None else whole(paused_at),
        )


class TenantList(View):
    items: list[TenantView]
    next: str | None = None


class Unrevoked(View):
    """A connection whose grant may live on at its provider, and why."""

    tenant: str
    provider: str
    name: str
    revoked: Ended


class OffboardingReport(View):
    """How much one call has deleted. `revocations` counts what came of the grants, by outcome.

    `unrevoked` names up to 1,000 connections whose grants may live on; the audit has all of them.
    `unknown` are those of an earlier call whose process died before it had heard from the provider.
    Where it is not `complete`, calling again goes on with what is left.
    """

    complete: bool
    tenants: int
    connections: int
    clients: int
    callers: int
    revocations: dict[Ended, int]
    unrevoked: list[Unrevoked]

    @classmethod
    def of(cls, report: Report) -> "OffboardingReport":
        return cls(
            complete=report.complete,
            tenants=report.tenants,
            connections=report.connections,
            clients=report.clients,
            callers=report.callers,
            revocations=dict(report.revocations),
            unrevoked=[
                Unrevoked(tenant=tenant, provider=provider, name=name, revoked=outcome)
                for (tenant, provider, name), outcome in report.unrevoked
            ],
        )
