"""Exporting: what is read back elsewhere serves the same, and no refresh token is used by two vaults."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.conftest import on_sqlite
from tests.integration.judge import Pair, age, came_together
from tests.integration.moving import a_fresh_vault, everything, exported, imported, imported_lines, lines_of, told
from tests.person import change
from tests.provider.client import FakeProvider
from tests.rig import PROVIDER, TENANT, Rig
from vault.errors import Conflict
from vault.keyring import Keyring
from vault.moving.records import ConnectionRecord

Template = tuple[Path, Keyring]
OWN_PATH = f"{TENANT}/{PROVIDER}"
# What an import does not bring: it is of the vault that it is in.
OF_THE_VAULT = {
    *("status", "reason", "next_action", "generation", "created_at", "refreshed_at", "verified_at"),
    *("next_refresh_at", "expires_at", "paused", "source"),
    *("changed_at", "changed_by", "checked_at", "next_check_at"),
}


async def furnished(rig: Rig) -> list[str]:
    """Have a little of all that there is; return the paths of connections that serve tokens."""
    both = ["authorization_code", "client_credentials"]
    await rig.setup(grant_types=both)
    tenant = {"name": "Paris", "parent": TENANT, "inherit": False, "return_urls": ["https://app.example/done"]}
    await rig.api.put("/v1/tenants/A-paris", json=tenant)
    registered = {"client_id": rig.provider.client_id, "client_secret": rig.provider.client_secret}
    own = {**registered, "settings": {"token_endpoint_auth_method": "client_secret_post"}}
    await rig.api.put(f"/v1/clients/A-paris/{PROVIDER}", json=own)
    paths = [f"{TENANT}/{PROVIDER}/mail", f"A-paris/{PROVIDER}/calendar"]
    facts = {"scopes": ["openid", "read"], "account": "ann", "account_label": "Ann ü"}
    for path in paths:
        grant = await rig.provider.mint()
        tokens = {"access_token": grant.access_token, "refresh_token": grant.refresh_token}
        place = dict(zip(("tenant", "provider", "name"), path.split("/"), strict=True))
        moments = {"granted_at": "2026-01-31T12:00:00.125Z", "refresh_expires_at": "2030-01-31T12:00:00Z"}
        await imported(rig, [{**place, **tokens, **facts, **moments, "expires_at": in_an_hour()}])
    edited = {"metadata": {"plan": {"ü": [1, None]}}, "settings": {"a": 1}, "shared": True}
    await rig.api.patch(f"/v1/connections/{paths[0]}", json=edited)
    robot = {"kind": "client_credentials", "credentials": {"scope": "read"}, "prefer": "inherited"}
    await rig.api.put(f"/v1/connections/{OWN_PATH}/robot", json=robot)
    await rig.a_connection("off")
    await rig.api.patch(f"/v1/connections/{OWN_PATH}/off", json={"enabled": False})
    return paths


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


async def pause(rig: Rig, what: str = "tenants/platform") -> None:
    assert (await rig.api.post(f"/v1/{what}/pause")).status_code == 200


async def views(rig: Rig) -> list[dict[str, Any]]:
    items = (await rig.api.get("/v1/connections")).json()["items"]
    return [{name: value for name, value in item.items() if name not in OF_THE_VAULT} for item in items]


async def test_what_was_exported_is_the_same_elsewhere(
    replicas: Any, sqlite_template: Template, tmp_path: Path, provider: FakeProvider
) -> None:
    """Providers, tenants, clients and connections: the same tokens are served, and renewed there alone."""
    rig = await replicas()
    paths = await furnished(rig)
    tokens = [(await rig.api.get(f"/v1/connections/{path}/token")).json() for path in paths]
    before = await views(rig)
    await pause(rig)

    records, report = await exported(rig)

    assert report.facts() == {
        "complete": True,
        "exported": {"provider": 1, "tenant": 3, "client": 2, "connection": 4},
        "remarks": [],
    }
    async with a_fresh_vault(sqlite_template, tmp_path / "fresh", provider) as fresh:
        lines = await imported_lines(fresh, lines_of(records))
        assert told(lines) == [("created", None), ("unchanged", None), *[("created", None)] * 8]
        assert await views(fresh) == before
        assert (await fresh.vault.tenants.get("A-paris"))["inherit"] is False
        for path, token in zip(paths, tokens, strict=True):
            there = (await fresh.api.get(f"/v1/connections/{path}/token")).json()
            for name in ("access_token", "scopes", "source"):
                assert there[name] == token[name]
            assert abs(moment(there) - moment(token)) < timedelta(seconds=3)
        # What was exported from there is what was exported from here.
        await pause(fresh)
        again = [json.loads(line) for line in lines_of((await exported(fresh))[0])]
        assert without_ends(again) == without_ends([json.loads(line) for line in lines_of(records)])
        await fresh.api.post("/v1/tenants/platform/resume")
        await age(fresh, timedelta(hours=2), "access_expires_at", "next_refresh_at")
        for path in paths:
            assert (await fresh.api.get(f"/v1/connections/{path}/token")).status_code == 200
    assert (await provider.ledger()).reuses() == []


def moment(token: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(token["expires_at"])


def without_ends(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return *records* without the moments that are counted in whole seconds from a now."""
    return [{name: value for name, value in record.items() if name != "expires_at"} for record in records]


