"""Signing an operator in to the pages: a link that works once, and the browser that followed it.

There is no password. Who can run `tokenvault login-link` has the secret and the database, and so
every right that there is. Link and cookie carry 256 random bits each; what is stored of them is a
keyed hash, so that a stolen row signs nobody in.
"""

import re
import secrets
from datetime import datetime, timedelta

from integrations.contract import Secret
from vault.audit import Event
from vault.errors import Gone
from vault.keyring import Keyring
from vault.store import sign_ins as store
from vault.store.database import Database
from vault.store.writer import Transaction, Writer

LINK_LIFETIME = timedelta(minutes=10)
SESSION_LIFETIME = timedelta(hours=12)  # from the beginning, however much it is used
_ACTOR = "operator"
_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}")  # as token_urlsafe writes 256 bits


class SigningIn:
    """Links, and the sessions that they begin."""

    def __init__(self, database: Database, writer: Writer, keyring: Keyring, *, public_url: str) -> None:
        self._database = database
        self._writer = writer
        self._keyring = keyring
        self._public_url = public_url

    async def link(self) -> tuple[Secret, datetime]:
        """Return a new link, which is told now and never again, and when it ends."""
        token = secrets.token_urlsafe(32)

        async def unit(tx: Transaction) -> datetime:
            return await store.add(tx.connection, self._keyring.mac("sign-in", token), LINK_LIFETIME)

        expires_at = await self._writer.submit(unit)
        return Secret(f"{self._public_url}/login/{token}"), expires_at

    async def check(self, token: str) -> None:
        """Raise Gone where a link with *token* is used, late or unknown. Uses nothing up."""
        digest = self._link_digest(token)
        async with self._database.read() as tx:
            if not await store.is_open(tx, digest):
                raise Gone

    async def sign_in(self, token: str) -> Secret:
        """Use the link with *token* up; return what the browser's cookie has to hold. Raises Gone."""
        digest, session = self._link_digest(token), secrets.token_urlsafe(32)

        async def unit(tx: Transaction) -> bool:
            if not await store.redeem(tx.connection, digest):
                return False
            await store.begin(tx.connection, self._keyring.mac("session", session), SESSION_LIFETIME)
            tx.record(Event(_ACTOR, "operator.signed_in"))
            return True

        if not await self._writer.submit(unit):
            raise Gone
        return Secret(session)

    async def is_signed_in(self, session: str | None) -> bool:
        """Say whether *session* is what a cookie of ours holds, and still good."""
        if session is None or not _RANDOM.fullmatch(session):
            return False
        async with self._database.read() as tx:
            return await store.is_living(tx, self._keyring.mac("session", session))

    async def sign_out(self, session: str) -> None:
        """End *session*, everywhere: no process remembers sessions."""

        async def unit(tx: Transaction) -> None:
            if await store.end(tx.connection, self._keyring.mac("session", session)):
                tx.record(Event(_ACTOR, "operator.signed_out"))

        await self._writer.submit(unit)

    def _link_digest(self, token: str) -> bytes:
        if not _RANDOM.fullmatch(token):
            raise Gone
        return self._keyring.mac("sign-in", token)
