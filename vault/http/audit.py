"""/v1/audit: who did what, as far as a key may see it."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from vault import names
from vault.audit import Action
from vault.http.auth import Call
from vault.http.views.audit import RecordList, RecordView
from vault.http.views.common import Limit, Moment, Word, decode_cursor, encode_cursor, moment_of, number
from vault.services import Vault
from vault.trail.records import Question


class AuditController(Controller):
    path = "/v1/audit"
    tags = ("audit",)

    @get("/", opt={"scope": "audit:read"}, summary="Who did what")
    async def page(
        self,
        request: Call,
        vault: NamedDependency[Vault],
        tenant: FromQuery[str | None] = None,
        provider: FromQuery[str | None] = None,
        name: FromQuery[str | None] = None,
        action: FromQuery[Action | None] = None,
        outcome: Word = None,
        actor: Word = None,
        request_id: Word = None,
        since: Moment = None,
        until: Moment = None,
        cursor: FromQuery[str | None] = None,
        limit: Limit = 50,
    ) -> RecordList:
        """Return the records that the key may see, the newest first; `tenant` stands for all below it too.

        From `since` on, and before `until`. One request looks through 100,000 records at most: while
        there is a `next`, a page may hold fewer than `limit`, even none. Records that are of no tenant
        are shown to keys for the whole tree, as are those of a tenant that is deleted.
        """
        names.check(tenant=tenant, provider=provider, name=name)
        asked = Question(
            tenant=tenant,
            provider=provider,
            name=name,
            action=action,
            outcome=outcome,
            actor=actor,
            request_id=request_id,
            since=moment_of(since, "since"),
            until=moment_of(until, "until"),
        )
        found, following = await vault.records.page(request.auth, asked, _place(cursor), limit)
        items = [RecordView.of(row) for row in found]
        return RecordList(items=items, next=following and encode_cursor([str(part) for part in following]))


def _place(cursor: str | None) -> tuple[int, str, int] | None:
    parts = decode_cursor(cursor, 3)
    return None if parts is None else (number(parts[0]), parts[1], number(parts[2]))
