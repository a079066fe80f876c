"""The audit: who did what, written before the answer leaves, or the answer does not leave."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import text

from tests.conftest import Leaks
from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.integration.test_api import anonymous, bearing, refused
from tests.person import Person
from tests.rig import PROVIDER, TENANT, Rig
from vault.callers import OPERATOR

PATH = f"/v1/connections/{TENANT}/{PROVIDER}"


async def rows(rig: Rig, action: str | None = None) -> list[dict[str, Any]]:
    """Return the audit in the order of its commits, of one action if wanted."""
    async with rig.vault.database.read() as tx:
        found = [dict(row._mapping) for row in await tx.execute(text("SELECT * FROM audit_events ORDER BY seq"))]
    return [row for row in found if action in (None, row["action"])]


async def last(rig: Rig) -> dict[str, Any]:
    return (await rows(rig))[-1]


def about(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["action"], row["outcome"], row["tenant"], row["provider"], row["name"]


async def who(rig: Rig) -> str:
    """Return how the audit names the caller of the rig's own key."""
    return f"caller:{rig.api.headers['Authorization'].split('_')[1]}"


# ---- what is written


async def test_every_hand_out_names_caller_connection_and_generation(rig: Rig) -> None:
    """One row for each token that left, with the request's id, committed by the time the answer is here."""
    await rig.a_connection("c")

    for number in range(1, 4):
        answer = await rig.token("c")
        found = await rows(rig, "token.handed_out")
        assert len(found) == number
        assert about(found[-1]) == ("token.handed_out", "ok", TENANT, PROVIDER, "c")
        assert found[-1]["actor"] == await who(rig)
        assert found[-1]["generation"] == answer.json()["generation"] == 1
        assert found[-1]["request_id"] == answer.headers["x-request-id"]


@on_sqlite
async def test_a_refresh_is_written_with_whoever_caused_it(rig: Rig) -> None:
    """A caller's and the scheduler's, and what became of them."""
    await rig.a_connection("asked", expires_in=0)
    await rig.a_connection("swept", expires_in=0)
    _, dead = await rig.a_connection("dead", expires_in=0)
    await rig.provider.revoke_family(dead.family)

    await rig.token("asked")
    await rig.token("dead")
    await rig.vault.sweeper.once()

    good = {row["name"]: row for row in await rows(rig, "token.refreshed")}
    assert good["asked"]["actor"] == await who(rig)
    assert good["swept"]["actor"] == "scheduler"
    assert {row["generation"] for row in good.values()} == {2}
    (bad,) = await rows(rig, "token.refresh_failed")
    assert about(bad) == ("token.refresh_failed", "invalid_grant", TENANT, PROVIDER, "dead")
    assert json.loads(bad["detail"]) == {"reason": "grant_rejected", "status": "failed"}


@on_sqlite
async def test_connecting_an_account_is_written(rig: Rig) -> None:
    """Who asked for the link, that a person followed it to the end, and that one did not."""
    made = await rig.api.post(f"{PATH}/c/authorize", json={})
    assert about(await last(rig)) == ("connection.authorized", "ok", TENANT, PROVIDER, "c")
    await rig.provider.consent(error="access_denied")
    await Person(rig).connect(made.json()["connect_url"])
    assert about(await last(rig)) == ("connection.connect_failed", "access_denied", TENANT, PROVIDER, "c")
    await Person(rig).connect(made.json()["connect_url"])

    row = await last(rig)
    assert about(row) == ("connection.connected", "ok", TENANT, PROVIDER, "c")
    assert row["actor"] == "person"
    assert row["generation"] == 1


