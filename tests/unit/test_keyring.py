"""Sealed values, their keys and keyed hashes, whatever the value and wherever it is put."""

import hmac
import itertools
import struct
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from integrations.contract import Secret
from tests import second_opinion
from vault import keyring
from vault.errors import CannotOpen
from vault.keyring import Context, Keyring, Sealed

A, B, C = 0x0A0B0C0D, 0xB0000001, 0xC0000001
ROOTS = {A: bytes(range(32)), B: bytes(range(32, 64))}
MAC_ROOT = bytes(range(64, 96))
INSTANCE = "3f0d5a52"
HERE = Context("acme", "google", "connection", "7b1e", "refresh_token", 17)
WRAPPING = bytes(range(96, 128))
LABEL = b"tokenvault/values/1"
ENCRYPTION_SECRET = Secret("ein Geheimnis aus gut 32 Zeichen, süß")

several = settings(max_examples=60)
names = st.text(max_size=12)
contexts = st.builds(Context, names, names, names, names, names, st.integers(0, 2**64 - 1))
wires = st.text(max_size=40).map(lambda text: seal(text).to_wire())


def ring_of(*key_ids: int, instance: str = INSTANCE) -> Keyring:
    """Return a ring of these keys, the first of which seals."""
    return Keyring(instance, {key_id: ROOTS[key_id] for key_id in key_ids}, key_ids[0], MAC_ROOT)


def seal(text: str, context: Context = HERE, ring: Keyring | None = None) -> Sealed:
    return (ring or ring_of(A, B)).seal(Secret(text), context)


def open_(wire: bytes, context: Context = HERE, ring: Keyring | None = None) -> str:
    return (ring or ring_of(A, B)).open(Sealed.from_wire(wire), context).reveal()


def opens(wire: bytes, context: Context = HERE, ring: Keyring | None = None) -> bool:
    """Return whether it opens. An error other than CannotOpen without detail goes through."""
    try:
        open_(wire, context, ring)
    except CannotOpen as error:
        if (error.args, str(error), error.__cause__) != ((), "", None):
            raise
        return False
    return True


def context_of(parts: list[str]) -> Context:
    """Return the context of these names, of which the first is the installation's."""
    _, tenant, provider, owner_kind, owner_id, field = parts
    return Context(tenant, provider, owner_kind, owner_id, field, 17)


def place_of(context: Context) -> second_opinion.Place:
    return second_opinion.Place(*astuple(context))


def refuses(call: Callable[..., object], *args: Any, **named: Any) -> bool:
    """Return whether this call ends in CannotOpen without detail."""
    try:
        call(*args, **named)
    except CannotOpen as error:
        return (error.args, str(error), error.__cause__) == ((), "", None)
    return False


# Sealing and opening


@several
@given(st.text(), contexts, names)
@example("", Context("", "", "", "", "", 0), "")
@example("\0\ufeff\U0010ffff", HERE, INSTANCE)
def test_round_trip(text: str, context: Context, instance: str) -> None:
    """Any text opens again in its context, through the columns and through the wire form."""
    ring = ring_of(A, instance=instance)
    sealed = ring.seal(Secret(text), context)

    assert ring.open(sealed, context) == Secret(text)
    assert open_(sealed.to_wire(), context, ring) == text
    assert Sealed.from_wire(sealed.to_wire()) == sealed


@several
@given(st.text(max_size=40), contexts, names)
def test_the_second_opens_ours(text: str, context: Context, instance: str) -> None:
    """The second implementation opens what the vault seals."""
    wire = ring_of(A, instance=instance).seal(Secret(text), context).to_wire()

    assert second_opinion.open_(ROOTS, instance, place_of(context), wire) == text


@several
@given(
    st.text(max_size=40),
    contexts,
    names,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=12, max_size=12),
)
def test_we_open_the_seconds(text: str, context: Context, instance: str, salt: bytes, iv: bytes) -> None:
    """The vault opens what the second implementation seals, whatever its salt and iv."""
    wire = second_opinion.seal(ROOTS[B], B, instance, place_of(context), text, salt, iv)

    assert open_(wire, context, ring_of(A, B, instance=instance)) == text


