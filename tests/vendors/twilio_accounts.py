"""Who there is at the fake Twilio: accounts with their tokens, keys, apps and numbers, and who may call what."""

import base64
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

Sort = Literal["Main", "Standard", "Restricted"]
_numbers = count(1)


def sid(prefix: str) -> str:
    """Return a SID that nothing had before: two letters and 32 hexadecimal digits."""
    return f"{prefix}{next(_numbers):032x}"


@dataclass
class Key:
    """An API key. A Restricted one may make the calls *allowed*, by their names in the table."""

    sid: str
    secret: str
    sort: Sort = "Standard"
    allowed: frozenset[str] = frozenset()


@dataclass
class App:
    """An OAuth app: its *secrets* are two at most, and each token it got is alive until it *ends*."""

    client_id: str
    secrets: list[str]
    tokens: dict[str, float] = field(default_factory=dict)


@dataclass
class Account:
    sid: str
    auth_token: str
    secondary: str | None = None
    status: str = "active"
    type: str = "Full"
    friendly_name: str = "Acme"
    numbers: list[str] = field(default_factory=list)
    keys: dict[str, Key] = field(default_factory=dict)
    apps: dict[str, App] = field(default_factory=dict)

    def a_key(self, sort: Sort = "Standard", *allowed: str) -> Key:
        made = Key(sid("SK"), f"canary-secret-{next(_numbers):032d}", sort, frozenset(allowed))
        self.keys[made.sid] = made
        return made

    def an_app(self) -> App:
        made = App(sid("OQ"), [f"canary-app-secret-{next(_numbers)}"])
        self.apps[made.client_id] = made
        return made

    def shown(self) -> dict[str, Any]:
        """Return the account as Twilio shows it, with its token in it."""
        return {
            "sid": self.sid,
            "auth_token": self.auth_token,
            "friendly_name": self.friendly_name,
            "status": self.status,
            "type": self.type,
            "owner_account_sid": self.sid,
            "date_created": "Sun, 22 Nov 2026 10:00:00 +0000",
            "date_updated": "Sun, 22 Nov 2026 10:00:00 +0000",
            "subresource_uris": {"messages": f"/2010-04-01/Accounts/{self.sid}/Messages.json"},
            "uri": f"/2010-04-01/Accounts/{self.sid}.json",
        }


@dataclass(frozen=True)
class Who:
    """Who has authenticated: an account by its token, one of its keys, or one of its apps."""

    account: Account
    key: Key | None = None
    app: App | None = None


def basic(header: str) -> tuple[str, str] | None:
    """Return the user and password of a Basic *header*; None where it is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme != "Basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (user, password) if colon else None
