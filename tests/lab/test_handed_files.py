"""Files handed over as one stretch of bytes: all of them arrive, or none do."""

from __future__ import annotations

import io

import pytest

from aar.lab.handed_files import format_files, read_files

FILES = {
    "/submission/method.py": b"x = 1\n",
    "/instance/features.npy": bytes(range(256)),
    "/instance/none": b"",
}


def test_what_is_handed_over_is_what_arrives_and_nothing_beyond_it_is_read() -> None:
    stream = io.BytesIO(format_files(FILES) + b"not mine")
    assert read_files(stream) == FILES
    assert stream.read() == b"not mine"
    assert read_files(io.BytesIO(format_files({}))) == {}


@pytest.mark.parametrize("kept", [0, 10, -1])
def test_an_input_that_ends_early_hands_over_nothing(kept: int) -> None:
    with pytest.raises(EOFError, match="ended"):
        read_files(io.BytesIO(format_files(FILES)[:-100][:kept]))