def test_salts_and_ivs() -> None:
    """Two seals of the same value never share a salt, an iv, a commitment or a ciphertext."""
    ring = ring_of(A)
    seals = [seal("the same", ring=ring) for _ in range(3000)]

    for column in ("salt", "iv", "commitment", "ciphertext"):
        assert len({getattr(sealed, column) for sealed in seals}) == len(seals), column


def test_seals_under_the_primary() -> None:
    """The primary key seals, and what the others have sealed still opens."""
    sealed = seal("old", ring=ring_of(A))

    assert (sealed.format, sealed.key_id) == (1, A)
    assert seal("new", ring=ring_of(B, A)).key_id == B
    assert open_(sealed.to_wire(), ring=ring_of(B, A)) == "old"


def test_text_is_not_in_the_wire_form() -> None:
    """A sealed value does not hold its text, and is longer than it by the same 97 bytes always."""
    for length in (0, 1, 15, 16, 17, 1000):
        wire = seal("x" * length).to_wire()
        assert len(wire) == length + 97
        assert b"xxxx" not in wire


# What was changed


def test_every_bit() -> None:
    """A value with any one bit flipped does not open."""
    wire = seal("refresh").to_wire()
    number = int.from_bytes(wire, "big")

    assert not [bit for bit in range(8 * len(wire)) if opens((number ^ 1 << bit).to_bytes(len(wire), "big"))]


def test_every_header() -> None:
    """A value with any other byte anywhere in its format and key id does not open."""
    wire = seal("refresh").to_wire()
    headers = [
        wire[:place] + bytes([byte]) + wire[place + 1 :]
        for place in range(5)
        for byte in range(256)
        if byte != wire[place]
    ]

    assert len(headers) == 5 * 255
    assert not [other[:5] for other in headers if opens(other)]


@several
@given(wires, st.data())
def test_bit_flips(wire: bytes, data: st.DataObject) -> None:
    """Whatever the value, a flipped bit keeps it from opening."""
    place = data.draw(st.integers(0, len(wire) - 1))
    mask = 1 << data.draw(st.integers(0, 7))

    assert not opens(wire[:place] + bytes([wire[place] ^ mask]) + wire[place + 1 :])


@several
@given(wires, st.data())
def test_cuts(wire: bytes, data: st.DataObject) -> None:
    """A value that lacks bytes anywhere does not open."""
    start = data.draw(st.integers(0, len(wire) - 1))
    end = data.draw(st.integers(start + 1, len(wire)))

    assert not opens(wire[:start] + wire[end:])


def test_every_cut() -> None:
    """A value cut at its end to any length, or at its beginning, does not open."""
    wire = seal("refresh").to_wire()

    assert not [length for length in range(len(wire)) if opens(wire[:length])]
    assert not [start for start in range(1, len(wire) + 1) if opens(wire[start:])]


@several
@given(wires, st.binary(min_size=1, max_size=64), st.data())
def test_extensions(wire: bytes, more: bytes, data: st.DataObject) -> None:
    """A value that has further bytes anywhere does not open."""
    place = data.draw(st.integers(0, len(wire)))

    assert not opens(wire[:place] + more + wire[place:])


@several
@given(st.binary(max_size=200))
def test_anything_else(wire: bytes) -> None:
    """Bytes that nobody sealed do not open, and give no other error, with or without a right header."""
    assert not opens(wire)
    assert not opens(struct.pack(">BI", 1, A) + wire)


@pytest.mark.parametrize("format_", [0, 2, 255])
def test_other_formats(format_: int) -> None:
    """A value that a holder of the key sealed faithfully, but as another format, does not open."""
    bound = HERE.encode(format_, A, INSTANCE)
    salt, iv = bytes(32), bytes(12)
    key, commitment = second_opinion.value_keys(ROOTS[A], salt, second_opinion.lp(LABEL) + bound)
    box = second_opinion.gcm_encrypt(key, iv, b"text", bound)

    assert refuses(ring_of(A).open, Sealed(format_, A, salt, iv, commitment, box), HERE)
    assert refuses(ring_of(A).open, Sealed(1, A, salt, iv, commitment, box), HERE)


