"""Every provider the vault can speak to: built in, or defined at run time by an operator."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations import discovery
from integrations.contract import Kind, Provider, ProviderError, Unreadable
from integrations.definition import ENDPOINTS, Definition
from integrations.oauth import OAuthProvider
from vault.addresses import check_url
from vault.audit import Event
from vault.clock import uptime
from vault.connection import Connection
from vault.errors import Conflict, Invalid, NotFound, Unavailable
from vault.outbound import Outbound
from vault.store import clients, connections
from vault.store import providers as store
from vault.store.writer import Transaction, Writer

_SENT_NOTHING = {"authorization_endpoint", "jwks_uri"}
_UNSAID = {"openid", "offline_access"}  # many providers leave these out of what they say they granted
DISCOVERY_TIMEOUT = 10.0  # seconds for both well-known addresses together


class Providers:
    """The catalogue. *built_in* are code; the rest are rows."""

    def __init__(
        self, built_in: Mapping[str, Provider], outbound: Outbound, writer: Writer, *, allow_local: bool
    ) -> None:
        self._built_in = dict(built_in)
        self._outbound = outbound
        self._writer = writer
        self._allow_local = allow_local

    async def get(self, provider: str, tx: AsyncConnection) -> Provider:
        """Return *provider*. Raises NotFound."""
        if provider in self._built_in:
            return self._built_in[provider]
        return self.speaking(provider, await store.definition(tx, provider))

    def speaking(self, provider: str, definition: str | None) -> Provider:
        """Return *provider*, whose stored definition is *definition*. Raises NotFound."""
        if provider in self._built_in:
            return self._built_in[provider]
        if definition is None:
            raise NotFound("There is no such provider.")
        return _parsed(provider, definition)

    async def definition(self, provider: str, tx: AsyncConnection) -> Definition | None:
        """Return the definition of *provider*, None where it is built in or unknown."""
        text = None if provider in self._built_in else await store.definition(tx, provider)
        return None if text is None else _parsed(provider, text).definition

    async def all(self, tx: AsyncConnection) -> list[Provider]:
        """Return the whole catalogue by id."""
        stored = {name: _parsed(name, text) for name, text in (await store.all_definitions(tx)).items()}
        # What became built in after it was defined is what is built in.
        return sorted((stored | self._built_in).values(), key=lambda provider: provider.id)

    async def same_server(self, provider: Provider, tx: AsyncConnection) -> list[str]:
        """Return the ids of all that are defined for the same server as *provider*, itself among them."""
        marks = _marks(provider)
        return [one.id for one in await self.all(tx) if one.id == provider.id or marks & _marks(one)]

    async def define(self, provider: str, fields: dict[str, Any], actor: str) -> bool:
        """Store a generic provider. Returns whether it is new.

        Where *fields* name an issuer and no endpoints, the rest is discovered; what is given
        beside it counts more than what is found.
        """
        self.refuse_built_in(provider)
        if "token_endpoint" not in fields and fields.get("issuer"):
            fields = {**await self._discover(fields["issuer"]), **fields}
        definition = self.checked(fields)

        async def unit(tx: Transaction) -> bool:
            await self._refuse_other_origin(tx.connection, provider, definition)
            text = msgspec.json.encode(definition).decode()
            tx.record(
                Event(
                    actor, "provider.changed", provider=provider, detail={"origins": sorted(_origins(definition))}
                )
            )
            return await store.put(tx.connection, provider, text)

        return await self._writer.submit(unit, alone=True)

    async def forget(self, provider: str, actor: str) -> None:
        """Delete a generic provider. Raises Conflict while connections or clients exist.

        Its clients would be those of whatever is defined under its name next.
        """
        self.refuse_built_in(provider)

        async def unit(tx: Transaction) -> None:
            if await store.definition(tx.connection, provider) is None:
                raise NotFound("There is no such provider.")
            await _refuse_in_use(tx.connection, provider)
            await store.remove(tx.connection, provider)
            tx.record(Event(actor, "provider.deleted", provider=provider))

        await self._writer.submit(unit, alone=True)

    def refuse_built_in(self, provider: str) -> None:
        """Raise Conflict where *provider* is nobody's to define."""
        if provider in self._built_in:
            raise Conflict("This provider is built in.", code="provider_built_in")

    async def _refuse_other_origin(self, tx: AsyncConnection, provider: str, definition: Definition) -> None:
        """Stored tokens are only ever sent where they came from, clients' secrets where they were meant for."""
        text = await store.definition(tx, provider)
        if text is None or _origins(definition) <= _origins(_parsed(provider, text).definition):
            return
        await _refuse_in_use(tx, provider)

    def checked(self, fields: dict[str, Any]) -> Definition:
        """Return the definition in *fields*. Raises Invalid."""
        try:
            definition = msgspec.convert(fields, Definition)
        except msgspec.ValidationError as error:
            raise Invalid(f"This is no provider definition: {error}.", code="invalid_definition") from None
        for name in (*ENDPOINTS, "issuer", "docs"):
            address = getattr(definition, name)
            if address is not None:
                check_url(address, allow_local=self._allow_local, field=name)
        return definition

    async def _discover(self, issuer: str) -> dict[str, Any]:
        check_url(issuer, allow_local=self._allow_local, field="issuer")
        deadline = uptime() + DISCOVERY_TIMEOUT
        problem: ProviderError = Unreadable("no_metadata")
        for url in discovery.metadata_urls(issuer):
            try:
                answer = await self._outbound.send(httpx.Request("GET", url), deadline=deadline)
                return discovery.read_metadata(issuer, answer)
            except ProviderError as error:
                problem = error if problem.code == "no_metadata" else problem
        if isinstance(problem, Unreadable) or problem.code == "address_refused":
            raise Invalid("The issuer publishes no usable metadata.", code="discovery_failed", reason=problem.code)
        raise Unavailable(
            "The issuer's metadata could not be read.",
            code="provider_unavailable",
            retry_after=10,
            reason=problem.code,
        )


