"""What somebody may see of rows that name a tenant, a provider and a name: of the audit, and of usage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, exists, or_, type_coerce

from vault.store.schema import tenants
from vault.store.tenants import below


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The rows of *tenant* and all below, of some providers and names; None is no limit.

    Who sees the *whole* tree also sees what is of no tenant, or of one that is deleted. Everybody else sees
    of a tenant what came since it was made: another one of that name may have been somebody else's before.
    """

    whole: bool
    tenant: str | None
    providers: Sequence[str] | None = None
    names: Sequence[str] | None = None

    def conditions(self, columns: Any, moment: ColumnElement[int]) -> list[ColumnElement[bool]]:
        """Return what holds for the rows with these *columns*, which are of a *moment* in milliseconds."""
        found: list[ColumnElement[bool]] = []
        if self.tenant is not None:
            of_tree = columns.tenant.in_(below(self.tenant))
            found.append(or_(of_tree, columns.tenant == self.tenant) if self.whole else of_tree)
        if not self.whole:
            made = type_coerce(tenants.c.created_at, BigInteger) <= moment
            found.append(exists().where(tenants.c.id == columns.tenant, made))
        for column, limit in ((columns.provider, self.providers), (columns.name, self.names)):
            if limit is not None:
                found.append(column.in_(limit))
        return found
