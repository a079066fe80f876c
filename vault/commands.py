"""What all commands share: how they run and end, and how they show that they get on."""

import contextlib
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, TypeVar

import click

from vault.settings import BadSettings, Settings

T = TypeVar("T")
Begin = Callable[[int], Callable[[int], None]]
EX_CONFIG = 78  # sysexits.h: started with a configuration that cannot work


class CannotListen(Exception):
    """The address is in use, or not this machine's."""


@contextlib.contextmanager
def progress(label: str, *, hidden: bool) -> Iterator[Begin]:
    """Give what is told how much there is, and returns what is told how much more is done: a bar on a terminal."""
    with contextlib.ExitStack() as stack:

        def begin(expected: int) -> Callable[[int], None]:
            unseen = hidden or not sys.stderr.isatty()
            bar = click.progressbar(length=expected, label=label, file=sys.stderr, hidden=unseen)
            return stack.enter_context(bar).update

        yield begin


def run(work: Callable[[Settings], Coroutine[Any, Any, T]], *, stays: bool = False) -> T:
    """Run a command's *work* and return its result; say in one line what kept it from being done, and end.

    Of a command that is not there to stay, only what is wrong is logged.
    """
    import uvloop

    from vault.errors import StorageUnavailable, VaultError
    from vault.logs import configure
    from vault.store.database import InUse
    from vault.unlock import CannotStart

    try:
        settings = Settings.from_env()
        configure(settings.log_level if stays else "WARNING")
        return uvloop.run(work(settings))
    except BadSettings as error:
        stop(EX_CONFIG, *error.problems)
    except CannotStart as error:
        stop(EX_CONFIG, str(error))
    except CannotListen:
        stop(1, "The address is in use, or not one of this machine's.")
    except OSError as error:
        stop(1, f"The database's folder cannot be used ({error.strerror}).")
    except InUse:
        stop(1, "Another `tokenvault serve` or `worker` runs on this SQLite file.")
    except StorageUnavailable as error:
        cause = type(error.__cause__).__name__ if error.__cause__ else "unknown"
        stop(1, f"The database cannot be used now ({cause}). Is DATABASE_URL right?")
    except VaultError as error:
        stop(1, error.detail)
    except KeyboardInterrupt:
        stop(130, "Interrupted.")


def stop(code: int, *sentences: str) -> NoReturn:
    for sentence in sentences:
        click.echo(f"tokenvault: {sentence}", err=True)
    sys.exit(code)
