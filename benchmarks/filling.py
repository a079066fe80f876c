"""What the vault holds while it is measured: a tenant, a provider, and any number of connections."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, update

from integrations.contract import Client, Secret
from vault.callers import OPERATOR
from vault.sealing import Place, seal_all
from vault.services import Vault
from vault.settings import Settings
from vault.store.schema import connections, sealed_values, token_states

SECRET = "a secret for measuring, which guards nothing at all"  # noqa: S105 - it opens a throwaway
TENANT, PROVIDER, NAME = "acme", "measured", "c0"
REFUSED = "refused"  # id and secret of a client that the provider does not know
TOKEN_PATH = f"/v1/connections/{TENANT}/{PROVIDER}/{NAME}/token"
TOKEN_BYTES = 1024
LIFETIME = timedelta(hours=1)
OVERDUE = timedelta(hours=2)  # longer than anything that is due for another reason
AT_A_TIME = 1000  # rows a statement


def settings(database_url: str, *, concurrency: int = 32) -> Settings:
    """Return settings for a vault on *database_url* whose sweep runs only when it is told to."""
    return Settings(
        encryption_secret=Secret(SECRET),
        database_url=database_url,
        public_url="http://127.0.0.1:8000",
        sweep_interval=0,
        provider_concurrency=concurrency,
        allow_local_providers=True,
    )


@dataclass(frozen=True)
class Furnished:
    """An API key that may read tokens, and the client that connections belong to."""

    key: str
    client: str


async def furnish(vault: Vault, token_endpoint: str = "http://127.0.0.1:9/token") -> Furnished:  # noqa: S107
    """Make tenant, provider, client and caller, the way an operator would."""
    await vault.tenants.put(OPERATOR, TENANT, parent="platform", name="Acme", return_urls=[])
    definition = {
        "authorization_endpoint": token_endpoint,
        "token_endpoint": token_endpoint,
        "rotation": "strict",
    }
    await vault.providers.define(PROVIDER, definition, "operator")
    await vault.clients.put(TENANT, PROVIDER, Client("measuring", Secret("also measuring")), "operator")
    limits = {"tenant": None, "providers": None, "names": None, "expires_at": None}
    wanted = {"name": "load", "scopes": ["tokens:read"], **limits}
    _caller, key = await vault.callers.create(OPERATOR, wanted)
    registered = await vault.clients.get(TENANT, PROVIDER)
    return Furnished(key.reveal(), registered.row.id)


async def connect(vault: Vault, client: str, count: int, prefix: str = "c") -> None:
    """Store *count* connections named c0, c1, … with fresh tokens of 1 KB."""
    for first in range(0, count, AT_A_TIME):
        made = [
            _rows(vault, client, f"{prefix}{number}") for number in range(first, min(first + AT_A_TIME, count))
        ]
        async with vault.database.transaction() as tx:
            await tx.execute(insert(connections), [row for row, _, _ in made])
            await tx.execute(insert(token_states), [state for _, state, _ in made])
            await tx.execute(insert(sealed_values), [value for _, _, values in made for value in values])


async def make_due(vault: Vault, client: str) -> None:
    """Have every connection of *client* wait for the sweep."""
    since = datetime.now(UTC) - OVERDUE
    async with vault.database.transaction() as tx:
        await tx.execute(update(token_states).where(token_states.c.client == client).values(next_refresh_at=since))


def _rows(vault: Vault, client: str, name: str) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    identity, now = secrets.token_hex(16), datetime.now(UTC)
    connection = {
        "id": identity,
        "tenant_id": TENANT,
        "provider": PROVIDER,
        "name": name,
        "kind": "oauth2",
        "client": client,
        "enabled": True,
        "created_at": now,
    }
    state = {
        "connection_id": identity,
        "provider": PROVIDER,
        "client": client,
        "status": "verified",
        "generation": 1,
        "granted_generation": 1,
        "renewal": "refresh_token",
        "access_expires_at": now + LIFETIME,
        "issued_lifetime": int(LIFETIME.total_seconds()),
        "refreshed_at": now,
        "verified_at": now,
        "next_refresh_at": now + LIFETIME * 0.75,
    }
    place = Place(TENANT, PROVIDER, "connection", identity)
    tokens = {
        "access_token": Secret(secrets.token_hex(TOKEN_BYTES // 2)),
        "refresh_token": Secret(secrets.token_hex(32)),
    }
    owner = {"owner_kind": "connection", "owner_id": identity, "generation": 1}
    values = [
        {**owner, "field": field, **vars(sealed)}
        for field, sealed in seal_all(vault.keyring, place, 1, tokens).items()
    ]
    return connection, state, values
