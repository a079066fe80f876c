"""What somebody who changes credentials leaves out: it stays as it is stored, or nothing is changed."""

from collections.abc import Mapping
from dataclasses import replace

from integrations.contract import Account, Kind, Provider, Secret
from vault.connection import Connection
from vault.errors import CannotOpen, Conflict, does_not_open
from vault.grants import Received, may_be_spent, renews
from vault.holding import held_as
from vault.means import Means
from vault.sealing import fields_apart
from vault.store.writer import Transaction


async def completed(
    means: Means, kind: Kind, known: Connection, sent: dict[str, str] | None
) -> dict[str, str] | None:
    """Return the fields of *kind* that *known* holds, with those *sent* in their place, without the empty ones.

    Just what was sent where that is nothing, of another kind, or tokens from elsewhere: those are `continued`.
    Raises Conflict where what is stored does not open.
    """
    if sent is None or kind.id != known.kind or kind.how == "consent":
        return sent
    fields = {**await _held(means, known), **sent}
    return {name: value for name, value in fields.items() if value}


def continues(kind: Kind, known: Connection, sent: Mapping[str, str] | None) -> bool:
    """Say whether *sent* goes on with the refresh token of *known*: an empty one means to be without."""
    return kind.how == "consent" and kind.id == known.kind and "refresh_token" not in (sent or {})


async def continued(
    tx: Transaction, means: Means, connection: Connection, provider: Provider, received: Received
) -> Received:
    """Return *received*, an access token alone, as one more of the grant that *connection* holds.

    As it is where that has no refresh token, or a dead one. *connection* is held in this transaction. Raises
    Conflict where the refresh token may be spent already, or does not open.
    """
    lost = connection.state.renewal == "refresh_token" and connection.state.reason == "undecryptable"
    if not renews(connection) and not lost:  # a key may come back for what is lost
        return received
    if may_be_spent(connection.state, provider):
        detail = "A refresh may have spent its refresh token: send that too, or an empty one to be without it."
        raise Conflict(detail, code="refresh_token_uncertain")
    refresh_token = await _refresh_token(tx, means, connection)
    account = None if connection.account is None else Account(connection.account, connection.account_label)
    return replace(
        received,
        tokens=replace(received.tokens, refresh_token=refresh_token, scopes=connection.scopes),
        account=account,
        client=connection.client,
        scopes=connection.asked_scopes,
        continues=True,
    )


async def _refresh_token(tx: Transaction, means: Means, connection: Connection) -> Secret:
    try:
        found = await held_as(tx.connection, means.keyring, connection, "refresh_token")
    except CannotOpen:
        raise does_not_open() from None
    assert found is not None, "what renews has one"
    return found


async def _held(means: Means, known: Connection) -> dict[str, str]:
    try:
        async with means.database.read() as tx:
            together = await held_as(tx, means.keyring, known, "credentials")
    except CannotOpen:
        raise does_not_open() from None
    fields = {} if together is None else fields_apart(together)
    return {name: value.reveal() for name, value in fields.items()}
