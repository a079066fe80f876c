"""What a probe changes of a connection's state, and when the next one is made."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations.contract import Finding
from vault.connection import Connection
from vault.timing import Jitter, check_at


def learned(connection: Connection, finding: Finding, *, static: bool, entered: bool = True) -> dict[str, Any]:
    """Return the columns that *finding* changes of the state of *connection*, *static* or not.

    Of what is itself what is handed out, the last try counts. Of tokens that are got with something else, it is
    only they that were tried: what a refresh found out is for the next one to correct. *entered* says that it was
    by a person, and not given by a consent.
    """
    tried = {"checked_at": connection.read_at, "lacks": json.dumps(finding.lacks)}
    if finding.verdict in {"valid", "limited"}:
        return {**tried, **_good(connection, finding, static=static)}
    if finding.verdict == "invalid" and connection.state.is_its_token:
        return {**tried, **_bad(connection, finding, static=static, entered=entered)}
    if finding.verdict == "invalid":
        return {"checked_at": connection.read_at, **_over(connection)}
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
    state, now = connection.state, connection.read_at
    if static:
        # Whatever it was: suspended accounts come back, and so do keys that a provider was wrong about.
        over = {"last_error_code": finding.code, "access_expires_at": None}  # set by former versions on refusal
        return {"verified_at": now, "status": "verified", "reason": None, **over}
    proven: dict[str, Any] = {"verified_at": now}
    if state.is_reported and (state.renewal == "none" or state.status in {"degraded", "failed"}):
        # Whoever reported it was wrong, and may be right another time.
        proven |= {"rejected_generation": None, "rejected_age": None}
    if state.proven_dead and state.is_its_token:
        due = {} if state.renewal == "none" else {"next_refresh_at": now}
        return {**proven, "status": "verified", "reason": None, "last_error_code": None, **due}
    unproven = state.status == "configured" or state.reason == "probe_unknown"
    return {**proven, **({"status": "verified", "reason": None} if unproven else {})}


def _bad(connection: Connection, finding: Finding, *, static: bool, entered: bool) -> dict[str, Any]:
    """It is over, whatever was said of its life, and not renewed either."""
    if connection.state.ended(connection.read_at) and not static:
        return {}  # of itself
    reason = "credentials_rejected" if entered else "grant_rejected"
    if finding.code == "account_suspended" and static:
        reason = "account_suspended"
    over = {"next_refresh_at": None, "last_error_code": finding.code}
    return {"status": "failed", "reason": reason, **over}


def _over(connection: Connection) -> dict[str, Any]:
    """It has ended, whatever was said of its life. Another one is due, where no failed try has said when."""
    state, now = connection.state, connection.read_at
    if state.ended(now):
        return {}
    due = {} if state.status in {"degraded", "failed"} else {"next_refresh_at": now, "retry_not_before": None}
    return {"access_expires_at": now, **due}


def _unknown(connection: Connection, finding: Finding, *, static: bool) -> dict[str, Any]:
    state = connection.state
    if state.status == "configured":
        return {"reason": "probe_unknown", **({"last_error_code": finding.code} if static else {})}
    if static and state.status in {"verified", "degraded"} and finding.code is not None:
        return {"status": "degraded", "reason": "probe_unknown", "last_error_code": finding.code}
    return {}
