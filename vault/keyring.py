"""Keys, and the only code that knows the bytes of a sealed value.

    ENCRYPTION_SECRET --scrypt N=2^17 r=8 p=1, once at start--> wrapping key
    random 256-bit root key per key id, wrapped by it (AES-256-GCM), one for each purpose:
        values   seals what is stored
        mac      makes keyed hashes: API keys, states, tickets, audit

Sealed value, format 1 (all integers big-endian; LP(x) = u32 length of x, then x):

    names are UTF-8, exactly as given
    context    = LP(format u8) LP(key id u32) LP(instance) LP(tenant) LP(provider)
                 LP(owner kind) LP(owner id) LP(field) LP(generation u64)
    keys       = HKDF-SHA256(root key, salt = 32 random bytes,
                             info = LP("tokenvault/values/1") context, 64 bytes)
                 first 32 bytes: encryption key; last 32 bytes: commitment
    ciphertext = AES-256-GCM(encryption key, iv = 12 random bytes, UTF-8 text, AAD = context),
                 its 16-byte tag at the end
    wire form  = format u8 | key id u32 | salt | iv | commitment | ciphertext

Why each part: the salt gives every value a key of its own, so that no count of values per key has
to be kept. The context is what a value is *of*: moved to another row, field, tenant or generation
it does not open. The commitment ties the ciphertext to one key, which GCM alone does not do. There
is one try with the key that is named; trying them all would let an attacker choose.
"""

import hmac
import math
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from integrations.contract import Secret
from vault.errors import CannotOpen

FORMAT = 1
KEY_BYTES = 32
SALT_BYTES = 32
IV_BYTES = 12
TAG_BYTES = 16
COMMITMENT_BYTES = 32
SCRYPT = {"n": 2**17, "r": 8, "p": 1}  # 128 MiB; OWASP's floor for scrypt with p = 1
_VALUES_LABEL = b"tokenvault/values/1"
_WRAP_LABEL = b"tokenvault/wrap/1"
_MAC_LABEL = b"tokenvault/mac/1"
_HEADER = struct.Struct(">BI")
_LENGTH = struct.Struct(">I").pack
_WIRE_PREFIX = _HEADER.size + SALT_BYTES + IV_BYTES + COMMITMENT_BYTES


@dataclass(frozen=True)
class Context:
    """What a sealed value is of. A value opens only where all of it is the same."""

    tenant: str
    provider: str
    owner_kind: str
    owner_id: str
    field: str
    generation: int

    def encode(self, format_: int, key_id: int, instance: str) -> bytes:
        names = (instance, self.tenant, self.provider, self.owner_kind, self.owner_id, self.field)
        return length_prefixed(
            struct.pack(">B", format_),
            struct.pack(">I", key_id),
            *[name.encode() for name in names],
            struct.pack(">Q", self.generation),
        )


@dataclass(frozen=True)
class Sealed:
    """A sealed value, as the columns of its row."""

    format: int
    key_id: int
    salt: bytes
    iv: bytes
    commitment: bytes
    ciphertext: bytes

    def to_wire(self) -> bytes:
        header = _HEADER.pack(self.format, self.key_id)
        return header + self.salt + self.iv + self.commitment + self.ciphertext

    @classmethod
    def from_wire(cls, wire: bytes) -> "Sealed":
        """Return the columns of *wire*. Raises CannotOpen where it is too short to be one."""
        if len(wire) < _WIRE_PREFIX + TAG_BYTES:
            raise CannotOpen
        format_, key_id = _HEADER.unpack_from(wire)
        salt_end = _HEADER.size + SALT_BYTES
        iv_end = salt_end + IV_BYTES
        return cls(
            format_,
            key_id,
            wire[_HEADER.size : salt_end],
            wire[salt_end:iv_end],
            wire[iv_end:_WIRE_PREFIX],
            wire[_WIRE_PREFIX:],
        )


class Lock:
    """A sealed value with its key in it."""

    __slots__ = ("_bound", "_cipher", "_sealed")

    def __init__(self, cipher: AESGCM, sealed: Sealed, bound: bytes) -> None:
        self._cipher = cipher
        self._sealed = sealed
        self._bound = bound

    def open(self) -> Secret:
        """Return the value. Raises CannotOpen."""
        text = self._decrypted()
        if text is None:
            raise CannotOpen
        return Secret(text)

    def _decrypted(self) -> str | None:
        """Return the text, None where there is none.

        No error leaves here: UnicodeDecodeError carries the plaintext, and stays on as `__context__`.
        """
        try:
            return self._cipher.decrypt(self._sealed.iv, self._sealed.ciphertext, self._bound).decode()
        except (InvalidTag, UnicodeDecodeError):
            return None


