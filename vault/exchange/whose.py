"""Whose grant it is, where it came from elsewhere: its refreshes may say so, by an ID token."""

import contextlib
import logging

from integrations.contract import Account, Client, Provider, TokenSet, Unreadable
from vault.errors import StorageUnavailable
from vault.means import Means
from vault.store import connections, parking
from vault.store.changes import Stale
from vault.store.leases import Turn
from vault.store.writer import Transaction

log = logging.getLogger(__name__)


async def learn(means: Means, provider: Provider, client: Client, turn: Turn, tokens: TokenSet) -> None:
    """Write down the account that *tokens*, which came of *turn*, name: verified as after a consent.

    They are stored already, so what cannot be read or written is left to the next refresh.
    """
    try:
        keys = await means.signing_keys.of(provider, tokens.id_token)
        account = provider.account(tokens, client=client, nonce=None, keys=keys)
    except Unreadable as error:
        log.warning("an ID token is no good", extra={"connection": turn.connection, "code": error.code})
        return
    if account is not None:
        with contextlib.suppress(StorageUnavailable):
            await means.writer.submit(lambda tx: _note(tx, turn, account))


async def _note(tx: Transaction, turn: Turn, account: Account) -> None:
    await parking.stand_still(tx.connection)
    now = await connections.hold(tx.connection, turn.connection)
    # Whoever connected meanwhile may be somebody else.
    if now is None or now.account is not None or now.state.granted_generation > turn.generation:
        return
    columns = {"account": account.subject, "account_label": account.label}
    await connections.edit(tx.connection, turn.connection, columns)
    tx.outdate(Stale("connection", turn.connection))
