"""A record beside what is stored: how it stands, what would be refused of it, and putting it there.

Each goes through the use case that the API goes through. What they refuse is looked for beforehand, so
that a dry run refuses it as well.
"""

import asyncio
from typing import Any, Literal, Protocol

import msgspec

from integrations.contract import Client, Secret
from integrations.definition import Definition
from vault.callers import OPERATOR
from vault.clients.clients import check as check_client
from vault.clients.registration import opened
from vault.conditions import Condition
from vault.errors import Conflict, Invalid
from vault.http.views.clients import ClientSettings, PrivateKey
from vault.http.views.common import Token
from vault.moving.ahead import Ahead
from vault.moving.foreign import Encrypted, Opener
from vault.moving.records import ClientRecord, ProviderRecord, TenantRecord
from vault.services import Vault
from vault.store import clients, providers, sealed, tenants
from vault.tenants import ROOT, check_return_url, version

Standing = Literal["absent", "equal", "other"]
NEW = Condition(exists=False)


class Item(Protocol):
    async def standing(self) -> Standing:
        """Say how it stands to what is stored; first of all. Raises VaultError where nobody could tell."""
        ...

    async def check(self) -> None:
        """Raise the VaultError that storing it would, as far as that can be told without storing."""
        ...

    async def store(self) -> None:
        """Store it. Raises VaultError, and then nothing of it is stored."""
        ...

    def foresee(self) -> None:
        """Have the records after it rely on it, in a dry run."""
        ...


class ProviderItem:
    def __init__(self, vault: Vault, ahead: Ahead, record: ProviderRecord) -> None:
        self._vault, self._ahead, self._record = vault, ahead, record

    async def standing(self) -> Standing:
        wanted = self._definition()
        async with self._vault.database.read() as tx:
            text = await providers.definition(tx, self._record.provider)
        if text is None:
            return "absent"
        return "equal" if msgspec.json.decode(text, type=Definition) == wanted else "other"

    async def check(self) -> None:
        self._vault.providers.refuse_built_in(self._record.provider)

    async def store(self) -> None:
        await self._vault.providers.define(self._record.provider, self._record.definition, OPERATOR.actor)

    def foresee(self) -> None:
        self._ahead.provide(self._record.provider, self._definition())

    def _definition(self) -> Definition:
        """Return what is to be defined. Raises Invalid, without a word of what stands there."""
        try:
            return self._vault.providers.checked(self._record.definition)
        except Invalid as error:
            code = error.code
        raise Invalid("This is no provider definition.", code=code, field="definition")


class TenantItem:
    def __init__(self, vault: Vault, ahead: Ahead, record: TenantRecord) -> None:
        self._vault, self._ahead, self._record = vault, ahead, record
        self._condition = NEW
        self._wanted = {
            "parent_id": None if record.tenant == ROOT else record.parent or ROOT,
            "name": record.name or record.tenant,
            "inherit": record.inherit,
            "return_urls": record.return_urls,
        }

    async def standing(self) -> Standing:
        async with self._vault.database.read() as tx:
            found = await tenants.find(tx, self._record.tenant)
        if found is None:
            return "absent"
        self._condition = Condition(versions=frozenset({version(found)}))
        return "equal" if self._wanted.items() <= found.items() else "other"

    async def check(self) -> None:
        for url in self._record.return_urls:
            check_return_url(url)
        parent = self._record.parent
        if self._record.tenant == ROOT and parent not in (None, ROOT):
            raise Conflict("The root of the tenants has no parent.", code="tenant_is_root")
        if parent is not None and self._record.tenant in await self._ahead.above(parent, field="parent") != [ROOT]:
            raise Conflict("A tenant cannot stand under itself.", code="tenant_cycle")

    async def store(self) -> None:
        wanted: dict[str, Any] = dict(self._wanted)
        parent = wanted.pop("parent_id") or ROOT
        await self._vault.tenants.put(
            OPERATOR, self._record.tenant, parent=parent, condition=self._condition, **wanted
        )

    def foresee(self) -> None:
        if self._condition is NEW:
            self._ahead.settle(self._record.tenant, self._record.parent or ROOT)


class ClientItem:
    def __init__(self, vault: Vault, ahead: Ahead, opener: Opener, record: ClientRecord) -> None:
        self._vault, self._ahead, self._opener, self._record = vault, ahead, opener, record

    async def standing(self) -> Standing:
        record = self._record
        await self._ahead.above(record.tenant)
        self._provider = await self._ahead.provider(record.provider)
        self._client = await self._opened()
        async with self._vault.database.read() as tx:
            row = await clients.current(tx, record.tenant, record.provider)
            values = {} if row is None else await sealed.load(tx, "client", row.id)
        if row is None:
            return "absent"
        return "equal" if opened(self._vault.keyring, row, values, "current") == self._client else "other"

    async def check(self) -> None:
        check_client(self._client, self._provider)

    async def store(self) -> None:
        await self._vault.clients.put(self._record.tenant, self._record.provider, self._client, OPERATOR.actor)

    def foresee(self) -> None:
        self._ahead.register(self._record.tenant, self._record.provider, self._record.client_id)

    async def _opened(self) -> Client:
        record, settings = self._record, self._record.settings or ClientSettings()
        secret = await plain(self._opener, record.client_secret, Token, "client_secret")
        key = await plain(self._opener, record.private_key, PrivateKey, "private_key")
        return Client(
            record.client_id,
            client_secret=None if secret is None else Secret(secret),
            private_key=None if key is None else Secret(key),
            **msgspec.structs.asdict(settings),
        )


async def plain(opener: Opener, value: str | Encrypted | None, shape: Any, field: str) -> str | None:
    """Return *value*, opened where it was encrypted elsewhere. Raises Invalid, naming the *field*."""
    if not isinstance(value, Encrypted):
        return value
    try:
        text = (await asyncio.to_thread(opener.open, value)).reveal()
    except Invalid as error:
        raise Invalid(error.detail, code=error.code, **{"field": field, **error.members}) from None
    try:
        return str(msgspec.convert(text, shape))
    except msgspec.ValidationError:
        pass
    raise Invalid("What this opens to is not as the field has to be.", code="invalid_field", field=field)