@several
@given(st.sampled_from(["salt", "iv", "commitment"]), st.integers(1, 12))
def test_columns_of_other_lengths(column: str, count: int) -> None:
    """Columns whose bytes are divided otherwise are refused, though their concatenation is the same."""
    sealed = seal("refresh")
    following = {"salt": "iv", "iv": "commitment", "commitment": "ciphertext"}[column]
    before, after = getattr(sealed, column), getattr(sealed, following)
    columns = vars(sealed)
    left = Sealed(**{**columns, column: before[:-count], following: before[-count:] + after})
    right = Sealed(**{**columns, column: before + after[:count], following: after[count:]})

    assert left.to_wire() == right.to_wire() == sealed.to_wire()
    assert refuses(ring_of(A).open, left, HERE)
    assert refuses(ring_of(A).open, right, HERE)
    assert refuses(ring_of(A).open, Sealed(**{**columns, column: b""}), HERE)


@pytest.mark.parametrize(
    "salt",
    [
        pytest.param(b"s" * 31, id="a shorter salt"),
        pytest.param(b"s" * 33, id="a longer salt"),
        pytest.param(b"", id="no salt"),
        pytest.param(b"s" * 31 + b"\0", id="the right length"),
    ],
)
def test_salts_of_other_lengths(salt: bytes) -> None:
    """A salt that is not 32 bytes opens nothing, not even where HMAC takes it for the one that did."""
    bound, iv = HERE.encode(1, A, INSTANCE), bytes(12)
    key, commitment = second_opinion.value_keys(ROOTS[A], salt, second_opinion.lp(LABEL) + bound)
    box = second_opinion.gcm_encrypt(key, iv, b"text", bound)

    assert refuses(ring_of(A).open, Sealed(1, A, salt, iv, commitment, box), HERE) == (len(salt) != 32)
    assert refuses(ring_of(A).open, Sealed(1, A, salt.rstrip(b"\0"), iv, commitment, box), HERE)


# What was moved


def test_opens_nowhere_else() -> None:
    """Of the values at 128 places, each opens at its own, and at none of the other 127."""
    places = [
        (instance, Context(tenant, provider, owner_kind, owner_id, field, generation))
        for instance, tenant, provider, owner_kind, owner_id, field, generation in itertools.product(
            ("one", "two"),
            ("acme", "beta"),
            ("google", "meta"),
            ("connection", "client"),
            ("7b1e", "7b1f"),
            ("access_token", "refresh_token"),
            (17, 18),
        )
    ]
    rings = {instance: ring_of(A, instance=instance) for instance in ("one", "two")}
    seals = [rings[instance].seal(Secret("moved"), context).to_wire() for instance, context in places]
    opened = [
        (origin, target)
        for origin, wire in enumerate(seals)
        for target, (instance, context) in enumerate(places)
        if opens(wire, context, rings[instance])
    ]

    assert opened == [(place, place) for place in range(128)]


@several
@given(contexts, contexts, names, names)
def test_any_other_context(one: Context, other: Context, instance: str, elsewhere: str) -> None:
    """A value does not open where any one component of its context, or all of them, are others."""
    wire = seal("moved", one, ring_of(A, instance=instance)).to_wire()
    mixed = [replace(one, **{field: value}) for field, value in vars(other).items()]

    for context in [*mixed, other]:
        assert opens(wire, context, ring_of(A, instance=instance)) == (context == one)
    assert opens(wire, one, ring_of(A, instance=elsewhere)) == (instance == elsewhere)


@several
@given(st.lists(st.text(min_size=1, max_size=12), min_size=6, max_size=6), st.integers(1, 5), st.data())
def test_ambiguous_joins(parts: list[str], place: int, data: st.DataObject) -> None:
    """Letters moved from the beginning of one name to the end of the one before make another context."""
    count = data.draw(st.integers(1, len(parts[place])))
    moved = list(parts)
    moved[place - 1 : place + 1] = parts[place - 1] + parts[place][:count], parts[place][count:]
    wire = seal("moved", context_of(parts), ring_of(A, instance=parts[0])).to_wire()

    assert opens(wire, context_of(parts), ring_of(A, instance=parts[0]))
    assert not opens(wire, context_of(moved), ring_of(A, instance=moved[0]))


