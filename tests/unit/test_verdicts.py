"""What a failed answer means: any status with any body has exactly one class."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.contract import (
    Answer,
    ClientRejected,
    GrantRejected,
    Misused,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Transient,
)
from integrations.verdicts import LONGEST_RETRY_AFTER, OAUTH_ERRORS, judge, retry_after

CLASSES = {GrantRejected, ClientRejected, RateLimited, Transient, OutcomeUnknown, Misused}

# By the word, whatever the status.
WORDS: list[tuple[str, type[ProviderError]]] = [
    ("invalid_grant", GrantRejected),
    ("access_denied", GrantRejected),
    ("consent_required", GrantRejected),
    ("interaction_required", GrantRejected),
    ("login_required", GrantRejected),
    ("invalid_client", ClientRejected),
    ("unauthorized_client", ClientRejected),
    ("deleted_client", ClientRejected),
    ("invalid_request", Misused),
    ("invalid_scope", Misused),
    ("invalid_target", Misused),
    ("unsupported_grant_type", Misused),
    ("temporarily_unavailable", Transient),
    ("server_error", Transient),
    ("internal_failure", Transient),
    ("slow_down", RateLimited),
    ("rate_limit_exceeded", RateLimited),
]
STATUSES = [200, 302, 400, 401, 403, 404, 408, 418, 422, 425, 429, 500, 502, 503, 504, 599]


@pytest.mark.parametrize(("word", "meaning"), WORDS)
@pytest.mark.parametrize("status", STATUSES)
def test_the_word_decides_before_the_status(word: str, meaning: type[ProviderError], status: int) -> None:
    """Providers say the standard's words with 200, 400, 401, 403 and 500; they mean the same each time."""
    found = judge(Answer(status), word)

    assert type(found) is meaning
    assert found.code == word


def test_every_word_is_in_this_table() -> None:
    """A new word needs a line here."""
    assert dict(WORDS) == OAUTH_ERRORS


# Without a word that means something, the status decides.
BY_STATUS: list[tuple[int, type[ProviderError]]] = [
    (100, Transient),
    (200, OutcomeUnknown),
    (201, OutcomeUnknown),
    (204, OutcomeUnknown),
    (299, OutcomeUnknown),
    (300, Transient),
    (301, Transient),
    (302, Transient),
    (303, Transient),
    (304, Transient),
    (307, Transient),
    (308, Transient),
    (400, Transient),
    (401, Transient),
    (403, Transient),
    (404, Transient),
    (405, Transient),
    (408, Transient),
    (409, Transient),
    (410, Transient),
    (413, Transient),
    (418, Transient),
    (422, Transient),
    (425, Transient),
    (429, RateLimited),
    (451, Transient),
    (499, Transient),
    (500, Transient),
    (501, Transient),
    (502, OutcomeUnknown),
    (503, Transient),
    (504, OutcomeUnknown),
    (507, Transient),
    (520, Transient),
    (599, Transient),
]


@pytest.mark.parametrize(("status", "meaning"), BY_STATUS)
def test_without_a_word_the_status_decides_and_nothing_is_called_dead(
    status: int, meaning: type[ProviderError]
) -> None:
    """An unknown 4xx is often a proxy's page; a gateway that gave up leaves the outcome open."""
    found = judge(Answer(status), None)

    assert type(found) is meaning
    assert found.code == f"http_{status}"


@pytest.mark.parametrize(("status", "meaning"), [pair for pair in BY_STATUS if not 200 <= pair[0] < 300])
def test_a_word_that_nobody_knows_changes_nothing(status: int, meaning: type[ProviderError]) -> None:
    """Free text in the error field is neither believed nor repeated."""
    found = judge(Answer(status), "canary-token expired")

    assert type(found) is meaning
    assert found.code == f"http_{status}"


def test_a_refusal_in_a_success_is_a_refusal_and_not_an_unknown_outcome() -> None:
    """With an error in it, even an unknown one, nothing was issued."""
    assert type(judge(Answer(200), "quota_of_the_month")) is Transient


