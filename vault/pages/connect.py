"""The addresses that a consenting person's browser needs, and no other page is required for."""

import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from litestar import Controller, Request, Response, get
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from vault import names
from vault.authorize import Result
from vault.errors import Gone
from vault.pages.result import result_page
from vault.services import Vault

BROWSER_LIFETIME = 86_400  # seconds that a browser is recognised by its cookie


class ConnectController(Controller):
    tags = ("connect",)
    include_in_schema = True

    @get("/connect/{ticket:str}", opt={"public": True}, status_code=302, summary="Follow a connect link")
    async def visit(
        self, request: Request[Any, Any, Any], vault: NamedDependency[Vault], ticket: FromPath[str]
    ) -> Response[Any]:
        """Send the browser to the provider. The link itself stays good until it has succeeded."""
        name = cookie_name(secure=vault.settings.secure)
        browser = request.cookies.get(name) or secrets.token_urlsafe(32)
        url = await vault.authorize.visit(ticket, browser)
        return Redirect(url, status_code=302, cookies=[_cookie(name, browser, secure=vault.settings.secure)])

    @get("/oauth/callback/{provider:str}", opt={"public": True}, summary="Where a provider sends people back")
    async def callback(
        self, request: Request[Any, Any, Any], vault: NamedDependency[Vault], provider: FromPath[str]
    ) -> Response[Any]:
        """Connect, and show how it went: in place, or at the return address with `status` and `code`."""
        names.check(provider=provider)
        browser = request.cookies.get(cookie_name(secure=vault.settings.secure))
        try:
            result = await vault.authorize.finish(provider, _parameters(request), browser)
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


def _parameters(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return the parameters of the answer; one that comes twice counts as none (RFC 6749 3.1)."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=False)
    seen = [name for name, _ in pairs]
    return {name: value for name, value in pairs if seen.count(name) == 1}


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
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *added.items()])
    return urlunsplit(parts._replace(query=query))
