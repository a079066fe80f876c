"""Which credentials that are never renewed are due to be tried, and whose turn that is."""

from datetime import timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.connection import Path
from vault.store import gates
from vault.store.leases import UNPARKED
from vault.store.moments import clock
from vault.store.schema import connections, token_states

_s, _c = token_states.c, connections.c

_DUE = (
    select(_s.connection_id)
    .where(_s.next_check_at.is_not(None), _s.next_check_at <= clock(), UNPARKED, gates.PROVIDER_IS_FREE)
    .order_by(_s.next_check_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=token_states)
)
# Put off before it is tried: a process that dies over it has only missed one.
_CLAIM = (
    update(token_states)
    .where(_s.connection_id.in_(_DUE))
    .values(next_check_at=clock() + bindparam("later"))
    .returning(_s.connection_id)
)
_PATHS = select(_c.id, _c.tenant_id, _c.provider, _c.name).where(
    _c.id.in_(bindparam("claimed", expanding=True)),
    _c.deleted_at.is_(None),
    _c.enabled,
)


async def claim(tx: AsyncConnection, most: int, later: timedelta) -> list[tuple[str, Path]]:
    """Take up to *most* that are due for *later*; return those that are in use: id and path."""
    parameters = {"most": most, "later": later // timedelta(milliseconds=1)}
    claimed = list((await tx.execute(_CLAIM, parameters)).scalars())
    if not claimed:
        return []
    rows = await tx.execute(_PATHS, {"claimed": claimed})
    return [(row.id, (row.tenant_id, row.provider, row.name)) for row in rows]
