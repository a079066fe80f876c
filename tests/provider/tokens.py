"""What a provider hands out, and the error it answers with instead."""

import time
from dataclasses import dataclass


class GrantError(Exception):
    """An OAuth error answer; *family* is whose grant it was about, where that is known."""

    def __init__(self, error: str, description: str, family: str | None = None) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.family = family


@dataclass
class Family:
    """One consent, and every token that descends from it."""

    id: str
    client_id: str
    subject: str
    scope: str
    nonce: str | None = None
    serial: int = 0
    revoked: bool = False


@dataclass
class Code:
    value: str
    client_id: str
    redirect_uri: str
    challenge: str | None
    scope: str
    subject: str
    nonce: str | None
    expires_at: float
    offline: bool = True  # whether a refresh token comes with it
    presented: bool = False
    family: Family | None = None  # set when it was redeemed


@dataclass
class RefreshToken:
    value: str
    family: Family
    serial: int
    issued_at: float
    consumed_at: float | None = None
    successor: "RefreshToken | None" = None


@dataclass
class AccessToken:
    value: str
    family: Family
    scope: str
    expires_at: float
    revoked: bool = False

    @property
    def alive(self) -> bool:
        return not self.revoked and not self.family.revoked and time.time() < self.expires_at


@dataclass
class Issue:
    """One token-endpoint answer, before it is put into words."""

    family: Family
    serial: int
    access: AccessToken
    lifetime: int
    refresh_token: str | None
