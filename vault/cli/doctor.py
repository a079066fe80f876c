"""`tokenvault doctor`: looks at everything that a running vault depends on, beside one or without.

It opens the database for reading only, so that it can write nothing, and it shows no secret.
"""

import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.cli import findings
from vault.cli.findings import Finding
from vault.errors import CannotOpen, StorageUnavailable
from vault.keyring import Keyring, Sealed
from vault.sealing import Place, open_one
from vault.settings import Settings
from vault.store import checkup, figures, migrate
from vault.store.connections import database_time
from vault.store.database import Database, sqlite_path
from vault.unlock import CannotStart, open_keyring

Clock = Callable[[], datetime]
_WAL = b"\x02"  # in the header of a SQLite file, as the version that readers need
_SET_UP = "Run `tokenvault migrate`, or start `tokenvault serve`."


async def examine(settings: Settings, wall: Clock = lambda: datetime.now(UTC)) -> list[Finding]:
    """Return all findings, in the order in which things depend on each other; *wall* is this machine's clock."""
    found = findings.of_settings(settings)
    path = sqlite_path(settings.database_url)
    if path is not None:
        found += _file(path)
        if found[-1].check == "database":
            return found  # there is none that could be opened
    database = Database(settings.database_url, read_only=True)
    try:
        async with database.read() as tx:
            found += [finding async for finding in _inside(tx, database, settings, wall)]
    except (StorageUnavailable, DBAPIError) as error:
        cause = type(error.__cause__ or error).__name__
        do = "Is DATABASE_URL right, and the server running? After a crash, starting it mends a SQLite file."
        found.append(Finding("database", "problem", f"It cannot be read ({cause}).", do))
    finally:
        await database.close()
    return found


def _file(path: Path) -> list[Finding]:
    """Judge a SQLite file from outside. The last finding is about the database where it is not to be opened."""
    try:
        with path.open("rb") as file:
            header = file.read(20)
        mode, folder_mode = (stat.S_IMODE(one.stat().st_mode) for one in (path, path.absolute().parent))
    except FileNotFoundError:
        return [Finding("database", "problem", "There is none yet.", _SET_UP)]
    except OSError as error:
        do = "Run this as the user that the server runs as."
        return [Finding("database", "problem", f"Its file cannot be read ({error.strerror}).", do)]
    found = findings.of_file(mode, folder_mode, shutil.disk_usage(path.absolute().parent).free)
    if not os.access(path, os.W_OK):
        do = "Run this as the user that the server runs as."
        found.append(Finding("file", "problem", "This user cannot write to it.", do))
    if header[19:20] == _WAL:
        do = "Start `tokenvault serve` with nothing else on the file: it changes that."
        found.append(Finding("database", "problem", "The file is in WAL mode, which can lose commits.", do))
    return found


async def _inside(
    tx: AsyncConnection, database: Database, settings: Settings, wall: Clock
) -> AsyncIterator[Finding]:
    facts = await (checkup.sqlite(tx) if database.on_sqlite else checkup.postgresql(tx))
    for finding in findings.of_sqlite(facts) if database.on_sqlite else findings.of_postgresql(facts):
        yield finding
    yield await _clock(tx, wall)
    if await migrate.standing(tx) != "current":
        yield Finding("migrations", "problem", "The tables are not those of this version.", _SET_UP)
        return
    yield Finding("migrations", "ok", "The tables are those of this version.")
    if not database.on_sqlite:
        yield findings.of_writing(facts, await checkup.unwritable(tx))
    for part in (await _keys(tx, database, settings), await _state(tx)):
        for finding in part:
            yield finding


async def _clock(tx: AsyncConnection, wall: Clock) -> Finding:
    before = wall()
    theirs = await database_time(tx)
    ours = before + (wall() - before) / 2
    return findings.of_clock(abs((theirs - ours).total_seconds()))


async def _keys(tx: AsyncConnection, database: Database, settings: Settings) -> list[Finding]:
    try:
        keyring = await open_keyring(database, settings.encryption_secret)
    except CannotStart as error:
        do = "Start with the secret that this database was made with; without it, nothing opens."
        return [Finding("keyring", "problem", str(error), do)]
    found = [Finding("keyring", "ok", "It opens with this ENCRYPTION_SECRET.")]
    for key, row in await checkup.samples(tx):
        found.append(findings.of_key(key, None if row is None else _opens(keyring, row)))
    return found


def _opens(keyring: Keyring, row: Any) -> bool:
    place = Place(row.tenant_id, row.provider, row.owner_kind, row.owner_id)
    value = Sealed(row.format, row.key_id, row.salt, row.iv, row.commitment, row.ciphertext)
    try:
        open_one(keyring, place, row.field, (value, row.generation))
    except CannotOpen:
        return False
    return True


async def _state(tx: AsyncConnection) -> list[Finding]:
    now, state = await figures.read(tx), await checkup.state(tx)
    newest = "" if state.newest_head is None else f", the newest signed head is of {state.newest_head:%F %T} UTC"
    return [
        findings.of_sweep(now.overdue, now.lag),
        *findings.of_connections(state.by_reason),
        *findings.of_gates(now.breakers, now.rejected_clients, now.paused),
        *findings.of_leftovers(state.lapsed, state.orphans),
        Finding("audit", "ok", f"{state.streams} streams{newest}."),
    ]
