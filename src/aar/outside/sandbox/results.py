"""Results that come out of a sandbox, as values: JSON, CSV, .npy and safetensors, and nothing that is code.

Pure and strict: every size is checked against the bytes that are there, every number is finite, and the only
order of bytes and elements is the usual one. A pickle, or a file that holds one, is refused by name; there is
no way to ask for it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from aar.outside.sandbox.spec import SandboxError

MAX_ELEMENTS = 1 << 22
# A list of nothing is two bytes of text and thirty times as much in memory.
MAX_TEXT_BYTES = 16 << 20
_MAX_HEADER_BYTES = 1 << 20
_MAX_DIMENSIONS = 8
_NPY_MAGIC = b"\x93NUMPY"
_NPY_HEADER = re.compile(
    r"\{'descr': '([<|][a-z][0-9])', 'fortran_order': False, 'shape': "
    r"\(((?:[0-9]{1,12}, )*[0-9]{1,12},?|)\), \} *\n"
)
# How `struct` reads an element; bfloat16 is not among its formats.
_NPY_TYPES = {
    "|b1": "?", "|i1": "b", "|u1": "B", "<i2": "h", "<u2": "H", "<i4": "i", "<u4": "I", "<i8": "q",
    "<u8": "Q", "<f2": "e", "<f4": "f", "<f8": "d",
}  # fmt: skip
_SAFETENSORS_TYPES = {
    "BOOL": "?", "I8": "b", "U8": "B", "I16": "h", "U16": "H", "I32": "i", "U32": "I", "I64": "q", "U64": "Q",
    "F16": "e", "F32": "f", "F64": "d",
}  # fmt: skip
_CODE = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".dill", ".cloudpickle")


class MalformedResult(SandboxError, ValueError):
    """A result that is not what its name says, or holds what no result may."""


@dataclass(frozen=True, slots=True)
class Array:
    """Numbers in rows: `values` has `math.prod(shape)` of them, the last dimension running fastest."""

    shape: tuple[int, ...]
    values: tuple[float, ...]


def parse_result(name: str, data: bytes) -> Any:
    """What a file of this name holds, by its ending. Raises `MalformedResult`."""
    ending = PurePosixPath(name).suffix.lower()
    parse = _PARSERS.get(ending)
    if parse is None:
        why = "loading it runs the code in it" if ending in _CODE else "nothing here reads it"
        raise MalformedResult(f"{name!r:.80}: {why}; want one of {' '.join(_PARSERS)}")
    return parse(data)


def parse_json(data: bytes) -> Any:
    """One JSON value: no name twice, no NaN, no infinity, no number that becomes one."""
    _check_text(data)
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise MalformedResult(f"not JSON as we take it: {error}") from None


def parse_csv(data: bytes) -> list[list[str]]:
    """Rows of text, all as long as the first."""
    _check_text(data)
    try:
        rows = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedResult(f"not CSV as we take it: {error}") from None
    if any(len(row) != len(rows[0]) for row in rows):
        raise MalformedResult("CSV with rows of different lengths: want as many cells in each")
    return rows


def parse_npy(data: bytes) -> Array:
    """An array of numbers as `numpy.save` writes it, in C order and little-endian."""
    version, size_bytes = data[6:8], {b"\x01\x00": 2, b"\x02\x00": 4}.get(data[6:8], 0)
    if data[:6] != _NPY_MAGIC or not size_bytes:
        raise MalformedResult(f"not .npy: begins with {data[:6]!r}, version {version!r}; want 1.0 or 2.0")
    begin = 8 + size_bytes
    end = begin + int.from_bytes(data[8:begin], "little")
    header = data[begin : min(end, begin + _MAX_HEADER_BYTES)].decode("latin-1")
    told = _NPY_HEADER.fullmatch(header)
    if told is None or told[1] not in _NPY_TYPES:
        raise MalformedResult(
            f".npy with header {header[:120]!r}: want numbers, little-endian, in C order; no objects"
        )
    shape = tuple(int(word) for word in told[2].replace(",", " ").split())
    return _array(_NPY_TYPES[told[1]], shape, data[end:])


def parse_safetensors(data: bytes) -> dict[str, Array]:
    """Arrays by name; their bytes follow each other and are all that there is."""
    end = 8 + int.from_bytes(data[:8], "little")
    if not 10 <= end <= min(len(data), 8 + _MAX_HEADER_BYTES):
        raise MalformedResult(f"safetensors with a header that ends at {end} of {len(data)} bytes")
    told = parse_json(data[8:end])
    if not isinstance(told, dict):
        raise MalformedResult("safetensors with a header that is no object")
    told.pop("__metadata__", None)
    arrays, at = {}, end
    try:
        places = sorted((*one["data_offsets"], name) for name, one in told.items())
        for begin, until, name in places:
            if end + begin != at or until < begin or end + until > len(data):
                raise MalformedResult(f"safetensors {name!r:.80}: bytes {begin} to {until}, want no gap")
            one = told[name]
            if one["dtype"] not in _SAFETENSORS_TYPES or one.keys() != {"dtype", "shape", "data_offsets"}:
                raise MalformedResult(f"safetensors {name!r:.80}: {str(one)[:120]}, want numbers")
            at = end + until
            arrays[name] = _array(
                _SAFETENSORS_TYPES[one["dtype"]], tuple(one["shape"]), data[end + begin : at]
            )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedResult(f"not safetensors as we take them: {error}") from None
    if at != len(data):
        raise MalformedResult(f"safetensors with {len(data) - at} bytes that belong to nothing")
    return arrays


def _array(kind: str, shape: tuple[int, ...], data: bytes) -> Array:
    if len(shape) > _MAX_DIMENSIONS or any(type(one) is not int or one < 0 for one in shape):
        raise MalformedResult(f"an array of shape {str(shape)[:80]}: want at most {_MAX_DIMENSIONS} sizes")
    count = math.prod(shape)
    if count > MAX_ELEMENTS or count * struct.calcsize(f"<{kind}") != len(data):
        raise MalformedResult(f"an array of shape {shape} in {len(data)} bytes: they do not fit")
    if kind == "?" and data.translate(None, b"\0\1"):
        raise MalformedResult("truth values other than 0 and 1")
    values = struct.unpack(f"<{count}{kind}", data)
    if kind in "efd" and not all(map(math.isfinite, values)):
        raise MalformedResult("numbers that are not finite")
    return Array(shape, values)


def _check_text(data: bytes) -> None:
    if len(data) > MAX_TEXT_BYTES:
        raise MalformedResult(
            f"{len(data)} bytes of text: want at most {MAX_TEXT_BYTES}; numbers fit in .npy"
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise MalformedResult("a name twice in one object")
    return told


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise MalformedResult(f"{text[:40]}: want finite numbers")
    return value


_PARSERS: dict[str, Callable[[bytes], Any]] = {
    ".json": parse_json,
    ".csv": parse_csv,
    ".npy": parse_npy,
    ".safetensors": parse_safetensors,
}
