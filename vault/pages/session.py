"""What the pages ask of a browser before they do anything for it: the way it came, and its session."""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import Cookie

from vault.services import Vault
from vault.settings import Settings, is_loopback
from vault.signing_in import SESSION_LIFETIME

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Refused(Exception):
    """A page that is not shown; *code* says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def require_https(settings: Settings) -> None:
    """Raise Refused where a session's cookie could be read on its way: over http, beyond this machine."""
    if not settings.secure and not is_loopback(settings.public_url):
        raise Refused("https_required")


def require_own_page(request: Request[Any, Any, Any], settings: Settings) -> None:
    """Raise Refused where a browser says that a page of somebody else's sent this.

    What says neither is no browser, and has no cookie that somebody else could make use of.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", _origin(settings.public_url))
    if site not in {"same-origin", "none"} or origin != _origin(settings.public_url):
        raise Refused("cross_site")


async def require_session(request: Request[Any, Any, Any], vault: Vault) -> str:
    """Return the session of a browser that is signed in. Raises Refused for any other."""
    session = request.cookies.get(cookie_name(secure=vault.settings.secure))
    if session is None or not await vault.signing_in.is_signed_in(session):
        raise Refused("not_signed_in")
    return session


def cookie_name(*, secure: bool) -> str:
    """Return the name of the session's cookie. `__Host-` keeps neighbours on other subdomains from setting it."""
    return "__Host-tv_session" if secure else "tv_session"


def session_cookie(value: str, *, secure: bool) -> Cookie:
    """Return the cookie that holds a session; where *value* is empty, the one that takes it away."""
    return Cookie(
        key=cookie_name(secure=secure),
        value=value,
        path="/",
        httponly=True,
        secure=secure,
        samesite="strict",  # whatever asks for a page comes from one of ours, or was typed
        max_age=int(SESSION_LIFETIME.total_seconds()) if value else 0,
    )


def _origin(url: str) -> str:
    """Return the origin of *url* as browsers write it: in lower case, without the scheme's own port."""
    parts = urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc.removesuffix(_DEFAULT_PORTS[parts.scheme])}"
