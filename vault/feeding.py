"""Credentials that another connection of the same tenant gives the access token for.

Who may use the one gets the token of the other with it: so whoever enters it has to reach both.
"""

from collections.abc import Mapping

from integrations.contract import Kind
from vault.connection import Connection, Path


def feed_of(kind: Kind, tenant: str, entered: Mapping[str, str]) -> Path | None:
    """Return the path that feeds what *tenant* has *entered* of a *kind*; None where it is fed by nothing."""
    return None if kind.fed_by is None else (tenant, kind.fed_by, entered.get("connection") or "default")


def fed_by(kind: Kind, connection: Connection) -> Path | None:
    """Return the path that feeds *connection*, which is of that *kind*; None where nothing does."""
    return feed_of(kind, connection.tenant, connection.shown or {})
