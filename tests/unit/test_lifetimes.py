"""What reports of refused tokens teach about how long tokens really live, and how a wrong lesson heals."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from integrations.contract import Secret, TokenSet
from integrations.definition import Definition
from integrations.oauth import OAuthProvider
from vault.connection import TokenState
from vault.lessons import QUIET, learned_lifetime, rejection, still_learned
from vault.timing import SOONEST, due_at, new_tokens, paced

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600
PROVIDER = OAuthProvider(
    "p",
    Definition(token_endpoint="https://p.example/token", authorization_endpoint="https://p.example/authorize"),
)


def defined(**knobs: Any) -> OAuthProvider:
    return OAuthProvider("p", structs.replace(PROVIDER.definition, **knobs))


def issued(lives: int, **more: Any) -> TokenSet:
    return TokenSet(Secret("canary-at"), expires_in=lives, **more)


ages = st.integers(0, 3 * HOUR)
lifetimes = st.none() | st.integers(0, 3 * HOUR)


def state(**changed: Any) -> TokenState:
    """Return the state of tokens of an hour, of generation 7, whose predecessors lived 600 s."""
    fields: dict[str, Any] = dict.fromkeys(TokenState.__dataclass_fields__)
    known = {
        "status": "verified",
        "renewal": "refresh_token",
        "generation": 7,
        "issued_lifetime": HOUR,
        "refreshed_at": NOW,
        "access_expires_at": NOW + timedelta(hours=1),
        "failures": 0,
        "uncertain": False,
        "rejected_generation": 6,
        "rejected_age": 600,
    }
    return TokenState(**{**fields, **known, **changed})


@pytest.mark.parametrize("age", [480, 600, 750])
def test_two_generations_in_a_row_that_died_alike_teach(age: int) -> None:
    """What is relied on is nine tenths of the smaller of two ages that are a quarter apart at most."""
    assert learned_lifetime(state(), age) == min(age, 600) * 9 // 10


@pytest.mark.parametrize(
    ("age", "changed"),
    [
        (600, {"rejected_generation": None, "rejected_age": None}),
        (600, {"rejected_generation": 5}),
        (751, {}),
        (479, {}),
        (59, {"rejected_age": 60}),
        (60, {"rejected_age": 59}),
        (3000, {"rejected_age": 3241}),
        (3241, {"rejected_age": 3000}),
        (600, {"issued_lifetime": None}),
    ],
)
def test_what_proves_nothing_changes_nothing(age: int, changed: dict[str, Any]) -> None:
    """One report, gaps between generations, unlike ages, too young ones, and ages near the stated end."""
    assert learned_lifetime(state(**changed), age) is None
    assert learned_lifetime(state(**changed, learned_lifetime=1800), age) == 1800


@given(
    age=ages,
    before=st.none() | ages,
    reported=st.integers(1, 6),
    stated=lifetimes,
    learned=st.none() | st.integers(60, 3 * HOUR),
)
def test_a_lesson_is_never_more_than_was_seen(
    age: int, before: int | None, reported: int, stated: int | None, learned: int | None
) -> None:
    """A new lesson needs two like witnesses in a row, is below both of them and below what was stated."""
    of = state(rejected_generation=reported, rejected_age=before, issued_lifetime=stated, learned_lifetime=learned)

    found = learned_lifetime(of, age)

    if found == learned:
        return
    assert found is not None
    assert before is not None
    assert stated is not None
    assert reported == 6
    assert 60 <= found <= min(age, before)
    assert found <= max(60, 0.9 * min(age, before))
    assert max(age, before) <= 0.9 * stated
    assert max(age, before) - min(age, before) <= min(age, before) / 4


@given(stated=lifetimes, learned=st.none() | st.integers(60, 3 * HOUR), jitter=st.floats(0.8, 1.2))
def test_new_tokens_live_no_longer_than_was_learned(
    stated: int | None, learned: int | None, jitter: float
) -> None:
    """Expiry, lifetime and renewal all follow the lesson, which goes once the provider says no more."""
    tokens = TokenSet(Secret("canary-at"), expires_in=stated)
    said = HOUR if stated is None else stated

    times = new_tokens(tokens, PROVIDER, "oauth2", NOW, lambda *_: jitter, learned)

    assert times.issued_lifetime == min(said, learned or said)
    assert times.access_expires_at == NOW + timedelta(seconds=times.issued_lifetime)
    assert times.next_refresh_at is not None
    assert NOW <= times.next_refresh_at <= times.access_expires_at
    assert times.learned_lifetime == (learned if learned and learned < said else None)


@pytest.mark.parametrize(
    ("tells", "every", "within"),
    [
        ({}, None, 30 * 24 * HOUR),
        ({"refresh_expires_in": 2 * HOUR}, None, 2 * HOUR),
        ({}, 24 * HOUR, 24 * HOUR),
        ({"refresh_expires_in": 48 * HOUR}, 24 * HOUR, 24 * HOUR),
    ],
)
def test_tokens_are_renewed_before_what_renews_them_ends(
    tells: dict[str, int], every: int | None, within: int
) -> None:
    """Also an access token that lives for a month, where its refresh token does not, or ends if nobody uses it."""
    tokens = issued(30 * 24 * HOUR, **tells)

    times = new_tokens(tokens, defined(refresh_every=every), "oauth2", NOW, lambda *_: 1)

    assert times.access_expires_at == NOW + timedelta(days=30)
    assert times.next_refresh_at is not None
    assert times.next_refresh_at == due_at(NOW, within, lambda *_: 1)
    assert timedelta(0) < NOW + timedelta(seconds=within) - times.next_refresh_at <= timedelta(minutes=15)


@pytest.mark.parametrize(
    ("margin", "lives", "left"),
    [
        (20 * 24 * HOUR, 60 * 24 * HOUR, timedelta(days=20)),
        (10, HOUR, timedelta(seconds=10)),
        (HOUR, HOUR, timedelta(minutes=30)),  # no token is renewed in the first half of its life
        (None, HOUR, timedelta(minutes=15)),
    ],
)
def test_a_kind_says_how_long_before_their_end_tokens_are_renewed(
    margin: int | None, lives: int, left: timedelta
) -> None:
    """Of a generic provider, all kinds are renewed so; it is the end of the access token that is meant."""
    provider = defined(refresh_margin=margin, grant_types=["authorization_code", "client_credentials"])

    for kind in ("oauth2", "client_credentials"):
        times = new_tokens(issued(lives), provider, kind, NOW, lambda *_: 1)
        assert times.access_expires_at is not None
        assert times.next_refresh_at == times.access_expires_at - left
    also = new_tokens(issued(lives, refresh_expires_in=7200), provider, "oauth2", NOW, lambda *_: 1)
    assert times.next_refresh_at is not None
    assert also.next_refresh_at == min(times.next_refresh_at, due_at(NOW, 7200, lambda *_: 1))


@pytest.mark.parametrize(
    ("interval", "lives", "told", "earliest", "held"),
    [
        (24 * HOUR, 30 * 24 * HOUR, None, 24 * HOUR, 24 * HOUR),
        (24 * HOUR, 12 * HOUR, None, 12 * HOUR, 12 * HOUR),  # longer than it lives, it is not missed
        (24 * HOUR, 30 * 24 * HOUR, 4 * HOUR, 3 * HOUR, None),  # nor is the refresh token lost for it
        (24 * HOUR, 0, None, 2, None),  # what arrives dead
        (0, 30 * 24 * HOUR, None, 2, None),
    ],
)
def test_living_tokens_are_renewed_at_a_pace(
    interval: int, lives: int, told: int | None, earliest: int, held: int | None
) -> None:
    """However soon they are due: no try comes before, whoever asks, as long as they live."""
    provider = defined(min_refresh_interval=interval)
    made = new_tokens(issued(lives, refresh_expires_in=told), provider, "oauth2", NOW, lambda *_: 1)
    assert made.next_refresh_at is not None
    soon = replace(made, next_refresh_at=min(made.next_refresh_at, NOW + timedelta(hours=3)))

    times = paced(soon, provider, NOW)

    assert times.retry_not_before == (None if held is None else NOW + timedelta(seconds=held))
    assert soon.next_refresh_at is not None
    assert times.next_refresh_at == max(soon.next_refresh_at, NOW + timedelta(seconds=earliest))


def test_what_is_refused_is_not_renewed_at_the_pace_of_what_lives() -> None:
    """A report counts at once; a backoff after a failure does stand against it."""
    later = NOW + timedelta(days=1)

    assert rejection(state(retry_not_before=later, rejected_generation=None), NOW).next_refresh_at == NOW
    degraded = state(status="degraded", retry_not_before=later, rejected_generation=None)
    assert rejection(degraded, NOW).next_refresh_at == later


@given(learned=st.integers(60, 12 * HOUR), stated=st.integers(61, 24 * HOUR))
def test_a_wrong_lesson_heals(learned: int, stated: int) -> None:
    """Generation after generation without a report, tokens live as long as the provider says again."""
    found: int | None = learned
    quiet = 0
    while found is not None and found < stated:
        quiet += 1
        raised = still_learned(found, quiet)
        assert raised == (found * 5 // 4 if quiet % QUIET == 0 else found)
        found = raised

    assert quiet <= QUIET * 40


def test_a_lesson_that_was_just_taught_stands() -> None:
    """The generation that was reported itself is not a quiet one."""
    assert still_learned(540, 0) == 540
    assert still_learned(None, QUIET) is None


def test_what_is_refused_is_due() -> None:
    """At once, but after a backoff; and at a pace where the former generation was refused too."""
    unreported = {"rejected_generation": None, "rejected_age": None}
    backing_off = {"status": "degraded", "retry_not_before": NOW + timedelta(minutes=5)}

    assert rejection(state(**unreported), NOW).next_refresh_at == NOW
    assert rejection(state(**unreported, **backing_off), NOW).next_refresh_at == NOW + timedelta(minutes=5)
    assert rejection(state(), NOW).next_refresh_at == NOW + SOONEST
    assert rejection(state(), NOW + 2 * SOONEST).next_refresh_at == NOW + 2 * SOONEST
