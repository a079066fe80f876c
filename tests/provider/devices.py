"""Device authorization (RFC 8628): codes that a person decides about elsewhere, and that are polled meanwhile."""

import secrets
import time
from dataclasses import dataclass, field

from tests.provider.config import BadControl, Config
from tests.provider.grants import Grants
from tests.provider.tokens import GrantError, Issue


@dataclass
class Device:
    device_code: str
    user_code: str
    client_id: str
    scope: str
    expires_at: float
    interval: float
    polled_at: float | None = None
    approved: bool | None = None  # None: nobody has decided
    subject: str = ""
    spent: bool = False


@dataclass
class Devices:
    config: Config
    grants: Grants
    by_code: dict[str, Device] = field(default_factory=dict)

    def begin(self, client_id: str, scope: str) -> Device:
        device = Device(
            device_code=f"canary-dc-{secrets.token_urlsafe(24)}",
            user_code="-".join(secrets.token_hex(2).upper() for _ in range(2)),
            client_id=client_id,
            scope=scope,
            expires_at=time.time() + self.config.device_lifetime,
            interval=self.config.device_interval,
        )
        self.by_code[device.device_code] = device
        self.grants.record("device_begun", user_code=device.user_code, client_id=client_id, scope=scope)
        return device

    def decide(self, user_code: str, *, approved: bool, subject: str | None) -> None:
        """What the person does at the other screen, once."""
        found = [one for one in self.by_code.values() if one.user_code == user_code and one.approved is None]
        if not found:
            raise BadControl("no such user code is waiting")
        found[0].approved, found[0].subject = approved, subject or self.config.subject
        self.grants.record("device_decided", user_code=user_code, approved=approved)

    def poll(self, device_code: str, *, client_id: str) -> Issue:
        device = self.by_code.get(device_code)
        if device is None or device.client_id != client_id or device.spent:
            raise GrantError("invalid_grant", "unknown device code")
        now, before = time.time(), device.polled_at
        device.polled_at = now
        if now >= device.expires_at:
            raise GrantError("expired_token", "nobody decided in time")
        if before is not None and now - before < device.interval:
            device.interval += self.config.device_slow_down
            raise GrantError("slow_down", "polled too early")
        if device.approved is None:
            raise GrantError("authorization_pending", "nobody has decided yet")
        device.spent = True
        if not device.approved:
            raise GrantError("access_denied", "the person said no")
        family = self.grants.new_family(client_id, device.subject, device.scope)
        return self.grants.issue(family, via="device", with_refresh=self.config.issue_refresh_token)
