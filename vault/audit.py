"""What is written down about who did what. The row is committed before its consequence is seen."""

import json
from contextvars import ContextVar
from typing import Any, Literal

from msgspec import Struct, field

# The id of the HTTP request that this task works for; every answer carries it as X-Request-ID.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

Action = Literal[
    "token.handed_out",
    "token.refreshed",
    "token.refresh_failed",
    "token.orphaned",
    "token.rejected",
    "client_token.handed_out",
    "connection.authorized",
    "connection.connected",
    "connection.connect_failed",
    "connection.changed",
    "connection.verified",
    "connection.expiring",
    "connection.deleted",
    "connection.revoked",
    "connection.exported",
    "work.begun",
    "work.kept",
    "work.ended",
    "tenant.changed",
    "tenant.deleted",
    "client.changed",
    "client.deleted",
    "client.rejected",
    "client.recovered",
    "client.secret_switched",
    "client.exported",
    "provider.changed",
    "provider.deleted",
    "provider.breaker_opened",
    "provider.breaker_closed",
    "caller.created",
    "caller.deleted",
    "caller.denied",
    "operator.signed_in",
    "operator.signed_out",
    "key.added",
    "key.promoted",
    "key.resealed",
    "key.retired",
    "secret.rewrapped",
    "audit.pruned",
]


EVENT_COLUMNS = (
    "actor",
    "action",
    "outcome",
    "tenant",
    "provider",
    "name",
    "generation",
    "request_id",
    "detail",
)


class Event(Struct, frozen=True):
    """One line of the audit. *actor* is `caller:ID`, `scheduler`, `person` or `operator`.

    *detail* holds short facts of ours, never a value that somebody entered as a secret.
    """

    actor: str
    action: Action
    outcome: str = "ok"
    tenant: str | None = None
    provider: str | None = None
    name: str | None = None
    generation: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = field(default_factory=request_id.get)

    def columns(self) -> tuple[str | int | None, ...]:
        """Return what is stored, in the order of EVENT_COLUMNS."""
        return (
            self.actor,
            self.action,
            self.outcome,
            self.tenant,
            self.provider,
            self.name,
            self.generation,
            self.request_id,
            json.dumps(self.detail, sort_keys=True) if self.detail else "{}",
        )
