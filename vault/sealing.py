"""Sealing the fields of one owner together, and opening one of them again."""

from collections.abc import Mapping
from dataclasses import dataclass

from integrations.contract import Secret
from vault.keyring import Context, Keyring, Sealed


@dataclass(frozen=True)
class Place:
    """Where a set of sealed fields belongs; with a field and a generation it is their context."""

    tenant: str
    provider: str
    owner_kind: str
    owner_id: str

    def context(self, field: str, generation: int) -> Context:
        return Context(self.tenant, self.provider, self.owner_kind, self.owner_id, field, generation)


def seal_all(
    keyring: Keyring, place: Place, generation: int, values: Mapping[str, Secret | None]
) -> dict[str, Sealed]:
    """Return *values* sealed for *place*; fields without a value are left out."""
    return {
        field: keyring.seal(value, place.context(field, generation))
        for field, value in values.items()
        if value is not None
    }


def open_one(keyring: Keyring, place: Place, field: str, stored: tuple[Sealed, int]) -> Secret:
    """Return the value of one stored field of *place*. Raises CannotOpen."""
    value, generation = stored
    return keyring.open(value, place.context(field, generation))
