"""All connections, one after the other, and each as a line of text."""

from collections.abc import AsyncIterator

from vault.callers import OPERATOR
from vault.connection import Connection
from vault.services import Vault

PAGE = 200


async def everything(vault: Vault, *, tenant: str | None, status: str | None) -> AsyncIterator[Connection]:
    """Give each connection under *tenant* with that *status*, all pages of them; None is no limit."""
    after: list[str] | None = None
    while True:
        found = await vault.connections.page(
            OPERATOR,
            tenant=tenant,
            provider=None,
            status=status,
            expiring_within=None,
            after=after,
            limit=PAGE,
        )
        for connection in found:
            yield connection
        if len(found) < PAGE:
            return
        after = [found[-1].tenant, found[-1].provider, found[-1].name]


def line(connection: Connection) -> str:
    """Return *connection* as one line, with what would help."""
    state = connection.state
    why = f" ({state.reason}: {state.next_action})" if state.reason else ""
    return f"{connection.path}  {connection.standing}{why}"
