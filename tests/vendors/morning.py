"""A Morning that is stricter than the real one: its token endpoint of 2026, the one before, and its API.

Sources: see `integrations/morning.py`.
"""

import time
from dataclasses import dataclass, field
from typing import Literal

from tests.provider.wire import Answer, Request, json_answer
from tests.vendors.fake import FakeVendor, Strange, bearer_of, json_body

TOKENS = "/api.morning.co/idp/v1/oauth/token"
LEGACY = "/api.greeninvoice.co.il/api/v1/account/token"
BUSINESS = "/api.greeninvoice.co.il/api/v1/businesses/me"

State = Literal["active", "pending", "no_plan"]


def oauth_error(status: int, error: str) -> Answer:
    return json_answer({"error": error, "error_description": "No."}, status)


def resource_error(status: int, code: object) -> Answer:
    """Return an error of the API; its message is Hebrew, as they are."""
    return json_answer({"errorCode": code, "errorMessage": "הבקשה נדחתה"}, status)


@dataclass
class Key:
    """An API key of one business."""

    secret: str
    business: str = "business-1"
    state: State = "active"


@dataclass
class _Token:
    key: str
    ends: float = field(default_factory=lambda: time.time() + 3600)


class FakeMorning(FakeVendor):
    """Businesses' *keys* by id. *unit* is what the expiry of a token is told in."""

    vendor = "morning"

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Key] = {}
        self.tokens: dict[str, _Token] = {}
        self.unit: Literal["s", "ms"] = "s"
        self.refusing: tuple[int, int] | None = None  # what the API refuses each token with: status and code

    @property
    def legacy(self) -> dict[str, str]:
        """The endpoints of an operator who has set the former token endpoint, and has lost the new one."""
        former = self._here(f"https:/{LEGACY}")
        return {
            **self.endpoints,
            "token_endpoint": self._here("https://api.greeninvoice.co.il/gone"),
            "legacy_token_endpoint": former,
        }

    def answer(self, request: Request) -> Answer:
        if request.query:
            raise Strange("a query")
        calls = {
            ("POST", TOKENS): self._minted,
            ("POST", LEGACY): self._logged_in,
            ("GET", BUSINESS): self._business,
        }
        if (request.method, request.path) not in calls:
            raise Strange("no such call")
        return calls[request.method, request.path](request)

    def minted(self) -> int:
        """Return how many requests for tokens there were."""
        return sum(request.path in (TOKENS, LEGACY) for request in self.ledger)

    def looks(self) -> int:
        """Return how often it was asked about a token."""
        return sum(request.path == BUSINESS for request in self.ledger)

    def _minted(self, request: Request) -> Answer:
        body = json_body(request, {"grant_type", "client_id", "client_secret"})
        if body["grant_type"] != "client_credentials":
            return oauth_error(400, "unsupported_grant_type")
        key = self.keys.get(body["client_id"])
        if key is None or key.secret != body["client_secret"]:
            return oauth_error(401, "invalid_client")
        if key.state == "pending":
            return oauth_error(400, "invalid_grant")
        if key.state == "no_plan":
            return oauth_error(400, "unauthorized_client")
        token, ends = self._token(body["client_id"])
        return json_answer({"accessToken": token, "tokenType": "Bearer", "expiresAt": ends})

    def _logged_in(self, request: Request) -> Answer:
        body = json_body(request, {"id", "secret"})
        key = self.keys.get(body["id"])
        if key is None or key.secret != body["secret"]:
            return resource_error(401, 2014)
        token, ends = self._token(body["id"])
        return json_answer({"token": token, "expires": ends}, X_Authorization_Bearer=token)

    def _token(self, key: str) -> tuple[str, int]:
        token = f"canary-jwt-{len(self.tokens) + 1}"
        self.tokens[token] = _Token(key)
        return token, int(self.tokens[token].ends * (1000 if self.unit == "ms" else 1))

    def _business(self, request: Request) -> Answer:
        found = self.tokens.get(bearer_of(request))
        if self.refusing is not None:
            return resource_error(*self.refusing)
        if found is None or found.ends < time.time() or found.key not in self.keys:
            return resource_error(401, 401)
        return json_answer({"id": self.keys[found.key].business, "name": "Ann's Bakery", "taxId": "123456789"})
