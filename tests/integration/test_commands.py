"""The commands, run as a person runs them: processes with an environment, exit codes and what they print."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import click
import pytest

from tests.processes import completed
from vault.__main__ import main

SECRET = "canary-command-secret-" + "y" * 32


def run(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `tokenvault` in *folder* with just this environment."""
    return completed(list(arguments), {"PATH": os.environ["PATH"], **(environment or {})}, folder)


def with_secret(**more: str) -> dict[str, str]:
    return {"ENCRYPTION_SECRET": SECRET, **more}


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def every_command(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)
        else:
            yield " ".join((*path, name)), command


def test_commands_start_from_nothing(tmp_path: Path) -> None:
    """A new interpreter warns of nothing, sets a vault up, and serves as `tokenvault` too."""
    root = Path(__file__).resolve().parents[2]
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), **with_secret()}
    for arguments in (["--help"], ["init"], ["migrate"]):
        command = [sys.executable, "-W", "error", "-m", "vault", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), arguments


def test_every_command_has_json() -> None:
    """Whatever a program runs, it can ask for JSON."""
    commands = dict(every_command(main))

    assert {"init", "migrate", "keys add", "audit verify"} <= set(commands)
    without = [name for name, each in commands.items() if not any("--json" in of.opts for of in each.params)]
    assert without == []


def test_init_writes_a_secret_for_its_owner_alone(tmp_path: Path) -> None:
    """`init` makes an environment file that is good enough to start with, and never replaces one."""
    made = run("init", folder=tmp_path)
    again = run("init", "--json", folder=tmp_path)
    other = run("init", "--json", "--path", "other.env", folder=tmp_path)

    env = tmp_path / ".env"
    name, _, secret = env.read_text().strip().partition("=")
    assert made.returncode == 0
    assert (name, len(secret) >= 32) == ("ENCRYPTION_SECRET", True)
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert secret not in made.stdout + made.stderr
    assert again.returncode == 1
    assert "already" in json.loads(again.stderr)["detail"]
    assert json.loads(other.stdout) == {"path": "other.env"}


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

    refused = run("serve", "--json", folder=tmp_path, environment=wrong)

    assert refused.returncode == 78
    told = [json.loads(line)["detail"] for line in refused.stderr.splitlines()]
    assert len(told) == 3
    for word in ("DATABASE_URL", "TOKENVAULT_LEASE_SECONDS", "TOKENVAULT_SWEEP_INTERVAL_SECONDS"):
        assert word in " ".join(told)


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
    migrated = run("migrate", "--json", folder=tmp_path, environment=with_secret())
    assert json.loads(migrated.stdout) == {"migrations": "current"}

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

    asked = ("callers", "create", "x", "--scope", "everything", "--json")
    refused = run(*asked, folder=tmp_path, environment=with_secret())

    assert refused.returncode == 1
    told = json.loads(refused.stderr)
    assert told["code"] == "invalid_scope"
    assert "Each scope must be one of" in told["detail"]


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


@contextmanager
def answering(status: int, body: object) -> Iterator[dict[str, str]]:
    """Give the environment of a program whose vault has one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_told: object) -> None:
            """Not on our error output."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield {"TOKENVAULT_KEY": "canary-k", "TOKENVAULT_URL": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()
        thread.join()


def test_a_refusal_of_the_vault_is_passed_on(tmp_path: Path) -> None:
    """`get` and `exec` say it in a line or two; with --json it is the vault's own problem, on standard error."""
    url = "http://127.0.0.1:8000/connect/canary-ticket"
    problem = {"code": "reconnect_required", "detail": "Somebody has to connect it.", "connect_url": url}
    with answering(409, problem) as environment:
        people = run("get", "a/b/c", folder=tmp_path, environment=environment)
        got = run("get", "a/b/c", "--json", folder=tmp_path, environment=environment)
        executed = run("exec", "--json", "a/b/c", "env", folder=tmp_path, environment=environment)
    with answering(502, ["not", "a", "problem"]) as environment:
        strange = run("get", "a/b/c", "--json", folder=tmp_path, environment=environment)

    told = f"tokenvault: Somebody has to connect it. [reconnect_required]\nConnect again: {url}\n"
    assert (people.returncode, people.stdout, people.stderr) == (1, "", told)
    for refused in (got, executed):
        assert (refused.returncode, refused.stdout, json.loads(refused.stderr)) == (1, "", problem)
    assert json.loads(strange.stderr) == {"detail": "Bad Gateway", "code": "502"}


@pytest.mark.parametrize("end_of_ours", [(), ("--",)])
def test_what_stands_behind_the_connection_is_the_commands(end_of_ours: tuple[str, ...], tmp_path: Path) -> None:
    """`exec` leaves a command its own `--json`, and its own `--`."""
    shown = ("sh", "-c", 'echo "$TOKEN:$*:$TOKENVAULT_KEY"', "sh", "--json", "--variable", "--", "x")
    with answering(200, {"access_token": "canary-at"}) as environment:
        asked = ("exec", "--variable", "TOKEN", "a/b/c", *end_of_ours, *shown)
        done = run(*asked, folder=tmp_path, environment=environment)
        late = run("exec", "a/b/c", "--variable", "TOKEN", "sh", folder=tmp_path, environment=environment)
        nothing = run("exec", "--json", "a/b/c", "nothing-of-that-name", folder=tmp_path, environment=environment)

    assert done.stdout == "canary-at:--json --variable -- x:\n"
    assert (late.returncode, "options before it" in late.stderr) == (2, True)
    assert (nothing.returncode, "cannot be run" in json.loads(nothing.stderr)["detail"]) == (127, True)


def test_entered_fields_are_where_the_vendors_libraries_look_for_them(tmp_path: Path) -> None:
    """`exec` has each as PROVIDER_FIELD in the environment; `get` prints them so, a line each."""
    answer = {"credentials": {"account_sid": "canary-sid", "auth_token": "canary-at"}, "authorization": "Basic …"}
    with answering(200, answer) as environment:
        shown = ("sh", "-c", 'echo "$TWILIO_ACCOUNT_SID:$TWILIO_AUTH_TOKEN:$ACCESS_TOKEN"')
        done = run("exec", "a/twilio/c", *shown, folder=tmp_path, environment=environment)
        got = run("get", "a/twilio/c", folder=tmp_path, environment=environment)
        whole = run("get", "a/twilio/c", "--json", folder=tmp_path, environment=environment)

    assert done.stdout == "canary-sid:canary-at:\n"
    assert got.stdout == "TWILIO_ACCOUNT_SID=canary-sid\nTWILIO_AUTH_TOKEN=canary-at\n"
    assert json.loads(whole.stdout) == answer
