"""`tokenvault get` and `tokenvault exec`: a token that works, for people and for programs."""

import os

import click

from vault.cli.output import json_option, say, stop


@click.command()
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


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
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
