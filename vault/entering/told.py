"""What whoever brings tokens from elsewhere knows of them, and no token says."""

from dataclasses import dataclass
from datetime import datetime

from integrations.contract import Account


@dataclass(frozen=True, kw_only=True)
class Told:
    """None: nobody said so. What the provider says itself, when it is asked, counts more."""

    scopes: tuple[str, ...] | None = None
    asked_scopes: tuple[str, ...] | None = None
    account: Account | None = None
    granted_at: datetime | None = None  # when a person agreed
    refresh_expires_at: datetime | None = None


NOTHING_TOLD = Told()
