"""One line a request: who, what, how it ended and how long it took. Nothing that was sent is in it."""

import logging
from typing import Any

import msgspec
import pytest

from tests.integration.conftest import Store, on_sqlite
from tests.rig import PROVIDER, TENANT, Rig

pytestmark = on_sqlite
TOKEN = "/v1/connections/{tenant}/{provider}/{name}/token"


@pytest.fixture(name="lines")
def _lines(rig: Rig, caplog: pytest.LogCaptureFixture) -> Any:
    """Give the fields of all request lines until now."""
    caplog.set_level(logging.INFO, "vault")
    names = ("method", "route", "status", "request_id", "caller", "connection")

    def lines() -> list[dict[str, Any]]:
        rig.vault.requests.flush()
        records = [record for record in caplog.records if record.name == "vault.access_log"]
        found = [msgspec.to_builtins(line) for record in records for _, line in vars(record)["lines"]]
        assert all(line["ms"] >= 0 for line in found)
        return [{name: line[name] for name in names if name in line} for line in found]

    return lines


async def test_a_token_request_names_caller_and_connection(rig: Rig, store: Store, lines: Any) -> None:
    """From the framework and from memory alike, by ids: not the caller's name, and not its key."""
    await rig.a_connection("c")
    for number in range(2):
        await rig.vault.watch.listen()
        await rig.api.get(
            f"/v1/connections/{TENANT}/{PROVIDER}/c/token", headers={"X-Request-ID": f"request-{number}"}
        )
    caller = rig.api.headers["Authorization"].split("_")[1]

    assert lines() == [
        {
            "method": "GET",
            "route": TOKEN,
            "status": 200,
            "request_id": f"request-{number}",
            "caller": caller,
            "connection": f"{TENANT}/{PROVIDER}/c",
        }
        for number in range(2)
    ]


async def test_who_was_refused_for_a_scope_is_named(rig: Rig, store: Store, lines: Any) -> None:
    """A refusal says whose key it was."""
    key = await rig.key("connections:read")
    await rig.api.get(f"/v1/connections/{TENANT}/{PROVIDER}/c/token", headers={"Authorization": f"Bearer {key}"})

    (line,) = lines()
    assert (line["status"], line["caller"]) == (403, key.split("_")[1])


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/connect/canary-ticket", "/connect/{ticket}"),
        ("/oauth/callback/acme-id?state=canary-state&code=canary-code", "/oauth/callback/{provider}"),
        ("/canary-page", "unmatched"),
        ("/v1/connections/acme/acme-id/canary-name/token/canary-more", "unmatched"),
        ("/v1/connections/acme/acme-id/canary%20name/token", TOKEN),
    ],
)
async def test_what_may_be_secret_is_in_no_line(rig: Rig, store: Store, lines: Any, path: str, route: str) -> None:
    """Tickets, states, codes, unknown addresses, and names that could not be any."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes addresses, and is not in the vault here
    await rig.api.get(path)

    (line,) = lines()
    assert line["route"] == route
    assert "canary" not in repr(line)


async def test_without_a_key_no_path_is_written(rig: Rig, store: Store, lines: Any) -> None:
    """What somebody unknown sends may be a secret in the wrong place."""
    await rig.api.get(f"/v1/connections/{TENANT}/{PROVIDER}/c/token", headers={"Authorization": "Bearer no"})

    (line,) = lines()
    assert line["status"] == 401
    assert "connection" not in line
    assert "caller" not in line
