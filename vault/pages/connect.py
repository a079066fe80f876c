"""The addresses that a consenting person's browser needs, and no other page is required for."""

import re
import secrets
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from litestar import Controller, Request, Response, get
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from vault import names
from vault.callback import Result
from vault.errors import Gone
from vault.pages.result import result_page
from vault.services import Vault
from vault.settings import is_loopback

BROWSER_LIFETIME = 86_400  # seconds that a browser is recognised by its cookie
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_ANSWERED = ("state", "code", "error", "iss")  # what of an answer counts (RFC 6749 4.1.2, RFC 9207)


class ConnectController(Controller):
    tags = ("connect",)
    include_in_schema = True

    @get("/connect/{ticket:str}", opt={"public": True}, status_code=302, summary="Follow a connect link")
    async def visit(
        self, request: Request[Any, Any, Any], vault: NamedDependency[Vault], ticket: FromPath[str]
    ) -> Response[Any]:
        """Send the browser to the provider. The link itself stays good until it has succeeded."""
        secure = vault.settings.secure
        if not secure and not is_loopback(vault.settings.public_url):
            return result_page(None, "https_required", status_code=403)
        name = cookie_name(secure=secure)
        browser = _known(request.cookies.get(name)) or secrets.token_urlsafe(32)
        try:
            url = await vault.authorize.visit(ticket, browser)
        except Gone as error:
            return result_page(None, error.code, status_code=410)
        return Redirect(url, status_code=302, cookies=[_cookie(name, browser, secure=secure)])

    @get("/oauth/callback/{provider:str}", opt={"public": True}, summary="Where a provider sends people back")
    async def callback(
        self, request: Request[Any, Any, Any], vault: NamedDependency[Vault], provider: FromPath[str]
    ) -> Response[Any]:
        """Connect, and show how it went: in place, or at the return address with `status` and `code`."""
        names.check(provider=provider)
        browser = request.cookies.get(cookie_name(secure=vault.settings.secure))
        try:
            result = await vault.callback.finish(provider, _parameters(request), browser)
        except Gone as error:
            return result_page(None, error.code, status_code=410)
        if result.return_url is not None:
            return Redirect(_returning(result), status_code=303)
        return result_page(result.connection, result.code, status_code=200 if result.connected else 400)


def cookie_name(*, secure: bool) -> str:
    """Return the name of the cookie that binds a state to a browser.

    `__Host-` keeps neighbours on other subdomains from setting it, and exists only under https.
    """
    return "__Host-tv_browser" if secure else "tv_browser"


def _cookie(name: str, value: str, *, secure: bool) -> Cookie:
    # Lax, not Strict: the callback is a navigation that starts on the provider's site.
    return Cookie(
        key=name,
        value=value,
        path="/",
        httponly=True,
        secure=secure,
        samesite="lax",
        max_age=BROWSER_LIFETIME,
    )


def _known(browser: str | None) -> str | None:
    """Return the value of a cookie where it could be one of ours."""
    return browser if browser is not None and _BROWSER.fullmatch(browser) else None


def _parameters(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the parameters of the answer: no more than its state where one that counts comes twice.

    RFC 6749 3.1 forbids that, and dropping the repeated one alone would drop a wrong `iss` as well.
    """
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=False)
    seen = Counter(name for name, _ in pairs)
    once = {name: value for name, value in pairs if seen[name] == 1}
    if all(seen[name] <= 1 for name in _ANSWERED):
        return once
    return {name: value for name, value in once.items() if name == "state"}


def _returning(result: Result) -> str:
    assert result.return_url is not None
    parts = urlsplit(result.return_url)
    about = result.connection
    added = {
        "status": "connected" if result.connected else "failed",
        "tenant": about.tenant,
        "provider": about.provider,
        "name": about.name,
        "code": result.code,
    }
    # What is there stays as it was written: parsed and joined again, it could be another address.
    query = "&".join(part for part in (parts.query, urlencode(added)) if part)
    return urlunsplit(parts._replace(query=query))
