"""What moves in and out, one JSON object a line: providers, tenants, clients and connections, in that order.

A record says what is there, spelled as the API spells it. What it leaves out is as for a new one.
Wherever a secret is expected, `Encrypted` may stand: one that another vault has encrypted.
"""

import re
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from vault import names
from vault.connection import Prefer
from vault.errors import Invalid
from vault.http.body import DEEPEST_BODY, is_deeper
from vault.http.views.clients import ClientSettings, PrivateKey
from vault.http.views.common import Entry, Instant, Line, Token
from vault.http.views.tenants import ReturnUrls
from vault.moving.foreign import Encrypted

LONGEST_LINE = 1024 * 1024  # bytes
_FIELD = re.compile(r" - at `\$\.([a-z_]+)")  # what a message of msgspec's is about


class Record(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """What all records share. None, and what is not there, mean the same."""

    called: ClassVar[tuple[str, ...]]  # the fields that its path is made of

    @property
    def path(self) -> str:
        """Return what it is called, as reports name it."""
        return "/".join(getattr(self, name) for name in self.called)


class ProviderRecord(Record, tag="provider"):
    """A generic provider, as `PUT /v1/providers/{provider}` takes it."""

    called = ("provider",)
    provider: str
    definition: dict[str, Any]


class TenantRecord(Record, tag="tenant"):
    called = ("tenant",)
    tenant: str
    parent: str | None = None
    name: Line | None = None
    inherit: bool = True
    return_urls: ReturnUrls = []


class ClientRecord(Record, tag="client"):
    """The registration of a tenant that new consents use."""

    called = ("tenant", "provider")
    tenant: str
    provider: str
    client_id: Line
    client_secret: Token | Encrypted | None = None
    private_key: PrivateKey | Encrypted | None = None
    settings: ClientSettings | None = None


class ConnectionRecord(Record, tag="connection"):
    """A connection with its tokens, or with the `credentials` that were entered for its kind.

    What follows `shared` is known of tokens that this vault or another one has kept. `client_id` is the
    registration that they were got with.
    """

    called = ("tenant", "provider", "name")
    tenant: str
    provider: str
    name: str
    kind: Line | None = None
    credentials: Annotated[dict[Line, Entry | Encrypted], Meta(max_length=30)] | None = None
    access_token: Token | Encrypted | None = None
    refresh_token: Token | Encrypted | None = None
    expires_at: Line | None = None
    metadata: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    enabled: bool = True
    prefer: Prefer = "own"
    shared: bool = False
    scopes: tuple[Entry, ...] | None = None
    asked_scopes: tuple[Entry, ...] | None = None
    client_id: Line | None = None
    account: Entry | None = None
    account_label: Entry | None = None
    granted_at: Instant | None = None
    refresh_expires_at: Instant | None = None


AnyRecord = ProviderRecord | TenantRecord | ClientRecord | ConnectionRecord
_SHAPES: dict[str, type[AnyRecord]] = {
    "provider": ProviderRecord,
    "tenant": TenantRecord,
    "client": ClientRecord,
    "connection": ConnectionRecord,
}


def read(line: bytes) -> AnyRecord:
    """Return the record in *line*, a connection where it names no type. Raises Invalid.

    Nothing that stands there is repeated: it may be a secret in the wrong place.
    """
    found = _object(line)
    kind = found.pop("type", "connection")
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise Invalid("There is no such type of record.", code="unknown_type", types=sorted(_SHAPES))
    fields = shape.__struct_fields__
    if not set(fields).issuperset(found):
        raise Invalid("This type of record has no such field.", code="unknown_field", fields=sorted(fields))
    record = _converted({"type": kind, **found}, shape)
    for name in ("tenant", "parent", "provider"):
        names.check(**{_as(name): getattr(record, name, None)})
    if isinstance(record, ConnectionRecord):
        names.check(name=record.name)
    return record


def written(record: AnyRecord) -> bytes:
    """Return *record* as a line."""
    return msgspec.json.encode(record) + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise Invalid("This line is too long.", code="too_large")
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or is_deeper(found, DEEPEST_BODY):
        raise Invalid("This line is no JSON object.", code="not_an_object")
    return found


def _converted(found: dict[str, Any], shape: type[AnyRecord]) -> AnyRecord:
    """Return *found* as a *shape*. Raises Invalid that names the field, where it is one of ours."""
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        about = _FIELD.search(str(error))
    missing = [one.name for one in msgspec.structs.fields(shape) if one.required and one.name not in found]
    if missing:
        raise Invalid("A field is missing.", code="missing_field", field=missing[0])
    named = about[1] if about and about[1] in shape.__struct_fields__ else None
    raise Invalid("A field is not as it has to be.", code="invalid_field", field=named)


def _as(name: str) -> str:
    return "tenant" if name == "parent" else name
