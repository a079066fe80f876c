"""Reading the ledger: what the provider knows to have happened, whatever the vault believes."""

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    """A ledger as it was when read; every question is answered from its events alone."""

    events: list[Event]

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        # A last line without its end is still being written.
        whole, _, _ = path.read_text().rpartition("\n")
        return cls([json.loads(line) for line in whole.splitlines()])

    def of(self, event: str, family: str | None = None, **fields: Any) -> list[Event]:
        """Events of one kind, of one family if given, with these fields."""
        events = self._index.get((event, family), [])
        return [one for one in events if all(one.get(name) == value for name, value in fields.items())]

    @cached_property
    def _index(self) -> dict[tuple[str, str | None], list[Event]]:
        """By kind and family, and by kind alone: a long run asks for each of thousands of families."""
        index: dict[tuple[str, str | None], list[Event]] = defaultdict(list)
        for one in self.events:
            for family in {None, one.get("family")}:
                index[one["event"], family].append(one)
        return dict(index)

    def requests(self, endpoint: str) -> list[Event]:
        return self.of("request", endpoint=endpoint)

    @property
    def token_requests(self) -> int:
        """How many requests the token endpoint got, of any outcome."""
        return len(self.requests("token"))

    def exchanges(self, family: str | None = None) -> list[Event]:
        """Refresh requests that succeeded at the provider, delivered or not."""
        return self.of("request", family, endpoint="token", grant_type="refresh_token", outcome="ok")

    def reuses(self, family: str | None = None) -> list[Event]:
        """Consumed refresh tokens that were presented again and taken for theft."""
        return self.of("reused", family)

    def replays(self, family: str | None = None) -> list[Event]:
        """Consumed refresh tokens that were presented again, forgiven (grace, lax) or not."""
        return sorted(self.of("replayed", family) + self.of("reused", family), key=lambda one: one["seq"])

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(one["family"] for one in self.of("issued")))

    @property
    def revoked_families(self) -> set[str]:
        return {one["family"] for one in self.of("family_revoked")}

    def last_refresh_token(self, family: str) -> str | None:
        """The refresh token issued last, whoever got to see it."""
        return self._last_refresh.get(family)

    def last_delivered_refresh_token(self, family: str) -> str | None:
        """The refresh token of the last answer that left whole and unaltered (or was minted)."""
        return self._last_delivered_refresh.get(family)

    @cached_property
    def lost_deliveries(self) -> set[str]:
        """Families whose last refresh token never left whole: only these may be missing from the vault."""
        return {
            family
            for family, token in self._last_refresh.items()
            if token != self._last_delivered_refresh.get(family)
        }

    @cached_property
    def _last_refresh(self) -> dict[str, str]:
        return {one["family"]: one["refresh_token"] for one in self.of("issued") if one["refresh_token"]}

    @cached_property
    def _last_delivered_refresh(self) -> dict[str, str]:
        whole = {one["request"] for one in self.of("delivered", intact=True)} | {None}
        return {
            one["family"]: one["refresh_token"]
            for one in self.of("issued")
            if one["refresh_token"] and one["request"] in whole
        }

    def is_alive_access(self, token: str, at: float | None = None) -> bool:
        """Whether the provider would accept this access token now, or would have at that Unix time."""
        moment = time.time() if at is None else at
        issued = self._issued_access.get(token)
        if issued is None or not issued["at"] <= moment < issued["access_expires_at"]:
            return False
        family = issued["family"]
        ends = self.of("family_revoked", family) + self.of("access_revoked", family, access_token=token)
        return all(moment < end["at"] for end in ends)

    @cached_property
    def _issued_access(self) -> dict[str, Event]:
        return {one["access_token"]: one for one in self.of("issued")}
