"""Registrations at providers, each a tenant's own.

A registration has one secret, and while that is being replaced a second one, the *previous*. Each is what
one way to authenticate takes: a client secret, a private key, or both, with its own settings.
"""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import bindparam, case, delete, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store import sealed
from vault.store.schema import AnyRow, clients, connections, device_authorizations, pending_authorizations

Slot = Literal["current", "previous"]
SLOTS: tuple[Slot, ...] = ("current", "previous")
SECRETS = ("client_secret", "private_key")

_c = clients.c

_CURRENT = select(clients).where(
    _c.tenant_id == bindparam("tenant"), _c.provider == bindparam("of_provider"), _c.current
)

# Grants need the client that got them, and tombstones and ended visits point to theirs until they are pruned.
_IN_USE = or_(
    exists().where(connections.c.client == _c.id),
    exists().where(pending_authorizations.c.client == _c.id),
    exists().where(device_authorizations.c.client == _c.id),
)
_OF_PLACE = select(clients).where(_c.tenant_id == bindparam("tenant"), _c.provider == bindparam("of_provider"))
_REGISTERED = _OF_PLACE.where(_c.client_id == bindparam("registered"))
_NEWEST = _OF_PLACE.order_by(_c.current.desc(), _c.created_at.desc(), _c.id).limit(1)
_PAUSED = _OF_PLACE.where(_c.paused_at.is_not(None)).order_by(_c.paused_at).limit(1)

# Of one pair of secrets: which of them works is said of those that it was found out with.
_PREFER = (
    update(clients)
    .where(
        _c.id == bindparam("this_client"),
        _c.generation == bindparam("seen"),
        _c.previous_first != bindparam("previous"),
    )
    .values(previous_first=bindparam("previous"))
)


def field_of(secret: str, slot: Slot) -> str:
    """Return the field in which one of SECRETS is sealed."""
    return secret if slot == "current" else f"{secret}_previous"


def of_likeliest(current: Any, previous: Any) -> Any:
    """Return an expression for what belongs to the secret that is tried first."""
    return case((_c.previous_first, previous), else_=current)


async def current(tx: AsyncConnection, tenant: str, provider: str) -> AnyRow | None:
    """Return the registration that *tenant* itself has at *provider*."""
    return (await tx.execute(_CURRENT, {"tenant": tenant, "of_provider": provider})).one_or_none()


async def registered(tx: AsyncConnection, tenant: str, provider: str, client_id: str) -> AnyRow | None:
    """Return *tenant*'s registration of *client_id* at *provider*, current or retired."""
    place = {"tenant": tenant, "of_provider": provider, "registered": client_id}
    return (await tx.execute(_REGISTERED, place)).one_or_none()


async def newest(tx: AsyncConnection, tenant: str, provider: str) -> AnyRow | None:
    """Return *tenant*'s current registration at *provider*, else the newest that is retired."""
    found = await tx.execute(_NEWEST, {"tenant": tenant, "of_provider": provider})
    return found.one_or_none()


async def paused(tx: AsyncConnection, tenant: str, provider: str) -> AnyRow | None:
    """Return the one of *tenant*'s registrations at *provider* that was paused first, None where none is."""
    found = await tx.execute(_PAUSED, {"tenant": tenant, "of_provider": provider})
    return found.one_or_none()


async def nearest(tx: AsyncConnection, ancestors: list[str], provider: str) -> AnyRow | None:
    """Return the current registration of the first of *ancestors* that has one."""
    found = await tx.execute(
        select(clients).where(_c.tenant_id.in_(ancestors), _c.provider == provider, _c.current)
    )
    return min(found, key=lambda row: ancestors.index(row.tenant_id), default=None)


async def all_current(tx: AsyncConnection) -> list[AnyRow]:
    """Return the registrations that new consents use, by tenant and provider."""
    found = await tx.execute(select(clients).where(_c.current).order_by(_c.tenant_id, _c.provider))
    return list(found)


async def get(tx: AsyncConnection, client: str) -> AnyRow | None:
    return (await tx.execute(select(clients).where(_c.id == client))).one_or_none()


async def uses_provider(tx: AsyncConnection, provider: str) -> bool:
    """Say whether any registration is kept at *provider*, a retired one too: its secret can come to life again."""
    return await tx.scalar(select(_c.id).where(_c.provider == provider).limit(1)) is not None


async def make_current(tx: AsyncConnection, row: dict[str, Any], now: datetime) -> AnyRow:
    """Return the current registration of *row*'s tenant and provider, which that of its client_id is from now on.

    Another client_id leaves the former one for the grants it got, and is as paused as that: only
    resuming ends a kill switch.
    """
    place = (_c.tenant_id == row["tenant_id"], _c.provider == row["provider"])
    await tx.execute(update(clients).where(*place, _c.client_id != row["client_id"]).values(current=False))
    known = update(clients).where(*place, _c.client_id == row["client_id"]).values(current=True)
    if (await tx.execute(known)).rowcount == 0:
        stopped = await paused(tx, row["tenant_id"], row["provider"])
        held = {"paused_at": stopped.paused_at, "paused_by": stopped.paused_by} if stopped else {}
        fresh = {"current": True, "state": "active", "generation": 0, "created_at": now}
        await tx.execute(insert(clients), {**row, **fresh, **held})
    found = await current(tx, row["tenant_id"], row["provider"])
    assert found is not None
    return found


async def edit(tx: AsyncConnection, client: str, values: dict[str, Any]) -> None:
    await tx.execute(update(clients).where(_c.id == client).values(values))


async def prefer(tx: AsyncConnection, client: str, generation: int, slot: Slot) -> bool:
    """Have the secret in *slot* tried first, if the secrets are still those of *generation*.

    Returns whether that is news.
    """
    seen = {"this_client": client, "seen": generation, "previous": slot == "previous"}
    return bool((await tx.execute(_PREFER, seen)).rowcount)


async def remove(tx: AsyncConnection, client: str) -> bool:
    """Delete *client*, or retire it while grants or visits depend on it. Returns whether it is gone."""
    if await tx.scalar(select(_IN_USE).select_from(clients).where(_c.id == client)):
        await tx.execute(update(clients).where(_c.id == client).values(current=False))
        return False
    await _delete(tx, client)
    return True


async def prune(tx: AsyncConnection, tenant: str | None = None) -> None:
    """Delete the retired registrations, of all tenants or of *tenant*, on which nothing depends any more."""
    retired = select(_c.id).where(~_c.current, ~_IN_USE)
    if tenant is not None:
        retired = retired.where(_c.tenant_id == tenant)
    for client in (await tx.execute(retired)).scalars().all():
        await _delete(tx, client)


async def _delete(tx: AsyncConnection, client: str) -> None:
    await tx.execute(delete(clients).where(_c.id == client))
    await sealed.forget(tx, "client", client)