@on_sqlite
async def test_nothing_is_exported_while_a_refresh_token_may_be_used_here(rig: Rig) -> None:
    """Whatever stops that is enough: its tenant, client or provider paused, or itself switched off."""
    await rig.a_connection("mail")
    stops = ("tenants/acme", f"clients/acme/{PROVIDER}", f"providers/{PROVIDER}")

    for what in stops:
        with pytest.raises(Conflict) as refused:
            await exported(rig)
        assert (refused.value.code, f"{OWN_PATH}/mail" in refused.value.detail) == ("not_paused", True)
        await pause(rig, what)
        assert (await exported(rig))[1].exported["connection"] == 1
        await rig.api.post(f"/v1/{what}/resume")
    await rig.api.patch(f"/v1/connections/{OWN_PATH}/mail", json={"enabled": False})
    assert (await exported(rig))[1].exported["connection"] == 1


@on_sqlite
async def test_what_takes_no_harm_needs_no_pause(replicas: Any) -> None:
    """A refresh token that is not replaced can live in two vaults; and who wants a live copy gets one."""
    rig = await replicas({"rotation": "never"})
    await rig.a_connection("mail")
    assert (await exported(rig))[1].exported["connection"] == 1

    await rig.setup(rotation="strict")
    with pytest.raises(Conflict):
        await exported(rig)
    assert (await exported(rig, live=True))[1].exported["connection"] == 1


async def test_a_refresh_under_way_is_waited_for(rig: Rig) -> None:
    """A pause does not call back what was sent: the export has what comes of it, and not the spent token."""
    _, grant = await rig.a_connection("mail", expires_in=0)
    await rig.provider.hold()
    asked = asyncio.create_task(rig.token("mail", wait=20))
    await rig.provider.wait_for_held()
    await pause(rig)
    exporting = asyncio.create_task(exported(rig))
    done, _ = await asyncio.wait([exporting], timeout=0.5)
    assert not done

    await rig.provider.release()
    records, _ = await exporting
    await asked

    connection = next(record for record in records if isinstance(record, ConnectionRecord))
    assert connection.refresh_token != grant.refresh_token
    pair = Pair(2, str(connection.access_token), str(connection.refresh_token))
    assert came_together(await rig.provider.ledger(), grant.family, pair)


@on_sqlite
async def test_what_holds_nothing_goes_with_what_was_edited_of_it(
    rig: Rig, sqlite_template: Template, tmp_path: Path
) -> None:
    """Who has switched off an inherited path, without credentials, finds it switched off elsewhere."""
    await rig.api.put(f"/v1/connections/{OWN_PATH}/off", json={"enabled": False})
    await pause(rig)

    records, report = await exported(rig)

    assert report.remarks == [(f"{OWN_PATH}/off", "empty")]
    async with a_fresh_vault(sqlite_template, tmp_path / "fresh", rig.provider) as fresh:
        assert {outcome for outcome, _ in told(await imported_lines(fresh, lines_of(records)))} <= {
            "created",
            "unchanged",
        }
        assert not (await fresh.look("off")).enabled


