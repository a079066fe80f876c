"""The whole API under requests that are made of its own description: right ones, wrong ones, and sequences."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Replicas, Store, on_sqlite
from tests.processes import VaultProcess, started
from tests.rig import Rig
from vault.callers import OPERATOR
from vault.http.server import description

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"
SECONDS = int(os.environ.get("SCHEMATHESIS_SECONDS", "0"))  # of a longer run, see the Makefile


async def furnish(rig: Rig) -> str:
    """Make a few of everything, and return an administrator's key."""
    await rig.vault.tenants.put(OPERATOR, "acme-eu", parent="acme", name="Acme EU", return_urls=[])
    await rig.a_connection("c")
    await rig.a_connection("d", expires_in=0)
    return await rig.key()


TAKES_ALL = "tenants.remove"  # with cascade, all away that the others are asked about: so it comes last


@pytest.mark.timeout(2 * SECONDS + 300)
@on_sqlite
async def test_every_answer_is_as_it_is_described(replicas: Replicas, store: Store, tmp_path: Path) -> None:
    """No 5xx, no status, type, header or shape beside the description, and nothing taken that it rules out."""
    rig = await replicas()
    key = await furnish(rig)
    async with started("serve", store.url, tmp_path, caller_rate=0, sandbox="true") as server:
        code, output = await schemathesis(server, key, tmp_path, "--exclude-operation-id", TAKES_ALL)
        async with server.api(key) as api:
            still = await api.get("/v1/callers")
        ended, last_words = await schemathesis(server, key, tmp_path, "--include-operation-id", TAKES_ALL)

    succeeded = {(one["method"], one["route"]) for one in server.records() if 200 <= one.get("status", 0) < 300}

    assert (code, ended) == (0, 0), output + last_words
    assert still.status_code == 200, "the run has withdrawn its own key, and what followed was all alike"
    paths = description()["paths"].items()
    asked = {(method.upper(), path) for path, methods in paths for method in methods}
    assert len(asked - succeeded) < len(asked) / 3, f"hardly anything but refusals: {asked - succeeded}"


async def schemathesis(server: VaultProcess, key: str, directory: Path, *which: str) -> tuple[int, str]:
    """Run schemathesis against *server*; return its exit code and, of a short run, what it printed."""
    extent = ["--max-time", str(SECONDS)] if SECONDS else ["--max-examples", "1"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color"),
        *("run", f"{server.address}/schema/openapi.json", "--header", f"Authorization: Bearer {key}", *extent),
        *which,
        cwd=directory,  # it keeps what it found, and would begin with that
        stdout=None if SECONDS else asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, (output or b"").decode()
