"""The README's commands, run as they are written: only the port is another, because 8000 may be taken."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands(heading: str, port: int) -> str:
    """Return every shell block under *heading* of the README, one after another."""
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(BLOCK.findall(section)).replace("127.0.0.1:8000", f"127.0.0.1:{port}")


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    """Return a folder that looks like a clone after `make setup`."""
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "tokenvault").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vault "$@"\n')
    (scripts / "tokenvault").chmod(0o755)
    return tmp_path


@contextmanager
def quickstart(checkout: Path, port: int) -> Iterator[str]:
    """Run the vault as `make run` does, and give what it printed once it was ready."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TOKENVAULT_SANDBOX": "true",
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
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PUBLIC_URL": public_url}
    return subprocess.run(
        ["bash", "-c", "set -e\n" + script],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


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
        done = bash(commands("The loop by hand", port), checkout, f"http://127.0.0.1:{port}")

    assert done.returncode == 0, done.stderr
    assert "problem" not in done.stdout
    assert '"code":' not in done.stdout
    assert "Connected" in done.stdout
    assert done.stdout.count('"access_token":"sandbox-at-') == 3
    assert '"status":"verified"' in done.stdout
    assert '"revoked":"revoked"' in done.stdout
    assert '"sub"' in done.stdout.splitlines()[-1]
