"""Payloads: the exact values of one half of an official run, item by item, as canonical JSON.

```
{"fresh":0|1,"half":"public"|"sealed","pool":N,"splits":[{"ceiling":B64,"replicate":R,"seed":S,
 "student":B64,"tested":B64,"vanilla":B64,"weak":B64},...],"v":2}
```
Each B64 is a mask over N items: bit i of the little-endian bytes is item i. `tested` says which items were
tested, the others which of them the student, the weak teacher, the ceiling and the plain student (vanilla)
got right. Where `fresh` is 1 each split drew N items of its own: item i of one is another than item i of the
next.
"""

from __future__ import annotations

from dataclasses import dataclass

from aar.formats.canonical import Value, format_canonical, parse_canonical
from aar.formats.errors import FormatError
from aar.formats.kinds import HALVES
from aar.formats.strict import decode_base64, encode_base64

VERSION = 2
MASKS = ("tested", "student", "weak", "ceiling", "vanilla")
_FIELDS = {"v", "fresh", "half", "pool", "splits"}
MAX_POOL = 1 << 15


class MalformedPayload(FormatError):
    """Not the exact values of a half of an official run."""


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """One split: masks as integers, bit i is item i. `vanilla` is the plain student's."""

    seed: int
    replicate: int
    tested: int
    student: int
    weak: int
    ceiling: int
    vanilla: int = 0


@dataclass(frozen=True, slots=True)
class Payload:
    """All splits of one half, in the order of the run's seeds and replicates."""

    half: str
    pool: int
    splits: tuple[SplitCounts, ...]
    is_fresh: bool = False


def format_payload(payload: Payload) -> bytes:
    """The one spelling of a payload."""
    width = (payload.pool + 7) // 8
    splits: list[Value] = [
        {
            "seed": one.seed,
            "replicate": one.replicate,
            **{name: encode_base64(getattr(one, name).to_bytes(width, "little")) for name in MASKS},
        }
        for one in payload.splits
    ]
    whole: dict[str, Value] = {"half": payload.half, "pool": payload.pool, "splits": splits}
    return format_canonical({"v": VERSION, "fresh": int(payload.is_fresh), **whole})


def parse_payload(data: bytes) -> Payload:
    """A payload in its one spelling; what is right was tested, what was tested is in the pool."""
    try:
        value = parse_canonical(data)
    except FormatError as error:
        raise MalformedPayload(str(error)) from error
    if not isinstance(value, dict) or set(value) != _FIELDS or value["v"] != VERSION:
        raise MalformedPayload(f"want version {VERSION} with exactly {', '.join(sorted(_FIELDS))}")
    half, pool, splits = value["half"], value["pool"], value["splits"]
    if half not in HALVES or not isinstance(half, str):
        raise MalformedPayload(f"half {half!r:.40}, want one of {', '.join(HALVES)}")
    if not isinstance(pool, int) or not 1 <= pool <= MAX_POOL:
        raise MalformedPayload(f"pool {pool!r:.40}: want 1 to {MAX_POOL} items")
    if value["fresh"] not in (0, 1):
        raise MalformedPayload(f"fresh {value['fresh']!r:.40}, want 0 or 1")
    if not isinstance(splits, list) or not splits:
        raise MalformedPayload("want at least one split")
    return Payload(half, pool, tuple(_parse_split(one, pool) for one in splits), bool(value["fresh"]))


def _parse_split(value: Value, pool: int) -> SplitCounts:
    if not isinstance(value, dict) or set(value) != {"seed", "replicate", *MASKS}:
        raise MalformedPayload(f"a split has exactly seed, replicate and {len(MASKS)} masks")
    seed, replicate = value["seed"], value["replicate"]
    if not isinstance(seed, int) or not isinstance(replicate, int) or seed < 0 or replicate < 0:
        raise MalformedPayload("seed and replicate are counts from 0")
    masks = {}
    for name in MASKS:
        text = value[name]
        if not isinstance(text, str):
            raise MalformedPayload(f"{name}: want base64")
        try:
            data = decode_base64(text)
        except FormatError as error:
            raise MalformedPayload(f"{name}: {error}") from error
        masks[name] = int.from_bytes(data, "little")
        if len(data) != (pool + 7) // 8 or masks[name] >> pool:
            raise MalformedPayload(f"{name}: a mask over {pool} items, got {len(data)} bytes")
    tested = masks["tested"]
    if not tested or any(mask & ~tested for mask in masks.values()):
        raise MalformedPayload("an item is right that was not tested, or none was tested")
    return SplitCounts(seed, replicate, **masks)
