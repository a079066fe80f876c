"""How all connections are, in numbers: what is read when the metrics are asked for. Nothing is opened for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.connections import JUDGED_STATUS
from vault.store.moments import Moment, clock
from vault.store.schema import AnyRow, clients, connections, provider_states, tenants, token_states

_c, _s = connections.c, token_states.c
HORIZONS = (0, 60, 300, 900, 3_600, 21_600, 86_400, 604_800, 2_592_000)  # seconds

_usable = and_(_c.enabled, JUDGED_STATUS.in_(("configured", "verified", "degraded")))
# What the sweep should have renewed by now. Parked rows wait for somebody, not for the sweep.
DUE = and_(
    _c.enabled,
    _s.next_refresh_at <= clock(),
    _s.parked.is_(None),
    _s.renewal != "none",
    _s.status.not_in(("unconfigured", "failed")),
)


def _how_many(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))


# One pass over all connections, however many figures come of it.
_CONNECTIONS = (
    select(
        _s.provider,
        JUDGED_STATUS.label("status"),
        func.count().label("connections"),
        _how_many(_usable).label("usable"),
        *(
            _how_many(and_(_usable, _s.access_expires_at <= clock() + seconds * 1000)).label(f"within_{seconds}")
            for seconds in HORIZONS
        ),
        _how_many(DUE).label("overdue"),
        func.min(case((DUE, _s.next_refresh_at))).label("oldest_due"),
        type_coerce(clock(), Moment).label("read_at"),
    )
    .join_from(token_states, connections, _c.id == _s.connection_id)
    .where(_c.deleted_at.is_(None))
    .group_by(_s.provider, JUDGED_STATUS)
)
_CLIENTS = select(
    clients.c.provider,
    _how_many(clients.c.state == "rejected").label("rejected"),
    func.count(clients.c.paused_at).label("paused"),
).group_by(clients.c.provider)
_PROVIDERS = select(provider_states.c.provider, provider_states.c.breaker, provider_states.c.paused_at)
_PAUSED_TENANTS = select(func.count(tenants.c.paused_at))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Numbers, by provider where they are mappings. Durations are seconds."""

    connections: Mapping[tuple[str, str], int]  # by provider and status
    expiring: Mapping[str, Sequence[int]]  # usable tokens that end within each of HORIZONS, then all of them
    overdue: Mapping[str, int]
    lag: Mapping[str, float]  # since the oldest due row became due
    breakers: Mapping[str, bool]  # open or not
    rejected_clients: Mapping[str, int]
    paused: Mapping[str, int]  # by "provider", "client" and "tenant"


async def read(tx: AsyncConnection) -> Figures:
    """Return the figures as they are now."""
    found = (await tx.execute(_CONNECTIONS)).all()
    registrations = (await tx.execute(_CLIENTS)).all()
    providers = (await tx.execute(_PROVIDERS)).all()
    by_provider: dict[str, list[AnyRow]] = {}
    for row in found:
        by_provider.setdefault(row.provider, []).append(row)
    return Figures(
        connections={(row.provider, row.status): row.connections for row in found},
        expiring={name: _expiring(rows) for name, rows in by_provider.items()},
        overdue={name: sum(row.overdue for row in rows) for name, rows in by_provider.items()},
        lag={name: max(_lag(row) for row in rows) for name, rows in by_provider.items()},
        breakers={row.provider: row.breaker == "open" for row in providers},
        rejected_clients={row.provider: row.rejected for row in registrations},
        paused={
            "provider": sum(row.paused_at is not None for row in providers),
            "client": sum(row.paused for row in registrations),
            "tenant": (await tx.execute(_PAUSED_TENANTS)).scalar_one(),
        },
    )


def _expiring(rows: Sequence[AnyRow]) -> list[int]:
    names = [*(f"within_{seconds}" for seconds in HORIZONS), "usable"]
    return [sum(row._mapping[name] for row in rows) for name in names]


def _lag(row: AnyRow) -> float:
    return 0.0 if row.oldest_due is None else (row.read_at - row.oldest_due).total_seconds()
