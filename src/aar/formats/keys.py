"""Keys: who may sign, and the signatures themselves (C2SP signed-note, tlog-cosignature; RFC 8032).

```
verifier key   name+<hex key id>+<base64(type || public key)>
private key    PRIVATE+KEY+name+<hex key id>+<base64(type || seed)>
key id         SHA-256(name || 0x0A || type || public key)[:4]
cosignature    <u64 big-endian time> || Ed25519 over "cosignature/v1\\ntime <time>\\n" || note text
```
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import nacl.bindings
import nacl.exceptions

from aar.formats.errors import FormatError, MalformedKey
from aar.formats.note import KEY_ID_BYTES, Signature, check_key_name
from aar.formats.strict import decode_base64, encode_base64

ED25519 = 0x01
COSIGNATURE = 0x04
KEY_BYTES = 32
SIGNATURE_BYTES = 64
TIME_BYTES = 8


def is_valid_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Ed25519 by libsodium, which refuses small-order keys and non-canonical points."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, public_key)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and its name; two keys with the same name may differ by key id."""

    name: str
    algorithm: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        return _key_id(self.name, self.algorithm, self.public_key)

    def vouches_for(self, text: str, signature: bytes) -> bool:
        """Whether `signature`, as it stands in a note, is this key's over `text`."""
        message = text.encode("utf-8")
        if self.algorithm == COSIGNATURE:
            time, signature = signature[:TIME_BYTES], signature[TIME_BYTES:]
            if len(time) != TIME_BYTES:
                return False
            message = _cosigned_message(text, int.from_bytes(time, "big"))
        return is_valid_signature(self.public_key, message, signature)


@lru_cache(maxsize=1_024)
def _key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode("utf-8") + b"\n" + bytes([algorithm]) + public_key).digest()[
        :KEY_ID_BYTES
    ]


def _cosigned_message(text: str, unix_s: int) -> bytes:
    return f"cosignature/v1\ntime {unix_s}\n{text}".encode()


def check_public_key(public_key: bytes) -> None:
    """Refuse a key that would let one signature fit many messages, or that has two spellings."""
    if len(public_key) != KEY_BYTES:
        raise MalformedKey(f"public key of {len(public_key)} bytes, want {KEY_BYTES}")
    if not nacl.bindings.crypto_core_ed25519_is_valid_point(public_key):
        raise MalformedKey("public key is not a canonical point of large order")


def parse_vkey(text: str) -> VerifierKey:
    """A verifier key in its one spelling; its key id must be its own, its point must be sound."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise MalformedKey(f"verifier key {text!r:.80}: want NAME+KEYID+BASE64")
    name, key_id, encoded = parts
    try:
        check_key_name(name)
        data = decode_base64(encoded)
    except FormatError as error:
        raise MalformedKey(f"verifier key {text!r:.80}: {error}") from error
    if len(data) != 1 + KEY_BYTES or data[0] not in (ED25519, COSIGNATURE):
        raise MalformedKey(f"verifier key of {name}: want a type of 1 or 4 and {KEY_BYTES} bytes")
    check_public_key(data[1:])
    key = VerifierKey(name, data[0], data[1:])
    if key_id != key.key_id.hex():
        raise MalformedKey(f"verifier key of {name}: key id {key_id!r:.20}, want {key.key_id.hex()}")
    return key


def format_vkey(key: VerifierKey) -> str:
    """The one spelling of a verifier key."""
    return f"{key.name}+{key.key_id.hex()}+{encode_base64(bytes([key.algorithm]) + key.public_key)}"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key. `seed` is 32 secret bytes and never shown."""

    name: str
    seed: bytes = field(repr=False)
    algorithm: int = ED25519
    # Public and secret key: to make them takes as long as to sign.
    _pair: tuple[bytes, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pair", nacl.bindings.crypto_sign_seed_keypair(self.seed))

    @property
    def vkey(self) -> VerifierKey:
        return VerifierKey(self.name, self.algorithm, self._pair[0])

    def sign(self, text: str) -> Signature:
        """A note's signature line over `text`; only for a plain Ed25519 key."""
        if self.algorithm != ED25519:
            raise MalformedKey(f"{self.name} is a cosignature key; it signs checkpoints with a time")
        return Signature(self.name, self.vkey.key_id, self._raw(text.encode("utf-8")))

    def cosign(self, text: str, unix_s: int) -> Signature:
        """A cosignature line over a checkpoint's text at that time; only for a cosignature key."""
        if self.algorithm != COSIGNATURE:
            raise MalformedKey(f"{self.name} is not a cosignature key")
        signature = unix_s.to_bytes(TIME_BYTES, "big") + self._raw(_cosigned_message(text, unix_s))
        return Signature(self.name, self.vkey.key_id, signature)

    def _raw(self, message: bytes) -> bytes:
        return nacl.bindings.crypto_sign(message, self._pair[1])[:SIGNATURE_BYTES]


def format_skey(signer: Signer) -> str:
    """The text of a private key file, without a newline."""
    encoded = encode_base64(bytes([signer.algorithm]) + signer.seed)
    return f"PRIVATE+KEY+{signer.name}+{signer.vkey.key_id.hex()}+{encoded}"


def parse_skey(text: str) -> Signer:
    """A private key in its one spelling; the errors never repeat its bytes."""
    parts = text.split("+", 4)
    if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
        raise MalformedKey("not a private key: want PRIVATE+KEY+NAME+KEYID+BASE64")
    name, key_id, encoded = parts[2:]
    try:
        check_key_name(name)
        data = decode_base64(encoded)
    except FormatError:
        # The cause would repeat the secret part in a traceback.
        raise MalformedKey(f"private key of {name!r:.40}: its name or base64 is malformed") from None
    if len(data) != 1 + KEY_BYTES or data[0] not in (ED25519, COSIGNATURE):
        raise MalformedKey(f"private key of {name}: want a type of 1 or 4 and {KEY_BYTES} bytes")
    signer = Signer(name, data[1:], data[0])
    if key_id != signer.vkey.key_id.hex():
        raise MalformedKey(f"private key of {name}: the key id is not its own")
    return signer
