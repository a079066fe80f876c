"""The README's commands, run as they are written: only the port is another, because 8000 may be taken."""

import asyncio
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from integrations.endpoints import BUILT_IN
from tests.integration.test_google import KEY, ROBOT, key_file
from tests.provider.client import FakeProvider

ROOT = Path(__file__).resolve().parents[2]
SCOPE = "https://www.googleapis.com/auth/"
BY_ENV = "set -a; . ./.env; set +a\n"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def blocks(heading: str, port: int) -> list[str]:
    """Return every shell block under *heading* of the README."""
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return [block.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for block in BLOCK.findall(section)]


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    """Return a folder that looks like a clone after `make setup`."""
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "tokenvault").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vault "$@"\n')
    (scripts / "tokenvault").chmod(0o755)
    return tmp_path


@contextmanager
def quickstart(checkout: Path, port: int, **settings: str) -> Iterator[str]:
    """Run the vault as `make run` does, with *settings*, and give what it printed once it was ready."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TOKENVAULT_SANDBOX": "true",
        **settings,
    }
    start = (
        f".venv/bin/tokenvault init && set -a && . ./.env && exec .venv/bin/tokenvault quickstart --port {port}"
    )
    printed = checkout / "printed"
    with printed.open("wb") as out:
        process = subprocess.Popen(["bash", "-c", start], cwd=checkout, env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while "\ncurl " not in printed.read_text():
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() < deadline, printed.read_text()
            time.sleep(0.05)
        yield printed.read_text()
    finally:
        process.terminate()
        assert process.wait(30) == 0, printed.read_text()


def bash(script: str, checkout: Path, public_url: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / '.venv' / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "PYTHONPATH": str(ROOT), "PUBLIC_URL": public_url}
    return subprocess.run(
        ["bash", "-c", "set -e\n" + script],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def anchor(heading: str) -> str:
    """Return the name by which a *heading* is linked to, as GitHub makes it."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def test_every_link_within_leads_to_a_section_and_every_provider_has_one() -> None:
    """Who looks for a provider finds it near the top, by its name."""
    text = (ROOT / "README.md").read_text()
    anchors = {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    linked = re.findall(r"\[([^\]]*)\]\(#([^)]*)\)", text)

    assert {name for _, name in linked} <= anchors
    assert {label.lower() for label, _ in linked} >= BUILT_IN.keys()


def overview_behind(link: str) -> httpx.Response:
    """Press the button behind *link* as a browser does; return the page that it ends at."""
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        browser.get(link)
        home = link.partition("/login/")[0]
        return browser.post(link, headers={"Origin": home, "Sec-Fetch-Site": "same-origin"})


def test_the_quickstart_prints_a_command_that_fetches_a_token_and_a_link_that_signs_in(checkout: Path) -> None:
    """The curl line, alone on its line and without a pipe, answers with a token; links lead to the overview."""
    port = a_free_port()
    home = f"http://127.0.0.1:{port}"
    with quickstart(checkout, port) as printed:
        (line,) = re.findall(r"^curl .*$", printed, re.MULTILINE)
        (link,) = re.findall(rf"^{home}/login/\S+$", printed, re.MULTILINE)
        fetched = bash(line, checkout, home)
        shown, again = overview_behind(link), overview_behind(link)
        another = bash("set -a; . ./.env; set +a; .venv/bin/tokenvault login-link", checkout, home)
        shown_again = overview_behind(another.stdout.strip())

    assert "|" not in line
    assert "\x1b" not in printed
    assert '"access_token":"sandbox-at-' in fetched.stdout
    assert (shown.status_code, again.status_code, shown_again.status_code) == (200, 410, 200)
    assert "demo/sandbox/default" in shown.text


def test_the_loop_by_hand_works_as_written(checkout: Path) -> None:
    """Key, tenant, link, consent, token, health, goodbye, get and exec: each command succeeds."""
    port = a_free_port()
    with quickstart(checkout, port):
        done = bash("\n".join(blocks("The loop by hand", port)), checkout, f"http://127.0.0.1:{port}")

    assert done.returncode == 0, done.stderr
    assert "problem" not in done.stdout
    assert '"code":' not in done.stdout
    assert "Connected" in done.stdout
    assert done.stdout.count('"access_token":"sandbox-at-') == 3
    assert '"status":"verified"' in done.stdout
    assert '"revoked":"revoked"' in done.stdout
    assert '"sub"' in done.stdout.splitlines()[-1]


def ten_seconds_pass(checkout: Path) -> None:
    """Let the key that is pending be old enough for every process to know it."""
    with closing(sqlite3.connect(checkout / "data" / "vault.db")) as database, database:
        database.execute("UPDATE keyring SET created_at = created_at - 10000 WHERE state = 'pending'")


def test_root_keys_and_the_secret_are_changed_as_written(checkout: Path) -> None:
    """Beside a server that goes on serving: another root key, the former one destroyed; then another secret."""
    port = a_free_port()
    home = f"http://127.0.0.1:{port}"
    rotating, rewrapping = blocks("Running it", port)
    add, promote, rest = rotating.partition("tokenvault keys promote")
    begin, finish, end = rewrapping.partition("tokenvault keys rewrap --finish")
    (checkout / "NEW").write_text("canary-new-secret-" + "n" * 32)
    with quickstart(checkout, port) as printed:
        (line,) = re.findall(r"^curl .*$", printed, re.MULTILINE)
        added = bash(BY_ENV + add, checkout, home)
        ten_seconds_pass(checkout)
        begun = bash(BY_ENV + promote + rest + begin, checkout, home)
        finished = bash(f"export ENCRYPTION_SECRET=$(cat NEW)\n{finish}{end}", checkout, home)
        fetched = bash(line, checkout, home)

    assert (added.returncode, begun.returncode, finished.returncode) == (0, 0, 0), begun.stderr + finished.stderr
    assert re.search(r"values\s+disabled\s+0 slot\(s\)  0 values", begun.stdout)
    assert re.search(r"values\s+primary\s+1 slot\(s\)  [1-9]\d* values", begun.stdout)
    assert "Only this ENCRYPTION_SECRET is left" in finished.stdout
    assert '"access_token":"sandbox-at-' in fetched.stdout


@pytest.fixture(name="google")
def _google(tmp_path: Path) -> Iterator[FakeProvider]:
    """Give a strict Google that knows the README's scopes, and a service account."""
    known = ["openid", *(f"{SCOPE}{name}" for name in ("userinfo.email", "calendar.readonly", "drive.readonly"))]
    fake = FakeProvider(
        tmp_path / "google.jsonl",
        fsync=False,
        dialect="google",
        rotation="never",
        scopes_supported=known,
        service_accounts={ROBOT: KEY.as_dict(private=False)},
    )
    asyncio.run(fake.start())
    yield fake
    asyncio.run(fake.stop())


def test_googles_steps_work_as_written(checkout: Path, google: FakeProvider) -> None:
    """From the client to the token of a person who agreed, and a service account from its key file."""
    port = a_free_port()
    home = f"http://127.0.0.1:{port}"
    person, robot = blocks("Google, step by step", port)
    for yours, value in (("….apps.googleusercontent.com", google.client_id), ("…", google.client_secret)):
        assert person.count(f'"{yours}"') == 1
        person = person.replace(f'"{yours}"', f'"{value}"')
    (checkout / "key.json").write_text(key_file())
    key = blocks("The loop by hand", port)[0]
    tokens = 'curl -s -H "Authorization: Bearer $KEY" $API/connections/acme/google/{calendar,robot}/token'
    at_google = {f"TOKENVAULT_GOOGLE_{name.upper()}": url for name, url in google.endpoints.items()}
    with quickstart(checkout, port, TOKENVAULT_ALLOW_LOCAL_PROVIDERS="true", **at_google):
        done = bash(key + person + robot, checkout, home)
        assert (done.returncode, '"code":' in done.stdout) == (0, False), done.stdout + done.stderr
        (link,) = re.findall(r'"connect_url":"([^"]+)"', done.stdout)
        agreed = bash(f"curl -sL -c jar -b jar {link}", checkout, home)
        fetched = bash(f"{key}{tokens} -w '\\n'", checkout, home)

    assert "Connected" in agreed.stdout
    assert [json.loads(token)["scopes"] for token in fetched.stdout.splitlines()] == [
        ["openid", f"{SCOPE}userinfo.email", f"{SCOPE}calendar.readonly"],
        [f"{SCOPE}drive.readonly"],
    ]
