"""Which root the first entries of a log have under a signed checkpoint: a consistency proof as a file.

```
aar-prefix/v1
<size>
<base64 root>
<base64 hash>*              consistency proof (RFC 6962) from that size to that of the checkpoint
```
"""

from __future__ import annotations

from collections.abc import Sequence

from aar.formats.errors import FormatError, MalformedProof
from aar.formats.proof import MAX_HASHES
from aar.formats.strict import decode_base64, encode_base64, parse_decimal
from aar.formats.tile import HASH_BYTES

HEADER = "aar-prefix/v1"


def format_prefix(size: int, root: bytes, hashes: Sequence[bytes]) -> bytes:
    """The one spelling of it."""
    return "".join(f"{line}\n" for line in (HEADER, size, *map(encode_base64, (root, *hashes)))).encode()


def parse_prefix(data: bytes) -> tuple[int, bytes, list[bytes]]:
    """Size, root and proof; raises `MalformedProof`."""
    try:
        lines = data.decode("ascii").split("\n")
        if lines[0] != HEADER or len(lines) < 4 or lines[-1]:
            raise MalformedProof(f"want a line {HEADER!r}, a size, a root and hashes, a newline after each")
        size, hashes = parse_decimal(lines[1]), [decode_base64(line) for line in lines[2:-1]]
    except MalformedProof:
        raise
    except (UnicodeDecodeError, FormatError) as error:
        raise MalformedProof(f"prefix: {error}") from error
    if len(hashes) > 2 + MAX_HASHES or any(len(one) != HASH_BYTES for one in hashes):
        raise MalformedProof(f"prefix: want at most {2 + MAX_HASHES} hashes of {HASH_BYTES} bytes")
    return size, hashes[0], hashes[1:]
