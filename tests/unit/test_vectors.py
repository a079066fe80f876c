"""The fixed vectors, held against the vault and against the second implementation."""

import ast
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from integrations.contract import Secret
from tests import second_opinion
from tests.vectors import make
from vault.errors import CannotOpen
from vault.keyring import Context, Keyring, Sealed

Vector = Mapping[str, Any]
Open = Callable[[Vector], str]

VECTORS: list[Vector] = json.loads(make.FILE.read_text(encoding="utf-8"))
BY_NAME = {vector["name"]: vector for vector in VECTORS}
OPENING = [vector for vector in VECTORS if vector["expect"] == "opens"]
REFUSED = [vector for vector in VECTORS if vector["expect"] != "opens"]


def roots_of(vector: Vector) -> dict[int, bytes]:
    return {int(key_id): bytes.fromhex(root) for key_id, root in vector["roots"].items()}


def with_the_vault(vector: Vector) -> str:
    roots = roots_of(vector)
    ring = Keyring(vector["instance"], roots, primary=next(iter(roots), 0), mac_root=bytes(32))
    return ring.open(Sealed.from_wire(bytes.fromhex(vector["wire"])), Context(**vector["context"])).reveal()


def with_the_second(vector: Vector) -> str:
    place = second_opinion.Place(**vector["context"])
    return second_opinion.open_(roots_of(vector), vector["instance"], place, bytes.fromhex(vector["wire"]))


def refusal_by_the_vault(vector: Vector) -> Exception:
    with pytest.raises(CannotOpen) as caught:
        with_the_vault(vector)
    return caught.value


def named(vectors: list[Vector]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", [pytest.param(each, id=each["name"]) for each in vectors])


BOTH = pytest.mark.parametrize(
    "open_", [pytest.param(with_the_vault, id="vault"), pytest.param(with_the_second, id="second")]
)


@BOTH
@named(OPENING)
def test_opens(open_: Open, vector: Vector) -> None:
    """A value opens where it was sealed, to the text that was sealed, in both implementations."""
    assert open_(vector) == vector["text"]


@named(REFUSED)
def test_refused_by_the_vault(vector: Vector) -> None:
    """What is moved, altered, cut, extended, downgraded or under an unknown key is refused without detail."""
    error = refusal_by_the_vault(vector)

    assert (type(error), error.args, str(error), repr(error)) == (CannotOpen, (), "", "CannotOpen()")
    assert (error.__cause__, vars(error)) == (None, {})


@named(REFUSED)
def test_refused_by_the_second(vector: Vector) -> None:
    """The second implementation refuses the very same vectors."""
    with pytest.raises(second_opinion.Refused):
        with_the_second(vector)


def test_one_error() -> None:
    """Whatever was done to a value, what an error report prints of its refusal is the same."""
    printed = {"".join(traceback.format_exception_only(refusal_by_the_vault(vector))) for vector in REFUSED}

    assert printed == {"vault.errors.CannotOpen\n"}


@named(REFUSED)
def test_says_what_was_done(vector: Vector) -> None:
    """A refused vector differs from the one that opens in what its expectation says, and in nothing else."""
    origin = BY_NAME[vector["made_from"]]
    wire, whole = bytes.fromhex(vector["wire"]), bytes.fromhex(origin["wire"])
    where = ("instance", "context")
    changed = {key for key in ("roots", "wire", *where) if vector[key] != origin[key]}

    assert origin["expect"] == "opens"
    match vector["expect"]:
        case "wrong context":
            assert changed
            assert changed <= set(where)
        case "unknown key":
            assert len(changed) == 1
            assert str(int.from_bytes(wire[1:5], "big")) not in vector["roots"]
        case "altered":
            assert changed == {"wire"}
            assert len(wire) == len(whole)
            assert wire[0] == whole[0]
        case "truncated":
            assert changed == {"wire"}
            assert whole.startswith(wire)
        case "extended":
            assert changed == {"wire"}
            assert whole in wire
        case "downgraded":
            assert changed == {"wire"}
            assert len(wire) == len(whole)
            assert wire[0] != 1 or wire[-16:] != whole[-16:]
        case other:
            pytest.fail(f"no such expectation: {other}")


def test_every_kind() -> None:
    """Every way in which a value can be wrong has vectors, and every vector a name of its own."""
    kinds = {"wrong context", "unknown key", "altered", "truncated", "extended", "downgraded"}

    assert {vector["expect"] for vector in REFUSED} == kinds
    assert len(BY_NAME) == len(VECTORS)


def test_two_key_ciphertext() -> None:
    """The colliding vectors are one ciphertext and two texts, which the commitment alone tells apart."""
    as_a, as_b = (BY_NAME[f"two-key ciphertext as {name}'s"] for name in "AB")

    assert as_a["text"] != as_b["text"]
    assert as_a["wire"][2 * 81 :] == as_b["wire"][2 * 81 :]
    assert as_a["wire"][2 * 5 : 2 * 49] == as_b["wire"][2 * 5 : 2 * 49]


def test_file_is_as_made() -> None:
    """The committed vectors are what `python -m tests.vectors.make` writes."""
    assert make.FILE.read_text(encoding="utf-8") == make.render()


@named([vector for vector in OPENING if not vector["name"].startswith("two-key")])
def test_vault_seals_the_like(vector: Vector) -> None:
    """What the vault seals for a vector's place has the length of the vector and opens in the second."""
    key_id = int.from_bytes(bytes.fromhex(vector["wire"])[1:5], "big")
    ring = Keyring(vector["instance"], roots_of(vector), primary=key_id, mac_root=bytes(32))
    wire = ring.seal(Secret(vector["text"]), Context(**vector["context"])).to_wire().hex()

    assert len(wire) == len(vector["wire"])
    assert wire[:10] == vector["wire"][:10]
    assert with_the_second({**vector, "wire": wire}) == vector["text"]


def test_second_stands_alone() -> None:
    """The second implementation imports nothing but the standard library."""
    tree = ast.parse(Path(second_opinion.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported == {"collections.abc", "dataclasses", "hashlib", "hmac"}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_second_knows_aes() -> None:
    """The second implementation's AES-256 gives the block of FIPS 197, appendix C.3."""
    block = bytes.fromhex("00112233445566778899aabbccddeeff")

    assert second_opinion.aes_block(bytes(range(32)), block).hex() == "8ea2b7ca516745bfeafc49904b496089"


def test_second_knows_gcm() -> None:
    """The second implementation's GCM gives test case 16 of its specification, with AAD and a part block."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    text = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    expected = (
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"
    )

    box = second_opinion.gcm_encrypt(key, bytes.fromhex("cafebabefacedbaddecaf888"), text, aad)

    assert box.hex() == expected


def test_second_knows_hkdf() -> None:
    """The second implementation's HKDF gives test case 1 of RFC 5869, appendix A.1."""
    key = second_opinion.hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"

    assert key.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    assert second_opinion.hkdf_expand(key, bytes(range(0xF0, 0xFA)), 42).hex() == expected
