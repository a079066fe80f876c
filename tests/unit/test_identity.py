"""An ID token is believed where every claim that names us does, and never otherwise."""

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.contract import Account, Client, Secret, Unreadable
from integrations.identity import CLOCK_SKEW, account_of

ISSUER = "https://id.example.test"
CLIENT = "client-1"
NONCE = "canary-nonce"


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def id_token(claims: Any, *, header: Any = None) -> Secret:
    """Return *claims* as an unsigned ID token."""
    parts = (json.dumps(header or {"alg": "RS256"}).encode(), json.dumps(claims).encode())
    return Secret(".".join([*map(encoded, parts), "canary-signature"]))


def good(**changed: Any) -> dict[str, Any]:
    """Return claims that are for us, but for *changed*; None takes one away."""
    claims = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "account-1",
        "exp": int(time.time()) + 600,
        "nonce": NONCE,
        "email": "person@example.test",
        "name": "A Person",
    }
    return {name: value for name, value in (claims | changed).items() if value is not None}


def account(token: Secret, **expected: Any) -> Account:
    wanted = {"issuers": [ISSUER], "client": Client(CLIENT), "nonce": NONCE, "keys": None, **expected}
    return account_of(token, **wanted)


def refusal(token: Secret, **expected: Any) -> str:
    """Return the word with which *token* is refused."""
    with pytest.raises(Unreadable) as caught:
        account(token, **expected)
    assert "canary-" not in str(caught.value)
    return caught.value.code


def test_the_account_is_the_subject_and_the_label_its_address() -> None:
    """The stable `sub` identifies; the e-mail, else the name, is for people."""
    assert account(id_token(good())) == Account("account-1", "person@example.test")
    assert account(id_token(good(email=None))) == Account("account-1", "A Person")
    assert account(id_token(good(email=None, name=None))) == Account("account-1", None)


@pytest.mark.parametrize("label", ["", 17, ["x"], {}, True, "line\nbreak", "nul\x00", "half \ud800"])
def test_a_label_that_cannot_be_shown_is_left_out(label: Any) -> None:
    """A label is a courtesy: an odd one takes nothing away from the account."""
    assert account(id_token(good(email=label, name=label))) == Account("account-1", None)
    assert account(id_token(good(email=label))) == Account("account-1", "A Person")


@pytest.mark.parametrize("label", ["Zoë", "田中\u3000太郎", "a\u00a0b", "🙂", "<script>", "x" * 5000])
def test_a_label_may_be_in_any_language(label: str) -> None:
    """What a person calls themselves is kept as it is; whoever shows it escapes it."""
    assert account(id_token(good(email=None, name=label))).label == label


@pytest.mark.parametrize("audience", [[CLIENT], ["other", CLIENT], [CLIENT, 17, None]])
def test_one_of_several_audiences_may_be_us(audience: Any) -> None:
    """OpenID Connect Core 2: `aud` is a string or a list of them."""
    assert account(id_token(good(aud=audience))).subject == "account-1"


OTHERS = ("client-2", "client-10", "client", " client-1", "CLIENT-1", ["client-2"], ["client-1 client-2"])
NOBODY: tuple[Any, ...] = (None, "", [], [[CLIENT]], {CLIENT: True}, 17, True)


@pytest.mark.parametrize("audience", [*OTHERS, *NOBODY])
def test_another_audience_is_refused(audience: Any) -> None:
    """A token for somebody else says nothing about who is here."""
    assert refusal(id_token(good(aud=audience))) == "id_token_audience"


@pytest.mark.parametrize(
    "issuer",
    [
        None,
        "",
        ISSUER + "/",
        ISSUER.upper(),
        "http://id.example.test",
        "https://id.example.test.evil.test",
        [ISSUER],
    ],
)
def test_another_issuer_is_refused(issuer: Any) -> None:
    """The issuer is compared to the letter."""
    assert refusal(id_token(good(iss=issuer))) == "id_token_issuer"


