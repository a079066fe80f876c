"""The tests' own footing: a real PostgreSQL, a database for each test, and a canary that sings."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests import conftest, postgres

ROOT = Path(__file__).parents[2]


def plain(url: str) -> str:
    """The URL as libpq reads it."""
    return url.replace("postgresql+psycopg:", "postgresql:")


def answer(url: str, query: str) -> str:
    with psycopg.connect(plain(url)) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture(name="run_of")
def _run_of() -> Iterator[Callable[[str | None], postgres.Run]]:
    """`run_of(choice)`: a run beside the one this test is in, ended afterwards."""
    begun: list[postgres.Run] = []

    def begin(choice: str | None) -> postgres.Run:
        begun.append(postgres.Run.begin(choice))
        return begun[-1]

    yield begin
    for each in begun:
        if each.directory.exists():
            each.end()


@pytest.mark.parametrize("kind", ["system", "bundled"])
def test_each_kind_starts_and_answers(run_of: Callable[[str], postgres.Run], kind: str) -> None:
    """Both the machine's own PostgreSQL and the wheel's start, over TCP and over the socket."""
    if kind == "system" and not postgres.system_installations():
        pytest.skip("this machine has no PostgreSQL of its own; the bundled one is tested")

    cluster = run_of(kind).cluster()

    assert kind == cluster.kind
    assert answer(cluster.url("postgres"), "select version()").startswith(f"PostgreSQL {cluster.version}")
    with cluster.connect() as over_socket:
        assert over_socket.execute("show fsync").fetchone() == ("off",)


def test_binaries_out_of_reach_are_copied(
    run_of: Callable[[str], postgres.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binaries below a private directory start too, also when the tests run as root."""
    private = tmp_path / "private"
    for tree in postgres.bundled_installations()[0].trees:
        shutil.copytree(tree, private / tree.relative_to(postgres.bundled_installations()[0].base))
    private.chmod(0o700)
    monkeypatch.setattr(postgres, "bundled_installations", lambda: postgres.bundled_below(private))

    run = run_of("bundled")

    assert answer(run.cluster().url("postgres"), "select 1") == "1"
    assert (os.geteuid() == 0) == any(run.directory.glob("*/binaries"))


def test_a_stopped_cluster_leaves_nothing(run_of: Callable[[None], postgres.Run]) -> None:
    """Ending a run stops its server and removes its directory."""
    run = run_of(None)
    url = run.cluster().url("postgres")

    run.end()

    assert not run.directory.exists()
    with pytest.raises(psycopg.OperationalError):
        answer(url, "select 1")


def test_every_process_of_a_run_shares_its_cluster(
    request: pytest.FixtureRequest, postgres_cluster: postgres.Cluster
) -> None:
    """Who asks second gets the cluster that the first one started."""
    shared = request.config.stash[conftest.RUN]

    assert postgres.Run(shared.directory, shared.choice).cluster() == postgres_cluster


