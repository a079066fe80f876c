"""Connections as lines of text, for people and for pipes."""

from collections.abc import AsyncIterator

import msgspec

from vault.callers import OPERATOR
from vault.connection import Connection
from vault.http.views.connections import ConnectionView
from vault.services import Vault

PAGE = 200


async def lines(vault: Vault, *, tenant: str | None, status: str | None, as_json: bool) -> AsyncIterator[str]:
    """Give a line for each connection under *tenant*, all pages of them."""
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
            yield msgspec.json.encode(ConnectionView.of(connection)).decode() if as_json else _line(connection)
        if len(found) < PAGE:
            return
        after = [found[-1].tenant, found[-1].provider, found[-1].name]


def _line(connection: Connection) -> str:
    state = connection.state
    why = f" ({state.reason}: {state.next_action})" if state.reason else ""
    return f"{connection.path}  {connection.standing}{why}"
