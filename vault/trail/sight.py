"""What an API key may see of the audit and of usage: its limits, and what of them was asked for."""

from vault.access import Access, Caller
from vault.store import tenants
from vault.store.sight import Sight


async def sight(
    access: Access, caller: Caller, tenant: str | None, provider: str | None, name: str | None
) -> Sight:
    """Return what *caller* may see of *tenant* and all below, of *provider* and *name*; None is no wish.

    A key for the whole tree may name a tenant that is deleted. Raises NotFound for any other than its own.
    """
    whole = caller.tenant == tenants.ROOT
    if tenant is not None and not whole:
        await access.require_reach(caller, tenant)
    return Sight(
        whole=whole,
        tenant=tenant or (None if whole else caller.tenant),
        providers=_narrowed(caller.providers, provider),
        names=_narrowed(caller.names, name),
    )


def _narrowed(limit: frozenset[str] | None, wish: str | None) -> list[str] | None:
    if wish is None:
        return None if limit is None else sorted(limit)
    return [wish] if limit is None or wish in limit else []
