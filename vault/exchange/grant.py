"""What an exchange sends: the root of a claimed generation, opened, and whose it is."""

import json
from dataclasses import dataclass

from integrations.contract import Provider, Root
from vault.clients.registration import Registration, of_grant
from vault.connection import OF_ITS_TOKEN
from vault.errors import CannotOpen
from vault.exchange.failure import Expired
from vault.means import Means
from vault.sealing import Place, open_one, opened_fields
from vault.store import sealed
from vault.store.leases import Turn
from vault.store.schema import AnyRow


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What is sent: the root of one generation's tokens, and whose it is.

    The root has no client yet: *registration* says which it is, and it is None where none takes part.
    """

    tenant: str
    provider: Provider
    name: str
    root: Root
    registration: Registration | None
    client_rejected: bool
    nameless: bool  # nobody knows whose account it is

    def place(self, owner_kind: str, owner_id: str) -> Place:
        return Place(self.tenant, self.provider.id, owner_kind, owner_id)


@dataclass(frozen=True)
class Claimed:
    """A turn and, read in the same transaction, what it is to be spent with; None where that is deleted."""

    turn: Turn
    row: AnyRow | None


class Superseded(Exception):
    """The connection was deleted or connected anew since the claim."""


def granted(means: Means, claimed: Claimed) -> Grant:
    """Return what a turn is spent with. Raises Superseded, and what `_root` does."""
    turn, row = claimed.turn, claimed.row
    if row is None:
        raise Superseded
    return Grant(
        tenant=row.tenant,
        provider=means.providers.speaking(row.provider, row.definition),
        name=row.name,
        root=_root(means, turn, row),
        registration=of_grant(means.keyring, row),
        client_rejected=bool(row.client_rejected),
        nameless=row.account is None,
    )


def _root(means: Means, turn: Turn, row: AnyRow) -> Root:
    """Return what is to be sent.

    Raises Expired where it has ended, CannotOpen where it is not there, or is of other tokens.
    """
    if turn.refresh_token_ended:
        raise Expired
    if turn.ended:
        raise Expired("token_expired")
    place = Place(row.tenant, row.provider, "connection", turn.connection)
    token, entered = (sealed.read(row, "connection", name) for name in ("refresh_token", "credentials"))
    if turn.renewal in OF_ITS_TOKEN and (token is None or token[1] != turn.generation):
        raise CannotOpen
    return Root(
        kind=row.kind,
        refresh_token=token and open_one(means.keyring, place, "refresh_token", token),
        credentials=opened_fields(means.keyring, place, entered) if entered else {},
        scopes=tuple(json.loads(row.scopes)),
    )