class Keyring:
    """The unwrapped root keys of one installation, in memory only.

    *roots* are the `values` keys by id, *primary* the one that seals, *mac_root* the `mac` key.
    *wrapping* are the keys that unwrapped them, by the salt each was derived with.
    """

    def __init__(
        self,
        instance: str,
        roots: Mapping[int, bytes],
        primary: int,
        mac_root: bytes,
        wrapping: Mapping[bytes, bytes] | None = None,
    ) -> None:
        if primary not in roots or any(len(root) != KEY_BYTES for root in (*roots.values(), mac_root)):
            raise CannotOpen
        self.instance = instance
        self._roots = dict(roots)
        self._primary = primary
        self._mac_root = mac_root
        self.wrapping = dict(wrapping or {})
        self._macs: dict[str, HMAC] = {}  # begun, and copied for each: a third of beginning anew

    @property
    def primary(self) -> int:
        """Return the id of the key that seals."""
        return self._primary

    def seal(self, value: Secret, context: Context) -> Sealed:
        """Return *value* sealed under the primary key, to be opened only in *context*."""
        salt, iv = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(IV_BYTES)
        bound = context.encode(FORMAT, self._primary, self.instance)
        key, commitment = _value_keys(self._roots[self._primary], salt, bound)
        ciphertext = AESGCM(key).encrypt(iv, value.reveal().encode(), bound)
        return Sealed(FORMAT, self._primary, salt, iv, commitment, ciphertext)

    def open(self, sealed: Sealed, context: Context) -> Secret:
        """Return the value of *sealed*. Raises CannotOpen, whatever the reason."""
        return self.lock_of(sealed, context).open()

    def lock_of(self, sealed: Sealed, context: Context) -> "Lock":
        """Return what opens *sealed* any number of times. Raises CannotOpen where only other keys might.

        Deriving a key costs ten times what opening does. Who keeps the lock keeps the key of this one
        value, in the same memory as the root key that it comes from.
        """
        root = self._root_of(sealed.key_id)
        if root is None or not _well_formed(sealed):
            raise CannotOpen
        bound = context.encode(sealed.format, sealed.key_id, self.instance)
        key, commitment = _value_keys(root, sealed.salt, bound)
        if not hmac.compare_digest(commitment, sealed.commitment):
            raise CannotOpen
        return Lock(AESGCM(key), sealed, bound)

    def _root_of(self, key_id: int) -> bytes | None:
        return self._roots.get(key_id)

    def mac(self, purpose: str, *parts: str) -> bytes:
        """Return the 32-byte keyed hash of *parts* under the sub-key of *purpose*."""
        if purpose not in self._macs:
            self._macs[purpose] = HMAC(self.mac_key(purpose), SHA256())
        mac = self._macs[purpose].copy()
        mac.update(length_prefixed(*[part.encode() for part in parts]))
        return mac.finalize()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_macs": {}}

    def mac_key(self, purpose: str) -> bytes:
        """Return the sub-key of *purpose*, for who hashes on his own."""
        info = length_prefixed(_MAC_LABEL, purpose.encode())
        return HKDFExpand(SHA256(), KEY_BYTES, info).derive(self._mac_root)


def wrapping_key(secret: Secret, salt: bytes, params: Mapping[str, int]) -> bytes:
    """Return the key that wraps root keys: half a second of scrypt and 128 MiB, once a start.

    Raises CannotOpen where the stored *params* are weaker than SCRYPT or absurdly dear: whoever can
    write the database must not be able to choose a cheap derivation.
    """
    if not _affordable(params):
        raise CannotOpen
    kdf = Scrypt(salt=salt, length=KEY_BYTES, n=params["n"], r=params["r"], p=params["p"])
    return kdf.derive(secret.reveal().encode())


def wrap(wrapping: bytes, root: bytes, *, instance: str, key_id: int, purpose: str) -> bytes:
    """Return *root* as it is stored: a random 96-bit IV, then AES-256-GCM."""
    iv = secrets.token_bytes(IV_BYTES)
    return iv + AESGCM(wrapping).encrypt(iv, root, _wrap_context(instance, key_id, purpose))


def unwrap(wrapping: bytes, wrapped: bytes, *, instance: str, key_id: int, purpose: str) -> bytes:
    """Return the root key in *wrapped*. Raises CannotOpen, above all where the secret is another."""
    if not 0 <= key_id < 2**32:
        raise CannotOpen
    iv, box = wrapped[:IV_BYTES], wrapped[IV_BYTES:]
    try:
        return AESGCM(wrapping).decrypt(iv, box, _wrap_context(instance, key_id, purpose))
    except (InvalidTag, ValueError):
        raise CannotOpen from None


def new_key_id() -> int:
    """Return a random key id: u32, never 0, and never guessable from the number of keys."""
    return secrets.randbelow(2**32 - 1) + 1


def length_prefixed(*parts: bytes) -> bytes:
    """Join *parts* unambiguously: ("ab", "c") and ("a", "bc") differ."""
    return b"".join([_LENGTH(len(part)) + part for part in parts])


def _affordable(params: Mapping[str, int]) -> bool:
    """Say whether a derivation is at least as strong as ours, and at most eight times as dear."""
    if set(params) != set(SCRYPT) or any(type(value) is not int for value in params.values()):
        return False
    work = math.prod(params.values())
    power_of_two = params["n"] > 0 and params["n"] & (params["n"] - 1) == 0
    strong = all(params[name] >= SCRYPT[name] for name in SCRYPT)
    return power_of_two and strong and work <= 8 * math.prod(SCRYPT.values())


def _value_keys(root: bytes, salt: bytes, bound: bytes) -> tuple[bytes, bytes]:
    info = length_prefixed(_VALUES_LABEL) + bound
    both = HKDF(SHA256(), KEY_BYTES + COMMITMENT_BYTES, salt, info).derive(root)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def _well_formed(sealed: Sealed) -> bool:
    return (
        sealed.format == FORMAT
        and len(sealed.salt) == SALT_BYTES
        and len(sealed.iv) == IV_BYTES
        and len(sealed.commitment) == COMMITMENT_BYTES
        and len(sealed.ciphertext) >= TAG_BYTES
    )


def _wrap_context(instance: str, key_id: int, purpose: str) -> bytes:
    return length_prefixed(_WRAP_LABEL, instance.encode(), struct.pack(">I", key_id), purpose.encode())
