"""What Resend's answers mean."""

import json
from collections.abc import Callable
from typing import Any

from integrations.builtin import providers
from integrations.contract import Answer, Root, Secret, Steps
from tests.vendors.cases import Case
from tests.vendors.resend import domain

KEY = Secret("re_canary_key")
VENDOR = providers({})["resend"]
HTML = b"<html><title>Access to this network</title></html>"


def a_root(sender: str | None = None) -> Root:
    """Return a key, with the address of a *sender* where one is wanted."""
    entered = {"api_key": KEY} if sender is None else {"api_key": KEY, "from_email": Secret(sender)}
    return Root(kind="api_key", credentials=entered)


def probing(sender: str | None = None) -> Callable[[], Steps[object]]:
    return lambda: VENDOR.probe(a_root(sender), None)


def error(status: int, name: object, message: object = "No.", **headers: str) -> Answer:
    said = {"statusCode": status, "name": name, "message": message}
    return Answer(status, headers, json.dumps(said).encode())


def page(*domains: dict[str, Any], more: object = False) -> Answer:
    return Answer(200, body=json.dumps({"object": "list", "has_more": more, "data": domains}).encode())


def key(what: str, answer: Answer, expected: str) -> Case:
    return Case(what, probing(), (answer,), expected)


def sender(what: str, expected: str, *pages: Answer, at: str = "mail@acme.example") -> Case:
    return Case(what, probing(at), pages, expected)


ACME = domain(1, "acme.example")
RECEIVES = {**ACME, "capabilities": {"sending": "disabled"}}
ODD = b'{"data": [null, 1, {"name": 7}, {"name": "acme.example", "status": "verified"}]}'
CASES = (
    key("a list of domains", page(ACME), "valid"),
    key("a list of none", page(), "valid"),
    key("a sending key", error(401, "restricted_api_key", "This API key is restricted"), "limited sending_only"),
    key("a dead key, by the book", error(403, "invalid_api_key", "API key is invalid"), "invalid invalid_api_key"),
    key("a dead key, really", error(400, "validation_error", "API key is invalid"), "invalid invalid_api_key"),
    key("or so", error(401, "validation_error", "API key is invalid"), "invalid invalid_api_key"),
    key("in capitals", error(401, "validation_error", "API KEY IS INVALID."), "invalid invalid_api_key"),
    key("a rule of sending", error(403, "validation_error", "Verify a domain"), "Transient http_403"),
    key("no key was sent", error(401, "missing_api_key"), "Misused missing_api_key"),
    key("too fast", error(429, "rate_limit_exceeded"), "RateLimited rate_limit_exceeded"),
    key("too fast, and no reason", Answer(429, body=HTML), "RateLimited http_429"),
    key("sent enough today", error(429, "daily_quota_exceeded"), "Transient daily_quota_exceeded"),
    key("and this month", error(429, "monthly_quota_exceeded"), "Transient monthly_quota_exceeded"),
    key("broken", error(500, "application_error"), "Transient application_error"),
    key("broken inside", error(500, "internal_server_error"), "Transient internal_server_error"),
    key("an error nobody knows", error(401, "account_closed"), "Transient http_401"),
    key("a proxy's page with 401", Answer(401, body=HTML), "Transient http_401"),
    key("a proxy's page with 403", Answer(403, body=HTML), "Transient http_403"),
    key("a proxy's page with 200", Answer(200, body=HTML), "OutcomeUnknown http_200"),
    key("a gateway that gave up", Answer(502, body=HTML), "OutcomeUnknown http_502"),
    key("another gateway", Answer(503), "Transient http_503"),
    key("the words of a dead key, broken", error(500, "x", "API key is invalid"), "Transient http_500"),
    key("no list", Answer(200, body=b'{"object": "list", "data": null}'), "OutcomeUnknown http_200"),
    key("a name that is none", error(401, ["invalid_api_key"], {"API key is invalid": 1}), "Transient http_401"),
    sender("its domain is verified", "valid", page(ACME)),
    sender("however it is spelled", "valid", page(domain(1, "ACME.example")), at="mail@acme.EXAMPLE"),
    *(
        sender(f"it is {status}", "limited sender_domain_unverified", page(domain(1, "acme.example", status)))
        for status in ("pending", "failed", "not_started", "partially_verified", "partially_failed", "")
    ),
    sender("its domain only receives", "limited sender_domain_receives_only", page(RECEIVES)),
    sender("capabilities that are none", "valid", page({**ACME, "capabilities": None})),
    sender("one above is another", "limited sender_domain_unknown", page(ACME), at="mail@eu.acme.example"),
    sender("one that ends alike, too", "limited sender_domain_unknown", page(ACME), at="mail@notacme.example"),
    sender("it has no domain", "limited sender_domain_unknown", page()),
    sender("a sending key cannot tell", "limited sending_only", error(401, "restricted_api_key")),
    sender("it is on the second page", "valid", page(domain(7, "b.example"), more=True), page(ACME)),
    sender("or on neither", "limited sender_domain_unknown", page(domain(7, "b.example"), more=True), page()),
    sender("more, and nothing to go on from", "limited sender_domain_unknown", page(more=True)),
    sender("more, and no id to go on from", "limited sender_domain_unknown", page({"name": "b"}, more=True)),
    sender("the second page breaks", "Transient http_500", page(domain(7, "b"), more=True), Answer(500)),
    sender("entries that are none", "valid", Answer(200, body=ODD)),
    sender("without an end", "Transient too_many_domains", *[page(domain(7, "b.example"), more=True)] * 21),
)
