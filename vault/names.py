"""What tenants, providers and connections may be called."""

import re

from vault.errors import Invalid

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")
PROVIDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

_PATH = re.compile(f"{NAME.pattern}/{PROVIDER.pattern}/{NAME.pattern}")


def is_path(text: str) -> bool:
    """Say whether *text* could be the path of a connection, `tenant/provider/name`."""
    return _PATH.fullmatch(text) is not None


def check(*, tenant: str | None = None, provider: str | None = None, name: str | None = None) -> None:
    """Raise Invalid where one of these could not be part of a path."""
    for field, value, pattern in (
        ("tenant", tenant, NAME),
        ("provider", provider, PROVIDER),
        ("name", name, NAME),
    ):
        if value is not None and not pattern.fullmatch(value):
            raise Invalid(f"This is no usable {field}.", code="invalid_name", field=field)