async def test_every_change_is_written_with_its_maker(rig: Rig, leaks: Leaks) -> None:
    """Tenants, clients, providers, connections and keys, made, changed and deleted; never a secret among it."""
    actor = await who(rig)
    grant = await rig.provider.mint()
    definition = {
        "authorization_endpoint": rig.provider.authorization_endpoint,
        "token_endpoint": rig.provider.token_endpoint,
    }
    credentials = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
    key = {"name": "x", "scopes": ["tokens:read"], "tenant": "globex"}
    here = ("globex", PROVIDER)
    steps: list[tuple[str, str, Any, tuple[Any, ...]]] = [
        ("PUT", "/v1/tenants/globex", {"name": "G"}, ("tenant.changed", "ok", "globex", None, None)),
        ("PUT", "/v1/tenants/globex", {"name": "H"}, ("tenant.changed", "ok", "globex", None, None)),
        (
            "PUT",
            f"/v1/clients/globex/{PROVIDER}",
            {"client_id": "client-1", "client_secret": "canary-cs"},
            ("client.changed", "ok", *here, None),
        ),
        (
            "PUT",
            f"/v1/connections/globex/{PROVIDER}/c",
            {"credentials": credentials},
            ("connection.changed", "created", *here, "c"),
        ),
        (
            "PUT",
            f"/v1/connections/globex/{PROVIDER}/c",
            {"enabled": False},
            ("connection.changed", "ok", *here, "c"),
        ),
        ("DELETE", f"/v1/clients/globex/{PROVIDER}", None, ("client.deleted", "retired", *here, None)),
        ("DELETE", f"/v1/connections/globex/{PROVIDER}/c", None, ("connection.deleted", "ok", *here, "c")),
        ("PUT", "/v1/providers/other", definition, ("provider.changed", "ok", None, "other", None)),
        ("DELETE", "/v1/providers/other", None, ("provider.deleted", "ok", None, "other", None)),
        ("POST", "/v1/callers", key, ("caller.created", "ok", "globex", None, None)),
        ("DELETE", "/v1/callers/{made}", None, ("caller.deleted", "ok", "globex", None, None)),
        ("PUT", "/v1/tenants/empty", {"name": "E"}, ("tenant.changed", "ok", "empty", None, None)),
        ("DELETE", "/v1/tenants/empty", None, ("tenant.deleted", "ok", "empty", None, None)),
    ]
    made = ""
    for method, path, body, expected in steps:
        before = len(await rows(rig))
        answer = await rig.api.request(method, path.format(made=made), json=body)
        assert answer.is_success, (path, answer.text)
        made = answer.json().get("id", made) if path == "/v1/callers" else made
        written = (await rows(rig))[before:]
        assert [about(row) for row in written] == [expected]
        assert written[0]["actor"] == actor
    leaks.check(repr(await rows(rig)))


@on_sqlite
async def test_a_change_is_written_with_the_id_of_its_request(rig: Rig) -> None:
    """So that the log and the audit can be laid side by side."""
    answer = await rig.api.put("/v1/tenants/globex", json={"name": "G"})

    assert (await last(rig))["request_id"] == answer.headers["x-request-id"]


@on_sqlite
async def test_what_a_known_caller_was_denied_is_written(rig: Rig) -> None:
    """A scope they lack, tenants, providers, names and keys that are not theirs, more than they have."""
    await rig.a_connection("c")
    await rig.vault.tenants.put(OPERATOR, "globex", parent="platform", name="G", return_urls=[])
    await rig.vault.tenants.put(OPERATOR, "acme-eu", parent=TENANT, name="E", return_urls=[])
    other = (await rig.key("tokens:read", tenant="globex")).split("_")[1]
    reader = await rig.key("tokens:read", tenant="acme-eu")
    boss = await rig.key("admin", tenant="acme-eu")
    narrow = await rig.key("admin", tenant=TENANT, providers=["other"])
    more = {"name": "x", "scopes": ["admin"], "tenant": TENANT}
    tenant = {"name": "x", "parent": "globex"}
    cases: list[tuple[str, str, str, Any, int, str]] = [
        (reader, "GET", f"{PATH}/c", None, 403, "insufficient_scope"),
        (reader, "GET", f"{PATH}/c/token", None, 404, "out_of_reach"),
        (boss, "GET", f"{PATH}/c", None, 404, "out_of_reach"),
        (boss, "DELETE", f"{PATH}/c", None, 404, "out_of_reach"),
        (boss, "GET", f"/v1/connections?tenant={TENANT}", None, 404, "out_of_reach"),
        (boss, "GET", "/v1/tenants/globex", None, 404, "out_of_reach"),
        (boss, "PUT", "/v1/tenants/new", tenant, 404, "out_of_reach"),
        (boss, "DELETE", "/v1/tenants/acme-eu", None, 404, "own_tenant"),
        (boss, "GET", f"/v1/clients/{TENANT}/{PROVIDER}", None, 404, "out_of_reach"),
        (boss, "GET", f"/v1/callers/{other}", None, 404, "out_of_reach"),
        (boss, "DELETE", f"/v1/callers/{other}", None, 404, "out_of_reach"),
        (boss, "POST", "/v1/callers", more, 404, "out_of_reach"),
        (boss, "DELETE", f"/v1/providers/{PROVIDER}", None, 404, "out_of_reach"),
        (narrow, "GET", f"{PATH}/c", None, 404, "out_of_reach"),
        (narrow, "GET", f"/v1/providers/{PROVIDER}", None, 404, "out_of_reach"),
        (narrow, "POST", "/v1/callers", {"name": "x", "scopes": ["admin"]}, 403, "more_than_own"),
    ]
    for key, method, path, body, status, outcome in cases:
        before = len(await rows(rig))
        answer = await rig.api.request(method, path, json=body, headers=bearing(key))
        refused(answer, status)
        written = (await rows(rig))[before:]
        assert [(row["action"], row["outcome"], row["actor"]) for row in written] == [
            ("caller.denied", outcome, f"caller:{key.split('_')[1]}")
        ], path
        assert written[0]["request_id"] == answer.headers["x-request-id"]


