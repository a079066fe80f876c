"""Token answers, honest and otherwise: what of them is believed."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.answers import LONGEST_LIFETIME, json_object, lifetime, read_probe, read_tokens, text
from integrations.contract import (
    Answer,
    ClientRejected,
    GrantRejected,
    Misused,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Secret,
    TokenSet,
    Transient,
)
from integrations.knobs import Errors, Probe, ProbeRule, TokenFields
from integrations.verdicts import CLASSES as CLASSES_OF_DEFINITIONS
from tests.conftest import Leaks
from tests.unit.test_verdicts import CLASSES

ACCESS = "canary-at"
MISSING = object()
YEAR = 31_536_000


def answered(status: int = 200, **members: Any) -> Answer:
    """Return a token answer; a member that is MISSING is left out."""
    whole = {"access_token": ACCESS, "token_type": "Bearer", **members}
    present = {name: value for name, value in whole.items() if value is not MISSING}
    return Answer(status, {}, json.dumps(present).encode())


def raw(body: bytes, status: int = 200) -> Answer:
    return Answer(status, {}, body)


def test_an_answer_by_the_book_is_read_whole() -> None:
    """Every field of RFC 6749 section 5.1, and the two that vendors add, arrive."""
    tokens = read_tokens(
        answered(
            refresh_token="canary-rt",
            expires_in=3600,
            refresh_token_expires_in=86400,
            scope="read  write",
            id_token="canary-id",
        )
    )

    assert tokens == TokenSet(
        Secret(ACCESS), Secret("canary-rt"), "Bearer", 3600, 86400, ("read", "write"), Secret("canary-id")
    )


def test_an_access_token_is_all_that_is_needed() -> None:
    """The minimum: everything else is absent, and the old refresh token stays in force."""
    assert read_tokens(answered(token_type=MISSING)) == TokenSet(Secret(ACCESS))


LIFETIMES: list[tuple[Any, int | None]] = [
    (MISSING, None),
    (None, None),
    (3600, 3600),
    ("3600", 3600),
    ("0", 0),
    (0, 0),
    (-1, 0),
    (-3600, 0),
    (1, 1),
    (YEAR, YEAR),
    (YEAR + 1, None),
    (10**12, None),
    (10**30, None),
    ("99999999999", None),
    ("9" * 100, None),
    (True, None),
    (False, None),
    (3600.0, None),
    (3600.5, None),
    (1e300, None),
    (-1e300, None),
    (math.nan, None),
    (math.inf, None),
    (-math.inf, None),
    ("abc", None),
    ("", None),
    ("-1", None),
    ("+3600", None),
    ("3600.5", None),
    ("1e3", None),
    (" 3600 ", None),
    ("3_600", None),
    ("٣٦٠٠", None),  # digits, and not ours
    ("²", None),
    ("NaN", None),
    ([3600], None),
    ({"seconds": 3600}, None),
]


@pytest.mark.parametrize(("value", "believed"), LIFETIMES)
def test_a_lifetime_is_whole_seconds_up_to_a_year_or_unknown(value: Any, believed: int | None) -> None:
    """Zero and less is expired on arrival; what is no count of seconds says nothing, and costs no token."""
    tokens = read_tokens(answered(expires_in=value, refresh_token="canary-rt"))

    assert tokens.expires_in == believed
    assert tokens.access_token.reveal() == ACCESS
    assert tokens.refresh_token == Secret("canary-rt")


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "9" * 5000, "-" + "9" * 5000, "0.0"])
def test_a_number_that_python_stumbles_over_costs_no_token(number: str) -> None:
    """JSON that no JSON library of ours would write, and some provider's does."""
    body = f'{{"access_token": "{ACCESS}", "refresh_token": "canary-rt", "expires_in": {number}}}'
    tokens = read_tokens(raw(body.encode()))

    assert tokens.refresh_token == Secret("canary-rt")
    assert tokens.expires_in in (None, 0)


@pytest.mark.parametrize("value", [MISSING, None, "", 0, 17, True, [], ["canary-rt"], {}, {"a": "canary-rt"}, 1.5])
def test_what_is_no_refresh_token_leaves_the_old_one_in_force(value: Any) -> None:
    """Absent, null, empty and of another type are all the same: there is no new one."""
    assert read_tokens(answered(refresh_token=value)).refresh_token is None


@pytest.mark.parametrize("token", ["x", "same", "a b", "é", "\u0000", "line\nbreak", "r" * 65_536, "\U0001f511"])
def test_a_refresh_token_is_kept_as_it_is_whatever_it_looks_like(token: str) -> None:
    """Odd or long, it may be the only good one: it is not ours to improve."""
    assert read_tokens(answered(refresh_token=token)).refresh_token == Secret(token)


