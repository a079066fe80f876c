"""`tokenvault audit`: whether what was written down is still what was written."""

import sys

import click

from vault.cli.commands import run
from vault.cli.output import json_option, progress, say
from vault.settings import Settings


@click.group()
def audit() -> None:
    """Who did what, chained so that nobody can change it unnoticed."""


@audit.command("verify")
@json_option()
def verify_audit() -> None:
    """Recompute the chain of every record. Exit 0 where it is whole, 1 where it is not."""
    from vault.app import beside
    from vault.trail.verify_audit import Report, verify

    async def asked(settings: Settings) -> Report:
        async with beside(settings) as vault:
            with progress("Records") as begin:
                return await verify(vault.database, vault.chain, begin)

    report = run(asked)
    say(report, report.facts())
    sys.exit(0 if report.whole else 1)
