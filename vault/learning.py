"""What a probe changes of a connection's state."""

import json
from datetime import datetime
from typing import Any

from integrations.contract import Finding
from vault.connection import Connection


def learned(
    connection: Connection, finding: Finding, *, static: bool, again: datetime | None = None
) -> dict[str, Any]:
    """Return the columns that *finding* changes of the state of *connection*, *static* or not.

    What a refresh found out is for the next one to correct; of what nothing refreshes, the last try counts.
    *again* is when that is tried next, where nobody has said so: what was refused is tried no more until it works.
    """
    tried = {"checked_at": connection.read_at, "lacks": json.dumps(finding.lacks)}
    if finding.verdict in {"valid", "limited"}:
        return {**tried, **_good(connection, finding, static=static, again=again)}
    if finding.verdict == "invalid" and connection.state.renewal == "none":
        return {**tried, **_bad(connection, finding, static=static)}
    return {**_unknown(connection, finding, static=static), "checked_at": connection.read_at}


def _good(connection: Connection, finding: Finding, *, static: bool, again: datetime | None) -> dict[str, Any]:
    state = connection.state
    if static:
        # Whatever it was: suspended accounts come back, and so do keys that a provider was wrong about.
        over = {"last_error_code": finding.code, "next_check_at": state.next_check_at or again}
        over["access_expires_at"] = None
        return {"verified_at": connection.read_at, "status": "verified", "reason": None, **over}
    unproven = state.status == "configured" or state.reason == "probe_unknown"
    return {"verified_at": connection.read_at, **({"status": "verified", "reason": None} if unproven else {})}


def _bad(connection: Connection, finding: Finding, *, static: bool) -> dict[str, Any]:
    """It is over, whatever was said of its life: what does not work is not served, nor tried again and again."""
    if connection.state.status == "failed" and not static:
        return {}
    reason = "grant_rejected"
    if static:
        reason = "account_suspended" if finding.code == "account_suspended" else "credentials_rejected"
    over = {"access_expires_at": connection.read_at, "next_check_at": None, "last_error_code": finding.code}
    return {"status": "failed", "reason": reason, **over}


def _unknown(connection: Connection, finding: Finding, *, static: bool) -> dict[str, Any]:
    state = connection.state
    if state.status == "configured":
        return {"reason": "probe_unknown", **({"last_error_code": finding.code} if static else {})}
    if static and state.status in {"verified", "degraded"} and finding.code is not None:
        return {"status": "degraded", "reason": "probe_unknown", "last_error_code": finding.code}
    return {}
