"""Databases that are migrated and unlocked, the strict provider, and replicas on them."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integrations.contract import Secret
from tests.provider.client import FakeProvider
from tests.rig import SECRET, Rig, replica
from vault.keyring import Keyring
from vault.store.database import Database, prepare_file
from vault.unlock import open_vault

# For tests of what is the same on either database; all others are run on both.
on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("store", ["postgres"], indirect=True)


@pytest.fixture(autouse=True, name="quiet")
def _quiet() -> Iterator[None]:
    """Keep aiosqlite from two records a statement, a quarter of the time here.

    No vault writes them at any level, which `test_logs` looks at.
    """
    logger = logging.getLogger("aiosqlite")
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(logging.NOTSET)


@dataclass(frozen=True)
class Store:
    """A fresh database with all tables and keys, and its keyring (opened once: scrypt takes half a second)."""

    url: str
    keyring: Keyring

    @property
    def on_sqlite(self) -> bool:
        return self.url.startswith("sqlite")


async def unlocked(url: str) -> Keyring:
    database = Database(url)
    try:
        return await open_vault(database, Secret(SECRET))
    finally:
        await database.close()


@pytest.fixture(scope="session", name="sqlite_template")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keyring]:
    path = tmp_path_factory.mktemp("template") / "vault.db"
    url = f"sqlite+aiosqlite:///{path}"
    prepare_file(url)
    return path, asyncio.run(unlocked(url))


@pytest.fixture(scope="session", name="postgres_template")
def _postgres_template(postgres_cluster: Any) -> tuple[str, Keyring]:
    name = postgres_cluster.make_template("vault", lambda url: asyncio.run(unlocked(url)))
    with postgres_cluster.database(name) as url:
        return name, asyncio.run(unlocked(url))


@pytest.fixture(name="sqlite_store")
def _sqlite_store(sqlite_template: tuple[Path, Keyring], tmp_path: Path) -> Store:
    path = tmp_path / "vault.db"
    shutil.copyfile(sqlite_template[0], path)
    return Store(f"sqlite+aiosqlite:///{path}", sqlite_template[1])


@pytest.fixture(name="postgres_store")
def _postgres_store(postgres_template: tuple[str, Keyring], postgres_cluster: Any) -> Iterator[Store]:
    with postgres_cluster.database(postgres_template[0]) as url:
        yield Store(url, postgres_template[1])


@pytest.fixture(name="store", params=["sqlite", "postgres"])
def _store(request: pytest.FixtureRequest) -> Store:
    store: Store = request.getfixturevalue(f"{request.param}_store")
    return store


@pytest.fixture(name="provider")
async def _provider(tmp_path: Path) -> AsyncIterator[FakeProvider]:
    async with FakeProvider(tmp_path / "ledger.jsonl", fsync=False) as provider:
        yield provider


Replicas = Callable[..., Awaitable[Rig]]


@pytest.fixture(name="replicas")
async def _replicas(store: Store, provider: FakeProvider) -> AsyncIterator[Replicas]:
    """Give a function that starts replicas on one database: the first is set up."""
    async with AsyncExitStack() as stack:
        together = list[Rig]()

        async def start(
            definition: dict[str, Any] | None = None, keyring: Keyring | None = None, **changed: Any
        ) -> Rig:
            started = replica(store.url, keyring or store.keyring, provider, **changed)
            rig = await stack.enter_async_context(started)
            together.append(rig)
            for each in together:
                each.vault.memory._alone = len(together) == 1 or store.on_sqlite
            if len(together) == 1:
                await rig.setup(**(definition or {}))
            return rig

        yield start


@pytest.fixture(name="rig")
async def _rig(replicas: Replicas) -> Rig:
    return await replicas()