def test_half_a_character_is_no_token() -> None:
    """JSON can say a lone surrogate, no encoding can write it down: then there is no new refresh token."""
    body = b'{"access_token": "canary-at", "refresh_token": "canary-\\ud800"}'

    assert read_tokens(raw(body)).refresh_token is None
    with pytest.raises(OutcomeUnknown):
        read_tokens(raw(b'{"access_token": "canary-\\ud800"}'))


@pytest.mark.parametrize(
    "value", [MISSING, None, "", 0, 17, True, ["canary-at"], {"token": "canary-at"}, "x" * 65_537]
)
def test_an_answer_without_an_access_token_leaves_the_outcome_unknown(value: Any) -> None:
    """The provider said yes, and gave nothing: the refresh token may be spent."""
    with pytest.raises(OutcomeUnknown) as caught:
        read_tokens(answered(access_token=value, refresh_token="canary-rt"))

    assert caught.value.code == "http_200"


@pytest.mark.parametrize(
    ("value", "believed"),
    [
        (MISSING, "Bearer"),
        (None, "Bearer"),
        ("", "Bearer"),
        (7, "Bearer"),
        ("bearer", "bearer"),
        ("mac", "mac"),
    ],
)
def test_a_token_type_that_is_missing_is_bearer(value: Any, believed: str) -> None:
    """The field is required and often missing."""
    assert read_tokens(answered(token_type=value)).token_type == believed


@pytest.mark.parametrize(
    ("value", "believed"),
    [
        (MISSING, None),
        (None, None),
        ("", None),
        ("read", ("read",)),
        (" read   write ", ("read", "write")),
        (["read", "write"], None),
        (5, None),
        ("   ", ()),
    ],
)
def test_scopes_are_a_list_of_words_or_as_asked(value: Any, believed: tuple[str, ...] | None) -> None:
    """No scope in the answer means the scopes that were asked for (RFC 6749 section 5.1)."""
    assert read_tokens(answered(scope=value)).scopes == believed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"17",
        b'"canary-at"',
        b"[]",
        b'[{"access_token": "canary-at"}]',
        b"{}",
        b'{"access_token": "canary-at"',
        b'{"access_token": "canary-at"}}',
        b"{'access_token': 'canary-at'}",
        b"access_token=canary-at&token_type=bearer",
        b"<!doctype html><title>canary-sign-in</title>",
        b"\xff\xfe{\x00}\x00",
        b'{"access_token": "canary-\xff"}',
        b"\x00" * 64,
        b"\x1f\x8b\x08\x00canary",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"access_token": "canary-at", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_body_that_is_no_json_object_leaves_the_outcome_unknown(body: bytes) -> None:
    """The provider said yes, in words that nobody can read."""
    with pytest.raises(OutcomeUnknown):
        read_tokens(raw(body))


def test_a_byte_order_mark_is_no_reason_to_lose_a_token() -> None:
    """Some servers write one before their JSON, which RFC 8259 lets a reader ignore."""
    assert read_tokens(raw(b'\xef\xbb\xbf{"access_token": "canary-at"}')).access_token == Secret(ACCESS)


@pytest.mark.parametrize("status", [200, 201, 202, 206, 226, 299])
def test_any_success_with_a_token_is_one(status: int) -> None:
    """The token counts, not which of the successes it came with."""
    assert read_tokens(answered(status)).access_token == Secret(ACCESS)


@pytest.mark.parametrize("status", [100, 199, 300, 302, 304, 400, 401, 429, 500, 503])
def test_a_token_in_anything_but_a_success_is_none(status: int) -> None:
    """A 429 with a token in it is a 429."""
    with pytest.raises(ProviderError):
        read_tokens(answered(status))


def test_an_error_in_a_success_is_an_error() -> None:
    """Some providers say no with a 200."""
    with pytest.raises(ProviderError) as caught:
        read_tokens(answered(error="invalid_grant"))
    assert caught.value.code == "invalid_grant"


def test_every_number_of_seconds_up_to_a_year_is_taken_at_its_word() -> None:
    """The bounds of what is believed."""
    assert [lifetime(value) for value in (0, 1, LONGEST_LIFETIME, LONGEST_LIFETIME + 1)] == [0, 1, YEAR, None]