@pytest.mark.parametrize("word", ["INVALID_GRANT", "invalid_grant ", "invalid-grant", "Invalid Grant", "", "é"])
def test_a_word_counts_as_it_is_spelt_in_the_standard(word: str) -> None:
    """Calling a living grant dead asks a person for nothing: near misses are not hits."""
    assert type(judge(Answer(400), word)) is Transient


def test_a_vendor_may_have_words_of_its_own() -> None:
    """A dialect brings its own table."""
    assert type(judge(Answer(400), "190", {"190": GrantRejected})) is GrantRejected
    assert type(judge(Answer(400), "invalid_grant", {"190": GrantRejected})) is Transient


RETRY_AFTER: list[tuple[str, float | None]] = [
    ("0", 1),
    ("1", 1),
    ("17", 17),
    (" 17 ", 17),
    ("3600", 3600),
    ("21600", 21600),
    ("21601", LONGEST_RETRY_AFTER),
    ("1000000000", LONGEST_RETRY_AFTER),
    ("9" * 400, LONGEST_RETRY_AFTER),
    ("-1", None),
    ("-1000000000", None),
    ("1e9", None),
    ("1.5", None),
    ("+5", None),
    ("soon", None),
    ("", None),
    ("  ", None),
    ("nan", None),
    ("inf", None),
    ("٣", None),
    ("²", None),
    ("17, 18", None),
    ("Wed, 21 Oct 2099 07:28:00 GMT", LONGEST_RETRY_AFTER),
    ("Sun, 06 Nov 1994 08:49:37 GMT", 1),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 1),
    ("Sun Nov  6 08:49:37 1994", 1),
    ("Wed, 21 Oct 2099 07:28:00 -0000", LONGEST_RETRY_AFTER),
    ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ("Fri, 99 Foo 2026 99:99:99 GMT", None),
    ("31 Dec 9999 23:59:59 -2359", LONGEST_RETRY_AFTER),
]


@pytest.mark.parametrize(("raw", "seconds"), RETRY_AFTER)
def test_retry_after_is_seconds_or_a_date_within_bounds(raw: str, seconds: float | None) -> None:
    """From a second to six hours; what is neither seconds nor a date says nothing (RFC 9110 10.2.3)."""
    assert retry_after({"retry-after": raw}) == seconds


def test_a_date_ahead_is_counted_from_now() -> None:
    """A date says how long to wait as well as a number does."""
    ahead = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)

    found = retry_after({"retry-after": ahead})

    assert found is not None
    assert 590 <= found <= 600


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500, 502, 503])
@pytest.mark.parametrize("word", [None, "invalid_grant", "slow_down", "canary-word"])
def test_what_the_provider_asks_for_is_kept_whatever_the_class(status: int, word: str | None) -> None:
    """Retry-After counts with every failure."""
    assert judge(Answer(status, {"retry-after": "17"}), word).retry_after == 17
    assert judge(Answer(status), word).retry_after is None


@given(
    st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{2,6} [0-9:]{1,9} .{0,8}")
)
def test_any_retry_after_is_none_or_within_bounds(raw: str) -> None:
    """Whatever the header says, it breaks nothing and asks for nothing absurd."""
    found = retry_after({"retry-after": raw})

    assert found is None or 1 <= found <= LONGEST_RETRY_AFTER


@given(
    status=st.sampled_from([status.value for status in HTTPStatus]) | st.integers(100, 999),
    word=st.none() | st.sampled_from(sorted(OAUTH_ERRORS)) | st.text(),
    header=st.none() | st.text(max_size=20),
)
def test_every_answer_has_exactly_one_class(status: int, word: str | None, header: str | None) -> None:
    """Total, and the code is a word of ours or of the standard."""
    found = judge(Answer(status, {} if header is None else {"retry-after": header}), word)

    assert type(found) in CLASSES
    assert found.code == f"http_{status}" or found.code in OAUTH_ERRORS
    assert str(found) == found.code
    assert found.args == (found.code,)
