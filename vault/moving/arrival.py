"""A connection in a file, beside the one that is stored under its path."""

import json
from collections.abc import Mapping

from integrations.contract import Secret
from vault.callers import OPERATOR
from vault.conditions import Condition
from vault.connection import Connection, Path
from vault.connections import Change
from vault.editing import LARGEST_NOTES, version
from vault.entering.trying import account_of, checked, imported
from vault.errors import CannotOpen, Conflict, Invalid
from vault.http.views.common import Entry
from vault.keyring import Sealed
from vault.moving.ahead import Ahead
from vault.moving.facts import USUAL, adds_nothing, edited, told_by, told_of
from vault.moving.foreign import Opener
from vault.moving.items import NEW, Standing, plain
from vault.moving.records import ConnectionRecord
from vault.providers import kind_of
from vault.sealing import Place, open_one, opened_fields
from vault.services import Vault
from vault.store import connections, sealed

TOKENS = ("access_token", "refresh_token", "expires_at")


class ConnectionItem:
    def __init__(
        self, vault: Vault, ahead: Ahead, opener: Opener, record: ConnectionRecord, *, verify: bool
    ) -> None:
        self._vault, self._ahead, self._opener, self._record = vault, ahead, opener, record
        self._verify = verify
        self._path: Path = (record.tenant, record.provider, record.name)
        self._known: Connection | None = None

    async def standing(self) -> Standing:
        self._above = await self._ahead.above(self._record.tenant)
        self._provider = await self._ahead.provider(self._record.provider)
        async with self._vault.database.read() as tx:
            self._known = await connections.find(tx, *self._path)
            values = {} if self._known is None else await sealed.load(tx, "connection", self._known.id)
        self._kind = kind_of(self._provider, self._record.kind or (self._known.kind if self._known else None))
        self._credentials = await self._opened()
        lacks = self._credentials and self._known is not None and not self._known.state.holds_tokens
        return "absent" if self._known is None or lacks else self._beside(self._known, values)

    async def check(self) -> None:
        if self._record.account_label is not None and self._record.account is None:
            raise Invalid("A label is of an account.", code="invalid_field", field="account_label")
        if self._record.kind is None and not self._credentials:
            self._change().require_something()
            return
        for name in ("metadata", "settings"):
            if len(json.dumps(getattr(self._record, name))) > LARGEST_NOTES:
                raise Invalid("This is more than is kept with a connection.", code="too_large", field=name)
        if self._kind.how == "consent":
            brought = imported(self._kind, self._credentials).tokens
            needs_client = self._kind.needs_client and (brought is None or brought.refresh_token is not None)
        else:
            account_of(self._provider, self._kind, checked(self._kind, self._credentials))
            needs_client = self._kind.needs_client
        if not needs_client:
            return
        nearest = await self._ahead.client_id(self._above, self._record.provider)
        if self._record.client_id not in (None, nearest):
            detail = "It was got with another registration than the one that would be used here."
            raise Conflict(detail, code="other_client")

    async def store(self) -> None:
        condition = NEW if self._known is None else Condition(versions=frozenset({version(self._known)}))
        await self._vault.connections.put(OPERATOR.actor, self._path, self._above, self._change(), condition)

    def foresee(self) -> None:
        """Nothing relies on a connection."""

    # --- what it brings

    async def _opened(self) -> dict[str, str]:
        """Return its credentials in the clear. Raises Invalid."""
        given = dict(self._record.credentials or {})
        tokens = {name: value for name in TOKENS if (value := getattr(self._record, name)) is not None}
        if given and tokens:
            raise Invalid("Tokens and credentials exclude each other.", code="invalid_field", field="credentials")
        known = {field.name for field in self._kind.fields} | set(TOKENS)
        found = {}
        for name, value in (given | tokens).items():
            text = await plain(self._opener, value, Entry, name if name in known else "credentials")
            if text:
                found[name] = text
        return found

    def _change(self) -> Change:
        wanted = edited(self._record)
        if self._known is None:  # what takes something away is waited for, and here nobody had anything
            wanted = {name: value for name, value in wanted.items() if value != USUAL[name]}
        credentials = self._credentials or None
        told = told_by(self._record)
        return Change(kind=self._record.kind, credentials=credentials, told=told, verify=self._verify, **wanted)

    # --- what is stored

    def _beside(self, known: Connection, values: Mapping[str, tuple[Sealed, int]]) -> Standing:
        if edited(known) != edited(self._record) or self._kind.id != known.kind or not self._holds(known, values):
            return "other"
        if known.state.generation != known.state.granted_generation:
            return "equal"  # what was renewed since is known better here
        return "equal" if adds_nothing(told_by(self._record), told_of(known)) else "other"

    def _holds(self, known: Connection, values: Mapping[str, tuple[Sealed, int]]) -> bool:
        """Say whether what is sealed is what the record brings, be it nothing."""
        if not self._credentials:
            return not values
        place = Place(known.tenant, known.provider, "connection", known.id)
        try:
            if not self._kind.of_tokens:
                found = opened_fields(self._vault.keyring, place, values["credentials"])
            else:
                tokens = [name for name in TOKENS if name in values]
                found = {name: open_one(self._vault.keyring, place, name, values[name]) for name in tokens}
        except (CannotOpen, KeyError):
            return False
        wanted = {name: Secret(text) for name, text in self._credentials.items() if name != "expires_at"}
        if self._kind.renewal == "self_exchange":
            found.pop("refresh_token", None)  # that is the access token once more
            wanted.pop("refresh_token", None)
        return {name: value for name, value in found.items() if value} == wanted