numbers = st.integers() | st.floats() | st.booleans() | st.none()
json_values = st.recursive(
    numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_a_lifetime_is_none_or_within_a_year_for_any_value(value: Any) -> None:
    """No value is ever believed beyond the bounds, or breaks the parser."""
    found = lifetime(value)

    assert found is None or (type(found) is int and 0 <= found <= LONGEST_LIFETIME)


@given(json_values)
def test_text_is_a_string_with_something_in_it(value: Any) -> None:
    """Only a string that can be written down passes, and unchanged."""
    found = text(value)

    assert found is None or (found == value and found != "" and found.encode())


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object(body: bytes) -> None:
    """Whatever the bytes, the answer is a dictionary."""
    assert isinstance(json_object(body), dict)


fields = st.sampled_from(
    [
        "access_token",
        "refresh_token",
        "expires_in",
        "refresh_token_expires_in",
        "token_type",
        "scope",
        "id_token",
        "error",
        "error_description",
    ]
)


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=100)
    | st.dictionaries(fields, json_values).map(lambda value: json.dumps(value).encode()),
)
def test_any_answer_is_a_token_set_or_one_class_of_failure(status: int, body: bytes) -> None:
    """Total: any status with any body is a token set, or raises exactly one of the six classes."""
    found = read_or_failure(Answer(status, {}, body))

    if isinstance(found, TokenSet):
        assert 200 <= status < 300
        assert found.access_token
        assert found.refresh_token is None or found.refresh_token
    else:
        assert type(found) in CLASSES


def read_or_failure(answer: Answer, *how: Any, **more: Any) -> TokenSet | ProviderError:
    try:
        return read_tokens(answer, *how, **more)
    except ProviderError as error:
        return error


@given(
    status=st.sampled_from([200, 302, 400, 401, 403, 429, 500, 502]),
    told=st.dictionaries(fields | st.text(), st.text().map(lambda said: f"canary-{said}"), min_size=1),
)
def test_what_the_provider_wrote_is_in_no_failure(status: int, told: dict[str, str]) -> None:
    """A provider may repeat our refresh token in its complaint: nothing of its text gets into the error."""
    found = read_or_failure(Answer(status, {}, json.dumps(told).encode()))

    if isinstance(found, ProviderError):
        for shown in (str(found), repr(found), repr(found.args), found.code, repr(vars(found))):
            assert "canary-" not in shown
        assert found.__cause__ is None
        assert found.__context__ is None


def test_an_answer_does_not_show_its_body(leaks: Leaks) -> None:
    """An Answer can be printed: what it holds is not part of its text."""
    leaks.check(repr(answered(refresh_token="canary-rt")))
    leaks.check(repr(read_tokens(answered(refresh_token="canary-rt"))))


# ---- where an answer has what


def mapped(body: Any, errors: Errors | None = None, *, status: int = 200, **fields: Any) -> TokenSet:
    errors = errors or Errors()
    answer = Answer(status, {}, json.dumps(body).encode())
    return read_tokens(answer, errors.verdicts(), fields=TokenFields(**fields), errors=errors)


def test_a_token_set_can_lie_anywhere_in_an_answer() -> None:
    """Each part has a path; what is not mapped stays where the standard has it."""
    body = {
        "authed_user": {"access": ACCESS, "refresh": "canary-rt", "scopes": "read,write", "kind": "user"},
        "expires": {"in": "600", "refresh": 7200},
        "identity": {"token": "canary-id"},
    }
    answer = Answer(200, {}, json.dumps(body).encode())
    fields = TokenFields(
        access_token="authed_user.access",
        refresh_token="authed_user.refresh",
        token_type="authed_user.kind",
        scope="authed_user.scopes",
        expires_in="expires.in",
        refresh_token_expires_in="expires.refresh",
        id_token="identity.token",
    )

    assert read_tokens(answer, fields=fields, scope_separator=",") == TokenSet(
        Secret(ACCESS), Secret("canary-rt"), "user", 600, 7200, ("read", "write"), Secret("canary-id")
    )


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"refresh_expires_in": 1800}, 1800),
        ({"refresh_token_expires_in": 7200, "refresh_expires_in": 1800}, 7200),
        ({"refresh_expires_in": 0}, None),  # Keycloak's offline tokens do not end
        ({"refresh_token_expires_in": "soon"}, None),
    ],
)
def test_how_long_a_refresh_token_lives_has_two_usual_names(said: dict[str, Any], seconds: int | None) -> None:
    """Zero is no life at all, and so it means that there is no end."""
    assert mapped({"access_token": ACCESS, **said}).refresh_expires_in == seconds


@pytest.mark.parametrize("path", ["a", "a.b", "a.b.c", "x", "x.0"])
def test_a_path_that_leads_nowhere_finds_nothing(path: str) -> None:
    """Through a text, a list, null or nothing at all."""
    with pytest.raises(OutcomeUnknown):
        mapped({"a": {"b": None}, "x": [ACCESS]}, access_token=path)


