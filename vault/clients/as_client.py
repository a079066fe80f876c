"""Calling a provider as a client that may have two live secrets: while one is replaced, either may be the one.

A refused client gives the other secret a try, once, within the same lease and deadline. It is safe to send
a refresh token, or a code, a second time then: a server authenticates the client before it looks at
anything else (RFC 6749 sections 4.1.3, 5.2, 6), so what was refused as `invalid_client` was neither looked
at nor spent. Nothing but that refusal, which is an answer, leads to the second try: where the outcome is
unknown, the token may be spent.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from integrations.contract import Client, ClientRejected, ClientUnusable, Transient
from vault.audit import Event
from vault.clients.registration import Registration, opened
from vault.errors import StorageUnavailable
from vault.means import Means
from vault.store import clients, sealed
from vault.store.clients import SLOTS, Slot
from vault.store.writer import Transaction

T = TypeVar("T")
Call = Callable[[Client | None], Awaitable[T]]
log = logging.getLogger(__name__)


class Refused(ClientRejected):
    """All that a registration could be used with was refused, or is lost: its secrets of one *generation*.

    *by_provider* says that it was a provider which refused the last of them.
    """

    def __init__(self, error: ClientRejected, generation: int) -> None:
        super().__init__(error.code, retry_after=error.retry_after)
        self.generation = generation
        self.by_provider = not isinstance(error, ClientUnusable)


@dataclass(frozen=True, kw_only=True)
class Other:
    """A secret that is not the one which was tried first, of the *generation* that was found then."""

    registration: Registration
    generation: int
    slot: Slot
    client: Client


@dataclass(frozen=True)
class Done(Generic[T]):
    """What a call gave, and the *other* secret where it was that which worked."""

    value: T
    other: Other | None = None


def used(registration: Registration, other: Other | None) -> Client:
    """Return the client that a call was done as, with the secret that worked."""
    return other.client if other else registration.likeliest or Client(registration.client_id)


async def as_client(means: Means, registration: Registration | None, call: Call[T]) -> Done[T]:
    """Return what *call* gives, which sends once, as the client of *registration*; None where there is none.

    Raises Refused where no secret is taken, and whatever else *call* raises.
    """
    if registration is None:
        return Done(await call(None))
    try:
        return Done(await _called(registration.likeliest, call))
    except ClientRejected as error:
        refusal = error
    generation, other = await _other(means, registration)
    if other is None:
        raise Refused(refusal, generation)
    try:
        return Done(await call(other.client), other)
    except ClientRejected as error:
        raise Refused(error, generation) from None


async def note(means: Means, other: Other | None) -> None:
    """Have the *other* secret tried first from now on. After what it brought is stored: this may be lost."""
    if other is None:
        return

    async def unit(tx: Transaction) -> bool:
        news = await clients.prefer(tx.connection, other.registration.id, other.generation, other.slot)
        if news:
            about = (other.registration.tenant, other.registration.provider)
            tx.record(Event("scheduler", "client.secret_switched", other.slot, *about))
        return news

    with contextlib.suppress(StorageUnavailable):  # whoever tries next finds out again
        if await means.writer.submit(unit):
            about = {"client": other.registration.id, "works": other.slot}
            log.warning("of a client's two secrets the other one works", extra=about)


async def _called(client: Client | None, call: Call[T]) -> T:
    if client is None:
        # The client's matter, and mended by entering it anew: no connection is to blame.
        raise ClientUnusable("undecryptable")
    return await call(client)


async def _other(means: Means, registration: Registration) -> tuple[int, Other | None]:
    """Return the generation of the secrets as they are now, and one of them that was not tried.

    Read now, for it may have been entered since the first one was read.
    """
    try:
        async with means.database.read() as tx:
            row = await clients.get(tx, registration.id)
            values = {} if row is None else await sealed.load(tx, "client", row.id)
    except StorageUnavailable:
        raise Transient("storage_unavailable") from None
    if row is None:
        return registration.generation, None
    for slot in SLOTS:
        client = opened(means.keyring, row, values, slot)
        if client is not None and client != registration.likeliest:
            found = Other(registration=registration, generation=row.generation, slot=slot, client=client)
            return row.generation, found
    return row.generation, None
