"""Providers that were defined at run time."""

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.schema import provider_states, providers

_p = providers.c
_DEFINITION = select(_p.definition).where(_p.id == bindparam("provider"))


async def definition(tx: AsyncConnection, provider: str) -> str | None:
    """Return the definition of *provider* as JSON, None where there is none."""
    return (await tx.execute(_DEFINITION, {"provider": provider})).scalar_one_or_none()


async def all_definitions(tx: AsyncConnection) -> dict[str, str]:
    """Return every definition by provider id."""
    return {row.id: row.definition for row in await tx.execute(select(providers).order_by(_p.id))}


async def put(tx: AsyncConnection, provider: str, text: str) -> bool:
    """Store a definition. Returns whether the provider is new."""
    changed = await tx.execute(update(providers).where(_p.id == provider).values(definition=text))
    if changed.rowcount:
        return False
    await tx.execute(insert(providers), {"id": provider, "definition": text})
    return True


async def remove(tx: AsyncConnection, provider: str) -> None:
    """Delete *provider* and the gates before it: nothing is paused or broken that is not there."""
    await tx.execute(delete(providers).where(_p.id == provider))
    await tx.execute(delete(provider_states).where(provider_states.c.provider == provider))
