"""Consent at another device (RFC 8628): a code that a person types where there is a browser.

The provider does not send anybody back to us, so it is asked now and then what became of it. Whoever
takes the question has it until its answer must have come; no other replica asks meanwhile.
"""

import asyncio
import json
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from integrations.contract import (
    Client,
    ClientRejected,
    DeviceAuthorization,
    DeviceWaiting,
    OutcomeUnknown,
    Provider,
    ProviderError,
    RateLimited,
    Secret,
    TokenSet,
    Transient,
)
from vault.audit import Event
from vault.clients.as_client import Done, as_client, note, used
from vault.clients.registration import Registration, registered, registration
from vault.clock import uptime
from vault.connection import Connection, Path
from vault.consent import Consent, accept, note_failure
from vault.errors import CannotOpen, Conflict, Invalid, NotFound, StorageUnavailable, Unavailable
from vault.grants import awaited, require_client
from vault.keyring import Sealed
from vault.means import Means
from vault.providers import asked_of, kind_of
from vault.sealing import Place, open_one, seal_all
from vault.store import clients, connections, sealed, tenants
from vault.store import devices as store
from vault.store.schema import AnyRow
from vault.store.writer import Transaction

log = logging.getLogger(__name__)
AT_ONCE = 20  # questions under way
MARGIN = timedelta(seconds=10)  # beyond the deadline of a question, for what comes before and after it
# Of one question, and no answer to it: a client that is refused may be mended before the code runs out.
_PASSING = (Transient, RateLimited, OutcomeUnknown, ClientRejected)


@dataclass(frozen=True)
class Asked:
    """What a person is shown, and until when it counts."""

    authorization: DeviceAuthorization
    expires_at: datetime


