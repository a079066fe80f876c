"""Sealing the fields of one owner together, and opening one of them again, or again and again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from integrations.contract import Secret
from vault.keyring import Context, Keyring, Lock, Sealed


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


def sealed_anew(
    keyring: Keyring, place: Place, generation: int, values: Mapping[str, Sealed]
) -> Mapping[str, Sealed]:
    """Return *values* of *place* under the key that seals now. Raises CannotOpen."""
    others = {field: value for field, value in values.items() if value.key_id != keyring.primary}
    if not others:
        return values
    opened = {field: open_one(keyring, place, field, (value, generation)) for field, value in others.items()}
    return {**values, **seal_all(keyring, place, generation, opened)}


def open_one(keyring: Keyring, place: Place, field: str, stored: tuple[Sealed, int]) -> Secret:
    """Return the value of one stored field of *place*. Raises CannotOpen."""
    return Kept(keyring, place, field, stored).open()


def fields_together(fields: Mapping[str, Secret]) -> Secret:
    """Return all that a person entered as one value, so that it is sealed and replaced as one."""
    return Secret(json.dumps({name: value.reveal() for name, value in fields.items()}))


def fields_apart(together: Secret) -> dict[str, Secret]:
    """Return the fields in one value of `fields_together`."""
    return {name: Secret(value) for name, value in json.loads(together.reveal()).items()}


def opened_fields(keyring: Keyring, place: Place, stored: tuple[Sealed, int]) -> dict[str, Secret]:
    """Return the fields in the stored `credentials` of *place*. Raises CannotOpen."""
    return fields_apart(open_one(keyring, place, "credentials", stored))


class Kept:
    """One stored field of *place*, kept sealed. Its key is derived when it is first opened, and stays."""

    __slots__ = ("_context", "_keyring", "_lock", "_value", "generation")

    def __init__(self, keyring: Keyring, place: Place, field: str, stored: tuple[Sealed, int]) -> None:
        self._keyring = keyring
        self._value, self.generation = stored
        self._context = place.context(field, self.generation)
        self._lock: Lock | None = None

    def open(self) -> Secret:
        """Return the value. Raises CannotOpen."""
        if self._lock is None:
            self._lock = self._keyring.lock_of(self._value, self._context)
        return self._lock.open()