def kind_of(provider: Provider, kind: str | None, *, how: str | None = None) -> Kind:
    """Return the *kind* of *provider*, by default its usual one; *how*: among those that come about so.

    Raises Invalid where there is none.
    """
    for one in provider.kinds:
        if kind in (None, one.id) and how in (None, one.how):
            return one
    raise Invalid("This provider has no such kind.", code="unknown_kind", field="kind")


def check_every(provider: Provider, kind: str) -> int | None:
    """Return every how many seconds what is of this *kind*, and never renewed, is tried; None: never.

    As where the provider, which was defined anew, has no such kind any more.
    """
    return next((one.check_every for one in provider.kinds if one.id == kind), None)


def is_entered(provider: Provider, kind: str) -> bool:
    """Say whether credentials of this *kind* are entered, and not given by a consent."""
    return any(one.id == kind and one.how == "enter" for one in provider.kinds)


def asked_of(
    provider: Provider, connection: Connection | None, wanted: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the scopes that a person is asked for: those *wanted*, or else those that *connection* lives on.

    The provider's own are for what is new.
    """
    if wanted is None:
        wanted = (connection and _lived_on(provider, connection)) or provider.default_scopes
    return tuple(provider.asking(wanted))


def _lived_on(provider: Provider, connection: Connection) -> Sequence[str]:
    """Return what was asked for. Nobody asked for tokens from elsewhere: there it is what they turned out to have.

    What a client or a robot has for itself is nothing to ask a person for.
    """
    consents = {kind.id for kind in provider.kinds if kind.how == "consent"}
    if connection.kind not in consents:
        return ()
    if connection.asked_scopes or not connection.scopes:
        return connection.asked_scopes
    unsaid = [scope for scope in provider.default_scopes if scope in _UNSAID and scope not in connection.scopes]
    return [*connection.scopes, *unsaid]


@lru_cache(maxsize=256)
def _parsed(provider: str, definition: str) -> OAuthProvider:
    return OAuthProvider(provider, msgspec.json.decode(definition, type=Definition))


async def _refuse_in_use(tx: AsyncConnection, provider: str) -> None:
    if await connections.uses_provider(tx, provider) or await clients.uses_provider(tx, provider):
        raise Conflict("Connections or clients exist at this provider.", code="provider_in_use")


def _marks(provider: Provider) -> set[str]:
    """Return what is known of the server that *provider* is: where its tokens come from, what it calls itself."""
    issuer = provider.definition.issuer if isinstance(provider, OAuthProvider) else None
    return {mark for mark in (issuer, provider.endpoints.get("token_endpoint")) if mark is not None}


def _origins(definition: Definition) -> frozenset[str]:
    """Return where the tokens and secrets of a provider are sent."""
    parts = [urlsplit(at) for name, at in definition.endpoints().items() if name not in _SENT_NOTHING]
    return frozenset(f"{part.scheme}://{part.netloc}" for part in parts)
