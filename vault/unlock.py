"""From ENCRYPTION_SECRET to a keyring, once at start: the only time that a server uses the secret and scrypt."""

import asyncio
import secrets
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.contract import Secret
from vault.errors import CannotOpen
from vault.keyring import KEY_BYTES, SALT_BYTES, SCRYPT, Keyring, new_key_id, wrap, wrapping_key
from vault.store import keys, migrate
from vault.store.database import Database
from vault.store.keys import WrappedKey

_LATER = "This database belongs to a later version of the vault."


class CannotStart(Exception):
    """The keys in this database cannot be used with this secret. The message is for the operator."""


async def open_vault(database: Database, secret: Secret) -> Keyring:
    """Bring the tables up to date and return the keyring, made now where there is none yet.

    One replica at a time. The secret is tried before anything is written: raises CannotStart where
    it is not the one that the keys were wrapped with, and where keys are gone but values are left.
    """
    async with database.migration_lock() as tx:
        keyring = await _existing(tx, secret)
        try:
            await migrate.upgrade(tx)
        except migrate.Newer:
            raise CannotStart(_LATER) from None
        if keyring is None:
            if await keys.has_sealed_values(tx):
                raise CannotStart("The keyring is gone, but sealed values are left: restore it from a backup.")
            keyring = await _new(tx, secret)
        await tx.commit()
    return keyring


async def open_keyring(database: Database, secret: Secret) -> Keyring:
    """Return the keyring of a vault that is set up, writing nothing. Raises CannotStart."""
    async with database.read() as tx:
        standing = await migrate.standing(tx)
        if standing == "later":
            raise CannotStart(_LATER)
        keyring = await _existing(tx, secret)
        if keyring is None or standing != "current":
            raise CannotStart("This database is not set up for this version yet: run `tokenvault migrate`.")
    return keyring


async def _existing(tx: AsyncConnection, secret: Secret) -> Keyring | None:
    instance, wrapped = await keys.load(tx)
    if instance is None or not wrapped:
        return None
    roots, primary, mac_root = {}, 0, b""
    found, wrapping = await _unwrapped(instance, wrapped, secret)
    for key_id, (key, root) in found.items():
        if key.purpose == "mac":
            mac_root = root
        else:
            roots[key_id] = root
            primary = key_id if key.state == "primary" else primary
    try:
        return Keyring(instance, roots, primary, mac_root, wrapping)
    except CannotOpen:
        raise CannotStart("The keyring is incomplete: restore it from a backup.") from None


async def _unwrapped(
    instance: str, wrapped: list[WrappedKey], secret: Secret
) -> tuple[dict[int, tuple[WrappedKey, bytes]], dict[bytes, bytes]]:
    """Return every root key, each through the first slot that the secret opens; and what opened them, by salt.

    While a changed secret is rolled out there are two slots, and either secret opens one of them.
    """
    derived: dict[bytes, bytes] = {}
    found: dict[int, tuple[WrappedKey, bytes]] = {}
    try:
        for key in wrapped:
            if key.salt not in derived:
                derived[key.salt] = await asyncio.to_thread(wrapping_key, secret, key.salt, key.kdf_params)
            try:
                found[key.key_id] = (key, key.unwrapped(derived[key.salt], instance))
            except CannotOpen:
                continue
    except CannotOpen:
        raise CannotStart("The stored key derivation parameters are not ones that we use.") from None
    missing = sorted({key.key_id for key in wrapped} - set(found))
    if missing:
        raise CannotStart(f"ENCRYPTION_SECRET is not the one that key {missing[0]:08x} was wrapped with.")
    opened_by = {key.salt for key, _ in found.values()}
    return found, {salt: wrapping for salt, wrapping in derived.items() if salt in opened_by}


async def _new(tx: AsyncConnection, secret: Secret) -> Keyring:
    instance, salt = secrets.token_hex(16), secrets.token_bytes(SALT_BYTES)
    wrapping = await asyncio.to_thread(wrapping_key, secret, salt, SCRYPT)
    values_id, mac_id = new_key_id(), new_key_id()
    roots = {values_id: secrets.token_bytes(KEY_BYTES), mac_id: secrets.token_bytes(KEY_BYTES)}
    made = []
    for key_id, purpose in ((values_id, "values"), (mac_id, "mac")):
        box = wrap(wrapping, roots[key_id], instance=instance, key_id=key_id, purpose=purpose)
        made.append(WrappedKey(key_id, purpose, "primary", 1, SCRYPT, salt, box))
    await keys.create(tx, instance, made, datetime.now(UTC))
    return Keyring(instance, {values_id: roots[values_id]}, values_id, roots[mac_id], {salt: wrapping})
