"""The overview and its frame: every state has words, every value is text, and nothing loads or runs."""

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_pages import HOSTILE, Seen
from vault.connection import Connection, NextAction, Reason, TokenState
from vault.errors import Gone
from vault.pages.markup import Markup, markup, page
from vault.pages.overview import MOST, distance, overview
from vault.pages.refusal import refusal
from vault.pages.session import Refused

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STATE = TokenState(
    status="verified",
    reason=None,
    generation=1,
    granted_generation=1,
    renewal="refresh_token",
    access_expires_at=NOW + timedelta(minutes=52, seconds=30),
    issued_lifetime=3600,
    refresh_expires_at=None,
    refreshed_at=NOW - timedelta(minutes=7, seconds=30),
    verified_at=None,
    next_refresh_at=None,
    failures=0,
    first_failed_at=None,
    last_error_code=None,
    retry_not_before=None,
    lease_expires_at=None,
    inflight_generation=None,
    retake_after=None,
    uncertain=False,
    parked=None,
    rejected_generation=None,
    rejected_age=None,
    learned_lifetime=None,
)
CONNECTION = Connection(
    id="c",
    tenant="acme",
    provider="google",
    name="mail",
    kind="oauth2",
    client=None,
    client_id=None,
    account="1",
    account_label="ann@example.test",
    scopes=(),
    asked_scopes=(),
    metadata={"note": "canary-metadata"},
    settings={},
    enabled=True,
    prefer="own",
    shared=False,
    created_at=NOW,
    state=STATE,
    client_rejected=False,
    client_held_until=None,
    provider_held_until=None,
    provider_paused=False,
    client_paused=False,
    read_at=NOW,
)


def shown(*found: Connection) -> Seen:
    return Seen(str(overview(list(found)).content))


def test_a_connection_is_told_in_words() -> None:
    """Path, account, status, what to do and both times, near and exact."""
    words = shown(CONNECTION).words

    for word in ("acme/google/mail", "ann@example.test", "verified", "Nothing to do"):
        assert word in words
    for word in ("in 52 minutes", "2026-11-22 12:52 UTC", "7 minutes ago", "2026-11-22 11:52 UTC"):
        assert word in words


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_is_shown_with_what_helps(reason: Reason) -> None:
    """Whatever is the matter, the page says which code it has and what to do; only the healthy need nothing."""
    words = shown(replace(CONNECTION, state=replace(STATE, status="failed", reason=reason))).words

    assert reason in words
    assert "Nothing to do" not in words


def test_every_next_action_has_words() -> None:
    """No state of a connection makes the page fail."""
    reachable = {replace(STATE, reason=reason).next_action for reason in (*get_args(Reason), None)}

    assert reachable == set(get_args(NextAction))


def test_what_is_switched_off_does_not_look_well() -> None:
    """A disabled connection is told as such, whatever its tokens are like."""
    seen = shown(replace(CONNECTION, enabled=False))

    assert "switched off (verified)" in seen.words
    assert "verified" not in seen.words


PAUSED: list[tuple[str, dict[str, Any]]] = [
    ("provider", {"provider_paused": True}),
    ("client", {"client_paused": True}),
    ("tenant", {"state": replace(STATE, parked="paused")}),
]


@pytest.mark.parametrize(("whose", "changed"), PAUSED)
def test_what_is_paused_does_not_look_well(whose: str, changed: dict[str, Any]) -> None:
    """Whose kill switch is on is told as a connection's own is; its own comes first."""
    paused = replace(CONNECTION, **changed)
    seen = shown(paused)

    assert f"paused by its {whose} (verified)" in seen.words
    assert "verified" not in seen.words
    assert '<span class="off">' in str(overview([paused]).content)
    assert "switched off (verified)" in shown(replace(paused, enabled=False)).words


def test_a_page_has_two_hundred_at_most_and_says_so() -> None:
    """What is left out is said to be, with the command that has it."""
    many = [replace(CONNECTION, name=f"c{number}") for number in range(MOST + 1)]
    full, cut = shown(*many[:MOST]), shown(*many)

    assert [tag for tag in cut.tags if tag != "code"] == full.tags
    assert sum(word.startswith("acme/google/c") for word in cut.words) == MOST
    assert "connections list" in " ".join(cut.words)
    assert "connections list" not in " ".join(full.words)


def test_an_empty_vault_says_what_comes_next() -> None:
    """No table without a row."""
    assert "table" not in shown().tags
    assert "Nothing is connected yet." in " ".join(shown().words)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_value_becomes_markup(text: str) -> None:
    """Path and account full of markup are shown as the text that they are."""
    seen = shown(replace(CONNECTION, tenant=text, account_label=text))

    assert seen.tags == shown(CONNECTION).tags
    assert seen.attributes == shown(CONNECTION).attributes
    assert text in seen.words


@given(st.text())
def test_whatever_is_filled_in_comes_out_as_it_is(text: str) -> None:
    """As content and as an attribute: braces, quotes and brackets among it."""
    seen = Seen(markup('<p title="{value}">{value}</p>', value=text))

    assert seen.tags == ["p"]
    assert seen.attributes == ["title"]


def test_only_markup_is_not_escaped() -> None:
    """A literal of ours passes, a plain text never does."""
    assert markup("<p>{a}{b}</p>", a=Markup("<br>"), b="<br>") == "<p><br>&lt;br&gt;</p>"


REQUEST: Any = None  # no refusal looks at it
PAGES: list[Any] = [
    overview([CONNECTION]),
    overview([]),
    page("x", Markup("")),
    *(refusal(REQUEST, Refused(code)) for code in ("not_signed_in", "https_required", "cross_site")),
    refusal(REQUEST, Gone()),
]


def test_a_refusal_says_in_words_what_would_help() -> None:
    """The command is set apart, the way back is a link, and no markup is shown as text."""
    seen = [Seen(str(response.content)) for response in PAGES]

    assert not [word for each in seen for word in each.words if "<" in word]
    for each in (seen[3], seen[-1]):
        assert {"code", "a"} <= set(each.tags)
        assert "tokenvault login-link" in each.words
    assert "PUBLIC_URL must be https" in " ".join(seen[4].words)


@pytest.mark.parametrize("response", PAGES)
def test_nothing_loads_or_runs(response: Any) -> None:
    """No script, nothing from elsewhere, forms go home only; the one style is the one that is allowed."""
    seen, policy = Seen(str(response.content)), response.headers["Content-Security-Policy"]

    assert not {"script", "link", "img", "iframe", "object", "base"} & set(seen.tags)
    assert not [name for name in seen.attributes if name.startswith("on") or name in {"src", "style"}]
    (style,) = re.findall("<style>(.*?)</style>", str(response.content), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; frame-ancestors 'none';"
        " base-uri 'none'"
    )


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(0), "0 seconds ago"),
        (timedelta(seconds=1), "in 1 second"),
        (timedelta(seconds=-59), "59 seconds ago"),
        (timedelta(minutes=1), "in 1 minute"),
        (timedelta(minutes=59, seconds=59), "in 59 minutes"),
        (timedelta(hours=-25), "1 day ago"),
        (timedelta(days=400), "in 400 days"),
    ],
)
def test_how_far_off_something_is(span: timedelta, words: str) -> None:
    """In the largest unit that fits, and never more than there is."""
    assert distance(span) == words
