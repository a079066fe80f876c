"""/v1/usage: how many tokens were handed out."""

from datetime import date

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from vault import names
from vault.http.auth import Call
from vault.http.views.common import Limit, decode_cursor, encode_cursor, number
from vault.http.views.usage import UsageList, UsageView
from vault.services import Vault


class UsageController(Controller):
    path = "/v1/usage"
    tags = ("usage",)

    @get("/", opt={"scope": "audit:read"}, summary="How many tokens were handed out a day")
    async def page(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromQuery[str | None] = None,
        provider: FromQuery[str | None] = None,
        since: FromQuery[date | None] = None,
        until: FromQuery[date | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: Limit = 50,
    ) -> UsageList:
        """Return how many tokens were handed out a day (UTC), for each path and source, the oldest day first.

        From `since` to `until`, both of which count: the last 30 days where nothing is said, a year at
        most. `tenant` stands for all below it too. What was handed out in the last minute may be missing.
        """
        names.check(tenant=tenant, provider=provider)
        found = await vault.usage.page(
            request.auth,
            tenant=tenant,
            provider=provider,
            since=since,
            until=until,
            after=_after(cursor),
            limit=limit,
        )
        items = [UsageView.of(row) for row in found]
        following = encode_cursor([str(part) for part in found[-1][:5]]) if len(found) == limit else None
        return UsageList(items=items, next=following)


def _after(cursor: str | None) -> tuple[int, str, str, str, str] | None:
    parts = decode_cursor(cursor, 5)
    return None if parts is None else (number(parts[0], digits=9), parts[1], parts[2], parts[3], parts[4])
