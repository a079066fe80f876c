"""The commands, run as a person runs them: processes with an environment, exit codes and what they print."""

import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

SECRET = "canary-command-secret-" + "y" * 32


def run(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `tokenvault` in *folder* with just this environment."""
    root = Path(__file__).resolve().parents[2]
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), **(environment or {})}
    command = [sys.executable, "-W", "error", "-m", "vault", *arguments]
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=60, check=False)


def with_secret(**more: str) -> dict[str, str]:
    return {"ENCRYPTION_SECRET": SECRET, **more}


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_init_writes_a_secret_for_its_owner_alone(tmp_path: Path) -> None:
    """`init` makes an environment file that is good enough to start with, and never replaces one."""
    made = run("init", folder=tmp_path)
    again = run("init", folder=tmp_path)

    env = tmp_path / ".env"
    name, _, secret = env.read_text().strip().partition("=")
    assert made.returncode == 0
    assert (name, len(secret) >= 32) == ("ENCRYPTION_SECRET", True)
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert secret not in made.stdout + made.stderr
    assert again.returncode == 1
    assert "already" in again.stderr


@pytest.mark.parametrize("command", ["serve", "worker", "migrate"])
def test_a_short_secret_stops_the_start(command: str, tmp_path: Path) -> None:
    """A secret under 32 characters, or none, is exit 78 with a sentence, and nothing is written."""
    for secret in ("", "canary-short"):
        refused = run(command, folder=tmp_path, environment={"ENCRYPTION_SECRET": secret})

        assert refused.returncode == 78
        assert "at least 32 characters" in refused.stderr
        assert "canary-" not in refused.stderr
        assert everything_under(tmp_path) == {}


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """All problems of the environment are reported together."""
    wrong = with_secret(
        DATABASE_URL="mysql://x", TOKENVAULT_LEASE_SECONDS="20", TOKENVAULT_SWEEP_INTERVAL_SECONDS="often"
    )

    refused = run("serve", folder=tmp_path, environment=wrong)

    assert refused.returncode == 78
    for word in ("DATABASE_URL", "TOKENVAULT_LEASE_SECONDS", "TOKENVAULT_SWEEP_INTERVAL_SECONDS"):
        assert word in refused.stderr


def test_another_secret_stops_the_start_and_changes_nothing(tmp_path: Path) -> None:
    """With a secret that is not the database's, the start ends with 78 and every byte is as it was."""
    assert run("migrate", folder=tmp_path, environment=with_secret()).returncode == 0
    before = everything_under(tmp_path)

    refused = run("serve", folder=tmp_path, environment={"ENCRYPTION_SECRET": "canary-other-" + "z" * 32})

    assert refused.returncode == 78
    assert "ENCRYPTION_SECRET is not the one" in refused.stderr
    assert "canary-" not in refused.stderr
    assert everything_under(tmp_path) == before


def test_a_caller_is_made_and_its_key_printed_once(tmp_path: Path) -> None:
    """`callers create --json` prints id, name and key; the database does not hold the key."""
    run("migrate", folder=tmp_path, environment=with_secret())

    made = run(
        *("callers", "create", "mailer", "--scope", "tokens:read", "--expires-in-hours", "2", "--json"),
        folder=tmp_path,
        environment=with_secret(),
    )

    told = json.loads(made.stdout)
    assert set(told) == {"id", "name", "key"}
    assert told["key"].startswith(f"tv_{told['id']}_")
    stored = (tmp_path / "data" / "vault.db").read_bytes()
    assert told["key"].split("_")[2].encode() not in stored


def test_a_link_to_sign_in_with_is_printed_and_not_stored(tmp_path: Path) -> None:
    """`login-link --json` prints login_url and expires_at; the database does not hold the link."""
    run("migrate", folder=tmp_path, environment=with_secret())

    told = json.loads(run("login-link", "--json", folder=tmp_path, environment=with_secret()).stdout)

    assert set(told) == {"login_url", "expires_at"}
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < left < timedelta(minutes=11)
    link = re.fullmatch(r"http://127\.0\.0\.1:8000/login/([A-Za-z0-9_-]{43})", told["login_url"])
    assert link is not None
    assert link[1].encode() not in (tmp_path / "data" / "vault.db").read_bytes()


def test_a_wrong_scope_is_refused_in_one_line(tmp_path: Path) -> None:
    """What cannot be done is one sentence and exit 1, without a traceback."""
    run("migrate", folder=tmp_path, environment=with_secret())

    refused = run("callers", "create", "x", "--scope", "everything", folder=tmp_path, environment=with_secret())

    assert refused.returncode == 1
    assert "Each scope must be one of" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_commands_need_a_database_that_is_set_up(tmp_path: Path) -> None:
    """A command beside a server does not make a database; it says what to run."""
    refused = run("connections", "list", folder=tmp_path, environment=with_secret())

    assert refused.returncode in (1, 78)
    assert "Traceback" not in refused.stderr
    assert everything_under(tmp_path) == {}


def test_the_doctor_says_what_is_wrong_and_changes_nothing(tmp_path: Path) -> None:
    """Exit 0 where all is well, 1 with a problem, 78 for bad settings; every check is a line."""
    nowhere = run("doctor", folder=tmp_path, environment=with_secret())
    assert nowhere.returncode == 1
    assert "tokenvault migrate" in nowhere.stdout
    assert everything_under(tmp_path) == {}

    run("migrate", folder=tmp_path, environment=with_secret())
    before = everything_under(tmp_path)
    well = run("doctor", "--json", folder=tmp_path, environment=with_secret())
    other = run("doctor", folder=tmp_path, environment={"ENCRYPTION_SECRET": "canary-other-" + "z" * 32})
    bad = run("doctor", folder=tmp_path, environment={"ENCRYPTION_SECRET": "canary-short"})

    assert (well.returncode, other.returncode, bad.returncode) == (0, 1, 78)
    levels = {told["check"]: told["level"] for told in map(json.loads, well.stdout.splitlines())}
    assert levels.pop("disk") in {"ok", "warning"}  # which is this machine's
    assert set(levels.values()) == {"ok"}
    assert "ENCRYPTION_SECRET is not the one" in other.stdout
    assert "canary-" not in well.stdout + other.stdout + other.stderr + bad.stderr
    assert everything_under(tmp_path) == before


def test_get_without_a_vault_or_a_key_says_so(tmp_path: Path) -> None:
    """`get` names what is missing, in one line."""
    no_key = run("get", "a/b/c", folder=tmp_path)
    nobody = run(
        "get",
        "a/b/c",
        folder=tmp_path,
        environment={"TOKENVAULT_KEY": "canary-k", "PUBLIC_URL": "http://127.0.0.1:1"},
    )

    assert (no_key.returncode, nobody.returncode) == (1, 1)
    assert "TOKENVAULT_KEY" in no_key.stderr
    assert "No vault answers" in nobody.stderr
    assert "canary-" not in nobody.stderr