@on_sqlite
async def test_strangers_write_nothing(rig: Rig) -> None:
    """Who is not known leaves no row: else anybody could fill the disk."""
    before = len(await rows(rig))
    good = rig.api.headers["Authorization"]
    for key in ("", "Bearer x", good[:-1] + ("0" if good[-1] != "0" else "1")):
        refused(await rig.api.get(f"{PATH}/c/token", headers={"Authorization": key}), 401)

    assert len(await rows(rig)) == before


@on_sqlite
async def test_a_flood_with_an_expired_key_is_no_flood_of_records(replicas: Replicas) -> None:
    """Each of its requests is the same 401; only as many are written as the key's rate would have let through."""
    rig = await replicas(caller_rate=1)
    key = await rig.key(expires_at=datetime.now(UTC) + timedelta(hours=1))
    await execute(rig, f"UPDATE callers SET expires_at = 1000 WHERE id = '{key.split('_')[1]}'")

    answers = [await rig.api.get("/v1/providers", headers=bearing(key)) for _ in range(30)]

    assert len({str(anonymous(refused(answer, 401, "unauthenticated"))) for answer in answers}) == 1
    written = [about(row) for row in await rows(rig, "caller.denied")]
    assert 2 <= len(written) <= 10
    assert set(written) == {("caller.denied", "expired_key", None, None, None)}


