"""How Twilio's calls are addressed and authenticated, whichever of its hosts they go to, and its lists read.

Lists come in pages: `api.twilio.com` gives the path of the next one, the other hosts its whole address.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from integrations import answers
from integrations.calls import Parameters, basic, bearer, call, plain
from integrations.contract import Finding, Misused, Root, Secret, Steps
from integrations.twilio.errors import read

Object = dict[str, Any]
Probe = Callable[[Root], Steps[Finding]]  # of a kind's credentials, spending nothing
LARGEST_PAGE = {"PageSize": "1000"}
_MOST_PAGES = 50


def authorization(kind: str, credentials: Mapping[str, Secret]) -> Secret:
    """Return the value of an Authorization header for static *credentials*."""
    if kind == "api_key":
        return basic(credentials["api_key_sid"].reveal(), credentials["api_key_secret"])
    return basic(credentials["account_sid"].reveal(), credentials["auth_token"])


def at(endpoint: str, credentials: Mapping[str, Secret]) -> str:
    """Return *endpoint* as it is in the region and at the edge of *credentials*, where it is Twilio's own."""
    edge, region = plain(credentials, "edge"), plain(credentials, "region")
    parts = urlsplit(endpoint)
    product, _, rest = parts.netloc.partition(".")
    if rest != "twilio.com" or not (edge or region):
        return endpoint
    host = ".".join(part for part in (product, edge, region or "us1", rest) if part)
    return urlunsplit(parts._replace(netloc=host))


def placed(credentials: Mapping[str, Secret]) -> dict[str, Secret]:
    """Return what of *credentials* says where to call, and of which account."""
    return {name: value for name, value in credentials.items() if name in {"account_sid", "region", "edge"}}


class Unable(Exception):
    """What is to be done cannot be, for the reason of a *code*: a person has to decide. Nothing was changed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Api:
    """Twilio as the account of *credentials*, with which calls are authenticated: an API key's if there is one.

    Or with the *token* that an app got with them. A host goes by the name of its endpoint, as `trunking_url`.
    """

    def __init__(
        self, endpoints: Mapping[str, str], credentials: Mapping[str, Secret], token: Secret | None = None
    ) -> None:
        self._endpoints = endpoints
        self._credentials = credentials
        kind = "api_key" if "api_key_sid" in credentials else "auth_token"
        self._authorization = bearer(token) if token else authorization(kind, credentials)
        self.account = credentials["account_sid"].reveal()

    def request(
        self,
        method: str,
        host: str,
        path: str,
        form: Parameters | None = None,
        query: Parameters | None = None,
    ) -> httpx.Request:
        address = self._address(host, path)
        return call(method, address, authorization=self._authorization, form=form, query=query)

    def account_path(self, path: str) -> str:
        """Return *path* of what the account has at `api_url`."""
        return f"/2010-04-01/Accounts/{self.account}{path}.json"

    def listed(self, host: str, path: str, key: str, query: Parameters | None = None) -> Steps[list[Object]]:
        """Return all that is listed under *key*, on however many pages."""
        address, asked, found = self._address(host, path), {**(query or {}), **LARGEST_PAGE}, list[Object]()
        for _ in range(_MOST_PAGES):
            body = read((yield call("GET", address, authorization=self._authorization, query=asked)))
            listed = body.get(key)
            if not isinstance(listed, list):
                raise Misused("list_missing")
            found += [one for one in listed if isinstance(one, dict)]
            following = _following(address, body)
            if following is None:
                return found
            address, asked = following, {}
        raise Misused("too_many_pages")

    def _address(self, host: str, path: str) -> str:
        return at(self._endpoints[host], self._credentials) + path


def _following(address: str, body: Object) -> str | None:
    """Return where the page after *body* is, None after the last one.

    Raises Misused where that is at another host, which would get our credentials.
    """
    link = answers.text(answers.at(body, "meta.next_page_url")) or answers.text(body.get("next_page_uri"))
    if link is None:
        return None
    following = urljoin(address, link)
    if urlsplit(following)[:2] != urlsplit(address)[:2]:
        raise Misused("foreign_next_page")
    return following
