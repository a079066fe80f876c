"""What `make run` does beyond serving: a connected sandbox account, a key, and a line to try it with."""

import asyncio
from datetime import UTC, datetime, timedelta

from integrations import sandbox
from vault.callers import OPERATOR
from vault.cli.output import complain, say
from vault.connections import Change
from vault.services import Vault

CALLER = "quickstart"
KEY_LIFETIME = timedelta(hours=24)
TENANT = "demo"
PATH = (TENANT, "sandbox", "default")
_TO_TRY = """
Token Vault is up at {address} (API: {address}/schema). Ctrl-C ends it.
To see what is connected, sign in (once, within 10 minutes; `tokenvault login-link` makes another):
{login_url}
A sandbox account is connected as {path}. To connect it again yourself, open
{connect_url}
To fetch a token that works (this key is good for 24 hours):

curl -s -H 'Authorization: Bearer {key}' {address}/v1/connections/{path}/token
"""


def greet(vault: Vault) -> None:
    """Set up and print what there is to try, beside a server that is up."""
    task = asyncio.get_running_loop().create_task(_greet(vault))
    task.add_done_callback(_said)


def _said(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        complain(f"The quickstart could not be set up: {type(error).__name__}.")


async def _greet(vault: Vault) -> None:
    await _connect(vault)
    wanted = {
        "scopes": ["admin"],
        "tenant": None,
        "providers": None,
        "names": None,
        "expires_at": datetime.now(UTC) + KEY_LIFETIME,
    }
    _caller, key = await vault.callers.renew(CALLER, wanted)
    connect_url = await vault.tickets.reconnect_url(await vault.connections.get(PATH))
    login_url, _ = await vault.signing_in.link()
    told = _TO_TRY.format(
        address=vault.settings.public_url,
        login_url=login_url.reveal(),
        path="/".join(PATH),
        connect_url=connect_url,
        key=key.reveal(),
    )
    made = {"login_url": login_url.reveal(), "connect_url": connect_url, "key": key.reveal()}
    say(told, {"url": vault.settings.public_url, **made})


async def _connect(vault: Vault) -> None:
    """Give the tenant `demo` a sandbox account, as an import of tokens that were got elsewhere."""
    await vault.tenants.put(OPERATOR, TENANT, parent="platform", name="Demo", return_urls=[])
    tokens = sandbox.tokens(vault.settings.public_url, vault.keyring.mac("sandbox"))
    assert tokens.refresh_token is not None
    brought = {"access_token": tokens.access_token.reveal(), "refresh_token": tokens.refresh_token.reveal()}
    await vault.connections.put(OPERATOR.actor, PATH, [TENANT, "platform"], Change(credentials=brought))
