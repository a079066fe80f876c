"""Resend: an API key that nothing renews, and that may be good for sending alone.

Sources: Resend's OpenAPI description 1.5.0 (`https://github.com/resend/resend-openapi`), and
`https://resend.com/docs/api-reference/errors`. There is no call that every key may make: listing domains is
refused to a sending key in words that only a good key gets (`https://github.com/resend/resend-php/issues/99`).
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import httpx

from integrations.answers import json_object, text
from integrations.calls import bearer, call
from integrations.contract import (
    Answer,
    Field,
    Finding,
    Handout,
    Kind,
    Misused,
    RateLimited,
    Root,
    Secret,
    Steps,
    Transient,
)
from integrations.vendor import Vendor
from integrations.verdicts import Verdicts, judge

Domain: TypeAlias = dict[str, Any]  # as the list of them has it
API_KEY = Kind(
    id="api_key",
    label="API key",
    how="enter",
    renewal="none",
    check_every=86_400,
    abilities=("read", "send_from"),
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
# What its error names mean, where the status alone does not say it (see the sources above).
_NAMES: Verdicts = {
    "missing_api_key": Misused,
    "rate_limit_exceeded": RateLimited,
    "daily_quota_exceeded": Transient,
    "monthly_quota_exceeded": Transient,
    "application_error": Transient,
    "internal_server_error": Transient,
}
_DEAD = "api key is invalid"  # what a dead key is told, whatever the name and status beside it
_PAGES = 20  # of a hundred domains: more than any team has


_ADVICE: Mapping[str, str] = {
    "invalid_api_key": "Resend does not know this key, or not any more: create another one at resend.com/api-keys"
    " and enter that.",
    "sending_only": "The key works, for sending alone: it cannot tell whether a sender's domain is verified. If"
    ' more is needed, create a key with "Full access" at resend.com/api-keys.',
    "sender_domain_unknown": "The team has no such domain: add the domain of the sender's address at"
    " resend.com/domains, or correct the address.",
    "sender_domain_unverified": "The domain of the sender's address is not verified: set its DNS records as"
    " resend.com/domains shows them, and verify it there.",
    "sender_domain_receives_only": "Sending is switched off for the domain of the sender's address: switch it on"
    " at resend.com/domains.",
    "daily_quota_exceeded": "Resend's quota for today is used up: wait until tomorrow, or change the plan at"
    " resend.com/settings/billing.",
    "monthly_quota_exceeded": "Resend's quota for this month is used up: wait, or change the plan at"
    " resend.com/settings/billing.",
}


class Resend(Vendor):
    """The built-in provider `resend`.

    Nothing is revoked: a key cannot tell its own id, and a mistyped one would end another key.
    """

    id, name = "resend", "Resend"
    docs = "https://resend.com/docs/dashboard/api-keys/introduction"
    advice = _ADVICE
    kinds = (API_KEY,)

    def probe(self, root: Root, access_token: Secret | None) -> Steps[Finding]:
        key, sender = root.credentials["api_key"], root.credentials.get("from_email")
        first = yield self._page(key)
        refused = _refusal(first)
        if refused is not None or sender is None:
            return refused or Finding(verdict="valid")
        return _of_sender((yield from self._domain(key, _domain_of(sender), first)))

    def handout(self, kind: str, credentials: Mapping[str, Secret], access_token: Secret | None = None) -> Handout:
        return Handout(credentials=credentials, authorization=bearer(credentials["api_key"]))

    def _page(self, key: Secret, after: str | None = None) -> httpx.Request:
        query = {"limit": "100", **({"after": after} if after else {})}
        return call("GET", f"{self.endpoints['api_url']}/domains", authorization=bearer(key), query=query)

    def _domain(self, key: Secret, name: str, page: Answer) -> Steps[Domain | None]:
        """Return the domain *name* from *page* or those after it; None where the team has none of this name."""
        for _ in range(_PAGES):
            domains = _domains(page)
            for domain in domains:
                if (text(domain.get("name")) or "").casefold() == name:
                    return domain
            last = text(domains[-1].get("id")) if domains else None
            if last is None or json_object(page.body).get("has_more") is not True:
                return None
            page = yield self._page(key, last)
        raise Transient("too_many_domains")


def _refusal(answer: Answer) -> Finding | None:
    """Return what *answer* says of the key by refusing; None where it does not. Raises what may pass."""
    body = json_object(answer.body)
    name, message = text(body.get("name")), text(body.get("message")) or ""
    refusing = 400 <= answer.status < 500
    if refusing and name == "restricted_api_key":
        return Finding(verdict="limited", code="sending_only", lacks=("read",))
    if refusing and (name == "invalid_api_key" or _DEAD in message.casefold()):
        return Finding(verdict="invalid", code="invalid_api_key")
    _domains(answer)
    return None


def _domains(answer: Answer) -> list[Domain]:
    """Return the domains that *answer* lists. Raises the ProviderError that it amounts to where it lists none."""
    body = json_object(answer.body)
    found = body.get("data")
    if answer.status != 200 or not isinstance(found, list):
        raise judge(answer, text(body.get("name")), _NAMES)
    return [one for one in found if isinstance(one, dict)]


def _domain_of(sender: Secret) -> str:
    return sender.reveal().rpartition("@")[2].casefold()


def _of_sender(domain: Domain | None) -> Finding:
    """Return what the *domain* of a sender's address lets a good key do."""
    if domain is None:
        return Finding(verdict="limited", code="sender_domain_unknown", lacks=("send_from",))
    if domain.get("status") != "verified":
        return Finding(verdict="limited", code="sender_domain_unverified", lacks=("send_from",))
    capabilities = domain.get("capabilities")
    if isinstance(capabilities, dict) and capabilities.get("sending") == "disabled":
        return Finding(verdict="limited", code="sender_domain_receives_only", lacks=("send_from",))
    return Finding(verdict="valid")
