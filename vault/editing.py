"""What people edit of a connection, apart from its credentials."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from vault.conditions import version_of
from vault.connection import Connection, Prefer
from vault.errors import Invalid

LARGEST_NOTES = 64 * 1024  # characters of metadata or settings, as stored: what is merged may grow

Notes = dict[str, Any] | None | UnsetType  # None empties them


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What becomes of the fields of a connection; what is not given stays as it is."""

    metadata: Notes = UNSET
    settings: Notes = UNSET
    merging: bool = False  # metadata and settings are merged with what is there, and not put in its place
    enabled: bool | None = None
    prefer: Prefer | None = None
    shared: bool | None = None

    @property
    def says_nothing(self) -> bool:
        """Say whether all of it stays as it is."""
        notes = (self.metadata, self.settings)
        plain = (self.enabled, self.prefer, self.shared)
        return all(isinstance(one, UnsetType) for one in notes) and all(one is None for one in plain)

    def require_something(self) -> None:
        """Raise Invalid where a new connection would be made of nothing."""
        if self.says_nothing:
            raise Invalid("A new connection needs credentials.", code="credentials_missing")

    @property
    def takes_away(self) -> bool:
        """Say whether somebody may have got a token until now who gets none, or another one, from here on."""
        return self.enabled is False or self.shared is False or self.prefer is not None


def columns(edit: Edit, connection: Connection) -> dict[str, Any]:
    """Return the columns that *edit* changes of *connection*. Raises Invalid."""
    plain = {"enabled": edit.enabled, "prefer": edit.prefer, "shared": edit.shared}
    found: dict[str, Any] = {name: value for name, value in plain.items() if value is not None}
    for name, given, stored in (
        ("metadata", edit.metadata, connection.metadata),
        ("settings", edit.settings, connection.settings),
    ):
        if not isinstance(given, UnsetType):
            made = json.dumps(merged(stored, given) if edit.merging else given or {})
            if len(made) > LARGEST_NOTES:
                raise Invalid("This is more than is kept with a connection.", code="too_large", field=name)
            found[name] = made
    return found


def merged(target: Any, patch: Any) -> Any:
    """Return *target* with a JSON merge patch applied (RFC 7396): null removes a key, at the top all."""
    if patch is None:
        return {}
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def version(connection: Connection) -> str:
    """Return what stands for all that people edit of *connection*: another grant too, but no refresh of it."""
    return version_of(
        {
            "id": connection.id,
            "kind": connection.kind,
            "granted": connection.state.granted_generation,
            "metadata": dict(connection.metadata),
            "settings": dict(connection.settings),
            "enabled": connection.enabled,
            "prefer": connection.prefer,
            "shared": connection.shared,
        }
    )
