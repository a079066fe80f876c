"""`tokenvault connections`: how they are."""

import click

from vault.cli.commands import run
from vault.cli.output import A_LINE, json_option, say
from vault.settings import Settings


@click.group()
def connections() -> None:
    """What is connected, and how it is."""


@connections.command("list")
@click.option("--tenant", help="This tenant and all below it.")
@click.option("--status", help="Only connections with this status.")
@json_option(A_LINE)
def list_connections(tenant: str | None, status: str | None) -> None:
    """List connections with status, reason and what would help. Nothing is opened for it."""
    from vault.app import beside
    from vault.http.views.connections import ConnectionView
    from vault.listing import everything, line

    async def asked(settings: Settings) -> None:
        async with beside(settings) as vault:
            async for connection in everything(vault, tenant=tenant, status=status):
                say(line(connection), ConnectionView.of(connection))

    run(asked)