NOW = 1_800_000_000
EXPIRIES: list[tuple[str, Any, int | None]] = [
    ("unix", NOW + 600, 600),
    ("unix", str(NOW + 600), 600),
    ("unix", NOW - 5, 0),
    ("unix", NOW + 2 * YEAR, None),
    ("unix", 0, None),
    ("unix", -1, None),
    ("unix", True, None),
    ("unix", 10**30, None),
    ("unix", "soon", None),
    ("unix_ms", (NOW + 600) * 1000, 600),
    ("unix_ms", str((NOW + 600) * 1000), 600),
    ("unix_ms", NOW, 0),
    ("iso_8601", "2027-01-15T08:10:00Z", 600),
    ("iso_8601", "2027-01-15T10:10:00+02:00", 600),
    ("iso_8601", "2027-01-15T08:10:00.999Z", 600),
    ("iso_8601", "2027-01-15T08:10:00", None),  # of which place
    ("iso_8601", "2027-01-15", None),
    ("iso_8601", "0001-01-01T00:00:00+23:59", 0),
    ("iso_8601", "9999-12-31T23:59:59-23:59", None),
    ("iso_8601", "canary", None),
    ("iso_8601", NOW, None),
    ("iso_8601", None, None),
]


@pytest.mark.parametrize(("kind", "value", "believed"), EXPIRIES)
def test_an_end_can_be_a_moment(kind: Any, value: Any, believed: int | None, monkeypatch: Any) -> None:
    """In Unix time, in milliseconds, or as a date that says of which offset it is."""
    monkeypatch.setattr(time, "time", lambda: NOW)

    found = mapped({"access_token": ACCESS, "expiresAt": value}, expires_in="expiresAt", expires_as=kind)

    assert found.expires_in == believed


def test_what_means_that_a_token_never_ends_counts_as_a_year() -> None:
    """A value of the provider's own, which would be an end on arrival otherwise."""
    assert mapped({"access_token": ACCESS, "expires_in": 0}).expires_in == 0
    assert mapped({"access_token": ACCESS, "expires_in": 0}, never=(0,)).expires_in == YEAR
    assert mapped({"access_token": ACCESS, "expires_in": "never"}, never=(0, "never")).expires_in == YEAR
    assert mapped({"access_token": ACCESS, "expires_in": 1}, never=(0, "never")).expires_in == 1
    assert mapped({"access_token": ACCESS, "expires_in": False}, never=(0,)).expires_in is None
    assert (
        mapped({"access_token": ACCESS, "e": 0}, never=(0,), expires_in="e", expires_as="unix").expires_in == YEAR
    )


# ---- what a refusal means

META = Errors(
    codes=("error.error_subcode", "error.code"),
    classes={"grant_rejected": ("190", "463"), "transient": ("2",), "rate_limited": ("4",), "bug": ("100",)},
    messages=("error.message",),
    phrases={"client_rejected": ("Invalid App ID",)},
)
REFUSALS: list[tuple[Any, int, type[ProviderError], str]] = [
    ({"error": {"code": 190, "error_subcode": 463}}, 400, GrantRejected, "463"),
    ({"error": {"code": 190, "error_subcode": 99999}}, 400, GrantRejected, "190"),
    ({"error": {"code": "190"}}, 500, GrantRejected, "190"),
    ({"error": {"code": 190}}, 200, GrantRejected, "190"),
    ({"error": {"code": 2}}, 500, Transient, "2"),
    ({"error": {"code": 4}}, 400, RateLimited, "4"),
    ({"error": {"code": 100}}, 400, Misused, "100"),
    ({"error": {"message": "canary: INVALID app id."}}, 400, ClientRejected, "client_rejected"),
    ({"error": {"code": 190, "message": "Invalid App ID"}}, 400, GrantRejected, "190"),
    ({"error": {"code": 7, "message": "canary"}}, 400, Transient, "http_400"),
    ({"error": {"code": True}}, 400, Transient, "http_400"),
    ({"error": {"code": [190]}}, 400, Transient, "http_400"),
]


@pytest.mark.parametrize(("body", "status", "meaning", "code"), REFUSALS)
def test_a_definition_says_what_the_codes_of_its_provider_mean(
    body: Any, status: int, meaning: type[ProviderError], code: str
) -> None:
    """The most telling code first, then phrases in messages; nothing of the provider's text is repeated."""
    with pytest.raises(ProviderError) as caught:
        mapped(body, META, status=status)

    assert type(caught.value) is meaning
    assert caught.value.code == code


