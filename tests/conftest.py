"""The fixtures of every test: a clean environment, databases, and the canary."""

import gc
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import dialects, postgres

CANARY = "canary-"  # every secret in the tests contains it
RUN = pytest.StashKey[postgres.Run]()

pytest_plugins = ["pytester"]


def clean_environment() -> str | None:
    """Remove what could change the tests' outcome; return which PostgreSQL is wanted."""
    choice = os.environ.get(postgres.CHOICE)
    for name in list(os.environ):
        # PG…: libpq would read them behind our back.
        if name.startswith(("TOKENVAULT_", "PG")) or name in (
            "ENCRYPTION_SECRET",
            "DATABASE_URL",
            "PUBLIC_URL",
        ):
            del os.environ[name]
    return choice


WANTED = clean_environment()
# How long an example takes says more of the machine than of the code.
settings.register_profile("here", deadline=None)
settings.load_profile("here")
dialects.share()
# Folders of tests are in memory where it has room: nothing here is about a power cut, which alone would tell.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(postgres.roomy()))


# ---- the run's PostgreSQL


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", None)
    if given is None:
        config.stash[RUN] = postgres.Run.begin(WANTED)
    else:
        config.stash[RUN] = postgres.Run(Path(given["run_directory"]), given["run_choice"])


@pytest.hookimpl(optionalhook=True)  # xdist's
def pytest_configure_node(node: Any) -> None:
    shared = node.config.stash[RUN]
    node.workerinput["run_directory"] = str(shared.directory)
    node.workerinput["run_choice"] = shared.choice


def pytest_collection_finish() -> None:
    """All that was imported stays: looking through it for garbage, again and again, took a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure(config: pytest.Config) -> None:
    shared = config.stash.get(RUN, None)
    if shared is not None and shared.owner is not None:
        shared.end()


def pytest_report_header() -> list[str]:
    from tests.vendors import specs  # here, for it takes half a second, and only the head of a run needs it

    described = specs.folder() or "not beside the project; requests to vendors are not held against them"
    return [f"PostgreSQL: {_postgres()}", f"OpenAPI files of vendors: {described}"]


def _postgres() -> object:
    try:
        found = postgres.installations(WANTED)
    except postgres.PostgresUnavailable as error:
        return error
    return found[0] if found else "none found; tests that need it will fail"


# ---- databases


@pytest.fixture(scope="session", name="anyio_backend")
def _anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", name="postgres_cluster")
def _postgres_cluster(request: pytest.FixtureRequest) -> postgres.Cluster:
    """The run's one PostgreSQL server."""
    return request.config.stash[RUN].cluster()


@pytest.fixture(scope="session", name="make_template")
def _make_template(postgres_cluster: postgres.Cluster) -> Callable[[str, Callable[[str], None]], str]:
    """`make_template(name, fill)`: a template database that `fill(url)` filled, once a run."""
    return postgres_cluster.make_template


@pytest.fixture(name="postgres_url")
def _postgres_url(postgres_cluster: postgres.Cluster) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this test's own."""
    with postgres_cluster.database() as url:
        yield url


@pytest.fixture(name="sqlite_url")
def _sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database of this test's own."""
    return f"sqlite+aiosqlite:///{tmp_path}/vault.db"


@pytest.fixture(name="database_url", params=["sqlite", "postgres"])
def _database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


# ---- the canary


class Leaks:
    """Looks for the canary in whatever leaves the process: log records by itself, other texts when asked."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, text: str | bytes) -> None:
        """Fail if a secret is in *text*: a problem body, a repr, a page, the output of a process."""
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        assert CANARY not in text

    def see(self, record: logging.LogRecord) -> None:
        try:
            leaking = [text for text in texts_of(record) if CANARY in text]
        except Exception as error:  # a record that cannot be read may not pass for a clean one
            leaking = [f"unreadable record: {record.msg!r} ({error!r})"]
        if leaking:
            where = f"{record.name} {record.levelname} {record.pathname}:{record.lineno}"
            self.found.append(f"{where}: {leaking[0]}")


def texts_of(record: logging.LogRecord) -> Iterator[str]:
    """Give every text a handler could make of *record*."""
    yield record.getMessage()
    # Arguments and extra fields. Not exc_text: it quotes source lines, and a test's own may hold the canary.
    yield repr({name: value for name, value in vars(record).items() if name != "exc_text"})
    if record.exc_info and record.exc_info[1] is not None:
        for error in chain_of(record.exc_info[1]):
            yield f"{error} {error!r} {getattr(error, '__notes__', '')}"


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Give *error* and all a traceback would tell with it: causes, contexts, members of groups."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]
            waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


@pytest.fixture(autouse=True, name="leaks")
def _leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Leaks]:
    """Fails the test if a log record holds a secret; `leaks.check(text)` looks at any other text."""
    leaks, pass_on = Leaks(), logging.Logger.callHandlers

    def see_and_pass_on(logger: logging.Logger, record: logging.LogRecord) -> None:
        leaks.see(record)
        pass_on(logger, record)

    # Not a handler on the root: uvicorn's loggers do not propagate to it, and logging.config drops its
    # handlers. This sees every record that the levels then in force let through.
    monkeypatch.setattr(logging.Logger, "callHandlers", see_and_pass_on)
    level = logging.root.level
    logging.root.setLevel(logging.DEBUG)
    yield leaks
    logging.root.setLevel(level)
    if leaks.found:
        pytest.fail("a secret was logged:\n" + "\n".join(leaks.found), pytrace=False)
