"""`tokenvault import` and `tokenvault export`: moving in and out, with files or standard streams."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import click

from vault.cli.commands import run, secret_in
from vault.cli.output import as_json, json_option, progress, say, stop
from vault.settings import SHORTEST_SECRET, Settings

if TYPE_CHECKING:
    from vault.moving.foreign import Opener
    from vault.moving.importing import Line

_SECRET = click.File(encoding="utf-8")


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Store nothing; say what would become of each line.")
@click.option("--create-tenants", is_flag=True, help="Make tenants that are missing, right under `platform`.")
@click.option("--replace", is_flag=True, help="Put what is in the file in the place of what is here already.")
@click.option("--verify", is_flag=True, help="Ask the provider about each connection, and refuse what it refuses.")
@click.option("--secret-file", type=_SECRET, help="Holds the secret that values were encrypted with (scrypt).")
@click.option("--key-file", type=_SECRET, help="Holds the key that values are under: 64 hex digits.")
@click.option("--passphrase-file", type=_SECRET, help="Holds the passphrase of an export.")
@json_option("Print one JSON object a line.")
def import_(
    file: IO[bytes],
    dry_run: bool,
    create_tenants: bool,
    replace: bool,
    verify: bool,
    secret_file: IO[str] | None,
    key_file: IO[str] | None,
    passphrase_file: IO[str] | None,
) -> None:
    """Store what is in FILE (- is standard input): JSON objects, one a line, or an export.

    What is here already stays as it is: it can be cut off, and run again, at any time. Exit 1 where a
    line was refused.
    """
    from vault.app import beside
    from vault.moving.importing import Importing, Wishes

    _require_one_stream(file, secret_file, key_file, passphrase_file)
    lines, opener = _lines(file, passphrase_file), _opener(secret_file, key_file)
    wishes = Wishes(dry_run=dry_run, create_tenants=create_tenants, replace=replace, verify=verify)
    told, counts = list[str](), Counter[str]()

    def tell(line: "Line") -> None:
        counts[line.outcome] += 1
        if as_json():
            say("", line.facts())
        else:  # later: between the states of a bar it could not be read
            told.append(line.says(dry_run=dry_run))

    async def work(settings: Settings) -> None:
        async with beside(settings) as vault:
            with progress("Lines") as begin:
                async for line in Importing(vault, opener, wishes).run(lines, begin(len(lines))):
                    tell(line)

    try:
        run(work)
    finally:
        for each in told:
            click.echo(each)
    _sum_up(counts, dry_run=dry_run)
    sys.exit(1 if counts["refused"] else 0)


@click.command("export")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--passphrase-file", type=_SECRET, required=True, help="Holds a passphrase for it; - is stdin.")
@click.option("--live", is_flag=True, help="Export although refresh tokens go on being used and replaced here.")
@json_option("Print one JSON object a line.")
def export(file: str, passphrase_file: IO[str], live: bool) -> None:
    """Write all providers, tenants, clients and connections into FILE (- is standard output), sealed.

    Refuses while this vault goes on refreshing: a refresh token must not live in two vaults. Exit 1
    where something does not open: it is named, and left out.
    """
    from vault.app import beside
    from vault.moving.archive import Sealing
    from vault.moving.exporting import Exporting, Report
    from vault.moving.records import written

    passphrase = secret_in(passphrase_file, "passphrase", SHORTEST_SECRET)

    async def work(settings: Settings) -> Report:
        async with beside(settings) as vault:
            exporting = Exporting(vault, live=live)
            sealing = Sealing(output, passphrase)
            with progress("Connections") as begin:
                async for record in exporting.records(begin):
                    sealing.write(written(record))
            sealing.close()
        return exporting.report

    with _new(file) as output:
        report = run(work)
    say(report, report.facts(), err=file == "-")
    sys.exit(0 if report.complete else 1)


@contextlib.contextmanager
def _new(path: str) -> Iterator[IO[bytes]]:
    """Give a new file for its owner alone, which is gone again where the work on it ends badly."""
    if path == "-":
        if sys.stdout.isatty():
            stop(1, "An export is not for a terminal: name a file.")
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        stop(1, f"{path} cannot be made: {error.strerror}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise


def _require_one_stream(*files: IO[Any] | None) -> None:
    if sum(file is not None and file.fileno() == sys.stdin.fileno() for file in files) > 1:
        raise click.UsageError("Only one of the files can be standard input.")


def _lines(file: IO[bytes], passphrase_file: IO[str] | None) -> list[bytes]:
    """Return the lines of a file of records, or of an export. All of it is read before anything is stored."""
    from vault.errors import Invalid
    from vault.moving import archive

    content = file.read()
    if not archive.is_sealed(content):
        return content.splitlines()
    if passphrase_file is None:
        stop(1, "This is an export: --passphrase-file is needed.")
    try:
        return archive.opened(content, secret_in(passphrase_file, "passphrase")).splitlines()
    except Invalid as error:
        stop(1, error.detail)


def _opener(secret_file: IO[str] | None, key_file: IO[str] | None) -> "Opener":
    from vault.errors import Invalid
    from vault.moving.foreign import Opener

    secret = None if secret_file is None else secret_in(secret_file, "secret")
    key = None if key_file is None else secret_in(key_file, "key")
    try:
        return Opener(secret, key)
    except Invalid as error:
        stop(1, error.detail)


def _sum_up(counts: Counter[str], *, dry_run: bool) -> None:
    facts = {"complete": not counts["refused"], "dry_run": dry_run, "outcomes": dict(counts)}
    says = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to do"
    sentence = f"A dry run, and nothing is stored: {says}." if dry_run else f"{says[0].upper()}{says[1:]}."
    say(sentence, facts)
