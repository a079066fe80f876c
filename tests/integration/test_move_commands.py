"""`tokenvault import` and `tokenvault export` as an operator runs them: files, standard streams, exit codes."""

import asyncio
import json
import os
import pty
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Leaks
from tests.integration.conftest import Store
from tests.integration.moving import OTHERS_KEY, OTHERS_SECRET, from_scrypt, tokens_of, under_key
from tests.processes import ROOT, environment, ran, started
from tests.rig import TENANT, Rig
from vault.cli import move
from vault.moving.archive import is_sealed

PASSPHRASE = "canary-passphrase-" + "p" * 32


class Operator:
    """Runs `tokenvault …` on one database; keeps all that is printed."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self.printed = ""

    async def run(self, *arguments: str | Path, given: str = "") -> tuple[int, str]:
        """Return exit code and what was printed."""
        code, output = await ran([str(each) for each in arguments], self._url, self._folder, given)
        self.printed += output
        return code, output

    async def told(self, *arguments: str | Path, given: str = "") -> tuple[int, list[dict[str, Any]]]:
        code, output = await self.run(*arguments, "--json", given=given)
        return code, [json.loads(line) for line in output.splitlines()]

    def file(self, name: str, content: str) -> Path:
        path = self._folder / name
        path.write_text(content)
        return path


@pytest.fixture(name="store")
def _store(sqlite_store: Store) -> Store:
    """What commands add, no database sees."""
    return sqlite_store


@pytest.fixture(name="operator")
def _operator(store: Store, tmp_path: Path) -> Operator:
    return Operator(store.url, tmp_path)


def ndjson(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


async def test_a_file_of_another_vault_is_imported_beside_a_server(
    rig: Rig, operator: Operator, store: Store, tmp_path: Path, leaks: Leaks
) -> None:
    """Tried dry first, then done, then done again; the server serves it, and no value is ever printed."""
    grants = [await rig.provider.mint() for _ in range(3)]
    file = operator.file(
        "tokens.ndjson",
        ndjson(
            tokens_of(grants[0], "a", refresh_token=from_scrypt(grants[0].refresh_token)),
            tokens_of(grants[1], "b", access_token=under_key(grants[1].access_token)),
            tokens_of(grants[2], "c", tenant="nobody"),
        ),
    )
    secrets = ("--secret-file", operator.file("secret", f"{OTHERS_SECRET}\n"), "--key-file", "-")
    await rig.register(rig.provider.client_secret, "platform")
    key = await rig.key("tokens:read")
    async with started("serve", store.url, tmp_path) as server, server.api(key) as api:
        foreseen = await operator.run("import", file, *secrets, "--dry-run", given=OTHERS_KEY)
        assert (await api.get(f"/v1/connections/{TENANT}/acme-id/a/token")).status_code == 409
        code, lines = await operator.told("import", file, *secrets, given=OTHERS_KEY)
        again = await operator.run("import", file, *secrets, "--create-tenants", given=OTHERS_KEY)
        answer = await api.get(f"/v1/connections/{TENANT}/acme-id/a/token")
        assert await server.terminate() == 0

    assert answer.json()["access_token"] == grants[0].access_token
    assert (foreseen[0], code, again[0]) == (1, 1, 0)
    assert foreseen[1].splitlines() == [
        "line 1: connection acme/acme-id/a would be created.",
        "line 2: connection acme/acme-id/b would be created.",
        "line 3: connection nobody/acme-id/c would be refused (no_tenant, tenant). There is no such tenant.",
        "A dry run, and nothing is stored: 2 created, 1 refused.",
    ]
    assert [(line["line"], line["path"], line["outcome"]) for line in lines[:3]] == [
        (1, "acme/acme-id/a", "created"),
        (2, "acme/acme-id/b", "created"),
        (3, "nobody/acme-id/c", "refused"),
    ]
    assert lines[2]["code"] == "no_tenant"
    assert lines[3] == {"complete": False, "dry_run": False, "outcomes": {"created": 2, "refused": 1}}
    assert "2 unchanged, 2 created." in again[1]
    leaks.check(operator.printed + server.output)


async def test_no_value_of_a_file_is_printed(operator: Operator, leaks: Leaks, rig: Rig) -> None:
    """Whatever is wrong with it, and wherever it stands."""
    canaries = ndjson(
        {"canary-field": "canary-value"},
        {"type": "canary-type"},
        {"tenant": "canary- name", "provider": "x", "name": "y"},
        {"tenant": TENANT, "provider": "acme-id", "name": "mail", "credentials": {"canary-key": "canary-value"}},
        {"tenant": TENANT, "provider": "acme-id", "name": "mail", "access_token": {"scheme": "canary-scheme"}},
        {"tenant": TENANT, "provider": "acme-id", "name": "mail", "access_token": {**under_key("canary-ü")}},
    )
    file = operator.file("bad.ndjson", f"{canaries}canary-text\n")
    for more in ((), ("--json",)):
        code, said = await operator.run("import", file, "--key-file", operator.file("key", OTHERS_KEY), *more)
        assert (code, said.count("refused")) == (1, 8)

    code, said = await operator.run("import", file, "--key-file", "-", given="canary-key")
    assert (code, "64 hex digits" in said) == (1, True)
    leaks.check(operator.printed)


async def test_an_export_is_read_back_with_its_passphrase(
    rig: Rig, operator: Operator, tmp_path: Path, leaks: Leaks
) -> None:
    """By file and by standard streams: a sealed file for its owner alone, which is never written over."""
    _, grant = await rig.a_connection("mail")
    passphrase = operator.file("passphrase", f"{PASSPHRASE}\n")
    target = tmp_path / "vault.export"
    refused = await operator.run("export", target, "--passphrase-file", passphrase)
    assert (refused[0], "pause its tenant" in refused[1], target.exists()) == (1, True, False)
    await rig.api.post("/v1/tenants/platform/pause")

    code, lines = await operator.told("export", target, "--passphrase-file", "-", given=PASSPHRASE)
    again = await operator.run("export", target, "--passphrase-file", passphrase)
    content = target.read_bytes()

    counts = {"provider": 1, "tenant": 2, "client": 1, "connection": 1}
    assert (code, lines) == (0, [{"complete": True, "exported": counts, "remarks": []}])
    assert (again[0], "File exists" in again[1], target.read_bytes() == content) == (1, True, True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert is_sealed(content)
    assert grant.refresh_token.encode() not in content

    code, said = await operator.run("import", target, "--passphrase-file", passphrase)
    assert (code, "5 unchanged." in said) == (0, True)
    target.write_bytes(content[:-1])
    wrong = [
        await operator.run("import", target),
        await operator.run("import", target, "--passphrase-file", passphrase),
        await operator.run("import", target, "--passphrase-file", "-", given="canary-another"),
    ]
    assert [code for code, _ in wrong] == [1, 1, 1]
    for (_, said), word in zip(wrong, ("--passphrase-file is needed", "altered", "not the one"), strict=True):
        assert word in said
    leaks.check(operator.printed)


async def test_a_short_passphrase_is_refused(operator: Operator, tmp_path: Path, rig: Rig) -> None:
    """It guards everything: 32 characters at least, as for ENCRYPTION_SECRET; and no file is left."""
    code, said = await operator.run("export", tmp_path / "x", "--passphrase-file", "-", given="canary-short\n")

    assert (code, "at least 32 characters" in said, (tmp_path / "x").exists()) == (1, True, False)
    assert "canary-" not in said


async def test_one_stream_cannot_be_two_files(operator: Operator, rig: Rig) -> None:
    """The records and a secret from standard input at once are a mistake."""
    code, said = await operator.run("import", "-", "--secret-file", "-", given="canary-")

    assert (code, "Only one" in said) == (2, True)


def test_an_export_is_not_for_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It would ruin the one and help nobody."""
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as terminal, os.fdopen(reading):
        monkeypatch.setattr(sys, "stdout", terminal)
        with pytest.raises(SystemExit), move._new("-"):
            pass

    assert "not for a terminal" in capsys.readouterr().err


async def test_an_export_comes_whole_through_a_pipe(
    operator: Operator, store: Store, rig: Rig, tmp_path: Path
) -> None:
    """On standard output there is nothing else; the report is on the error output."""
    passphrase = operator.file("passphrase", PASSPHRASE)
    piped = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vault", "export", "-", "--passphrase-file", str(passphrase)),
        cwd=ROOT,
        env=environment(store.url, 8000, {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    content, report = await piped.communicate()
    (tmp_path / "piped").write_bytes(content)

    assert (piped.returncode, report.decode()) == (0, "Exported: providers 1, tenants 2, clients 1.\n")
    code, said = await operator.run("import", tmp_path / "piped", "--passphrase-file", passphrase)
    assert (code, said.splitlines()[-1]) == (0, "4 unchanged.")
