"""The chain's bytes, written out here a second time: whoever reads an old audit has to come to the same."""

import hashlib
import hmac
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vault.chain import Chain, Position

KEY = bytes(range(32))
LINKS = '[["aa",3,"00"]]'
RECORD = ("5f", 1, 1764000000123, "caller:é", "token.handed_out", "ok", "acme", None, "", 17, None, '{"a": "1,"}')
FIELDS = st.one_of(st.none(), st.integers(), st.text(st.characters(codec="utf-8")))


def mac(*parts: bytes) -> str:
    return hmac.new(KEY, b"".join(parts), hashlib.sha256).hexdigest()


def field(value: Any) -> bytes:
    if value is None:
        return b"-,"
    raw = str(value).encode()
    return str(len(raw)).encode() + b":" + raw + b","


def test_a_stream_begins_with_its_name_and_links() -> None:
    """mac(0) is over a label, the stream and its links."""
    expected = mac(b"18:tokenvault/audit/1,", b"2:5f,", b'15:[["aa",3,"00"]],')

    assert Chain(KEY).beginning("5f", LINKS).hex() == expected
    assert expected == BEGINNING


def test_a_record_is_linked_to_the_one_before() -> None:
    """mac(n) is over mac(n-1) and all fields of the record, absent and empty ones told apart."""
    record = (
        b'2:5f,1:1,13:1764000000123,9:caller:\xc3\xa9,16:token.handed_out,2:ok,4:acme,-,0:,2:17,-,11:{"a": "1,"},'
    )

    assert Chain(KEY).link(bytes(32), RECORD).hex() == mac(bytes(32), record)
    assert mac(bytes(32), record) == LINKED


def test_bases_and_heads_are_signed_apart() -> None:
    """What says where a stream begins can never be taken for what says where it ends."""
    position = Position(7, b"\xab" * 32)
    in_hex = b"64:" + b"ab" * 32 + b","
    since, links = b"2:5f,13:1764000000123,", b"15:" + LINKS.encode() + b","
    base = mac(b"23:tokenvault/audit/base/1,", since, links, b"1:7,", in_hex)
    head = mac(b"23:tokenvault/audit/head/1,", since, b"1:7,", in_hex)

    assert Chain(KEY).sign_base("5f", 1764000000123, LINKS, position).hex() == base
    assert Chain(KEY).sign_head("5f", 1764000000123, position).hex() == head
    assert (base, head) == (BASE, HEAD)


@given(st.lists(FIELDS, min_size=12, max_size=12), st.lists(FIELDS, min_size=12, max_size=12))
def test_other_records_have_other_macs(one: list[Any], other: list[Any]) -> None:
    """No text in one field can look like the border to the next. A number is the same as its digits."""
    link = Chain(KEY).link
    same = [None if each is None else str(each) for each in one] == [
        None if each is None else str(each) for each in other
    ]

    assert (link(bytes(32), one) == link(bytes(32), other)) == same
    assert link(bytes(32), one).hex() == mac(bytes(32), *map(field, one))


BEGINNING = "eb4e1145acced331570c7fb90cd14ae5dba320bedbe242b59133e5ca1b3f6dd8"
LINKED = "56955d5e4665ee83ec173fa5275df746ffb9d32acbe0ec21d1d993f74ed4e0c8"
BASE = "dcd192ad8048902ff288f631f27a445a65a7d83cc16721d99c47cebc8322382c"
HEAD = "5b501d649dea8c8ca60b57c5c039c7757f33acba8cae3a7cc03fe3d8a9b1a519"
