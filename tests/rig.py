"""A vault in this process, over a real database and a real provider, for tests to play with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx

from integrations.contract import Client, Secret
from tests.declared import Declared
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant
from vault.app import build
from vault.callers import OPERATOR
from vault.connection import Connection
from vault.connections import Change
from vault.http.server import application
from vault.keyring import Keyring
from vault.services import Vault
from vault.settings import Settings
from vault.store import connections
from vault.store.database import Database

SECRET = "canary-encryption-secret-" + "x" * 32
PROVIDER = "acme-id"
TENANT = "acme"


def settings(database_url: str, **changed: Any) -> Settings:
    """Return settings for a vault on *database_url* that may talk to providers on this machine."""
    made = Settings(
        encryption_secret=Secret(SECRET),
        database_url=database_url,
        public_url="http://127.0.0.1:8000",
        provider_timeout=5.0,
        lease=60.0,
        sweep_interval=0,
        allow_local_providers=True,
    )
    return replace(made, **changed)


@dataclass
class Rig:
    """One replica, its provider, and what tests ask of them most."""

    vault: Vault
    provider: FakeProvider
    api: httpx.AsyncClient
    made: int = field(default=0)

    async def setup(self, **definition: Any) -> None:
        """Make the tenant, the provider and its client."""
        await self.vault.tenants.put(OPERATOR, TENANT, parent="platform", name="Acme", return_urls=[])
        fields = {
            "authorization_endpoint": self.provider.authorization_endpoint,
            "token_endpoint": self.provider.token_endpoint,
            "revocation_endpoint": self.provider.revocation_endpoint,
            "userinfo_endpoint": self.provider.userinfo_endpoint,
            "issuer": self.provider.issuer,
            "rotation": "strict",
            "revocation_scope": "token",
            "scopes": ["openid", "offline_access"],
            **definition,
        }
        await self.vault.providers.define(PROVIDER, fields, "operator")
        await self.register(self.provider.client_secret)

    async def register(self, secret: str, tenant: str = TENANT) -> None:
        client = Client(self.provider.client_id, Secret(secret))
        await self.vault.clients.put(tenant, PROVIDER, client, "operator")

    async def key(self, *scopes: str, **limits: Any) -> str:
        """Return an API key with *scopes*, `admin` where none are named."""
        wanted = {"tenant": None, "providers": None, "names": None, "expires_at": None, **limits}
        _, key = await self.vault.callers.create(
            OPERATOR, {"name": "test", "scopes": list(scopes or ("admin",)), **wanted}
        )
        return key.reveal()

    async def a_connection(self, name: str | None = None, *, expires_in: int = 3600) -> tuple[Connection, Grant]:
        """Return a stored connection and the grant behind it, whose access token has *expires_in* seconds left."""
        self.made += 1
        grant = await self.provider.mint(access_lifetime=max(expires_in, 1))
        connection = await self.adopt(grant, name or f"c{self.made}", expires_in=expires_in)
        return connection, grant

    async def adopt(self, grant: Grant, name: str, *, expires_in: int) -> Connection:
        """Store *grant* as the connection *name*."""
        async with self.vault.database.read() as tx:
            now = await connections.database_time(tx)
        credentials = {
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
            "expires_at": (now + timedelta(seconds=expires_in)).isoformat(),
        }
        change = Change(credentials=credentials, verify=False)
        connection, _ = await self.vault.connections.put(
            "operator", (TENANT, PROVIDER, name), [TENANT, "platform"], change
        )
        return connection

    async def token(self, name: str, **query: Any) -> httpx.Response:
        """Ask for the token of connection *name* over HTTP."""
        return await self.api.get(f"/v1/connections/{TENANT}/{PROVIDER}/{name}/token", params=query)

    async def look(self, name: str) -> Connection:
        return await self.vault.connections.get((TENANT, PROVIDER, name))


@asynccontextmanager
async def replica(
    database_url: str, keyring: Keyring, provider: FakeProvider, **changed: Any
) -> AsyncIterator[Rig]:
    """Give one replica on *database_url*, with an administrator's key in its HTTP client."""
    chosen = settings(database_url, **changed)
    # Until another one is started, nobody else serves here: nothing has to be waited for.
    vault = build(chosen, Database(database_url), keyring, alone=True)
    transport = httpx.ASGITransport(Declared(application(vault)))
    async with httpx.AsyncClient(transport=transport, base_url=chosen.public_url) as api:
        rig = Rig(vault, provider, api)
        api.headers["Authorization"] = f"Bearer {await rig.key()}"
        try:
            yield rig
        finally:
            await vault.close()
