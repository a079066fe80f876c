"""What a try of credentials changes: a table of what was, what was found, and what is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integrations.contract import Finding, Renewal
from tests.unit.test_overview import CONNECTION
from vault.connection import Reason, Status
from vault.proof.learning import learned, next_check

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
GOOD, LIMITED = Finding(verdict="valid"), Finding(verdict="limited", code="sending_only", lacks=("read",))
BAD, SUSPENDED = Finding(verdict="invalid", code="wrong"), Finding(verdict="invalid", code="account_suspended")
NOBODY_KNOWS, AWAY = Finding(verdict="unknown"), Finding(verdict="unknown", code="http_500")


def after(
    status: Status,
    reason: Reason | None,
    finding: Finding,
    *,
    static: bool,
    entered: bool = True,
    renewal: Renewal = "none",
) -> Any:
    told: dict[str, Any] = {"status": status, "reason": reason, "renewal": renewal, "access_expires_at": LATER}
    before = replace(CONNECTION, state=replace(CONNECTION.state, **told), read_at=NOW)
    changed = learned(before, finding, static=static, entered=entered)
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
        ("configured", "unverified", BAD, ("configured", "unverified")),
        ("degraded", "transient", GOOD, ("degraded", "transient")),
        ("verified", None, BAD, ("verified", None)),
        ("verified", None, AWAY, ("verified", None)),
        ("failed", "grant_rejected", GOOD, ("failed", "grant_rejected")),
    ],
)
def test_what_a_refresh_found_out_is_for_the_next_one_to_correct(
    status: Status, reason: Reason | None, finding: Finding, then: tuple[str, str | None]
) -> None:
    """A probe of a token that is renewed proves what was never proven, and tells nothing of what got it."""
    assert after(status, reason, finding, static=False, renewal="refresh_token") == then


@pytest.mark.parametrize("renewal", ["self_exchange", "none"])
@pytest.mark.parametrize(
    ("status", "reason", "finding", "then"),
    [
        ("verified", None, BAD, ("failed", "grant_rejected")),
        ("degraded", "transient", BAD, ("failed", "grant_rejected")),
        ("verified", None, AWAY, ("verified", None)),
        ("failed", "grant_rejected", GOOD, ("verified", None)),
        ("failed", "expired", GOOD, ("failed", "expired")),
        ("failed", "expired", BAD, ("failed", "grant_rejected")),
        ("failed", "grant_rejected", AWAY, ("failed", "grant_rejected")),
    ],
)
def test_of_a_token_that_is_all_there_is_the_last_try_counts(
    renewal: Renewal, status: Status, reason: Reason | None, finding: Finding, then: tuple[str, str | None]
) -> None:
    """Refused, it is over; taken again, it is good again; an answer that says nothing changes nothing."""
    assert after(status, reason, finding, static=False, entered=False, renewal=renewal) == then


def test_what_was_entered_has_to_be_corrected() -> None:
    """A token that a person entered is what they have to correct, also where it renews itself."""
    assert after("verified", None, BAD, static=False, renewal="self_exchange")[1] == "credentials_rejected"


def change(finding: Finding, *, static: bool, **state: Any) -> dict[str, Any]:
    told = {"access_expires_at": LATER, **state}
    before = replace(CONNECTION, state=replace(CONNECTION.state, **told), read_at=NOW)
    return learned(before, finding, static=static)


def test_what_is_refused_is_not_renewed() -> None:
    """It might lock the account."""
    for static in (True, False):
        assert change(BAD, static=static, renewal="none")["next_refresh_at"] is None


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


def test_what_is_good_again_and_renews_itself_is_due_at_once() -> None:
    """Nobody knows how much of its life is left."""
    over = {"status": "failed", "reason": "grant_rejected"}

    assert change(GOOD, static=False, renewal="self_exchange", **over)["next_refresh_at"] == NOW
    assert "next_refresh_at" not in change(GOOD, static=False, renewal="none", **over)


def test_a_token_that_is_refused_has_ended_whatever_it_was_got_with() -> None:
    """Another one is due at once; after a failed try when that says, and after the end of a grant never."""
    renewal = {"renewal": "refresh_token"}

    changed = change(BAD, static=False, **renewal)
    assert (changed["access_expires_at"], changed["next_refresh_at"]) == (NOW, NOW)
    for status in ("degraded", "failed"):
        changed = change(BAD, static=False, **renewal, status=status)
        assert (changed["access_expires_at"], "next_refresh_at" in changed) == (NOW, False)


def test_what_had_ended_before_ended_then() -> None:
    """It is not made to end later by being asked about."""
    assert change(BAD, static=False, renewal="refresh_token", access_expires_at=NOW) == {"checked_at": NOW}
    over = {"renewal": "self_exchange", "status": "failed", "reason": "expired", "access_expires_at": NOW}
    assert "reason" not in change(BAD, static=False, **over)


def test_a_report_that_the_provider_contradicts_does_not_count() -> None:
    """Of a token that outlives its grant: reported, it was withheld, and taken, it is served again."""
    over = {"status": "failed", "reason": "grant_rejected", "renewal": "refresh_token", "generation": 7}

    assert change(GOOD, static=False, rejected_generation=7, **over)["rejected_generation"] is None
    assert "rejected_generation" not in change(AWAY, static=False, rejected_generation=7, **over)
    assert "rejected_generation" not in change(GOOD, static=False, rejected_generation=6, **over)
