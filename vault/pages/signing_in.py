"""The way in and out: a link's page, its button, and the button that signs out."""

from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from vault.pages.markup import markup, page
from vault.pages.refusal import REFUSALS
from vault.pages.session import require_https, require_own_page, require_session, session_cookie
from vault.services import Vault

# Without an address, a form is sent to the page's own.
_ASK = markup(
    "<main><h1>Sign in to Token Vault</h1>"
    "<p>This link works once. You stay signed in on this browser for 12 hours, or until you sign out.</p>"
    '<form method="post"><button autofocus>Sign in</button></form></main>'
)


class SigningInController(Controller):
    include_in_schema = False

    @get("/login/{token:str}", opt={"public": True}, exception_handlers=REFUSALS)
    async def ask(self, vault: NamedDependency[Vault], token: FromPath[str]) -> Response[str]:
        """Show the button. Looking at a link, as a preview does, leaves it as good as it was."""
        require_https(vault.settings)
        await vault.signing_in.check(token)
        return page("Sign in", _ASK)

    @post("/login/{token:str}", opt={"public": True}, exception_handlers=REFUSALS, status_code=303)
    async def sign_in(
        self, request: Request[Any, Any, Any], vault: NamedDependency[Vault], token: FromPath[str]
    ) -> Redirect:
        """Use the link up."""
        require_https(vault.settings)
        require_own_page(request, vault.settings)
        session = await vault.signing_in.sign_in(token)
        return _home(vault, session.reveal())

    @post("/logout", opt={"public": True}, exception_handlers=REFUSALS, status_code=303)
    async def sign_out(self, request: Request[Any, Any, Any], vault: NamedDependency[Vault]) -> Redirect:
        """End the session that the browser has."""
        require_https(vault.settings)
        require_own_page(request, vault.settings)
        await vault.signing_in.sign_out(await require_session(request, vault))
        return _home(vault, "")


def _home(vault: Vault, session: str) -> Redirect:
    cookie = session_cookie(session, secure=vault.settings.secure)
    return Redirect(f"{vault.settings.public_url}/", status_code=303, cookies=[cookie])
