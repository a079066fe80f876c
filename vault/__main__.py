"""`tokenvault`: the commands. Each imports what it needs when it runs, so that the small ones start fast."""

import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from vault.cli.commands import run as _run
from vault.cli.keys import keys
from vault.cli.move import export, import_
from vault.cli.output import json_option, progress, say, stop
from vault.settings import Settings

_A_LINE = "Print one JSON object a line."
_OF_STARTS = "Say as JSON what keeps it from starting. (The log always is JSON.)"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keeps other systems' credentials alive."""


main.add_command(keys)
main.add_command(import_)
main.add_command(export)


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
@json_option(_A_LINE)
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


@main.command()
@click.argument("connection", metavar="TENANT/PROVIDER/NAME")
@click.option("--min-ttl", default=60, show_default=True, help="Seconds that the token has to live.")
@json_option("Print the whole answer.")
def get(connection: str, min_ttl: int) -> None:
    """Print a token that works; or entered fields, a line each, as NAME=value.

    Asks the vault at TOKENVAULT_URL with the key in TOKENVAULT_KEY.
    """
    from vault.cli.fetching import environment, fetch

    answer = fetch(connection, min_ttl)
    fields = (f"{name}={value}" for name, value in environment(connection, answer, "").items())
    say(answer.get("access_token") or "\n".join(fields), answer)


@main.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("connection", metavar="TENANT/PROVIDER/NAME")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--variable", default="ACCESS_TOKEN", show_default=True, help="Where the command finds the token.")
@click.option("--min-ttl", default=60, show_default=True, help="Seconds that the token has to live.")
@json_option("Say as JSON what keeps the command from being run.")
def execute(connection: str, command: tuple[str, ...], variable: str, min_ttl: int) -> None:
    """Run COMMAND with a token that works in its environment, and without our own secrets.

    Entered fields are found there as PROVIDER_FIELD, such as TWILIO_AUTH_TOKEN.

    Our options come first: what stands behind TENANT/PROVIDER/NAME, or behind a -- there, is the command's.
    """
    from vault.cli.fetching import KEY, environment, fetch

    words = command[1:] if command[0] == "--" else command
    if not words or words[0].startswith("-"):
        raise click.UsageError("A command is needed behind TENANT/PROVIDER/NAME, and options before it.")
    found = {**os.environ, **environment(connection, fetch(connection, min_ttl), variable)}
    for name in (KEY, "ENCRYPTION_SECRET", "DATABASE_URL"):
        found.pop(name, None)
        found.pop(f"{name}_FILE", None)
    try:
        os.execvpe(words[0], words, found)  # noqa: S606 - running it is what was asked for
    except OSError as error:
        stop(127, f"{words[0]} cannot be run: {error.strerror}.")


@main.group()
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

    async def run(settings: Settings) -> None:
        async with beside(settings) as vault:
            caller, key = await vault.callers.create(OPERATOR, wanted)
        made = {"id": caller.id, "name": caller.name, "key": key.reveal()}
        say(f"{caller.name} ({caller.id})\n{key.reveal()}", made)

    _run(run)


@main.group()
def connections() -> None:
    """What is connected, and how it is."""


@connections.command("list")
@click.option("--tenant", help="This tenant and all below it.")
@click.option("--status", help="Only connections with this status.")
@json_option(_A_LINE)
def list_connections(tenant: str | None, status: str | None) -> None:
    """List connections with status, reason and what would help. Nothing is opened for it."""
    from vault.app import beside
    from vault.http.views.connections import ConnectionView
    from vault.listing import everything, line

    async def run(settings: Settings) -> None:
        async with beside(settings) as vault:
            async for connection in everything(vault, tenant=tenant, status=status):
                say(line(connection), ConnectionView.of(connection))

    _run(run)


@main.group()
def audit() -> None:
    """Who did what, chained so that nobody can change it unnoticed."""


@audit.command("verify")
@json_option()
def verify_audit() -> None:
    """Recompute the chain of every record. Exit 0 where it is whole, 1 where it is not."""
    from vault.app import beside
    from vault.trail.verify_audit import Report, verify

    async def run(settings: Settings) -> Report:
        async with beside(settings) as vault:
            with progress("Records") as begin:
                return await verify(vault.database, vault.chain, begin)

    report = _run(run)
    say(report, report.facts())
    sys.exit(0 if report.whole else 1)


if __name__ == "__main__":
    main()