def test_no_postgres_is_an_error_that_says_so(
    run_of: Callable[[str], postgres.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without binaries the tests fail, with a message that says what was looked for."""
    monkeypatch.setattr(postgres, "system_installations", list)

    with pytest.raises(postgres.PostgresUnavailable, match="no system binaries were found"):
        run_of("system").cluster()


def test_a_broken_server_gives_way_to_the_next(
    run_of: Callable[[None], postgres.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the machine's own PostgreSQL does not start, the bundled one is used."""
    broken = postgres.Installation("system", tmp_path, "99")
    monkeypatch.setattr(postgres, "system_installations", lambda: [broken])

    assert run_of(None).cluster().kind == "bundled"


def test_an_unknown_choice_is_refused() -> None:
    """A misspelt choice of PostgreSQL is named, not ignored."""
    with pytest.raises(postgres.PostgresUnavailable, match="'sistem'"):
        postgres.installations("sistem")


def test_a_killed_run_is_swept(run_of: Callable[[None], postgres.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed run left behind is removed, and a living run is not."""
    monkeypatch.setattr(postgres, "RUN_PREFIX", "tokenvault-sweep-")
    monkeypatch.setattr(postgres, "ABANDONED_SECONDS", 0)
    killed, living = run_of(None), run_of(None)
    assert killed.owner is not None
    killed.owner.close()

    postgres.sweep()

    assert (killed.directory.exists(), living.directory.exists()) == (False, True)


@pytest.mark.parametrize("number", [1, 2])
def test_each_test_has_an_empty_database(postgres_url: str, number: int) -> None:
    """What one test creates, the next one does not find."""
    with psycopg.connect(plain(postgres_url)) as connection:
        connection.execute("create table only_here (id int)")

    assert answer(postgres_url, "select count(*) from only_here") == "0"


def test_a_database_is_dropped_under_open_connections(postgres_cluster: postgres.Cluster) -> None:
    """A connection left open does not keep a test's database alive."""
    with postgres_cluster.database() as url:
        left_open = psycopg.connect(plain(url))

    with pytest.raises(psycopg.OperationalError):
        left_open.execute("select 1")
    left_open.close()


def test_a_template_is_filled_once(postgres_cluster: postgres.Cluster) -> None:
    """The second to ask for a template gets the first one's, and databases start as its copy."""
    filled: list[str] = []

    def fill(url: str) -> None:
        filled.append(url)
        with psycopg.connect(plain(url)) as connection:
            connection.execute("create table migrated as select 42 as answer")

    templates = {postgres_cluster.make_template("filled_once", fill) for _ in range(2)}

    assert (len(filled), len(templates)) == (1, 1)
    with postgres_cluster.database(templates.pop()) as url:
        assert answer(url, "select answer from migrated") == "42"


def test_a_template_whose_filling_failed_is_filled_again(postgres_cluster: postgres.Cluster) -> None:
    """A failure while filling a template leaves no half-filled one behind."""

    def fail(url: str) -> None:
        raise LookupError(url)

    with pytest.raises(LookupError):
        postgres_cluster.make_template("failed_first", fail)

    assert postgres_cluster.make_template("failed_first", lambda url: None) == "template_failed_first"


def test_tests_of_databases_run_on_both(database_url: str) -> None:
    """`database_url` stands for either kind of database."""
    assert database_url.startswith(("sqlite+aiosqlite:///", "postgresql+psycopg://"))


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing set on the machine reaches the tests, but the choice of PostgreSQL is remembered."""
    for name in ("TOKENVAULT_LEASE_SECONDS", "DATABASE_URL", "PGHOST"):
        monkeypatch.setenv(name, "from outside")
    monkeypatch.setenv(postgres.CHOICE, "bundled")

    assert conftest.clean_environment() == "bundled"
    assert not [name for name in os.environ if name.startswith(("TOKENVAULT_", "PG"))]
    assert "DATABASE_URL" not in os.environ


PREAMBLE = "import logging; logging.raiseExceptions = False; log = logging.getLogger('vault.refresh')"
LEAKING = {
    "message": "log.debug('got canary-1')",
    "argument": "log.info('got %.3s', 'xyzcanary-1')",
    "extra": "log.info('got it', extra={'token': 'canary-1'})",
    "exception": """
        try:
            raise ValueError("canary-" + "1")
        except ValueError:
            log.exception("failed")""",
    "cause": """
        try:
            raise ValueError("harmless") from KeyError("canary-" + "1")
        except ValueError:
            log.exception("failed")""",
    "unreadable": "log.debug('%d', 'text')",
    "non_propagating": """
        logging.getLogger("uvicorn").propagate = False
        logging.getLogger("uvicorn.error").debug("canary-1")""",
}
SILENT = {
    "other": "log.info('got it')",
    "source_line": """
        try:
            int("canary-1"[7:] + "x")  # canary- in the source is not a leak
        except ValueError:
            log.exception("failed")""",
}


def test_the_canary_fires(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test fails if a secret is in a log record: message, argument, extra field, exception or its cause."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    pytester.makeconftest("from tests.conftest import _leaks  # noqa: F401")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    tests = [
        f"def test_{name}():\n  if True:\n        {body.strip()}" for name, body in (LEAKING | SILENT).items()
    ]
    pytester.makepyfile("\n".join([PREAMBLE, *tests]))

    result = pytester.runpytest_subprocess("-p", "no:logging", "-rE")

    result.assert_outcomes(passed=len(LEAKING | SILENT), errors=len(LEAKING))
    for name in LEAKING:
        result.stdout.fnmatch_lines([f"ERROR *::test_{name} - Failed: a secret was*"])


def test_leaks_checks_any_text(leaks: conftest.Leaks) -> None:
    """Texts that are not log records are checked on request, bytes too."""
    leaks.check("harmless")
    for text in ("a canary-1", b'{"token": "canary-1"}'):
        with pytest.raises(AssertionError):
            leaks.check(text)
