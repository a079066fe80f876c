"""Why what is stored is not handed out, where its own state says so."""

from collections.abc import Mapping

from integrations.advice import ADVICE
from vault.connection import Connection, TokenState
from vault.errors import Conflict, does_not_open
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


async def undecryptable(writer: Writer, connection: Connection, source: Mapping[str, str] | None) -> Conflict:
    """Write down that a value of *connection* did not open, and return that as a refusal."""

    async def unit(tx: Transaction) -> None:
        await connections.mark_undecryptable(tx.connection, connection.id, connection.state.generation)
        tx.outdate(Stale("connection", connection.id))

    await writer.submit(unit)
    return does_not_open(source)
