"""`tokenvault keys`: rotating root keys, and changing the secret that they are wrapped with."""

import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import IO, TYPE_CHECKING, TypeVar

import click

from vault.cli.commands import run, secret_in
from vault.cli.output import json_option, progress, say
from vault.settings import SHORTEST_SECRET, Settings

if TYPE_CHECKING:
    from vault.services import Vault

T = TypeVar("T")


@click.group()
def keys() -> None:
    """Root keys. To rotate them: add, promote, reseal, retire. For another ENCRYPTION_SECRET: rewrap."""


@keys.command()
@json_option("Print one JSON object a line.")
def status() -> None:
    """List the keys with state, age and number of values. Two slots: another secret is being rolled out."""
    from vault.keys.roots import Keys

    for key in _beside(lambda vault: Keys(vault.database, vault.writer, vault.keyring).status()):
        of = f"{key.key}  {key.purpose:6}  {key.state:12}  {key.slots} slot(s)"
        told = f"{of}  {key.values} values  {timedelta(seconds=key.age)} old"
        say(told, {**vars(key), "created_at": key.created_at.replace(microsecond=0)})


@keys.command()
@json_option()
def add() -> None:
    """Make a key. Running processes learn it by themselves; it seals nothing before it is promoted."""
    from vault.keys.roots import Keys, shown
    from vault.live_keyring import LEARNED_WITHIN

    key = shown(_beside(lambda vault: Keys(vault.database, vault.writer, vault.keyring).add()))
    say(f"Key {key} is pending. Promote it, in {LEARNED_WITHIN:.0f} s at the earliest.", {"key": key})


@keys.command()
@json_option()
def promote() -> None:
    """Have the pending key seal from now on. Refuses while a running process may not know it yet."""
    from vault.keys.roots import Keys, shown

    key = shown(_beside(lambda vault: Keys(vault.database, vault.writer, vault.keyring).promote()))
    say(f"Key {key} is primary. Now reseal what is left under the former one.", {"key": key})


@keys.command()
@json_option()
def reseal() -> None:
    """Seal under the primary key all that is left under others. Can be killed, and run again, at any time.

    Exit 1 where something does not open: it is named, and left as it is.
    """
    from vault.keys.reseal import reseal as resealed

    with progress("Values") as begin:
        report = _beside(lambda vault: resealed(vault.database, vault.writer, vault.keyring, begin))
    say(report, report.facts())
    sys.exit(1 if report.unopened else 0)


@keys.command()
@click.option("--lose", default=0, help="How many values do not open, and may be lost for good.")
@json_option()
def retire(lose: int) -> None:
    """Open every value once more; then forget all keys that nothing needs any more.

    Exit 1, and nothing is forgotten, where a value is left under such a key, or one does not open.
    """
    from vault.keys.retire import retire as retired

    with progress("Values") as begin:
        report = _beside(lambda vault: retired(vault.database, vault.writer, vault.keyring, begin, lose=lose))
    say(report, report.facts())
    sys.exit(1 if report.refusal else 0)


@keys.command()
@click.option(
    "--secret-file", type=click.File(encoding="utf-8"), help="Holds the new secret; - is standard input."
)
@click.option("--finish", is_flag=True, help="Run with the new secret: the old one opens nothing any more.")
@click.option("--abandon", is_flag=True, help="Run with the old secret: the new one opens nothing any more.")
@json_option()
def rewrap(secret_file: IO[str] | None, finish: bool, abandon: bool) -> None:
    """Change ENCRYPTION_SECRET without a pause.

    First --secret-file: from then on the new secret starts a process as well. Restart all of them with
    it, one by one. Then --finish.
    """
    from vault.keys.rewrap import Rewrapping

    if [secret_file is not None, finish, abandon].count(True) != 1:
        raise click.UsageError("One of --secret-file, --finish and --abandon is needed.")
    secret = None if secret_file is None else secret_in(secret_file, "new secret", SHORTEST_SECRET)

    async def act(vault: "Vault") -> str:
        rewrapping = Rewrapping(vault.database, vault.writer, vault.keyring)
        if secret is not None:
            return "added" if await rewrapping.add(secret) else "there already"
        await (rewrapping.finish() if finish else rewrapping.abandon())
        return "finished" if finish else "abandoned"

    outcome = _beside(act)
    say(_SENTENCES[outcome], {"outcome": outcome})


_SENTENCES = {
    "added": "Both secrets start a process now. Restart all with the new one, then run this with --finish.",
    "there already": "This secret was added before. Restart all processes with it, then run this with --finish.",
    "finished": "Only this ENCRYPTION_SECRET is left. Backups from before still open with the former one.",
    "abandoned": "Only this ENCRYPTION_SECRET is left, as before.",
}


def _beside(act: Callable[["Vault"], Awaitable[T]]) -> T:
    """Return what *act* does beside a running server."""
    from vault.app import beside

    async def work(settings: Settings) -> T:
        async with beside(settings) as vault:
            return await act(vault)

    return run(work)