class Devices:
    def __init__(self, means: Means) -> None:
        self._means = means
        self._asking: set[asyncio.Task[None]] = set()

    async def begin(
        self, actor: str, path: Path, above: list[str], *, scopes: list[str] | None, replace_account: bool
    ) -> Asked:
        """Return the code with which a person connects *path* on a device of theirs.

        Raises NotFound, Conflict where no client is registered or the provider has no such thing,
        Unavailable where it gives no code now.
        """
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(path[1], tx)
            known = await connections.find(tx, *path)
            row = await clients.nearest(tx, above, path[1])
            if row is None:
                raise Conflict("No client is registered for this provider.", code="no_client")
            client = registration(self._means.keyring, row, await sealed.load(tx, "client", row.id))
        kind = kind_of(provider, None, how="consent").id
        wanted = asked_of(provider, known, scopes)
        authorization = await self._code(provider, client, wanted)

        async def unit(tx: Transaction) -> datetime:
            if await tenants.find(tx.connection, path[0]) is None:
                raise NotFound
            await require_client(tx, row.id)
            connection = await awaited(tx, path, kind, row.id)
            tx.record(Event(actor, "connection.authorized", "device", *path))
            return await self._keep(tx, connection, row, authorization, wanted, replace_account)

        return Asked(authorization, await self._means.writer.submit(unit, alone=True))

    async def poll(self) -> None:
        """Begin to ask about all that it is time to ask about. Nobody waits here for an answer."""
        room, turn = AT_ONCE - len(self._asking), timedelta(seconds=self._means.timeout) + MARGIN
        if not room:
            return
        try:
            due = await self._means.writer.submit(lambda tx: store.claim(tx.connection, room, turn))
        except StorageUnavailable:
            log.warning("devices cannot be asked about: the database does not answer")
            return
        for row in due:
            task = asyncio.create_task(self._ask(row), name=f"device {row.id}")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def drain(self) -> None:
        """Wait until every answer is stored."""
        while self._asking:
            await asyncio.wait(self._asking)

    async def _code(
        self, provider: Provider, registration: Registration, scopes: tuple[str, ...]
    ) -> DeviceAuthorization:
        async def ask(client: Client | None) -> DeviceAuthorization:
            assert client is not None
            request = provider.device_request(client, scopes)
            if request is None:
                raise Conflict("This provider has no consent at another device.", code="device_not_supported")
            return provider.read_device(await self._means.outbound.send(request, deadline=self._means.deadline()))

        try:
            done = await as_client(self._means, registration, ask)
        except ClientRejected as error:
            detail = "The provider refuses the client registration."
            raise Conflict(detail, code="client_misconfigured", reason=error.code) from None
        except _PASSING as error:
            detail = "The provider gives no code for a device now."
            raise Unavailable(detail, code="provider_unavailable", retry_after=5, reason=error.code) from None
        except ProviderError as error:
            detail = "The provider refuses to give a code for this."
            raise Invalid(detail, code="request_refused", reason=error.code) from None
        await note(self._means, done.other)
        return done.value

    async def _keep(
        self,
        tx: Transaction,
        connection: Connection,
        client: AnyRow,
        authorization: DeviceAuthorization,
        scopes: tuple[str, ...],
        replace_account: bool,
    ) -> datetime:
        identity, lifetime = secrets.token_hex(16), timedelta(seconds=authorization.expires_in)
        row = {
            "id": identity,
            "connection_id": connection.id,
            "client": client.id,
            "replace_account": replace_account,
        }
        values = seal_all(
            self._means.keyring, _place(connection, identity), 0, {"device_code": authorization.device_code}
        )
        await store.begin(
            tx.connection, row, values, scopes=scopes, interval=authorization.interval, lifetime=lifetime
        )
        return connection.read_at + lifetime

    async def _ask(self, row: AnyRow) -> None:
        try:
            await self._asked(row)
        except StorageUnavailable:
            log.warning("a device was not asked about: the database does not answer")

    async def _asked(self, row: AnyRow) -> None:
        """Ask about one authorization, and end it unless there is more to wait for."""
        async with self._means.database.read() as tx:
            connection = await connections.get(tx, row.connection_id)
        if connection is None:
            return
        try:
            code = "expired_token" if row.is_over else await self._answered(row, connection)
        except _PASSING:
            code = "authorization_pending"
        except (ProviderError, CannotOpen) as error:
            code = getattr(error, "code", "undecryptable")
        if code == "authorization_pending":
            await self._means.writer.submit(lambda tx: store.again(tx.connection, row.id))
        if code in {"connected", "authorization_pending", "slow_down"}:
            return
        if await self._means.writer.submit(lambda tx: store.end(tx.connection, row.id)):
            await note_failure(self._means, connection, code)

    async def _answered(self, row: AnyRow, connection: Connection) -> str:
        """Return what came of a question: "connected", what the provider says of waiting, or why it is over."""
        async with self._means.database.read() as tx:
            provider = await self._means.providers.get(connection.provider, tx)
            client = await registered(tx, self._means.keyring, row.client)
            if client is None:
                return "no_client"
            values = await sealed.load(tx, store.OWNER, row.id)
        device_code, started = _code_of(self._means, connection, row.id, values), uptime()
        done = await self._polled(provider, client, device_code, started)
        if done.value == "slow_down":
            await self._means.writer.submit(lambda tx: store.slow_down(tx.connection, row.id))
        if isinstance(done.value, str):
            return done.value
        consent = Consent(
            connection=connection,
            provider=provider,
            registration=client,
            client=used(client, done.other),
            scopes=tuple(json.loads(row.scopes)),
            nonce=None,
            started=started,
            replace_account=row.replace_account,
        )
        outcome = await accept(self._means, consent, done.value, lambda tx: store.end(tx.connection, row.id))
        await note(self._means, done.other)
        return outcome

    async def _polled(
        self, provider: Provider, registration: Registration, device_code: Secret, started: float
    ) -> Done[TokenSet | DeviceWaiting]:
        async def poll(client: Client | None) -> TokenSet | DeviceWaiting:
            assert client is not None
            request = provider.device_token_request(client, device_code)
            answer = await self._means.outbound.send(request, deadline=self._means.deadline(started))
            return provider.read_device_tokens(answer)

        return await as_client(self._means, registration, poll)


def _place(connection: Connection, identity: str) -> Place:
    return Place(connection.tenant, connection.provider, store.OWNER, identity)


def _code_of(means: Means, connection: Connection, identity: str, values: dict[str, tuple[Sealed, int]]) -> Secret:
    if "device_code" not in values:
        raise CannotOpen
    return open_one(means.keyring, _place(connection, identity), "device_code", values["device_code"])
