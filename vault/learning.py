"""What a probe changes of a connection's state, and when the next one is made."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.contract import Finding
from vault.connection import Connection, Jitter, check_at


def learned(connection: Connection, finding: Finding, *, static: bool) -> dict[str, Any]:
    """Return the columns that *finding* changes of the state of *connection*, *static* or not.

    What a refresh found out is for the next one to correct; of what nothing refreshes, the last try counts.
    """
    tried = {"checked_at": connection.read_at, "lacks": json.dumps(finding.lacks)}
    if finding.verdict in {"valid", "limited"}:
        return {**tried, **_good(connection, finding, static=static)}
    if finding.verdict == "invalid" and connection.state.renewal == "none":
        return {**tried, **_bad(connection, finding, static=static)}
    return {**_unknown(connection, finding, static=static), "checked_at": connection.read_at}


def next_check(
    connection: Connection, changed: Mapping[str, Any], every: int | None, jitter: Jitter
) -> datetime | None:
    """Return when *connection* is tried again by itself, of which a try *changed* that: *every* so many seconds.

    None: never. What is refused is not tried until somebody has found out that it works: it might lock an account.
    """
    refused = changed.get("status", connection.state.status) == "failed"
    return None if refused else check_at(connection.read_at, every, jitter)


def _good(connection: Connection, finding: Finding, *, static: bool) -> dict[str, Any]:
    state = connection.state
    if static:
        # Whatever it was: suspended accounts come back, and so do keys that a provider was wrong about.
        over = {"last_error_code": finding.code, "access_expires_at": None}
        return {"verified_at": connection.read_at, "status": "verified", "reason": None, **over}
    unproven = state.status == "configured" or state.reason == "probe_unknown"
    return {"verified_at": connection.read_at, **({"status": "verified", "reason": None} if unproven else {})}


def _bad(connection: Connection, finding: Finding, *, static: bool) -> dict[str, Any]:
    """It is over, whatever was said of its life: what does not work is not served."""
    if connection.state.status == "failed" and not static:
        return {}
    reason = "grant_rejected"
    if static:
        reason = "account_suspended" if finding.code == "account_suspended" else "credentials_rejected"
    over = {"access_expires_at": connection.read_at, "last_error_code": finding.code}
    return {"status": "failed", "reason": reason, **over}


def _unknown(connection: Connection, finding: Finding, *, static: bool) -> dict[str, Any]:
    state = connection.state
    if state.status == "configured":
        return {"reason": "probe_unknown", **({"last_error_code": finding.code} if static else {})}
    if static and state.status in {"verified", "degraded"} and finding.code is not None:
        return {"status": "degraded", "reason": "probe_unknown", "last_error_code": finding.code}
    return {}
