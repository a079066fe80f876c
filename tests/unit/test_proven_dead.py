"""When a token is known not to work: a table of what was said of it, and by whom."""

from datetime import timedelta
from typing import Any, get_args

import pytest

from integrations.contract import Renewal
from tests.unit.test_lifetimes import NOW, state
from vault.connection import REFUSED, Reason, Status

RENEWED = ("refresh_token", "client_credentials", "jwt_bearer", "login_refresh")  # got with something else
ITSELF = ("self_exchange", "none")  # what is handed out is all there is
YEAR = timedelta(days=365)


def test_every_renewal_is_of_one_sort() -> None:
    """A new one has to say whether its token is all that it holds."""
    assert {*RENEWED, *ITSELF} == set(get_args(Renewal))


@pytest.mark.parametrize("status", get_args(Status))
@pytest.mark.parametrize("reason", [None, *get_args(Reason)])
@pytest.mark.parametrize("reported", [True, False])
def test_only_what_was_refused_is_dead(status: Status, reason: Reason | None, *, reported: bool) -> None:
    """A token that is all there is, once it is refused; any other where its own user says so too."""
    told: dict[str, Any] = {"status": status, "reason": reason, "rejected_generation": 7 if reported else 6}
    refused = status == "failed" and reason in REFUSED

    assert {state(renewal=one, **told).proven_dead for one in ITSELF} == {refused}
    assert {state(renewal=one, **told).proven_dead for one in RENEWED} == {refused and reported}


def test_the_time_alone_is_no_refusal() -> None:
    """Neither is a key of ours that is lost, nor anything that may pass."""
    assert {"grant_rejected", "lost_rotation", "credentials_rejected", "account_suspended"} == REFUSED


@pytest.mark.parametrize("renewal", [*ITSELF, *RENEWED])
def test_what_is_dead_is_neither_living_nor_fresh(renewal: Renewal) -> None:
    """However long it was to live. What only may be dead is both."""
    lives: dict[str, Any] = {"renewal": renewal, "access_expires_at": NOW + YEAR, "rejected_generation": 7}
    dead = state(status="failed", reason="grant_rejected", **lives)
    doubtful = state(status="degraded", reason="transient", **lives)

    assert (dead.living(NOW), dead.fresh(timedelta(0), NOW)) == (False, False)
    assert (doubtful.living(NOW), doubtful.fresh(timedelta(0), NOW)) == (True, True)
    assert doubtful.living(NOW + YEAR) is False


@pytest.mark.parametrize(
    ("asked", "in_doubt"),
    [(None, True), (NOW, True), (NOW + timedelta(seconds=59), True), (NOW + timedelta(seconds=61), False)],
)
def test_a_reported_token_is_in_doubt_until_its_provider_was_asked(asked: Any, *, in_doubt: bool) -> None:
    """Once since the report, which was a minute after it came; of a former one there is nothing to ask."""
    reported: dict[str, Any] = {"rejected_generation": 7, "rejected_age": 60, "checked_at": asked}

    assert state(**reported).in_doubt is in_doubt
    assert state(**reported | {"rejected_generation": 6}).in_doubt is False
