"""`tokenvault get` and `exec`: asking a running vault for a token. Imports nothing of the server."""

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from vault.cli.output import stop

URL, KEY = "TOKENVAULT_URL", "TOKENVAULT_KEY"
LONGEST_WAIT = 25  # seconds


def fetch(connection: str, min_ttl: int) -> dict[str, Any]:
    """Return the token answer for *connection*, TENANT/PROVIDER/NAME; end the command where there is none."""
    address = os.environ.get(URL) or os.environ.get("PUBLIC_URL") or "http://127.0.0.1:8000"
    if not address.startswith(("http://", "https://")) or connection.count("/") != 2:
        stop(1, f"Give TENANT/PROVIDER/NAME, and {URL} as an http(s) address.")
    url = f"{address.rstrip('/')}/v1/connections/{connection}/token?min_ttl={min_ttl}&wait={LONGEST_WAIT}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {_key()}"})  # noqa: S310 - checked above
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=LONGEST_WAIT + 10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        problem = _problem(error)
        stop(1, _sentence(problem), **problem)
    except (OSError, ValueError, http.client.HTTPException) as error:
        stop(1, f"No vault answers at {address} ({type(error).__name__}).")


def environment(connection: str, answer: dict[str, Any], variable: str) -> dict[str, str]:
    """Return what a program finds in its environment of an *answer*: the token in *variable*; or fields by name.

    Those are called as the vendors' own libraries look for them, such as TWILIO_ACCOUNT_SID and RESEND_API_KEY.
    """
    if "access_token" in answer:
        return {variable: answer["access_token"]}
    provider = connection.split("/")[1]
    return {_name(f"{provider}_{field}"): value for field, value in answer["credentials"].items()}


def _name(words: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", words.upper())


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the API key is for the vault that was named."""

    def redirect_request(self, *_asked: Any) -> None:
        return None


def _key() -> str:
    path = os.environ.get(f"{KEY}_FILE")
    try:
        key = Path(path).read_text(encoding="utf-8").strip() if path else os.environ.get(KEY, "")
    except (OSError, ValueError):
        stop(1, f"{KEY}_FILE cannot be read.")
    if not key:
        stop(1, f"Set {KEY}, or {KEY}_FILE, to an API key with tokens:read.")
    return key


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    """Return the vault's problem (RFC 9457), or one like it where whatever stands before the vault answered."""
    try:
        body = json.load(error)
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"detail": error.reason, "code": str(error.code)}


def _sentence(problem: dict[str, Any]) -> str:
    told = f"{problem.get('detail')} [{problem.get('code')}]"
    return f"{told}\nConnect again: {problem['connect_url']}" if "connect_url" in problem else told
