"""Whose a sealed value is: the tenant and the provider that it is bound to, which its row does not repeat."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

from sqlalchemy import Column, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.sealing import Place
from vault.store.schema import (
    clients,
    connections,
    device_authorizations,
    orphaned_tokens,
    pending_authorizations,
    tickets,
)

Owner = tuple[str, str]  # its kind and id
_MANY: Any = bindparam("owners", expanding=True)


def _bound(owner: Column[Any], holder: Any) -> Select[Any]:
    """Return a select of owners, with the tenant and provider of the *holder* that they are joined to."""
    return select(owner.label("owner"), holder.c.tenant_id, holder.c.provider).where(owner.in_(_MANY))


_STATEMENTS = {
    "connection": _bound(connections.c.id, connections),
    "client": _bound(clients.c.id, clients),
    # A successor that lost a race, by the attempt that it came of.
    "orphan": _bound(orphaned_tokens.c.attempt_id, connections).join_from(
        orphaned_tokens, connections, connections.c.id == orphaned_tokens.c.connection_id
    ),
    # The verifier of one visit to a provider, by the digest of its state.
    "authorization": _bound(pending_authorizations.c.state_digest, connections)
    .join_from(pending_authorizations, tickets)
    .join(connections),
    # The code of a consent at another device.
    "device": _bound(device_authorizations.c.id, connections).join_from(
        device_authorizations, connections, connections.c.id == device_authorizations.c.connection_id
    ),
}
# Where the id of an owner is not its key as it stands.
_KEYS: dict[str, Callable[[str], Any]] = {"authorization": bytes.fromhex}
KINDS: Collection[str] = _STATEMENTS.keys()


async def places(tx: AsyncConnection, owners: Iterable[Owner]) -> dict[Owner, Place]:
    """Return where the values of *owners* belong; owners that are gone, or were never ours, are left out."""
    by_kind: dict[str, dict[Any, str]] = defaultdict(dict)
    for kind, id_ in owners:
        if (key := _key(kind, id_)) is not None:
            by_kind[kind][key] = id_
    found = {}
    for kind, ids in by_kind.items():
        for row in await tx.execute(_STATEMENTS[kind], {"owners": list(ids)}):
            id_ = ids[row.owner]
            found[kind, id_] = Place(row.tenant_id, row.provider, kind, id_)
    return found


def _key(kind: str, id_: str) -> Any:
    if kind not in KINDS:
        return None
    try:
        return _KEYS.get(kind, str)(id_)
    except ValueError:
        return None