def test_a_provider_without_a_known_issuer_may_call_itself_anything() -> None:
    """Plain OAuth providers that hand out an ID token have no issuer to hold it against."""
    assert account(id_token(good(iss="https://whoever.test")), issuers=[]).subject == "account-1"


@pytest.mark.parametrize("nonce", [None, "", "canary-other", NONCE.upper(), NONCE + " ", [NONCE], True])
def test_another_nonce_is_refused(nonce: Any) -> None:
    """A token that was not made for this visit is not taken for it."""
    assert refusal(id_token(good(nonce=nonce))) == "id_token_nonce"


def test_a_nonce_that_nobody_sent_is_not_expected() -> None:
    """Refresh answers and visits without openid have none."""
    assert account(id_token(good(nonce=None)), nonce=None).subject == "account-1"
    assert account(id_token(good(nonce="whatever")), nonce=None).subject == "account-1"


@pytest.mark.parametrize("late", [-31_536_000, -1, 0, CLOCK_SKEW - 5])
def test_clocks_may_differ_by_five_minutes(late: int) -> None:
    """A token that ended a moment ago, by our clock, is still one."""
    assert account(id_token(good(exp=int(time.time()) - late))).subject == "account-1"
    assert account(id_token(good(exp=time.time() - late + 0.5))).subject == "account-1"


@pytest.mark.parametrize(
    "expiry",
    [None, 0, -1, 1_600_000_000, 1.6e9, "99999999999", "never", [], {}, True, float("nan"), 1e999, -1e999],
)
def test_a_token_without_a_time_ahead_is_refused(expiry: Any) -> None:
    """Ended, endless, or not a number: Python's JSON knows NaN and Infinity, and they are no times."""
    assert refusal(id_token(good(exp=expiry))) == "id_token_expired"


@pytest.mark.parametrize(
    "subject", [None, "", 17, 1.5, True, ["account-1"], {}, "a\x00b", "a\nb", "\x7f", "\ud800"]
)
def test_a_subject_that_identifies_nobody_is_refused(subject: Any) -> None:
    """What a database or a log could not take as one line of text is no subject."""
    assert refusal(id_token(good(sub=subject))) == "id_token_subject"


@pytest.mark.parametrize(
    "token",
    [
        "canary-",
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "a.!!!.c",
        "a.é.c",
        "a.x.c",
        "a.====.c",
        f"a.{'e30' * 9}.c",
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Too few or too many parts, no base64, no JSON: refused like any other, without its text."""
    assert refusal(Secret(token)).startswith("id_token_")


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'"x"', b"17", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000],
)
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    """Nothing that a parser could choke on gets further than the refusal."""
    assert refusal(Secret(f"{encoded(b'{}')}.{encoded(payload)}.x")).startswith("id_token_")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=2)
)
claims = st.fixed_dictionaries(
    {},
    optional={
        "iss": st.just(ISSUER) | json_values,
        "aud": st.just(CLIENT) | st.just([CLIENT]) | json_values,
        "sub": st.just("account-1") | json_values,
        "exp": st.just(time.time() + 86_400) | json_values,
        "nonce": st.just(NONCE) | json_values,
        "email": json_values,
    },
)


@given(claims)
def test_claims_are_an_account_or_a_refusal(found: dict[str, Any]) -> None:
    """Whatever the claims: believed with every one of them right, refused by one word otherwise."""
    try:
        believed = account(id_token(found))
    except Unreadable:
        return
    assert found["iss"] == ISSUER
    assert found["nonce"] == NONCE
    assert CLIENT in ([found["aud"]] if isinstance(found["aud"], str) else found["aud"])
    assert believed.subject == found["sub"]


@given(st.text(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_any_text_is_refused_by_one_word(text: str | list[bytes]) -> None:
    """No text makes the reader fail in any other way."""
    token = text if isinstance(text, str) else ".".join(map(encoded, text))
    assert refusal(Secret(token)).startswith("id_token_")
