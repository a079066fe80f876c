"""The file of an export: whole and in order it opens, and in no other way.

What is sealed is opened by a second implementation too, from the words at the top of `vault/moving/archive.py`
and the standard library's scrypt and HMAC: the words are what a reader elsewhere has.
"""

import base64
import hashlib
import hmac
import io

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from integrations.contract import Secret
from vault.errors import Invalid
from vault.moving import archive
from vault.moving.archive import CHUNK

PASSPHRASE = "canary-passphrase-" + "p" * 32
TAG = 16
TEXT = (b'{"canary-token": "' + b"x" * 80 + b'"}\n') * (2 * CHUNK // 100 + 9)


def sealed(text: bytes, piece: int = 1_000) -> bytes:
    """Return *text* as an export, written in pieces of that many bytes."""
    file = io.BytesIO()
    sealing = archive.Sealing(file, Secret(PASSPHRASE))
    for start in range(0, len(text), piece):
        sealing.write(text[start : start + piece])
    sealing.close()
    return file.getvalue()


def second_opinion(content: bytes) -> bytes:
    """Return the text, read as the format is described."""
    first, _, rest = content.partition(b"\n")
    name, salt, commitment = first.split(b" ")
    derived = hashlib.scrypt(PASSPHRASE.encode(), salt=unpadded(salt), n=2**17, r=8, p=1, maxmem=2**28, dklen=32)
    pseudo_random = hmac.digest(bytes(32), derived, "sha256")  # HKDF, RFC 5869, with no salt
    key = hmac.digest(pseudo_random, b"tokenvault/export/1\x01", "sha256")
    assert hmac.digest(pseudo_random, key + b"tokenvault/export/1\x02", "sha256") == unpadded(commitment)
    assert name == b"tokenvault-export/1"
    chunks, number = [rest[i : i + CHUNK + TAG] for i in range(0, len(rest), CHUNK + TAG)], 0
    text = b""
    for number, chunk in enumerate(chunks):
        iv = number.to_bytes(11, "big") + bytes([number == len(chunks) - 1])
        opening = Cipher(algorithms.AES(key), modes.GCM(iv, chunk[-TAG:])).decryptor()
        opening.authenticate_additional_data(first + b"\n")
        text += opening.update(chunk[:-TAG]) + opening.finalize()
    return text


def unpadded(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def refusal(content: bytes, passphrase: str = PASSPHRASE) -> str:
    with pytest.raises(Invalid) as refused:
        archive.opened(content, Secret(passphrase))
    assert "canary-" not in f"{refused.value!r} {refused.value.detail}"
    return refused.value.code


@pytest.fixture(name="three", scope="module")
def _three() -> bytes:
    """An export of three chunks."""
    return sealed(TEXT)


@pytest.mark.parametrize("length", [0, CHUNK, CHUNK + 1])
def test_what_was_sealed_comes_back(length: int) -> None:
    """Nothing, what just fills a chunk, and what does not any more."""
    text = TEXT[:length]
    content = sealed(text)

    assert archive.opened(content, Secret(PASSPHRASE)) == text
    assert archive.is_sealed(content)


def test_the_words_are_what_it_does(three: bytes) -> None:
    """Whoever reads it as it is described reads the same; nothing of it is in the clear."""
    assert second_opinion(three) == archive.opened(three, Secret(PASSPHRASE)) == TEXT
    assert b"canary-" not in three


def split(content: bytes) -> tuple[bytes, list[bytes]]:
    first, _, rest = content.partition(b"\n")
    return first + b"\n", [rest[i : i + CHUNK + TAG] for i in range(0, len(rest), CHUNK + TAG)]


@pytest.fixture(name="cipher", scope="module")
def _cipher(three: bytes) -> AESGCM:
    """What opens its chunks: derived once, because that takes half a second."""
    return archive._cipher(Secret(PASSPHRASE), unpadded(three.split(b" ")[1]))[0]


def opens(cipher: AESGCM, first: bytes, chunks: list[bytes]) -> bool:
    try:
        return bool(b"".join(archive._chunks(cipher, first, b"".join(chunks))))
    except Invalid:
        return False


def test_what_was_cut_or_moved_does_not_open(three: bytes, cipher: AESGCM) -> None:
    """The end, whole chunks, their order, what is added: all of it is seen."""
    first, (a, b, c) = split(three)

    assert opens(cipher, first, [a, b, c])
    for chunks in ([a, b], [a], [], [b, a, c], [a, a, c], [a, c], [a, b, c[:-1]], [a, b, c, c], [a, b, c, b"x"]):
        assert not opens(cipher, first, chunks)
    assert not opens(cipher, first, [a, b, c[:TAG]])
    assert refusal(three[:-1]) == "altered_export"


def test_an_empty_end_is_no_end(three: bytes, cipher: AESGCM) -> None:
    """A chunk of nothing comes only where there is nothing: one way to write a text is enough."""
    first, (a, b, _) = split(three)
    last = cipher.encrypt((2).to_bytes(11, "big") + b"\1", b"", first)

    assert not opens(cipher, first, [a, b, last])


def test_no_bit_can_be_flipped(three: bytes, cipher: AESGCM) -> None:
    """In the first line, which all chunks are bound to, in any chunk, in a tag."""
    first, chunks = split(three)
    line_ends = three.index(b"\n")
    for place in (line_ends + 1, CHUNK + 200, 2 * CHUNK + 500, len(three) - 1):
        assert not opens(cipher, *split(flipped(three, place)))
    assert not opens(cipher, flipped(first, 70), chunks)
    assert {refusal(flipped(three, place)) for place in (0, 18, 19, 62, line_ends)} == {"not_an_export"}
    # What is flipped may be a letter no more.
    assert refusal(flipped(three, 25)) in {"not_an_export", "wrong_passphrase"}
    assert refusal(flipped(three, 70)) in {"not_an_export", "wrong_passphrase"}


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


def test_no_two_exports_share_a_key(three: bytes) -> None:
    """The same text twice is not the same file: the salt is this file's alone."""
    assert sealed(TEXT).partition(b"\n")[0] != three.partition(b"\n")[0]


def test_a_wrong_passphrase_is_called_that(three: bytes) -> None:
    """It is told apart from a file that was altered, which is no use to whoever guesses."""
    assert refusal(three, "canary-another-" + "q" * 32) == "wrong_passphrase"


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b"tokenvault-export/2 x y\n", b"tokenvault-export/1 x y\n", b"tokenvault-export/1"]
)
def test_what_is_no_export_is_refused(content: bytes) -> None:
    """Another version, or something else."""
    assert refusal(content) == "not_an_export"