@on_sqlite
async def test_what_cannot_move_is_named(rig: Rig) -> None:
    """What is empty or does not open is left out; what an import would refuse, or may be spent, is said."""
    await rig.api.post(f"/v1/connections/{OWN_PATH}/a-empty/authorize", json={})
    for name in ("b-broken", "c-former", "d-uncertain"):
        await rig.a_connection(name)
    async with rig.vault.database.transaction() as tx:
        owner = "(SELECT id FROM connections WHERE name = :name)"
        broken = f"UPDATE sealed_values SET salt = iv WHERE owner_id = {owner}"
        await tx.execute(text(broken), {"name": "b-broken"})
        uncertain = f"UPDATE token_states SET uncertain = :yes WHERE connection_id = {owner}"
        await tx.execute(text(uncertain), {"name": "d-uncertain", "yes": True})
    await pause(rig)
    first, report = await exported(rig)
    assert report.remarks == [
        (f"{OWN_PATH}/a-empty", "empty"),
        (f"{OWN_PATH}/b-broken", "undecryptable"),
        (f"{OWN_PATH}/d-uncertain", "uncertain"),
    ]
    assert (report.complete, report.exported["connection"]) == (False, 2)
    other = {"client_id": "another", "client_secret": "canary-x"}
    await rig.api.put(f"/v1/clients/{TENANT}/{PROVIDER}", json=other)

    second, report = await exported(rig)

    assert (f"{OWN_PATH}/c-former", "former_client") in report.remarks
    assert len(first) == len(second)


@on_sqlite
async def test_a_client_goes_with_the_secret_that_works(
    replicas: Any, sqlite_template: Template, tmp_path: Path
) -> None:
    """Of two live secrets the one that was accepted last; one that does not open is named."""
    rig = await replicas()
    await rig.register("canary-wrong-secret")
    await rig.a_connection("mail", expires_in=0)
    assert (await rig.token("mail")).status_code == 200  # with the former secret
    await pause(rig)

    records, _ = await exported(rig)

    async with a_fresh_vault(sqlite_template, tmp_path / "fresh", rig.provider) as fresh:
        await imported_lines(fresh, lines_of(records))
        await age(fresh, timedelta(hours=2), "access_expires_at", "next_refresh_at")
        assert (await fresh.token("mail")).status_code == 200
    async with rig.vault.database.transaction() as tx:
        await tx.execute(text("UPDATE sealed_values SET salt = iv WHERE owner_kind = 'client'"))
    _, report = await exported(rig)
    assert (f"{OWN_PATH}", "undecryptable") in report.remarks


@on_sqlite
async def test_what_no_provider_here_is_known_for_is_named_and_keeps_nothing_else_back(rig: Rig) -> None:
    """As of the sandbox, where the command runs without it: it is left out, and the export is not complete."""
    await rig.a_connection("mail")
    await rig.a_connection("toy")
    await change(rig, "UPDATE connections SET provider = 'sandbox' WHERE name = 'toy'")
    await pause(rig)

    records, report = await exported(rig)

    assert report.remarks == [(f"{TENANT}/sandbox/toy", "no_provider")]
    assert not report.complete
    assert [record.name for record in records if isinstance(record, ConnectionRecord)] == ["mail"]


@on_sqlite
async def test_the_audit_says_which_secrets_have_left(rig: Rig) -> None:
    """One record for each connection and client that is in an export; and nothing else is changed by it."""
    await rig.a_connection("mail")
    await pause(rig)
    before = await everything(rig)

    await exported(rig)

    items = (await rig.api.get("/v1/audit")).json()["items"]
    left = [(item["action"], item["provider"], item.get("name")) for item in items if "exported" in item["action"]]
    assert sorted(left) == [("client.exported", PROVIDER, None), ("connection.exported", PROVIDER, "mail")]
    assert await everything(rig) == before
