"""Tokens for somebody's app, signed here with what is stored: the app gets nothing else of it.

They are made anew for each request, and nowhere kept. What serves the path, and what stands against it, is as for
any other token; so is that it is written down before it is handed out.
"""

from datetime import datetime, timedelta

from msgspec import Struct, structs

from integrations.contract import ClientTokenRequest, Provider, Root, Secret, Unreadable
from vault.access import Access, Caller
from vault.audit import Event
from vault.clock import uptime
from vault.connection import Connection, Path
from vault.errors import CannotOpen, Conflict, Invalid, StorageUnavailable
from vault.memory import STALE_AFTER
from vault.providers import kind_of
from vault.sealing import fields_apart
from vault.sources import Found, Sources
from vault.store.writer import Writer
from vault.withheld import undecryptable, withheld

ABILITY = "client_tokens"


class SignedToken(Struct, frozen=True, kw_only=True):
    """A token on its way to a caller whose audit row is written; *connection* is what it was signed with."""

    connection: Connection
    token: Secret
    expires_at: datetime
    expires_in: int  # seconds


class ClientTokens:
    def __init__(self, *, writer: Writer, access: Access, sources: Sources) -> None:
        self._writer = writer
        self._access = access
        self._sources = sources

    async def sign(self, caller: Caller, path: Path, asked: ClientTokenRequest) -> SignedToken:
        """Return the token that is *asked* for, signed with what serves *path*.

        Raises NotFound, Conflict where what serves it cannot sign or a person has to act, Invalid where the
        provider knows no such token, StorageUnavailable.
        """
        began = uptime()
        await self._access.require_reach(caller, *path)
        found = await self._sources.read(path)
        provider = _able(found)
        issued = found.connection.read_at.replace(microsecond=0)
        token = _signed(provider, await self._root(found), asked, issued)
        await self._writer.record(_event(caller, found, asked))
        if uptime() - began >= STALE_AFTER:
            # What was true when it was looked at may have ended, and been answered as over, by now.
            raise StorageUnavailable
        ends = issued + timedelta(seconds=asked.ttl)
        return SignedToken(connection=found.connection, token=token, expires_at=ends, expires_in=asked.ttl)

    async def _root(self, found: Found) -> Root:
        """Return what was entered. Raises Conflict where it does not open."""
        assert found.value is not None
        try:
            return Root(kind=found.connection.kind, credentials=fields_apart(found.value.open()))
        except CannotOpen:
            raise await undecryptable(self._writer, found.connection, found.inherited_from) from None


def _able(found: Found) -> Provider:
    """Return the provider of what was *found*. Raises Conflict where that signs nothing, or not now."""
    about, state = found.connection, found.connection.state
    if found.provider is None or ABILITY not in kind_of(found.provider, about.kind).abilities:
        raise Conflict("Credentials of this kind sign no tokens for apps.", code="no_client_tokens")
    if stops := withheld(state, found.inherited_from):
        raise stops
    if ABILITY in state.lacks:
        detail = "These credentials are of a sort that signs no tokens for apps."
        raise Conflict(detail, code="no_client_tokens", reason=state.last_error_code)
    return found.provider


def _signed(provider: Provider, root: Root, asked: ClientTokenRequest, issued: datetime) -> Secret:
    try:
        return provider.client_token(root, asked, int(issued.timestamp()))
    except Unreadable as error:
        detail = "The provider takes no such token."
        raise Invalid(detail, code="invalid_client_token", reason=error.code) from None


def _event(caller: Caller, found: Found, asked: ClientTokenRequest) -> Event:
    event = found.event(caller.actor, "client_token.handed_out", "ok", found.connection.state.generation)
    return structs.replace(event, detail={**event.detail, "grants": sorted(asked.grants), "ttl": asked.ttl})
