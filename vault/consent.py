"""A grant that a person just gave: whose it is, whether it may be stored, and giving back what may not."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from integrations.contract import Account, Client, Kind, Provider, Root, TokenSet, Unreadable
from vault.audit import Event
from vault.clients.registration import Registration
from vault.clock import uptime
from vault.connection import Connection
from vault.grants import Received, renews, store_grant
from vault.means import Means
from vault.revoke import give_back
from vault.store import connections, parking
from vault.store.writer import Transaction


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What was asked for: for which connection, with which client, for which scopes.

    *started* is when the tokens were asked for (uptime), *nonce* what an ID token has to repeat.
    """

    connection: Connection
    provider: Provider
    registration: Registration
    client: Client  # with the secret that worked: an ID token may be signed with it
    scopes: tuple[str, ...]
    nonce: str | None
    started: float
    replace_account: bool


async def accept(
    means: Means, consent: Consent, tokens: TokenSet, done: Callable[[Transaction], Awaitable[object]]
) -> str:
    """Store *tokens* as what *consent* was for, and have *done* run in the same transaction.

    Returns "connected", or the word for why not: then they were given back to the provider.
    """
    account = None
    try:
        account = await _account(means, consent, tokens)
        outcome = await _stored(means, consent, _received(consent, tokens, account), done)
    except Unreadable as error:
        outcome = error.code
    if outcome != "connected":
        token, subject = tokens.refresh_token or tokens.access_token, account.subject if account else None
        root = Root(kind=_kind(consent.provider, consent.connection.kind).id)
        await give_back(means, consent.provider, consent.registration, root, token, subject)
    return outcome


async def note_failure(means: Means, connection: Connection, code: str) -> None:
    """Write down why a person's consent did not connect *connection*."""
    about = (connection.tenant, connection.provider, connection.name)
    await means.writer.record(Event("person", "connection.connect_failed", code, *about))


async def _account(means: Means, consent: Consent, tokens: TokenSet) -> Account | None:
    """Return whose grant it is. Raises Unreadable where what says so lies."""
    keys = await means.signing_keys.of(consent.provider, tokens.id_token)
    return consent.provider.account(tokens, client=consent.client, nonce=consent.nonce, keys=keys)


def _received(consent: Consent, tokens: TokenSet, account: Account | None) -> Received:
    kind = _kind(consent.provider, consent.connection.kind)
    return Received(
        tokens=tokens,
        account=account,
        client=consent.registration.id,
        scopes=consent.scopes,
        age=uptime() - consent.started,
        consented=True,
        kind=kind.id,
        renewal=kind.renewal,
        check_every=kind.check_every,
    )


async def _stored(
    means: Means, consent: Consent, received: Received, done: Callable[[Transaction], Awaitable[object]]
) -> str:
    async def unit(tx: Transaction) -> str:
        await parking.stand_still(tx.connection)
        now = await connections.hold(tx.connection, consent.connection.id)
        if now is None:
            return "connection_deleted"
        doubt = None if consent.replace_account else _doubt(now, received)
        if doubt is not None:
            return doubt
        generation = await store_grant(tx, means, now, consent.provider, received)
        if generation is None:
            return "no_refresh_token"
        await done(tx)
        tx.record(Event("person", "connection.connected", "ok", now.tenant, now.provider, now.name, generation))
        return "connected"

    return await means.writer.insist(unit)


def _doubt(connection: Connection, received: Received) -> str | None:
    """Return why *received* may be of another account than the one that is stored; None where nothing says so.

    Where nobody knows of one of the two, a grant that brings a refresh token is taken. One without is
    refused while the stored one renews: that must not be mixed with somebody else's, nor be lost for an hour.
    """
    if connection.account is not None and received.account is not None:
        return None if received.account.subject == connection.account else "account_mismatch"
    if connection.account is not None and "openid" in received.scopes:
        return "account_unknown"
    return "no_refresh_token" if received.tokens.refresh_token is None and renews(connection) else None


def _kind(provider: Provider, kind: str) -> Kind:
    """Return *kind* where a person consents to it; what was entered gives way to the provider's usual one."""
    consents = [one for one in provider.kinds if one.how == "consent"]
    return next((one for one in consents if one.id == kind), consents[0])
