"""Moving in and out in tests: records and values as another vault leaves them, and importing them here."""

import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from sqlalchemy import select

from integrations.contract import Secret
from tests.provider.client import FakeProvider
from tests.provider.orders import Grant
from tests.rig import PROVIDER, TENANT, Rig, replica
from vault.keyring import Keyring
from vault.moving.exporting import Exporting, Report
from vault.moving.foreign import Opener
from vault.moving.importing import Importing, Line, Wishes
from vault.moving.records import AnyRecord, written
from vault.store.schema import metadata

Json = dict[str, Any]
OTHERS_SECRET = "canary-secret-of-the-other-vault"
OTHERS_KEY = "0f" * 32
N = 2**10  # scrypt of the other vault: cheap, for tests


def tokens_of(grant: Grant, name: str = "mail", **more: Any) -> Json:
    """Return *grant* as a record."""
    tokens = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
    return {"tenant": TENANT, "provider": PROVIDER, "name": name, **tokens, **more}


def from_scrypt(text: str, salt: bytes = b"s" * 16) -> Json:
    """Return *text* as a vault has it that runs scrypt for every value."""
    key = hashlib.scrypt(OTHERS_SECRET.encode(), salt=salt, dklen=32, n=N, r=8, p=1)
    parts = [salt, b"i" * 16, *_encrypted(text, key, b"i" * 16)]
    return {"scheme": "scrypt", "text": ":".join(part.hex() for part in parts), "n": N}


def under_key(text: str) -> Json:
    """Return *text* as a vault has it that keeps a raw key."""
    tag, ciphertext = _encrypted(text, bytes.fromhex(OTHERS_KEY), b"i" * 12)
    return {"scheme": "key", "text": (b"i" * 12 + tag + ciphertext).hex()}


def _encrypted(text: str, key: bytes, iv: bytes) -> tuple[bytes, bytes]:
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    ciphertext = encryptor.update(text.encode()) + encryptor.finalize()
    return encryptor.tag, ciphertext


def opener() -> Opener:
    return Opener(Secret(OTHERS_SECRET), Secret(OTHERS_KEY))


def as_lines(records: Iterable[Json]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


async def imported(rig: Rig, records: Iterable[Json], **wishes: bool) -> list[Line]:
    """Import *records* and return what was said of each."""
    return await imported_lines(rig, as_lines(records), **wishes)


async def imported_lines(rig: Rig, lines: Iterable[bytes], **wishes: bool) -> list[Line]:
    importing = Importing(rig.vault, opener(), Wishes(**wishes))
    return [line async for line in importing.run(lines, lambda _done: None)]


async def exported(rig: Rig, *, live: bool = False) -> tuple[list[AnyRecord], Report]:
    """Return all records, in the clear, and the report."""
    exporting = Exporting(rig.vault, live=live)
    records = [record async for record in exporting.records(lambda _expected: lambda _done: None)]
    return records, exporting.report


def lines_of(records: Iterable[AnyRecord]) -> list[bytes]:
    return [written(record) for record in records]


def told(lines: Iterable[Line]) -> list[tuple[str, str | None]]:
    return [(line.outcome, line.code) for line in lines]


async def everything(rig: Rig) -> dict[str, list[Any]]:
    """Return all that is stored, but for what is written down about who asked."""
    unheard = {"audit_events", "audit_streams", "changes"}
    async with rig.vault.database.read() as tx:
        return {
            table.name: sorted(map(tuple, await tx.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
            if table.name not in unheard
        }


@asynccontextmanager
async def a_fresh_vault(
    template: tuple[Path, Keyring], folder: Path, provider: FakeProvider, **changed: Any
) -> AsyncIterator[Rig]:
    """Give a vault on a database of its own in which there is nothing yet."""
    shutil.copytree(template[0].parent, folder)
    async with replica(
        f"sqlite+aiosqlite:///{folder / template[0].name}", template[1], provider, **changed
    ) as rig:
        yield rig