async def test_a_good_key_is_counted_once_a_request(replicas: Replicas) -> None:
    """Whoever is known may have as many requests at once as the rate promises."""
    rig = await replicas(caller_rate=50)
    key = await rig.key()

    answers = await asyncio.gather(*(rig.api.get("/v1/providers", headers=bearing(key)) for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200}


async def test_the_stream_has_no_gaps(rig: Rig) -> None:
    """One stream a process start, numbered in the order of its commits."""
    await rig.a_connection("c")
    for _ in range(5):
        await rig.token("c")
        await rig.api.put("/v1/tenants/platform", json={"name": "x", "parent": TENANT})  # fails in its transaction

    found = await rows(rig)
    assert len({row["stream"] for row in found}) == 1
    assert [row["seq"] for row in found] == list(range(1, len(found) + 1))


# ---- when it cannot be written


async def execute(rig: Rig, *statements: str) -> None:
    async with rig.vault.database.transaction() as tx:
        for statement in statements:
            await tx.execute(text(statement))


async def stop_auditing(rig: Rig) -> None:
    """Make writing to the audit impossible, as a full disk would."""
    if rig.vault.database.on_sqlite:
        await execute(
            rig, "CREATE TRIGGER no_audit BEFORE INSERT ON audit_events BEGIN INSERT INTO nowhere VALUES (1); END"
        )
        return
    await execute(
        rig,
        """CREATE FUNCTION no_audit() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$""",
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION no_audit()",
    )


async def start_auditing(rig: Rig) -> None:
    await execute(rig, "DROP TRIGGER no_audit" + ("" if rig.vault.database.on_sqlite else " ON audit_events"))


async def everything(rig: Rig) -> dict[str, list[str]]:
    """Return every row of every table that a request could change."""
    tables = (
        "tenants",
        "providers",
        "clients",
        "connections",
        "token_states",
        "sealed_values",
        "callers",
        "tickets",
    )
    async with rig.vault.database.read() as tx:
        return {table: sorted(map(str, await tx.execute(text(f"SELECT * FROM {table}")))) for table in tables}


async def test_without_its_audit_row_no_token_leaves(rig: Rig, leaks: Leaks) -> None:
    """The row is committed before the answer: where that fails, 503, and the token stays here."""
    _, grant = await rig.a_connection("c")
    handed_out = len(await rows(rig, "token.handed_out"))
    await stop_auditing(rig)

    for _ in range(3):
        answer = await rig.token("c")
        refused(answer, 503, "storage_unavailable")
        leaks.check(answer.text)
        leaks.check(str(answer.headers))
    await start_auditing(rig)
    again = await rig.token("c")

    assert again.json()["access_token"] == grant.access_token
    assert len(await rows(rig, "token.handed_out")) == handed_out + 1


async def test_without_its_audit_row_nothing_is_changed(rig: Rig, leaks: Leaks) -> None:
    """Every call that writes answers 503 and leaves every table as it was; nothing is disconnected."""
    await rig.a_connection("c")
    await rig.vault.tenants.put(OPERATOR, "globex", parent="platform", name="G", return_urls=[])
    caller = (await rig.key("tokens:read")).split("_")[1]
    definition = {
        "authorization_endpoint": rig.provider.authorization_endpoint,
        "token_endpoint": rig.provider.token_endpoint,
    }
    await rig.vault.providers.define("spare", definition, "operator")
    await stop_auditing(rig)
    before = await everything(rig)
    ask: Callable[..., Awaitable[httpx.Response]] = rig.api.request
    credentials = {"credentials": {"access_token": "canary-at"}, "verify": False}
    for method, path, body in [
        ("PUT", f"{PATH}/c", {"enabled": False}),
        ("PUT", f"{PATH}/c", credentials),
        ("PUT", f"{PATH}/d", credentials),
        ("POST", f"{PATH}/c/authorize", {}),
        ("POST", f"{PATH}/c/rejections", {"generation": 1}),
        ("DELETE", f"{PATH}/c?revoke=true", None),
        ("PUT", "/v1/tenants/new", {"name": "x"}),
        ("PUT", "/v1/tenants/globex", {"name": "x"}),
        ("DELETE", "/v1/tenants/globex", None),
        ("PUT", f"/v1/clients/{TENANT}/{PROVIDER}", {"client_id": "x", "client_secret": "canary-cs"}),
        ("DELETE", f"/v1/clients/{TENANT}/{PROVIDER}", None),
        ("PUT", "/v1/providers/new", definition),
        ("DELETE", "/v1/providers/spare", None),
        ("POST", "/v1/callers", {"name": "x", "scopes": ["admin"]}),
        ("DELETE", f"/v1/callers/{caller}", None),
    ]:
        answer = await ask(method, path, json=body)
        refused(answer, 503, "storage_unavailable")
        leaks.check(answer.text)

    assert await everything(rig) == before
    assert (await rig.provider.counts()).get("revoke_requests", 0) == 0


async def test_without_its_audit_row_a_denial_is_still_one(rig: Rig) -> None:
    """A refusal that cannot be written down is 503, never an answer."""
    await rig.a_connection("c")
    reader = await rig.key("tokens:read", tenant=TENANT)
    await stop_auditing(rig)

    for path in (f"{PATH}/c", "/v1/callers", f"/v1/connections/platform/{PROVIDER}/c/token"):
        refused(await rig.api.get(path, headers=bearing(reader)), 503, "storage_unavailable")


async def test_what_a_provider_gave_is_written_once_the_audit_can_be(rig: Rig) -> None:
    """A refresh that could not be written is not lost and not repeated: its outcome waits for its row."""
    _, grant = await rig.a_connection("c", expires_in=0)
    await rig.provider.hold()
    task = asyncio.create_task(rig.token("c", wait=1))
    await rig.provider.wait_for_held()
    await stop_auditing(rig)
    await rig.provider.release()
    refused(await task, 503)
    await start_auditing(rig)
    await rig.vault.refresher.settled()

    answer = await rig.token("c")

    ledger = await rig.provider.ledger()
    assert answer.status_code == 200
    assert len(ledger.exchanges(grant.family)) == 1
    assert ledger.replays() == []
    assert [row["outcome"] for row in await rows(rig, "token.refreshed")] == ["stored"]


@on_sqlite
async def test_an_audit_that_refuses_rows_is_storage_that_is_unavailable(rig: Rig, store: Store) -> None:
    """A trigger, a constraint, a duplicate number: whatever keeps the row out, it is 503 and not our bug's 500."""
    await rig.a_connection("c")
    await execute(
        rig, "CREATE TRIGGER no_audit BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no'); END"
    )

    refused(await rig.token("c"), 503, "storage_unavailable")
