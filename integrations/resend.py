"""Resend: an API key that nothing renews, and that may be good for sending alone.

Sources: Resend's OpenAPI description 1.5.0 (`https://github.com/resend/resend-openapi`), and
`https://resend.com/docs/api-reference/errors`. There is no call that every key may make: listing domains is
refused to a sending key in words that only a good key gets (`https://github.com/resend/resend-php/issues/99`).
"""

from collections.abc import Mapping

import httpx

from integrations.answers import json_object, text
from integrations.calls import bearer, call
from integrations.contract import Answer, Field, Finding, Handout, Kind, Root, Secret, Steps
from integrations.vendor import Vendor
from integrations.verdicts import judge

API_KEY = Kind(
    id="api_key",
    label="API key",
    how="enter",
    renewal="none",
    check_every=86_400,
    fields=(
        Field(
            name="api_key",
            label="API key",
            pattern=r"re_[A-Za-z0-9_]+",
            help="resend.com/api-keys, Create API key. It is shown once.",
        ),
        Field(
            name="from_email",
            label="Sender address",
            secret=False,
            required=False,
            pattern=r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+",
            help="Its domain has to be verified at resend.com/domains.",
        ),
    ),
)
_DEAD = "API key is invalid"  # what a dead key is told, whatever the name and status beside it
_PAGES = 20  # of a hundred domains: more than any team has


class Resend(Vendor):
    """The built-in provider `resend`."""

    id, name = "resend", "Resend"
    docs = "https://resend.com/docs/dashboard/api-keys/introduction"
    kinds = (API_KEY,)

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        sender, after = root.credentials.get("from_email"), ""
        wanted = sender.reveal().rpartition("@")[2].casefold() if sender else None
        for _ in range(_PAGES):
            answer = yield self._domains(root.credentials["api_key"], after)
            found = _refusal(answer)
            if found is not None:
                return found
            body = json_object(answer.body)
            domains = [one for one in _list(body.get("data")) if isinstance(one, dict)]
            if wanted is None:
                return Finding(verdict="valid")
            for domain in domains:
                if str(domain.get("name")).casefold() == wanted:
                    return _of_domain(text(domain.get("status")))
            last = text(domains[-1].get("id")) if domains else None
            if body.get("has_more") is not True or last is None:
                return Finding(verdict="limited", code="sender_domain_unknown", lacks=("send_from",))
            after = last
        return Finding(verdict="unknown", code="too_many_domains")

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        return Handout(credentials=credentials, authorization=bearer(credentials["api_key"]))

    def _domains(self, key: Secret, after: str) -> httpx.Request:
        query = {"limit": "100", **({"after": after} if after else {})}
        return call("GET", f"{self.endpoints['api_url']}/domains", authorization=bearer(key), query=query)


def _refusal(answer: Answer) -> Finding | None:
    """Return what *answer* refuses with; None where it is a list of domains. Raises what may pass."""
    body = json_object(answer.body)
    name, message = text(body.get("name")), text(body.get("message")) or ""
    if name == "restricted_api_key":
        return Finding(verdict="limited", code="sending_only", lacks=("read",))
    if name == "invalid_api_key" or _DEAD.casefold() in message.casefold():
        return Finding(verdict="invalid", code="invalid_api_key")
    if answer.status == 200 and isinstance(body.get("data"), list):
        return None
    raise judge(answer, None)


def _of_domain(status: str | None) -> Finding:
    if status == "verified":
        return Finding(verdict="valid")
    return Finding(verdict="limited", code="sender_domain_unverified", lacks=("send_from",))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
