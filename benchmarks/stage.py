"""Where a benchmark plays: its cores, a folder, and databases that are gone afterwards."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Cores, on
from tests import postgres

DATABASES = ("SQLite", "PostgreSQL")
# What tests do without: here a commit is on the disk, as SQLite's is.
_DURABLE = ("ALTER SYSTEM SET fsync = on", "ALTER SYSTEM SET full_page_writes = on")


@dataclass
class Stage:
    """*quick* asks for a sign of life instead of a figure."""

    cores: Cores
    directory: Path
    postgres: postgres.Run
    quick: bool = False

    @contextmanager
    def database(self, kind: str, name: str = "vault") -> Iterator[str]:
        """Give the URL of an empty database of *kind*, which is on the other cores if it is a server."""
        if kind == "SQLite":
            folder = self.directory / f"sqlite-{name}"
            folder.mkdir()
            try:
                yield f"sqlite+aiosqlite:///{folder}/vault.db"
            finally:
                shutil.rmtree(folder)
        else:
            with on(self.cores.others):
                cluster = self.postgres.cluster()
            with cluster.connect() as connection:
                for statement in (*_DURABLE, "SELECT pg_reload_conf()"):
                    connection.execute(statement)
            with cluster.database() as url:
                yield url

    def tell(self, sentence: str) -> None:
        """Say how far it is, to whoever waits."""
        print(f"  {sentence}", file=sys.stderr, flush=True)


@contextmanager
def stage(*, quick: bool) -> Iterator[Stage]:
    """Give a stage, and clear it away. Raises Unsuitable."""
    cores = Cores.here()
    directory = Path(tempfile.mkdtemp(prefix="tokenvault-bench-"))
    run = postgres.Run.begin(None, postgres.DISK)  # a commit in memory would cost nothing
    try:
        yield Stage(cores, directory, run, quick)
    finally:
        run.end()
        shutil.rmtree(directory)
