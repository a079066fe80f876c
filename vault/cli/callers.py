"""`tokenvault callers`: API keys."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from vault.cli.commands import run
from vault.cli.output import json_option, say
from vault.settings import Settings


@click.group()
def callers() -> None:
    """Programs that may call the API."""


@callers.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="May be given several times.")
@click.option("--tenant", help="Limit to this tenant and all below it.")
@click.option("--provider", "providers", multiple=True, help="Limit to these providers.")
@click.option("--connection-name", "names", multiple=True, help="Limit to connections of these names.")
@click.option("--expires-in-hours", type=click.IntRange(min=1), help="How long the key is good.")
@json_option('Print {"id", "name", "key"}.')
def create_caller(
    name: str,
    scopes: tuple[str, ...],
    tenant: str | None,
    providers: tuple[str, ...],
    names: tuple[str, ...],
    expires_in_hours: int | None,
) -> None:
    """Make an API key called NAME. It is printed now and never again."""
    from vault.app import beside
    from vault.callers import OPERATOR

    expires_at = None if expires_in_hours is None else datetime.now(UTC) + timedelta(hours=expires_in_hours)
    wanted: dict[str, Any] = {
        "name": name,
        "scopes": list(scopes),
        "tenant": tenant,
        "providers": list(providers) or None,
        "names": list(names) or None,
        "expires_at": expires_at,
    }

    async def asked(settings: Settings) -> None:
        async with beside(settings) as vault:
            caller, key = await vault.callers.create(OPERATOR, wanted)
        made = {"id": caller.id, "name": caller.name, "key": key.reveal()}
        say(f"{caller.name} ({caller.id})\n{key.reveal()}", made)

    run(asked)
