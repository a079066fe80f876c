"""What all commands share that need the settings: how they run, and how they end."""

from collections.abc import Callable, Coroutine
from typing import IO, Any, TypeVar

from integrations.contract import Secret
from vault.cli.output import stop
from vault.settings import BadSettings, Settings

T = TypeVar("T")
EX_CONFIG = 78  # sysexits.h: started with a configuration that cannot work


class CannotListen(Exception):
    """The address is in use, or not this machine's."""


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
        stop(1, error.detail, code=error.code, **error.members)
    except KeyboardInterrupt:
        stop(130, "Interrupted.")


def secret_in(file: IO[str], what: str, shortest: int = 1) -> Secret:
    """Return the secret in *file*, which is called *what*; end where it is no text, or too short."""
    try:
        text = file.read().removesuffix("\n")
    except UnicodeDecodeError:
        stop(1, f"The {what} has to be text in UTF-8.")
    if len(text) < shortest:
        stop(1, f"The {what} must have at least {shortest} characters.")
    return Secret(text)
