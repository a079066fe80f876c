"""Which vault a request is for: it goes along in the connection's scope, and the routes know none but that."""

from litestar.types import ASGIApp, Receive, Scope, Send

from vault.services import Vault

_KEY = "vault"


class Bound:
    """Sends what arrives on to *app*, for *vault*."""

    def __init__(self, app: ASGIApp, vault: Vault) -> None:
        self._app = app
        self._vault = vault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_KEY] = self._vault  # type: ignore[literal-required]  # ours, beside the framework's
        await self._app(scope, receive, send)


def vault_of(scope: Scope) -> Vault:
    """Return the vault that a request is for."""
    vault: Vault = scope[_KEY]  # type: ignore[literal-required]
    return vault
