"""Importing: what another vault kept is stored whole or not at all, once, and served."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Leaks
from tests.integration.conftest import on_sqlite
from tests.integration.judge import age
from tests.integration.moving import (
    Json,
    as_lines,
    everything,
    from_scrypt,
    imported,
    imported_lines,
    lines_of,
    opener,
    tokens_of,
    told,
    under_key,
)
from tests.rig import PROVIDER, TENANT, Rig
from vault.errors import PreconditionFailed
from vault.moving.ahead import Ahead
from vault.moving.arrival import ConnectionItem
from vault.moving.records import ConnectionRecord, TenantRecord, read

CREATED, UNCHANGED, KEPT = ("created", None), ("unchanged", None), ("kept", "differs")
NEW = "paris"
CORP = {"authorization_endpoint": "https://id.example/authorize", "token_endpoint": "https://id.example/token"}


def a_tenant(**more: Any) -> Json:
    return {"type": "tenant", "tenant": NEW, **more}


def a_client(rig: Rig, tenant: str = NEW, **more: Any) -> Json:
    registered = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    return {"type": "client", "tenant": tenant, "provider": PROVIDER, **registered, **more}


async def stored_secrets(rig: Rig) -> int:
    return len((await everything(rig))["sealed_values"])


async def test_a_file_of_everything_is_stored_and_served(rig: Rig) -> None:
    """A tenant, its client and its connection: the token is served, and renewed when its time comes."""
    grant = await rig.provider.mint()
    tenant = a_tenant(name="Paris", parent=TENANT, return_urls=["https://app.example/done"])
    connection = tokens_of(grant, tenant=NEW, metadata={"plan": "pro"}, scopes=["openid", "mail"], shared=True)

    lines = await imported(rig, [tenant, a_client(rig), connection])

    assert told(lines) == [CREATED] * 3
    assert [(line.line, line.type, line.path) for line in lines] == [
        (1, "tenant", NEW),
        (2, "client", f"{NEW}/{PROVIDER}"),
        (3, "connection", f"{NEW}/{PROVIDER}/mail"),
    ]
    path = f"/v1/connections/{NEW}/{PROVIDER}/mail"
    answer = (await rig.api.get(f"{path}/token")).json()
    assert (answer["access_token"], answer["scopes"]) == (grant.access_token, ["openid", "mail"])
    view = (await rig.api.get(path)).json()
    assert (view["metadata"], view["shared"], view["status"]) == ({"plan": "pro"}, True, "configured")
    row = await rig.vault.tenants.get(NEW)
    assert (row["parent_id"], row["return_urls"]) == (TENANT, ["https://app.example/done"])

    await age(rig, timedelta(hours=2), "access_expires_at", "next_refresh_at", name="mail")
    renewed = (await rig.api.get(f"{path}/token")).json()
    assert renewed["access_token"] not in {grant.access_token, None}
    assert (await rig.provider.ledger()).reuses() == []


@on_sqlite
async def test_a_second_run_changes_nothing(rig: Rig) -> None:
    """Not a row, whatever is in the file."""
    grant = await rig.provider.mint()
    records = [
        a_tenant(),
        a_client(rig, client_secret=from_scrypt(rig.provider.client_secret)),
        tokens_of(grant, tenant=NEW, scopes=["openid"], account="ann", enabled=False, settings={"a": [1]}),
        tokens_of(
            grant,
            "other",
            refresh_token=under_key(grant.refresh_token),
            expires_at="2030-01-01T00:00:00Z",
            scopes=[],
            asked_scopes=[],
        ),
    ]
    await imported(rig, records)
    before = await everything(rig)

    assert told(await imported(rig, records)) == [UNCHANGED] * 4
    assert await everything(rig) == before


async def test_tokens_that_were_renewed_since_are_never_put_back(rig: Rig) -> None:
    """A second run over a connection that lives on keeps what it has: the tokens of the file are spent."""
    grant = await rig.provider.mint()
    await imported(rig, [tokens_of(grant)])
    await age(rig, timedelta(hours=2), "access_expires_at", "next_refresh_at", name="mail")
    renewed = (await rig.token("mail")).json()["access_token"]

    assert told(await imported(rig, [tokens_of(grant)])) == [KEPT]
    await age(rig, timedelta(hours=2), "access_expires_at", "next_refresh_at", name="mail")
    assert (await rig.token("mail")).json()["access_token"] not in {renewed, grant.access_token}
    assert (await rig.provider.ledger()).reuses() == []


@on_sqlite
async def test_what_is_here_is_replaced_only_if_that_is_wished(rig: Rig) -> None:
    """A tenant's name, another registration, a connection's tokens and its metadata."""
    first, second = await rig.provider.mint(), await rig.provider.mint()
    records = [a_tenant(), a_client(rig), tokens_of(first, tenant=NEW)]
    changed = [
        a_tenant(name="Paris"),
        a_client(rig, client_secret="canary-another-secret"),
        tokens_of(second, tenant=NEW, metadata={"plan": "pro"}),
    ]
    await imported(rig, records)
    before = await everything(rig)

    assert told(await imported(rig, changed)) == [KEPT] * 3
    assert await everything(rig) == before
    assert told(await imported(rig, changed, replace=True)) == [("replaced", None)] * 3
    assert told(await imported(rig, changed, replace=True)) == [UNCHANGED] * 3
    view = (await rig.api.get(f"/v1/connections/{NEW}/{PROVIDER}/mail")).json()
    assert view["metadata"] == {"plan": "pro"}


@on_sqlite
async def test_the_tree_of_tenants_stays_one(rig: Rig) -> None:
    """Neither the root nor a tenant is put under what stands under it, whether it is only tried or not."""
    await imported(rig, [a_tenant(parent=TENANT)])
    turned = [{"type": "tenant", "tenant": tenant, "parent": NEW} for tenant in ("platform", TENANT)]

    for dry_run in (True, False):
        lines = await imported(rig, turned, replace=True, dry_run=dry_run)
        assert told(lines) == [("refused", "tenant_is_root"), ("refused", "tenant_cycle")]


@on_sqlite
async def test_another_registration_does_not_become_the_current_one(rig: Rig) -> None:
    """New consents go on using the one that is here."""
    lines = await imported(rig, [a_client(rig, TENANT, client_id="another")])

    assert told(lines) == [KEPT]
    assert (await rig.vault.clients.get(TENANT, PROVIDER)).row.client_id == rig.provider.client_id


@on_sqlite
async def test_what_waits_for_a_person_is_filled(rig: Rig) -> None:
    """A connection that holds nothing yet has nothing to lose."""
    await rig.api.post(f"/v1/connections/{TENANT}/{PROVIDER}/mail/authorize", json={})
    grant = await rig.provider.mint()

    assert told(await imported(rig, [tokens_of(grant)])) == [CREATED]
    assert (await rig.token("mail")).json()["access_token"] == grant.access_token


@on_sqlite
async def test_a_dry_run_says_the_same_and_stores_nothing(rig: Rig) -> None:
    """Records rely on those before them, which are not there either; what is refused is refused by both."""
    grant = await rig.provider.mint()
    records = [
        {"type": "provider", "provider": "corp", "definition": CORP},
        a_tenant(),
        {**a_tenant(), "tenant": "lyon", "parent": NEW},
        a_client(rig, provider="corp", client_id="corp-client"),
        tokens_of(grant, tenant="lyon", provider="corp", client_id="corp-client"),
        tokens_of(grant, tenant="lyon", provider="corp", name="b", client_id="other"),
        tokens_of(grant, tenant="nowhere"),
        tokens_of(grant, tenant="rome", provider="corp"),
        tokens_of(grant, access_token=from_scrypt("canary-not ascii: ü")),
        {**a_tenant(), "tenant": "own", "parent": "own"},
        a_tenant(name="again"),
    ]
    before = await everything(rig)

    foreseen = await imported(rig, records, dry_run=True)
    assert await everything(rig) == before
    assert await imported(rig, records) == foreseen
    assert told(foreseen) == [
        *[CREATED] * 5,
        ("refused", "other_client"),
        ("refused", "no_tenant"),
        ("refused", "no_tenant"),
        ("refused", "invalid_field"),
        ("refused", "no_tenant"),
        ("refused", "repeated"),
    ]


@on_sqlite
async def test_missing_tenants_are_made_if_that_is_wished(rig: Rig) -> None:
    """Right under the root, each once, and with a line of its own; a dry run says so too."""
    grant = await rig.provider.mint()
    records = [a_client(rig), tokens_of(grant, tenant=NEW), tokens_of(grant, "b", tenant=NEW)]

    foreseen = await imported(rig, records, create_tenants=True, dry_run=True)
    lines = await imported(rig, records, create_tenants=True)

    assert foreseen == lines
    assert [(line.line, line.type, line.outcome) for line in lines] == [
        (1, "tenant", "created"),
        (1, "client", "created"),
        (2, "connection", "created"),
        (3, "connection", "created"),
    ]
    assert (await rig.vault.tenants.get(NEW))["parent_id"] == "platform"


@on_sqlite
async def test_values_of_other_vaults_are_opened_on_the_way(rig: Rig) -> None:
    """Scrypt for every value, a raw key, and plaintext, mixed in one file and in one record."""
    one, two, three = [await rig.provider.mint() for _ in range(3)]
    records = [
        tokens_of(
            one, "a", access_token=from_scrypt(one.access_token), refresh_token=under_key(one.refresh_token)
        ),
        tokens_of(two, "b", refresh_token=from_scrypt(two.refresh_token, b"t" * 64)),
        {**tokens_of(three, "c"), "access_token": None, "refresh_token": under_key(three.refresh_token)},
    ]

    assert told(await imported(rig, records)) == [CREATED] * 3
    for name, grant in (("a", one), ("b", two)):
        assert (await rig.token(name)).json()["access_token"] == grant.access_token
    assert (await rig.token("c")).status_code == 200  # renewed with what was brought
    assert (await rig.provider.ledger()).reuses() == []


@on_sqlite
async def test_entered_credentials_are_stored_by_their_fields(rig: Rig) -> None:
    """Of a kind with a form, in the clear or encrypted elsewhere; a second run finds them."""
    await rig.vault.providers.define("robots", robots(rig), "operator")
    await imported(rig, [a_client(rig, TENANT, provider="robots")])
    record = {
        "tenant": TENANT,
        "provider": "robots",
        "name": "bot",
        "kind": "client_credentials",
        "credentials": {"scope": from_scrypt("read write")},
        "scopes": ["read"],
    }

    assert told(await imported(rig, [record])) == [CREATED]
    assert told(await imported(rig, [record])) == [UNCHANGED]
    answer = (await rig.api.get(f"/v1/connections/{TENANT}/robots/bot/token")).json()
    assert set(answer["scopes"]) == {"read", "write"}
    assert told(await imported(rig, [record])) == [UNCHANGED]  # its provider knows better
    assert told(await imported(rig, [record | {"credentials": {"scope": "read"}}])) == [KEPT]


@on_sqlite
async def test_keys_of_vendors_are_stored_without_a_registered_client(replicas: Any) -> None:
    """What nothing renews is handed out as it was brought, in the clear or encrypted; a second run finds it."""
    rig = await replicas()
    records: list[Json] = [
        {"tenant": TENANT, "name": "c", "provider": provider, "kind": kind, "credentials": credentials}
        for provider, kind, credentials in (
            ("resend", "api_key", {"api_key": from_scrypt("re_canary")}),
            ("voicenter", "code", {"code": under_key("canary-code")}),
            ("twilio", "auth_token", {"account_sid": f"AC{'0' * 32}", "auth_token": "canary-token"}),
            ("smtp", "password", {"host": "mail.example", "username": "ann", "password": from_scrypt("canary-")}),
        )
    ]
    records[2] |= {"account": f"AC{'0' * 32}", "account_label": "Acme"}  # as an export has it

    assert told(await imported(rig, records, dry_run=True)) == [CREATED] * 4
    assert told(await imported(rig, records)) == [CREATED] * 4
    assert told(await imported(rig, records)) == [UNCHANGED] * 4
    handed = (await rig.api.get(f"/v1/connections/{TENANT}/resend/c/token")).json()
    assert (handed["credentials"], handed["status"]) == ({"api_key": "re_canary"}, "configured")
    shown = (await rig.api.get(f"/v1/connections/{TENANT}/twilio/c")).json()
    assert (shown["account"], shown["account_label"]) == (f"AC{'0' * 32}", "Acme")


def robots(rig: Rig) -> Json:
    return {"token_endpoint": rig.provider.token_endpoint, "grant_types": ["client_credentials"]}


CONNECTION: Json = {"tenant": TENANT, "provider": PROVIDER, "name": "mail", "refresh_token": "canary-refresh"}
LINES: list[tuple[str, bytes | Json, str, str | None]] = [
    ("no JSON", b"canary-not-json", "not_an_object", None),
    ("no object", b'["canary-"]', "not_an_object", None),
    ("not UTF-8", b'{"tenant": "\xff canary-"}', "not_an_object", None),
    ("half a character", b'{"tenant": "\\ud800canary-"}', "not_an_object", None),
    ("too deep", b'{"metadata": ' + b"[" * 40 + b"]" * 40 + b"}", "not_an_object", None),
    ("far too deep", b"[" * 100_000, "not_an_object", None),
    ("too long", b'{"tenant": "' + b"x" * 2**20 + b'"}', "too_large", None),
    ("unknown type", {**CONNECTION, "type": "canary-type"}, "unknown_type", None),
    ("a type that is no word", {**CONNECTION, "type": ["canary-"]}, "unknown_type", None),
    ("unknown field", {**CONNECTION, "canary-field": 1}, "unknown_field", None),
    ("missing field", {"tenant": TENANT, "provider": PROVIDER, "refresh_token": "canary-"}, "missing_field",
     "name"),
    ("wrong type of field", {**CONNECTION, "enabled": "canary-"}, "invalid_field", "enabled"),
    ("wrong word", {**CONNECTION, "prefer": "canary-"}, "invalid_field", "prefer"),
    ("a line break", {**CONNECTION, "refresh_token": "canary-\n"}, "invalid_field", "refresh_token"),
    ("a label of nobody", {**CONNECTION, "account_label": "Ann"}, "invalid_field", "account_label"),
    ("an empty token", {**CONNECTION, "refresh_token": ""}, "invalid_field", "refresh_token"),
    ("not ASCII", {**CONNECTION, "refresh_token": "canary-ü"}, "invalid_field", "refresh_token"),
    ("no token", {key: value for key, value in CONNECTION.items() if "token" not in key}, "credentials_missing",
     None),
    ("both", {**CONNECTION, "credentials": {"refresh_token": "canary-"}}, "invalid_field", "credentials"),
    ("wrong name", {**CONNECTION, "name": "canary-/"}, "invalid_name", "name"),
    ("wrong tenant", {**CONNECTION, "tenant": ""}, "invalid_name", "tenant"),
    ("no tenant", {**CONNECTION, "tenant": "nobody"}, "no_tenant", "tenant"),
    ("no provider", {**CONNECTION, "provider": "nobody"}, "no_provider", "provider"),
    ("unknown kind", {**CONNECTION, "kind": "canary-kind"}, "unknown_kind", "kind"),
    ("wrong moment", {**CONNECTION, "expires_at": "canary-"}, "invalid_moment", "expires_at"),
    ("a moment too far", {**CONNECTION, "expires_at": "9999-01-01T00:00:00Z"}, "invalid_moment", "expires_at"),
    ("unknown token", {**CONNECTION, "refresh_token": None, "credentials": {"canary-": "x"}}, "unknown_field",
     None),
    ("too much", {**CONNECTION, "metadata": {"canary-": "x" * 70_000}}, "too_large", "metadata"),
    ("another client", {**CONNECTION, "client_id": "canary-other"}, "other_client", None),
    ("not opened", {**CONNECTION, "refresh_token": {"scheme": "key", "text": "aa" * 40}}, "does_not_open", None),
    ("too dear", {**CONNECTION, "refresh_token": {**from_scrypt("canary-"), "n": 2**17, "r": 16}}, "too_costly",
     None),
    ("far too dear", {**CONNECTION, "refresh_token": {**from_scrypt("x"), "n": 2**30}}, "invalid_field", None),
    ("opens to no token", {**CONNECTION, "refresh_token": under_key("canary-\x00")}, "invalid_field",
     "refresh_token"),
    ("client without tenant", {"type": "client", "tenant": "nobody", "provider": PROVIDER, "client_id": "x"},
     "no_tenant", "tenant"),
    ("client without secret", {"type": "client", "tenant": "platform", "provider": PROVIDER, "client_id": "x"},
     "credentials_missing", "client_secret"),
    ("client without a good key", {"type": "client", "tenant": "platform", "provider": PROVIDER, "client_id": "x",
     "client_secret": "canary-", "private_key": "canary-key"}, "invalid_private_key", "private_key"),
    ("tenant under itself", {"type": "tenant", "tenant": "new", "parent": "new"}, "no_tenant", "parent"),
    ("return address", {"type": "tenant", "tenant": "new", "return_urls": ["http://canary-"]}, "invalid_url",
     None),
    ("client opens to no secret", {"type": "client", "tenant": TENANT, "provider": "google", "client_id": "x",
     "client_secret": under_key("canary-\n")}, "invalid_field", "client_secret"),
    ("provider", {"type": "provider", "provider": "x", "definition": {"canary-": 1}}, "invalid_definition", None),
]  # fmt: skip


@on_sqlite
async def test_each_bad_line_is_refused_by_what_is_wrong_and_nothing_of_it_stored(rig: Rig, leaks: Leaks) -> None:
    """By both a dry run and a real one, without a word of what stands there; the lines around it are stored."""
    before = await everything(rig)
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for _, line, _, _ in LINES]
    wishes: dict[str, bool]
    for wishes in ({"dry_run": True}, {}, {"replace": True}):
        for (what, _, code, field), line in zip(LINES, lines, strict=True):
            said = (await imported_lines(rig, [line], **wishes))[0]

            assert (said.outcome, said.code) == ("refused", code), what
            assert field is None or said.field == field, what
            leaks.check(f"{said.says(dry_run=True)} {json.dumps(said.facts())}")
    assert await everything(rig) == before

    grant = await rig.provider.mint()
    around = [*as_lines([tokens_of(grant, "a")]), b"", *lines, *as_lines([tokens_of(grant, "b")])]
    outcomes = await imported_lines(rig, around)
    assert [line.line for line in outcomes if line.outcome == "created"] == [1, len(around)]
    assert await rig.look("b")


@on_sqlite
async def test_the_provider_is_asked_only_if_that_is_wished(rig: Rig) -> None:
    """Without `--verify` a dead token is stored untried; with it, it is refused, and a good one is verified."""
    dead, good = await rig.provider.mint(), await rig.provider.mint()
    await rig.provider.kill_access(dead.access_token)

    assert told(await imported(rig, [tokens_of(dead, "untried")])) == [CREATED]
    lines = await imported(rig, [tokens_of(dead, "dead"), tokens_of(good, "good")], verify=True)

    assert told(lines) == [("refused", "credentials_rejected"), CREATED]
    assert ((await rig.look("untried")).state.status, (await rig.look("good")).state.status) == (
        "configured",
        "verified",
    )


@on_sqlite
async def test_a_record_is_stored_with_all_that_it_says(rig: Rig) -> None:
    """Scopes, account and consent come with the tokens; what says more of those that are here is kept out."""
    grant, ends = await rig.provider.mint(), datetime.now(UTC) + timedelta(minutes=40)
    facts: Json = {"scopes": ["mail"], "account": "ann", "granted_at": "2026-01-31T12:00:00Z"}
    hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    record = tokens_of(grant, **facts, expires_at=hour, refresh_expires_at=ends.isoformat())

    assert told(await imported(rig, [record])) == [CREATED]
    found = await rig.look("mail")
    assert (found.scopes, found.account, found.state.generation) == (("mail",), "ann", 1)
    assert found.state.granted_at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert found.state.refresh_expires_at is not None
    assert timedelta(0) <= ends - found.state.refresh_expires_at < timedelta(milliseconds=1)
    assert found.state.next_refresh_at is not None
    assert found.state.next_refresh_at < ends  # and not shortly before the access token ends, which is later

    assert told(await imported(rig, [record])) == [UNCHANGED]
    assert told(await imported(rig, [{**record, "scopes": ["mail", "files"]}])) == [("kept", "differs")]


@on_sqlite
async def test_a_connection_without_credentials_is_brought_once(rig: Rig) -> None:
    """Who switches off an inherited path needs none, and a second run changes nothing."""
    record = {"tenant": TENANT, "provider": PROVIDER, "name": "off", "enabled": False}

    assert told(await imported(rig, [record])) == [CREATED]
    assert told(await imported(rig, [record])) == [UNCHANGED]
    assert told(await imported(rig, [{**record, "enabled": True}])) == [("kept", "differs")]


def an_item(rig: Rig, record: Json) -> ConnectionItem:
    found = read(json.dumps(record).encode())
    assert isinstance(found, ConnectionRecord)
    return ConnectionItem(rig.vault, Ahead(rig.vault), opener(), found, verify=False)


@on_sqlite
async def test_what_somebody_else_stores_meanwhile_is_theirs(rig: Rig) -> None:
    """Between looking and storing: neither their tokens are replaced, nor are ours' scopes said of them."""
    ours, theirs = await rig.provider.mint(), await rig.provider.mint()
    record = tokens_of(ours, scopes=["mail"])
    item = an_item(rig, record)
    assert await item.standing() == "absent"
    await rig.adopt(theirs, "mail", expires_in=3600)

    with pytest.raises(PreconditionFailed):
        await item.store()
    assert (await rig.token("mail")).json()["access_token"] == theirs.access_token
    assert (await rig.look("mail")).scopes == ()


@on_sqlite
async def test_a_built_in_provider_is_not_defined(replicas: Any) -> None:
    """What is code here is not taken from a file; a definition that is here just so is nothing new."""
    rig = await replicas()
    record = {"type": "provider", "provider": "google", "definition": CORP}
    own = {**record, "provider": "corp"}

    assert told(await imported(rig, [record, own])) == [("refused", "provider_built_in"), CREATED]
    assert told(await imported(rig, [own])) == [UNCHANGED]


def test_a_record_without_a_type_is_a_connection() -> None:
    """And what is usual is not written."""
    assert lines_of([TenantRecord(tenant="a", name="A")]) == [b'{"type":"tenant","tenant":"a","name":"A"}\n']
