"""Commitments: values fixed by a hash now and opened later.

```
secret   SHA-256("aar-secret/v1\\n" hex(secret) "\\n")
split    SHA-256("aar-split/v1\\n" nonce "\\n" base64(mask of sealed items) "\\n")
payload  SHA-256("aar-commitment/v1\\n" half "\\n" nonce "\\n" hex SHA-256(payload) "\\n")
nonce    HMAC-SHA256(secret, "aar-nonce/v1\\n" half "\\n" label "\\n" submission digest "\\n")
```
A nonce makes the commitment hiding: a payload can be guessed, 256 secret bits cannot.
"""

from __future__ import annotations

import hashlib
import hmac

SECRET_BYTES = 32


def commit_secret(secret: bytes) -> str:
    """Hex commitment to the seed secret of a study (32 bytes)."""
    return hashlib.sha256(b"aar-secret/v1\n" + secret.hex().encode() + b"\n").hexdigest()


def commit_split(nonce: str, sealed_mask: str) -> str:
    """Hex commitment to which items are sealed; the mask is base64, bit i of little-endian bytes = item i."""
    return hashlib.sha256(f"aar-split/v1\n{nonce}\n{sealed_mask}\n".encode()).hexdigest()


def payload_nonce(secret: bytes, *, half: str, label: str, digest: str) -> str:
    """Hex nonce of one half's commitment; the label is the run's: its tier, and the problem if held out."""
    message = f"aar-nonce/v1\n{half}\n{label}\n{digest}\n".encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def split_nonce(secret: bytes) -> str:
    """Hex nonce of the split commitment."""
    return hmac.new(secret, b"aar-split-nonce/v1\n", hashlib.sha256).hexdigest()


def commit_payload(*, half: str, nonce: str, payload_sha256: str) -> str:
    """Hex commitment to the exact values of one half of an official run."""
    return hashlib.sha256(f"aar-commitment/v1\n{half}\n{nonce}\n{payload_sha256}\n".encode()).hexdigest()
