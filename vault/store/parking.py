"""Parking: the stored answer to "does the sweep pass this connection by?", so that it need not look further.

`parked` follows from what is true of the connection, its client and the tenants above it: "paused" under a
kill switch, its own among them, else "rejected" where its client is, else nothing. It is reckoned anew for
all that a change may concern, a chunk of rows a transaction; what is left is noted, for whoever began may
die over it.

Whoever changes a gate or reckons holds the root of the tenants; whoever adds a connection, or gives one
another client, holds it against those. So a reckoning sees what is true. It waits for no row: one that
is being settled is left for the next chunk.
"""

from typing import Any, Literal, NamedTuple

from sqlalchemy import and_, bindparam, case, delete, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.schema import clients, connections, tenants, token_states, unsettled_gates
from vault.store.tenants import ROOT, below

LARGEST_CHUNK = 20_000  # rows a statement: far from the statement timeout, and no long wait for the writer

_root = select(tenants.c.id).where(tenants.c.id == ROOT)
_HOLD = _root.with_for_update(key_share=True)
_STAND_STILL = _root.with_for_update(read=True)

_state = token_states.alias("reckoned")
_paused = select(tenants.c.id).where(tenants.c.paused_at.is_not(None)).cte("paused", recursive=True)
_paused = _paused.union(select(tenants.c.id).where(tenants.c.parent_id == _paused.c.id))
_truth = case(
    (
        or_(
            ~connections.c.enabled,
            clients.c.paused_at.is_not(None),
            connections.c.tenant_id.in_(select(_paused.c.id)),
        ),
        "paused",
    ),
    (clients.c.state == "rejected", "rejected"),
    else_=null(),
)
_WRONG = (
    select(_state.c.connection_id, _truth.label("truth"))
    .join_from(_state, connections, connections.c.id == _state.c.connection_id)
    .outerjoin(clients, clients.c.id == _state.c.client)
    .where(_state.c.parked.is_distinct_from(_truth))
)


class Scope(NamedTuple):
    """Whose connections are reckoned anew: a client's by its id, a tenant's and all below, or one."""

    kind: Literal["client", "tenant", "connection"]
    key: str


async def hold(tx: AsyncConnection) -> None:
    """Let nobody else change a gate, or reckon, in this transaction. Before any other row is taken."""
    await tx.execute(_HOLD)


async def stand_still(tx: AsyncConnection) -> None:
    """Let no gate change in this transaction. Before any other row is taken."""
    await tx.execute(_STAND_STILL)


async def park(tx: AsyncConnection, scope: Scope, most: int = LARGEST_CHUNK) -> bool:
    """Park or set free up to *most* connections of *scope*. Returns whether none is left, and notes if one is.

    Whoever calls has held the gates, or for its own connection let them stand still.
    """
    wrong = _WRONG.where(_within(scope))
    chunk = wrong.limit(bindparam("most")).with_for_update(skip_locked=True, of=_state).cte("chunk")
    parking = update(token_states).where(token_states.c.connection_id == chunk.c.connection_id)
    changed = (await tx.execute(parking.values(parked=chunk.c.truth), {"most": most})).rowcount
    if scope.kind == "connection":
        return True
    left = changed == most or (await tx.execute(wrong.limit(1))).first() is not None
    await (_note(tx, scope) if left else _strike(tx, scope))
    return not left


async def unsettled(tx: AsyncConnection) -> list[Scope]:
    """Return what somebody began and did not finish yet."""
    return [Scope(row.kind, row.key) for row in await tx.execute(select(unsettled_gates))]


def _within(scope: Scope) -> Any:
    match scope.kind:
        case "client":
            return _state.c.client == scope.key
        case "tenant":
            # Tombstones are nobody's: the index over the living finds the others.
            return and_(connections.c.tenant_id.in_(below(scope.key)), connections.c.deleted_at.is_(None))
        case "connection":
            return _state.c.connection_id == scope.key


async def _note(tx: AsyncConnection, scope: Scope) -> None:
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    await tx.execute(dialect.insert(unsettled_gates).on_conflict_do_nothing(), scope._asdict())


async def _strike(tx: AsyncConnection, scope: Scope) -> None:
    noted = (unsettled_gates.c.kind == scope.kind, unsettled_gates.c.key == scope.key)
    await tx.execute(delete(unsettled_gates).where(*noted))