def test_put_back() -> None:
    """A former generation's value does not open in the row that held it."""
    former = seal("spent").to_wire()

    assert not [later for later in (16, 18, 19, 2**32 + 17) if opens(former, replace(HERE, generation=later))]


# Which key


def test_unknown_keys() -> None:
    """A value whose key is not in the ring does not open, whatever other keys are."""
    wire = seal("lost", ring=ring_of(A)).to_wire()

    assert not opens(wire, ring=ring_of(B))


def test_incomplete_rings() -> None:
    """A ring without the key that seals, or with a key of another length, is never made."""
    for roots in ({}, {B: ROOTS[B]}, {A: ROOTS[A][:-1]}):
        with pytest.raises(CannotOpen):
            Keyring(INSTANCE, roots, A, MAC_ROOT)


@pytest.mark.parametrize("label", [B, C, 0])
def test_relabelled(label: int) -> None:
    """A value of one key does not open under the id of another, known or not."""
    sealed = seal("moved", ring=ring_of(A))

    assert not opens(replace(sealed, key_id=label).to_wire())


@pytest.mark.parametrize("label", [B, C])
def test_one_try_with_the_named_key(label: int) -> None:
    """A value made by one key of the ring, but bound to another id, is not tried with it."""
    wire = Keyring(INSTANCE, {label: ROOTS[A]}, label, MAC_ROOT).seal(Secret("chosen"), HERE).to_wire()

    assert not opens(wire, ring=ring_of(A, B))
    assert not opens(wire, ring=ring_of(B, A))


def test_commitment_of_another_key() -> None:
    """A value does not open with a commitment that another key, or nobody, has made."""
    sealed = seal("committed", ring=ring_of(A))
    bound = HERE.encode(1, B, INSTANCE)
    _, other = second_opinion.value_keys(ROOTS[B], sealed.salt, second_opinion.lp(LABEL) + bound)

    assert opens(sealed.to_wire())
    assert not opens(replace(sealed, commitment=other).to_wire())
    assert not opens(replace(sealed, commitment=bytes(32)).to_wire())


def test_bound_twice() -> None:
    """The context is bound by the keys and by the AAD, and a value that lacks either does not open."""
    bound, label = HERE.encode(1, A, INSTANCE), second_opinion.lp(LABEL)
    salt, iv = bytes(32), bytes(12)

    def made(info: bytes, aad: bytes) -> bytes:
        key, commitment = second_opinion.value_keys(ROOTS[A], salt, info)
        box = second_opinion.gcm_encrypt(key, iv, b"text", aad)
        return Sealed(1, A, salt, iv, commitment, box).to_wire()

    assert opens(made(label + bound, bound))
    assert not opens(made(label + bound, b""))
    assert not opens(made(label, bound))


def test_new_key_ids() -> None:
    """Key ids are random, fit the wire form and are never 0."""
    ids = [keyring.new_key_id() for _ in range(200)]

    assert all(1 <= key_id <= 2**32 - 1 for key_id in ids)
    assert len(set(ids)) > 190
    assert min(ids) < 2**31 < max(ids)


# Root keys, wrapped


def unwrap(wrapped: bytes, *, wrapping: bytes = WRAPPING, instance: str = "i", purpose: str = "values") -> bytes:
    return keyring.unwrap(wrapping, wrapped, instance=instance, key_id=A, purpose=purpose)


def wrap(root: bytes) -> bytes:
    return keyring.wrap(WRAPPING, root, instance="i", key_id=A, purpose="values")


@pytest.fixture(scope="module", name="derived")
def _derived() -> bytes:
    """One of the two derivations at full strength, half a second each."""
    return keyring.wrapping_key(ENCRYPTION_SECRET, bytes(range(32)), keyring.SCRYPT)


def test_wrapping_key(derived: bytes) -> None:
    """The wrapping key is scrypt of the UTF-8 secret, N=2^17, r=8, p=1, as hashlib computes it too."""
    assert derived.hex() == "c77e5ab2cfc4989e89fe3360df126a2f0ea455bc8d315468010de94421ce1016"


