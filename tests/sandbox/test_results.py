"""Results out of a sandbox: what numpy and the like write is read, and nothing that is not a plain value."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.results import MAX_TEXT_BYTES, Array, MalformedResult, parse_result
from aar.outside.sandbox.session import Session
from aar.outside.sandbox.spec import SandboxSpec


def npy(values: Any, **more: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **more)
    return file.getvalue()


def safetensors(header: Any, data: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


TYPES = ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 1)])
def test_an_array_that_numpy_saves_is_read_as_it_was(kind: str, shape: tuple[int, ...]) -> None:
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(kind)
    assert parse_result("a.npy", npy(values)) == Array(shape, tuple(values.ravel().tolist()))


def test_json_csv_and_safetensors_are_read() -> None:
    assert parse_result("deep/a.JSON", b'{"a": [1, 2.5, null, "\\u00e4"]}') == {"a": [1, 2.5, None, "ä"]}
    assert parse_result("a.csv", b'x,y\n1,"2, ""3"\r\n') == [["x", "y"], ["1", '2, "3']]
    assert parse_result("a.csv", b"") == []
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [2, 10]},
        "a": {"dtype": "U8", "shape": [1, 2], "data_offsets": [0, 2]},
    }
    arrays = parse_result("a.safetensors", safetensors(header, b"\1\2" + struct.pack("<2f", 0.5, -1)))
    assert arrays == {"a": Array((1, 2), (1, 2)), "b": Array((2,), (0.5, -1.0))}


class Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (exec, ("raise SystemExit('it ran')",))


ONE = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
REFUSED = {
    "a pickle": ("a.pkl", pickle.dumps(Trap())),
    "a model of torch": ("a.pt", b""),
    "an archive of arrays": ("a.npz", b"PK"),
    "no ending": ("a", b"{}"),
    "an array of objects": ("a.npy", npy(np.array([Trap()], dtype=object), allow_pickle=True)),
    "an array of texts": ("a.npy", npy(np.array(["a"]))),
    "an array of records": ("a.npy", npy(np.zeros(1, dtype=[("a", "<f8")]))),
    "complex numbers": ("a.npy", npy(np.zeros(1, dtype=complex))),
    "big-endian numbers": ("a.npy", npy(np.zeros(2, dtype=">f8"))),
    "columns first": ("a.npy", npy(np.asfortranarray(np.zeros((2, 3))))),
    "not a number": ("a.npy", npy(np.array([np.nan]))),
    "infinity": ("a.npy", npy(np.array([np.inf], dtype="<f4"))),
    "a missing byte": ("a.npy", npy(np.zeros(2))[:-1]),
    "one byte more": ("a.npy", npy(np.zeros(2)) + b"x"),
    "no header": ("a.npy", b"\x93NUMPY\x01\x00\xff\xff"),
    "another version": ("a.npy", npy(np.zeros(2)).replace(b"\x01\x00", b"\x04\x00", 1)),
    "a size beyond all": ("a.npy", npy(np.zeros((2, 1))).replace(b"(2, 1)", b"(999999999, 1)", 1)),
    "truth of another kind": ("a.npy", npy(np.array([True]))[:-1] + b"\2"),
    "a header that is code": ("a.npy", npy(np.zeros(2)).replace(b"False", b"exit()", 1)),
    "NaN in JSON": ("a.json", b"[NaN]"),
    "infinity in JSON": ("a.json", b"[1e999]"),
    "a name twice": ("a.json", b'{"a":1,"a":2}'),
    "too deep": ("a.json", b"[" * 100_000),
    "not UTF-8": ("a.json", b'"\xff"'),
    "rows that differ": ("a.csv", b"a,b\nc\n"),
    "a quote that never ends": ("a.csv", b'a,"b'),
    "a cell without end": ("a.csv", b"a" * 200_000),
    "CSV that is not UTF-8": ("a.csv", b"\xff"),
    "a gap": ("a.safetensors", safetensors({"a": {**ONE, "data_offsets": [1, 3]}}, b"123")),
    "two in one place": ("a.safetensors", safetensors({"a": ONE, "b": ONE}, b"12")),
    "bytes of nothing": ("a.safetensors", safetensors({"a": ONE}, b"123")),
    "bytes that are not there": ("a.safetensors", safetensors({"a": ONE}, b"1")),
    "a shape that does not fit": ("a.safetensors", safetensors({"a": {**ONE, "shape": [3]}}, b"12")),
    "a shape below nothing": ("a.safetensors", safetensors({"a": {**ONE, "shape": [-1, -2]}}, b"12")),
    "a shape of words": ("a.safetensors", safetensors({"a": {**ONE, "shape": ["2"]}}, b"12")),
    "nine dimensions": ("a.safetensors", safetensors({"a": {**ONE, "shape": [1] * 8 + [2]}}, b"12")),
    "another type": ("a.safetensors", safetensors({"a": {**ONE, "dtype": "PICKLE"}}, b"12")),
    "more in a header": ("a.safetensors", safetensors({"a": {**ONE, "code": "x"}}, b"12")),
    "less in a header": ("a.safetensors", safetensors({"a": {"dtype": "U8"}}, b"12")),
    "a list for a header": ("a.safetensors", safetensors([1], b"")),
    "a header without end": ("a.safetensors", struct.pack("<Q", 1 << 40) + b"{}"),
    "nothing": ("a.safetensors", b""),
}


@pytest.mark.parametrize(("name", "data"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_plain_value_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(MalformedResult):
        parse_result(name, data)


@given(st.sampled_from(["a.json", "a.csv", "a.npy", "a.safetensors"]), st.binary(max_size=300))
def test_any_bytes_are_a_value_or_that_error(name: str, data: bytes) -> None:
    for whole in (data, npy(np.zeros(2))[: len(data)] + data, safetensors({"a": ONE}, data)):
        with contextlib.suppress(MalformedResult):
            parse_result(name, whole)


@pytest.mark.sandbox
@pytest.mark.parametrize(("name", "unit"), [("a.json", b" "), ("a.csv", b"\n")])
def test_text_that_would_be_far_more_in_memory_is_refused_by_its_size(name: str, unit: bytes) -> None:
    with pytest.raises(MalformedResult, match="bytes of text: want at most"):
        parse_result(name, unit * (MAX_TEXT_BYTES + 1))


def test_a_result_is_read_out_of_a_sandbox_and_a_pickle_is_not(client: LauncherClient) -> None:
    spec = SandboxSpec(name="results", profile="researcher", argv=("-",), uid_slot=293)
    code = "import numpy, pickle; numpy.save('a.npy', numpy.eye(2)); pickle.dump(1, open('b.pkl', 'wb'))"
    with Session.open(client, spec) as session:
        assert session.exec(["python3", "-c", code]).returncode == 0
        assert session.read_result("a.npy") == Array((2, 2), (1.0, 0.0, 0.0, 1.0))
        with pytest.raises(MalformedResult, match="runs the code"):
            session.read_result("b.pkl")
