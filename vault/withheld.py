"""Why what is stored is not handed out, where its own state says so, and what would help."""

from collections.abc import Mapping
from datetime import timedelta

from integrations.advice import ADVICE
from vault.connection import Connection, TokenState
from vault.errors import Conflict, Unavailable, does_not_open
from vault.store import connections
from vault.store.changes import Stale
from vault.store.writer import Transaction, Writer


def withheld(state: TokenState, source: Mapping[str, str] | None) -> Conflict | None:
    """Return what has to be put right first: a value that does not open, or that the provider refuses.

    *source* is whose it is, where that is told.
    """
    if state.reason == "undecryptable":
        return does_not_open(source)
    if state.next_action == "fix_credentials":
        return Conflict(
            "The provider refuses what was entered: it has to be corrected.",
            code="credentials_rejected",
            reason=state.last_error_code or state.reason,
            advice=ADVICE.get(state.last_error_code or ""),
            source=source,
        )
    return None


def come_back(connection: Connection, *, refreshing: bool, queue: float) -> Unavailable:
    """Return the refusal of a connection that may mend by itself, and when to ask again.

    *queue* is how many seconds a refresh may wait for its turn at the provider.
    """
    state, now = connection.state, connection.read_at
    held = connection.held_back_until()
    if connection.client_rejected:
        code, detail = "client_misconfigured", "The provider refuses our client registration."
    elif held is None and (refreshing or (state.lease_expires_at is not None and state.lease_expires_at > now)):
        code, detail = "refresh_in_progress", "A refresh is under way."
        return Unavailable(detail, code=code, retry_after=max(queue, 1))
    else:
        code, detail = "provider_unavailable", "The provider gives no token now."
    again = max(held or now, state.claimable_at(now), now + timedelta(seconds=1))
    return Unavailable(detail, code=code, retry_after=(again - now).total_seconds(), reason=state.reason)


async def undecryptable(writer: Writer, connection: Connection, source: Mapping[str, str] | None) -> Conflict:
    """Write down that a value of *connection* did not open, and return that as a refusal."""

    async def unit(tx: Transaction) -> None:
        await connections.mark_undecryptable(tx.connection, connection.id, connection.state.generation)
        tx.outdate(Stale("connection", connection.id))

    await writer.submit(unit)
    return does_not_open(source)
