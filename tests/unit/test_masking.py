"""What may be seen of what was entered."""

from hypothesis import given
from hypothesis import strategies as st

from integrations.contract import Field, Kind, Secret
from vault.entering.masking import MASK, masked

KIND = Kind(
    id="key",
    label="Key",
    how="enter",
    renewal="none",
    fields=(Field(name="sid", label="SID", secret=False), Field(name="key", label="Key")),
)


def seen(key: str) -> str:
    return masked(KIND, {"key": Secret(key)})["key"]


def test_a_key_is_recognised_by_its_end() -> None:
    """Four characters of a long one, and what is no secret whole."""
    fields = {"sid": Secret("AC123"), "key": Secret("canary0123456789abcd")}

    assert masked(KIND, fields) == {"sid": "AC123", "key": f"{MASK}abcd"}


def test_the_length_of_a_secret_is_not_seen() -> None:
    """A short one and a long sentence look the same."""
    assert seen("x") == seen("fifteen-letters") == seen("a pass phrase of words") == MASK


@given(st.text(max_size=60))
def test_no_more_than_four_characters_are_seen(key: str) -> None:
    """Whatever was entered: its last four at most, behind a mask of one length."""
    shown = seen(key).removeprefix(MASK)

    assert shown == "" or (key.endswith(shown) and len(shown) == 4 and len(key) >= 16)