def test_wrong_encryption_secret(derived: bytes) -> None:
    """A root key does not unwrap with another secret, and does with its own."""
    secret = Secret(ENCRYPTION_SECRET.reveal() + " ")
    other = keyring.wrapping_key(secret, bytes(range(32)), keyring.SCRYPT)
    wrapped = keyring.wrap(derived, ROOTS[A], instance="i", key_id=A, purpose="values")

    assert unwrap(wrapped, wrapping=derived) == ROOTS[A]
    assert refuses(unwrap, wrapped, wrapping=other)


@several
@given(names, names, names, names, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_wrapped_elsewhere(one: str, two: str, use: str, other_use: str, key_id: int, other_id: int) -> None:
    """A root key unwraps for its installation, key id and purpose, and for no other."""
    wrapped = keyring.wrap(WRAPPING, ROOTS[A], instance=one, key_id=key_id, purpose=use)

    for instance, id_, purpose in itertools.product((one, two), (key_id, other_id), (use, other_use)):
        if (instance, id_, purpose) == (one, key_id, use):
            assert keyring.unwrap(WRAPPING, wrapped, instance=one, key_id=key_id, purpose=use) == ROOTS[A]
        else:
            asked = {"instance": instance, "key_id": id_, "purpose": purpose}
            assert refuses(keyring.unwrap, WRAPPING, wrapped, **asked)


def test_wrapped_and_altered() -> None:
    """A wrapped root key with any bit flipped, cut to any length or extended does not unwrap."""
    wrapped = wrap(ROOTS[A])
    number = int.from_bytes(wrapped, "big")
    altered = [(number ^ 1 << bit).to_bytes(len(wrapped), "big") for bit in range(8 * len(wrapped))]
    altered += [wrapped[:length] for length in range(len(wrapped))]
    altered += [wrapped + b"\0", b"\0" + wrapped]

    assert unwrap(wrapped) == ROOTS[A]
    assert not [other for other in altered if not refuses(unwrap, other)]


def test_wrapped_form() -> None:
    """A wrapped root key is a fresh iv and AES-256-GCM, bound to what it is for, as rows have stored it."""
    context = second_opinion.lp(b"tokenvault/wrap/1", b"i", struct.pack(">I", A), b"values")
    iv = bytes(range(12))
    wrapped, again = wrap(ROOTS[A]), wrap(ROOTS[A])

    assert unwrap(iv + second_opinion.gcm_encrypt(WRAPPING, iv, ROOTS[A], context)) == ROOTS[A]
    assert second_opinion.gcm_decrypt(WRAPPING, wrapped[:12], wrapped[12:], context) == ROOTS[A]
    assert wrapped[:12] != again[:12]


FLOOR = {"n": 2**17, "r": 8, "p": 1}


def test_floor() -> None:
    """The derivation is not weaker than OWASP's floor for scrypt."""
    assert keyring.SCRYPT == FLOOR


@pytest.mark.parametrize(
    "stored",
    [
        {**FLOOR, "n": 2**16},
        {**FLOOR, "n": 2},
        {**FLOOR, "n": 0},
        {**FLOOR, "n": -(2**17)},
        {**FLOOR, "r": 7},
        {**FLOOR, "r": 0},
        {**FLOOR, "p": 0},
        {"n": 2**18, "r": 4, "p": 2},
        {**FLOOR, "n": 2**21},
        {**FLOOR, "n": 2**60},
        {**FLOOR, "r": 65},
        {**FLOOR, "r": 2**30},
        {**FLOOR, "p": 9},
        {**FLOOR, "p": 2**30},
        {},
        {"n": 2**17},
        {"r": 8, "p": 1},
        {**FLOOR, "salt": 1},
        {"N": 2**17, "r": 8, "p": 1},
    ],
    ids=str,
)
def test_stored_parameters(stored: dict[str, int]) -> None:
    """Stored parameters that are weaker than the floor, absurdly dear or not scrypt's are refused."""
    assert refuses(keyring.wrapping_key, ENCRYPTION_SECRET, bytes(32), stored)


@pytest.mark.parametrize(
    "stored",
    [
        {"n": 2**20, "r": 64, "p": 8},
        {**FLOOR, "n": 2**17 + 2},
        {**FLOOR, "n": float(2**17)},
        {**FLOOR, "r": "8"},
    ],
    ids=str,
)
def test_stored_parameters_together(stored: dict[str, int]) -> None:
    """Stored parameters that are too dear together, or no parameters at all, are refused like all others."""
    assert refuses(keyring.wrapping_key, ENCRYPTION_SECRET, bytes(32), stored)


@pytest.mark.parametrize("key_id", [-1, 2**32], ids=str)
def test_stored_key_id(key_id: int) -> None:
    """A stored key id that cannot be one is refused like any other that is wrong."""
    assert refuses(keyring.unwrap, WRAPPING, wrap(ROOTS[A]), instance="i", key_id=key_id, purpose="values")


def test_text_that_is_not_unicode() -> None:
    """A value that cannot be UTF-8 is refused, and the error does not hold it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        seal("hunter2-\ud800")

    assert "hunter2" not in repr(caught.value)
    assert "hunter2" not in repr(caught.value.__context__)


def test_refusal_holds_no_text() -> None:
    """A refused value is not in the error, nor in the one that led to it."""
    bound, salt, iv = HERE.encode(1, A, INSTANCE), bytes(32), bytes(12)
    key, commitment = second_opinion.value_keys(ROOTS[A], salt, second_opinion.lp(LABEL) + bound)
    box = second_opinion.gcm_encrypt(key, iv, b"hunter2-\xff", bound)
    with pytest.raises(CannotOpen) as caught:
        ring_of(A).open(Sealed(1, A, salt, iv, commitment, box), HERE)

    assert "hunter2" not in repr(caught.value.__context__)


# Keyed hashes


def mac(purpose: str, *parts: str, root: bytes = MAC_ROOT) -> bytes:
    return Keyring(INSTANCE, ROOTS, A, root).mac(purpose, *parts)


@several
@given(names, st.lists(names, max_size=4))
def test_mac_form(purpose: str, parts: list[str]) -> None:
    """A keyed hash is what the second implementation makes of its label, purpose and parts."""
    key = second_opinion.hkdf_expand(MAC_ROOT, second_opinion.lp(b"tokenvault/mac/1", purpose.encode()), 32)
    expected = hmac.digest(key, second_opinion.lp(*(part.encode() for part in parts)), "sha256")

    assert mac(purpose, *parts) == expected


@several
@given(names, names, st.lists(names, max_size=4), st.lists(names, max_size=4))
def test_mac_tells_apart(purpose: str, other: str, parts: list[str], others: list[str]) -> None:
    """Keyed hashes are the same where purpose and parts are, and only there."""
    assert (mac(purpose, *parts) == mac(other, *parts)) == (purpose == other)
    assert (mac(purpose, *parts) == mac(purpose, *others)) == (parts == others)
    assert mac(purpose, *parts) != mac(purpose, *parts, root=bytes(32))


@several
@given(st.text(min_size=1, max_size=12), st.data())
def test_mac_splits(text: str, data: st.DataObject) -> None:
    """One text divided at different places, or between purpose and parts, has different hashes."""
    one, other = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))

    assert (mac("p", text[:one], text[one:]) == mac("p", text[:other], text[other:])) == (one == other)
    assert (mac(text[:one], text[one:]) == mac(text[:other], text[other:])) == (one == other)
    assert len({mac("p"), mac("p", text), mac("p", text, ""), mac("p", "", text), mac("p", "")}) == 5


@several
@given(st.lists(st.binary(max_size=8), max_size=5), st.lists(st.binary(max_size=8), max_size=5))
def test_length_prefixed(parts: list[bytes], others: list[bytes]) -> None:
    """Joined parts are the same where the parts are, and only there."""
    joined, other = keyring.length_prefixed(*parts), keyring.length_prefixed(*others)

    assert (joined == other) == (parts == others)
    assert joined == second_opinion.lp(*parts)
