"""A Resend that is stricter than the real one.

Sources: Resend's OpenAPI description 1.5.0, its errors page, and what its maintainers say of dead keys
(`https://github.com/resend/resend-node/pull/617`).
"""

from typing import Any, Literal

from tests.provider.wire import Answer, Request, json_answer
from tests.vendors.fake import FakeVendor, Strange, header

# What each call takes, by method and path, that a caller of ours may make.
ACCEPTS = {("GET", "/domains"): {"limit", "after", "before"}}
HOST = "/api.resend.com"

Right = Literal["full_access", "sending_access"]
DEAD = (
    (403, "invalid_api_key"),  # as the errors page has it
    (400, "validation_error"),  # as the API really answers
    (401, "validation_error"),
)


def refusal(status: int, name: str, message: str = "No.", **headers: str) -> Answer:
    """Return an error as Resend words it."""
    return json_answer({"statusCode": status, "name": name, "message": message}, status, **headers)


def domain(number: int, name: str, status: str = "verified", sending: str = "enabled") -> dict[str, Any]:
    """Return a domain as the list of them has it."""
    return {
        "id": f"domain-{number}",
        "name": name,
        "status": status,
        "created_at": "2026-04-26 20:21:26.347412+00",
        "region": "us-east-1",
        "capabilities": {"sending": sending, "receiving": "disabled"},
    }


class FakeResend(FakeVendor):
    """One team: its *keys* and what each may do, and its *domains*, the newest first."""

    vendor = "resend"

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.keys: dict[str, Right] = {}
        self.domains = [domain(number, name) for number, name in enumerate(names)]
        self.dead = DEAD[0]

    def answer(self, request: Request) -> Answer:
        parameters = request.params()
        if (request.method, request.path.removeprefix(HOST)) not in ACCEPTS or request.body:
            raise Strange("no such call")
        if parameters.keys() - ACCEPTS[request.method, request.path.removeprefix(HOST)]:
            raise Strange(f"parameters {sorted(parameters)}")
        if not header(request, "user-agent"):
            return refusal(403, "forbidden", "A User-Agent is required")
        return self._refused(header(request, "authorization")) or self._listed(parameters)

    def _refused(self, authorization: str | None) -> Answer | None:
        """Return what a key is told that may not list domains."""
        if authorization is None:
            return refusal(401, "missing_api_key", "Missing API Key")
        scheme, _, key = authorization.partition(" ")
        if scheme != "Bearer":
            raise Strange(f"authorization by {scheme}")
        right = self.keys.get(key)
        if right is None:
            return refusal(*self.dead, "API key is invalid")
        if right == "sending_access":
            return refusal(401, "restricted_api_key", "This API key is restricted to only send emails")
        return None

    def _listed(self, parameters: dict[str, str]) -> Answer:
        limit = int(parameters.get("limit", 20))
        if not 1 <= limit <= 100 or {"after", "before"} <= parameters.keys():
            raise Strange(f"a page of {parameters}")
        ids = [one["id"] for one in self.domains]
        start = ids.index(parameters["after"]) + 1 if "after" in parameters else 0
        page = self.domains[start : start + limit]
        return json_answer({"object": "list", "has_more": start + limit < len(ids), "data": page})
