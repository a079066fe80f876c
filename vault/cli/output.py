"""What commands print, for people or with `--json` for programs: results, what is wrong, and how far they are.

Results go to standard output. What is wrong goes to standard error, with `--json` as one object a line: `detail`,
and for a refusal by the vault its `code` too. Only a command that was not understood is answered in click's way.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import click
import msgspec

A_LINE = "Print one JSON object a line."
Begin = Callable[[int], Callable[[int], None]]
_AS_JSON = f"{__name__}.as_json"


def json_option(told: str = "Print one JSON object.") -> Callable[[Any], Any]:
    """Return the option that has `say` and `stop` print JSON; *told* is its help."""
    return click.option(
        "--json", is_flag=True, expose_value=False, is_eager=True, help=told, callback=_note_the_choice
    )


def say(sentence: object, facts: object, *, err: bool = False) -> None:
    """Print a result: as *sentence*, or as *facts*, which msgspec makes JSON of. *err*: not on standard output."""
    click.echo(msgspec.json.encode(facts).decode() if as_json() else sentence, err=err)


def complain(sentence: str, **facts: Any) -> None:
    """Print on standard error what is wrong; *facts* are more about it."""
    told = msgspec.json.encode({"detail": sentence, **facts}).decode()
    click.echo(told if as_json() else f"tokenvault: {sentence}", err=True)


def stop(status: int, /, *sentences: str, **facts: Any) -> NoReturn:
    """End the command with exit *status*, and complain in *sentences*."""
    for sentence in sentences:
        complain(sentence, **facts)
    sys.exit(status)


@contextlib.contextmanager
def progress(label: str) -> Iterator[Begin]:
    """Give what is told how much there is, and returns what is told how much more is done: a bar on a terminal."""
    with contextlib.ExitStack() as stack:

        def begin(expected: int) -> Callable[[int], None]:
            unseen = as_json() or not sys.stderr.isatty()
            bar = click.progressbar(length=expected, label=label, file=sys.stderr, hidden=unseen)
            return stack.enter_context(bar).update

        yield begin


def _note_the_choice(context: click.Context, _option: click.Parameter, chosen: bool) -> None:
    context.meta[_AS_JSON] = chosen


def as_json() -> bool:
    """Say whether JSON was asked for."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_AS_JSON))