def test_a_definition_may_mean_another_thing_by_a_word_of_the_standard() -> None:
    """Where a tenant enters a key of its own, `invalid_client` is said of that key, not of a client of ours."""
    morning = Errors(classes={"grant_rejected": ("invalid_client", "unauthorized_client")})

    for word, meaning in [("invalid_client", GrantRejected), ("invalid_request", Misused)]:
        with pytest.raises(ProviderError) as caught:
            mapped({"error": word}, morning, status=401)
        assert type(caught.value) is meaning


def test_a_status_can_be_a_code() -> None:
    """For providers that say nothing more."""
    with pytest.raises(GrantRejected):
        mapped({}, Errors(classes={"grant_rejected": ("http_401",)}), status=401)
    with pytest.raises(Transient):
        mapped({}, Errors(classes={"grant_rejected": ("http_401",)}), status=400)


def test_a_code_of_success_costs_no_token() -> None:
    """Where a provider has codes for both, an unknown one beside a token is no refusal."""
    errors = Errors(codes=("code",), classes={"grant_rejected": ("190",)})

    assert mapped({"code": 200, "access_token": ACCESS}, errors).access_token == Secret(ACCESS)
    assert mapped({"code": 0, "access_token": ACCESS}, errors).access_token == Secret(ACCESS)
    with pytest.raises(GrantRejected):
        mapped({"code": 190, "access_token": ACCESS}, errors)


# ---- probes

RESEND = Probe(
    rules=(
        ProbeRule(verdict="limited", status=401, says="restricted_api_key"),
        ProbeRule(verdict="unknown", status=403),
        ProbeRule(verdict="invalid", says="API key is invalid"),
    )
)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (401, b'{"name": "restricted_api_key"}', "limited"),
        (401, b'{"name": "missing"}', "invalid"),
        (403, b"restricted_api_key", "unknown"),
        (200, b"API key is invalid", "invalid"),
        (200, b"\xff\xfe", "valid"),
        (299, b"", "valid"),
        (500, b"", "unknown"),
        (302, b"", "unknown"),
    ],
)
def test_a_definition_says_what_a_probe_tells(status: int, body: bytes, verdict: str) -> None:
    """The first rule that fits, and where none does, the status."""
    assert read_probe(Answer(status, {}, body), RESEND) == verdict


def test_what_a_token_may_not_see_is_no_proof_against_it() -> None:
    """RFC 6750 section 3.1: 403 is of a good token that lacks a scope, 401 of one that is expired or revoked."""
    assert [read_probe(Answer(status), Probe()) for status in (401, 403)] == ["invalid", "unknown"]


# ---- any answer, any mapping

names = st.sampled_from(["a", "b", "error", "access_token", "expires_in", "code"])
paths = st.lists(names, min_size=1, max_size=3).map(".".join)
words = st.sampled_from(["190", "x", "invalid_grant", "http_400", "http_502", "0"])
classes = st.sampled_from(sorted(CLASSES_OF_DEFINITIONS))
bodies = st.recursive(
    numbers | words | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=60) | bodies.map(lambda value: json.dumps(value).encode()),
    fields=st.builds(
        TokenFields,
        access_token=paths,
        refresh_token=paths,
        token_type=paths,
        scope=paths,
        expires_in=paths,
        expires_as=st.sampled_from(["seconds", "unix", "unix_ms", "iso_8601"]),
        never=st.lists(st.integers(-1, 1) | words, max_size=2).map(tuple),
    ),
    errors=st.builds(
        Errors,
        codes=st.lists(paths, max_size=3).map(tuple),
        messages=st.lists(paths, max_size=2).map(tuple),
        classes=st.dictionaries(classes, st.lists(words, max_size=3).map(tuple)),
        phrases=st.dictionaries(classes, st.lists(words, max_size=2).map(tuple)),
    ),
    separator=st.sampled_from([" ", ",", ", "]),
)
def test_any_answer_under_any_mapping_is_a_token_set_or_one_class_of_failure(
    status: int, body: bytes, fields: TokenFields, errors: Errors, separator: str
) -> None:
    """Total, and the word for a failure is one of ours or of the definition."""
    verdicts = errors.verdicts()
    answer = Answer(status, {}, body)
    found = read_or_failure(answer, verdicts, fields=fields, errors=errors, scope_separator=separator)

    if isinstance(found, TokenSet):
        assert 200 <= status < 300
        assert found.access_token
        assert found.expires_in is None or 0 <= found.expires_in <= LONGEST_LIFETIME
    else:
        assert type(found) in CLASSES
        assert found.code == f"http_{status}" or found.code in verdicts
        assert found.__context__ is None
