"""Tiles and bundles: which files a tree implies, and exactly what is in each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.formats.errors import MalformedTile
from aar.formats.tile import (
    MAX_ENTRY_BYTES,
    TilePath,
    entries_path,
    format_bundle,
    parse_bundle,
    parse_hashes,
    parse_tile_path,
    tile_path,
    tiles_of,
)

PATHS = [
    (TilePath(0, 0), "tile/0/000"),
    (TilePath(0, 67), "tile/0/067"),
    (TilePath(0, 1067, 8), "tile/0/x001/067.p/8"),
    (TilePath(1, 1_234_067), "tile/1/x001/x234/067"),
    (TilePath(63, 999_999_999_999_999_999, 255), "tile/63/x999/x999/x999/x999/x999/999.p/255"),
    (TilePath(None, 0, 1), "tile/entries/000.p/1"),
    (TilePath(None, 273), "tile/entries/273"),
    (TilePath(None, 1_000_000), "tile/entries/x001/x000/000"),
]


@pytest.mark.parametrize(("tile", "path"), PATHS)
def test_a_tile_has_one_path(tile: TilePath, path: str):
    assert tile.path == path
    assert parse_tile_path(path) == tile


def test_paths_are_also_written_from_numbers():
    assert tile_path(0, 1067, 8) == "tile/0/x001/067.p/8"
    assert tile_path(2, 5) == "tile/2/005"
    assert entries_path(1067, 8) == "tile/entries/x001/067.p/8"
    assert entries_path(5) == "tile/entries/005"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/001/067",
        "tile/0/x001/x067",
        "tile/0/x001/067.p",
        "tile/0/x001/067.p/",
        "tile/0/067.p/1000",
        "tile/-1/067",
        "tile/100/067",
        "tile/8/0/067/",
        "/tile/0/067",
        "tile/0/067\n",
        "tile/0/٠٦٧",
        "tile/0/../067",
        "tile/leaves/067",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        pytest.param("tile/0/" + "x999/" * 2000 + "999", id="huge"),
        "checkpoint",
    ],
)
def test_what_is_not_a_tile_path_is_refused(path: str):
    with pytest.raises(MalformedTile, match="is not that of a tile or an entry bundle"):
        parse_tile_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "tile/00/067",
        "tile/07/067",
        "tile/64/067",
        "tile/99/067",
        "tile/0/x000/067",
        "tile/0/067.p/0",
        "tile/0/067.p/08",
        "tile/0/067.p/256",
        "tile/0/067.p/257",
        "tile/0/067.p/999",
    ],
)
def test_another_spelling_of_a_tile_path_is_refused(path: str):
    with pytest.raises(MalformedTile, match="not the one spelling"):
        parse_tile_path(path)


def test_the_golden_bundle_is_written_and_read():
    data = b"\x00\x03one\x00\x00\x00\x05three"
    assert format_bundle([b"one", b"", b"three"]) == data
    assert parse_bundle(data, 3) == [b"one", b"", b"three"]


def test_the_longest_entry_fits_a_bundle_and_no_longer_one():
    longest = b"x" * MAX_ENTRY_BYTES
    assert parse_bundle(format_bundle([longest]), 1) == [longest]
    with pytest.raises(MalformedTile, match="entry of 65536 bytes, at most 65535"):
        format_bundle([longest + b"x"])


@pytest.mark.parametrize(
    ("data", "width", "why"),
    [
        (b"", 1, "ends after 0 entries, want 1"),
        (b"\x00", 1, "ends after 0 entries, want 1"),
        (b"\x00\x01a\x00", 2, "ends after 1 entries, want 2"),
        (b"\x00\x01a", 2, "ends after 1 entries, want 2"),
        (b"\x00\x02a", 1, "ends inside entry 0"),
        (b"\x00\x01a\x00\x01", 2, "ends inside entry 1"),
        (b"\x00\x01ab", 1, "1 bytes after the last of 1 entries"),
        (b"\x00\x01a\x00\x01b", 1, "3 bytes after the last of 1 entries"),
    ],
)
def test_a_bundle_holds_exactly_its_entries(data: bytes, width: int, why: str):
    with pytest.raises(MalformedTile, match=why):
        parse_bundle(data, width)


def test_a_smuggled_257th_entry_is_seen():
    full = format_bundle([b"x"] * 256)
    assert len(parse_bundle(full, 256)) == 256
    with pytest.raises(MalformedTile, match="after the last of 256 entries"):
        parse_bundle(full + b"\x00\x01y", 256)


def test_a_tile_holds_exactly_its_hashes():
    hashes = [bytes([number]) * 32 for number in range(3)]
    assert parse_hashes(b"".join(hashes), 3) == hashes
    for data in (
        b"".join(hashes) + b"x",
        b"".join(hashes)[:-1],
        b"".join(hashes[:2]),
        b"".join(hashes) + bytes(32),
    ):
        with pytest.raises(MalformedTile, match=f"tile of {len(data)} bytes, want 3 hashes of 32"):
            parse_hashes(data, 3)


def test_the_files_of_a_small_tree_are_these():
    assert [tile.path for tile in tiles_of(0)] == []
    assert [tile.path for tile in tiles_of(1)] == ["tile/entries/000.p/1", "tile/0/000.p/1"]
    assert [tile.path for tile in tiles_of(256)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert [tile.path for tile in tiles_of(257)] == [
        "tile/entries/000",
        "tile/entries/001.p/1",
        "tile/0/000",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
    ]


def test_the_files_of_70000_entries_are_those_of_the_specification():
    paths = [tile.path for tile in tiles_of(70_000)]
    assert len(paths) == len(set(paths)) == 2 * 274 + 2 + 1
    assert [path for path in paths if ".p/" in path] == [
        "tile/entries/273.p/112",
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]


@given(st.none() | st.integers(0, 63), st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_every_path_survives_its_spelling(level: int | None, index: int, width: int):
    tile = TilePath(level, index, width)
    assert parse_tile_path(tile.path) == tile


@given(st.integers(0, 200_000))
def test_the_files_of_a_tree_hold_each_hash_once(size: int):
    widths: dict[int | None, int] = {}
    for tile in tiles_of(size):
        widths[tile.level] = widths.get(tile.level, 0) + tile.width
    expected: dict[int | None, int] = {None: size}
    expected |= {level: size >> 8 * level for level in range(3)}
    assert widths == {level: count for level, count in expected.items() if count}


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_every_bundle_survives_its_bytes(entries: list[bytes]):
    assert parse_bundle(format_bundle(entries), len(entries)) == entries
