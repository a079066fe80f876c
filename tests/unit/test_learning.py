"""What a try of credentials changes: a table of what was, what was found, and what is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integrations.contract import Finding, Renewal
from tests.unit.test_overview import CONNECTION
from vault.connection import Reason, Status
from vault.learning import learned, next_check

NOW = datetime(2026, 11, 28, tzinfo=UTC)
GOOD, LIMITED = Finding(verdict="valid"), Finding(verdict="limited", code="sending_only", lacks=("read",))
BAD, SUSPENDED = Finding(verdict="invalid", code="wrong"), Finding(verdict="invalid", code="account_suspended")
NOBODY_KNOWS, AWAY = Finding(verdict="unknown"), Finding(verdict="unknown", code="http_500")


def after(
    status: Status, reason: Reason | None, finding: Finding, *, static: bool, renewal: Renewal = "none"
) -> Any:
    before = CONNECTION
    state = replace(before.state, status=status, reason=reason, renewal=renewal)
    changed = learned(replace(before, state=state, read_at=NOW), finding, static=static)
    return changed.get("status", status), changed.get("reason", reason)


@pytest.mark.parametrize(
    ("status", "reason", "finding", "then"),
    [
        ("configured", "unverified", GOOD, ("verified", None)),
        ("configured", "probe_unknown", LIMITED, ("verified", None)),
        ("configured", "unverified", NOBODY_KNOWS, ("configured", "probe_unknown")),
        ("configured", "unverified", BAD, ("failed", "credentials_rejected")),
        ("verified", None, GOOD, ("verified", None)),
        ("verified", None, BAD, ("failed", "credentials_rejected")),
        ("verified", None, SUSPENDED, ("failed", "account_suspended")),
        ("verified", None, AWAY, ("degraded", "probe_unknown")),
        ("verified", None, NOBODY_KNOWS, ("verified", None)),
        ("degraded", "probe_unknown", AWAY, ("degraded", "probe_unknown")),
        ("degraded", "probe_unknown", GOOD, ("verified", None)),
        ("failed", "account_suspended", GOOD, ("verified", None)),
        ("failed", "credentials_rejected", AWAY, ("failed", "credentials_rejected")),
    ],
)
def test_of_what_nothing_renews_the_last_try_counts(
    status: Status, reason: Reason | None, finding: Finding, then: tuple[str, str | None]
) -> None:
    """Refused is over, good is good again, and what may pass takes nothing away."""
    assert after(status, reason, finding, static=True) == then


@pytest.mark.parametrize(
    ("status", "reason", "finding", "then"),
    [
        ("configured", "unverified", GOOD, ("verified", None)),
        ("degraded", "transient", GOOD, ("degraded", "transient")),
        ("verified", None, BAD, ("verified", None)),
        ("verified", None, AWAY, ("verified", None)),
        ("failed", "grant_rejected", GOOD, ("failed", "grant_rejected")),
    ],
)
def test_what_a_refresh_found_out_is_for_the_next_one_to_correct(
    status: Status, reason: Reason | None, finding: Finding, then: tuple[str, str | None]
) -> None:
    """A probe of a token that is renewed proves what was never proven, and changes nothing else."""
    assert after(status, reason, finding, static=False, renewal="refresh_token") == then


def test_what_is_refused_is_not_served_any_more() -> None:
    """Its end is now."""
    state = replace(CONNECTION.state, renewal="none")
    changed = learned(replace(CONNECTION, state=state, read_at=NOW), BAD, static=True)

    assert changed["access_expires_at"] == NOW


@pytest.mark.parametrize(
    ("status", "finding", "every", "then"),
    [
        ("verified", GOOD, 60, NOW + timedelta(seconds=72)),
        ("verified", AWAY, 60, NOW + timedelta(seconds=72)),
        ("verified", GOOD, None, None),
        ("verified", BAD, 60, None),
        ("failed", AWAY, 60, None),
        ("failed", BAD, 60, None),
        ("failed", GOOD, 60, NOW + timedelta(seconds=72)),
    ],
)
def test_what_is_refused_is_not_tried_again_before_it_works(
    status: str, finding: Finding, every: int | None, then: datetime | None
) -> None:
    """Nobody asks once more by themselves, for that might lock the account; all else is tried in its time."""
    state = replace(CONNECTION.state, status=status, renewal="none")  # type: ignore[arg-type]
    about = replace(CONNECTION, state=state, read_at=NOW)
    changed = learned(about, finding, static=True)

    assert next_check(about, changed, every, lambda _, latest: latest) == then
