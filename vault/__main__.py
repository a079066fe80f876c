"""`tokenvault`: the commands. Each imports what it needs when it runs, so that the small ones start fast."""

import os
import secrets
import sys
from pathlib import Path

import click

from vault.cli.asking import execute, get
from vault.cli.audit import audit
from vault.cli.callers import callers
from vault.cli.commands import run as _run
from vault.cli.connections import connections
from vault.cli.keys import keys
from vault.cli.move import export, import_
from vault.cli.output import A_LINE, json_option, say, stop
from vault.settings import Settings

_OF_STARTS = "Say as JSON what keeps it from starting. (The log always is JSON.)"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keeps other systems' credentials alive."""


for command in (get, execute, callers, connections, keys, import_, export, audit):
    main.add_command(command)


@main.command()
@click.option("--path", type=click.Path(path_type=Path), default=Path(".env"), show_default=True)
@json_option()
def init(path: Path) -> None:
    """Write an environment file with a fresh ENCRYPTION_SECRET. Refuses to replace one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        stop(1, f"{path} is there already; its secret may be the only copy.")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"ENCRYPTION_SECRET={secrets.token_urlsafe(48)}\n")
    told = f"{path} written. Keep a copy of its secret elsewhere: without it, nothing stored can be opened."
    say(told, {"path": str(path)})


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@json_option(_OF_STARTS)
def serve(host: str, port: int) -> None:
    """Run the API and the sweep."""
    from jobs.process import serve as run

    _run(lambda settings: run(settings, host, port), stays=True)


@main.command()
@json_option(_OF_STARTS)
def worker() -> None:
    """Run the sweep alone."""
    from jobs.process import work

    _run(work, stays=True)


@main.command()
@json_option()
def migrate() -> None:
    """Bring the database up to date; make its keys where there are none yet."""
    from vault.app import serving

    async def run(settings: Settings) -> None:
        async with serving(settings):
            say("The database is up to date.", {"migrations": "current"})

    _run(run)


@main.command()
@json_option(A_LINE)
def doctor() -> None:
    """Look at settings, database, keys and connections, and say what to do. Writes nothing."""
    from vault.cli.doctor import examine
    from vault.cli.findings import healthy

    async def run(settings: Settings) -> None:
        found = await examine(settings)
        for finding in found:
            say(finding, finding.facts())
        if not healthy(found):
            sys.exit(1)

    _run(run)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@json_option('Print {"url", "login_url", "connect_url", "key"} once it is up.')
def quickstart(host: str, port: int) -> None:
    """Serve with a connected sandbox account, a key, and a line to try it with. Needs TOKENVAULT_SANDBOX."""
    from jobs.process import serve as run
    from vault.cli.quickstart import greet

    _run(lambda settings: run(settings, host, port, greet), stays=True)


@main.command("login-link")
@json_option('Print {"login_url", "expires_at"}.')
def login_link() -> None:
    """Print a link with which an operator's browser signs in to the pages: once, within 10 minutes."""
    from vault.app import beside

    async def run(settings: Settings) -> None:
        async with beside(settings) as vault:
            link, expires_at = await vault.signing_in.link()
        say(link.reveal(), {"login_url": link.reveal(), "expires_at": expires_at.replace(microsecond=0)})

    _run(run)


if __name__ == "__main__":
    main()
