"""A receipt of an entry from a public log directory alone: proof, leaf and checkpoint in one file.

Built from the tiles, so its cost grows with the logarithm of the log. Apart from the verifier on purpose, and
checked with the verifier's code before it is handed out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.errors import FormatError
from aar.formats.note import parse_note
from aar.formats.proof import TlogProof, format_proof
from aar.formats.tile import TILE_WIDTH, entries_path, parse_bundle, parse_hashes, tile_path
from aar.outside.record.errors import NotPublished
from aar.verify.merkle import InvalidProof, check_inclusion, leaf_hash
from aar.verify.reader import NotARecord, RecordReader

_TILE_HEIGHT = 8


def build_receipt(directory: Path, index: int) -> bytes:
    """The tlog-proof of entry `index` under the published checkpoint, with the leaf in its `extra` line.

    Raises `NotPublished` when the log is not that large, `NotARecord` when its files do not bear it out.
    """
    data = RecordReader(directory).checkpoint_bytes()
    try:
        checkpoint = parse_checkpoint_text(parse_note(data).text)
    except FormatError as error:
        raise NotARecord(f"{directory / 'checkpoint'}: {error}; run verify") from error
    size = checkpoint.size
    if not 0 <= index < size:
        entries = "1 entry is" if size == 1 else f"{size} entries are"
        raise NotPublished(f"entry {index} is not in the record: {entries} published, numbered from 0")
    tiles = _Tiles(directory, size)
    leaf = tiles.leaf(index)
    hashes = prove_inclusion(index, size, tiles.subtree)
    try:
        check_inclusion(leaf_hash(leaf), index, size, hashes, checkpoint.root)
    except InvalidProof as error:
        raise NotARecord(f"{directory}: entry {index} is not what was signed: {error}; run verify") from error
    return format_proof(TlogProof(index, tuple(hashes), data, leaf))


def prove_inclusion(index: int, size: int, subtree: Callable[[int, int], bytes]) -> list[bytes]:
    """Siblings of leaf `index` from the leaf up; `subtree(height, at)` is a complete subtree's hash."""
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < middle:
            proof.append(_span(middle, end, subtree))
            end = middle
        else:
            proof.append(_span(start, middle, subtree))
            start = middle
    return proof[::-1]


def _span(start: int, end: int, subtree: Callable[[int, int], bytes]) -> bytes:
    """Root of leaves `start` to `end`, joined from its complete subtrees, the last and smallest first."""
    joined = b""
    while start < end:
        width = end - start
        height = (width & -width).bit_length() - 1
        left = subtree(height, (end >> height) - 1)
        joined = _join(left, joined) if joined else left
        end -= 1 << height
    return joined


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class _Tiles:
    """The tiles of a log of `size` entries, each read once."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._hashes: dict[tuple[int, int], list[bytes]] = {}

    def leaf(self, index: int) -> bytes:
        number = index // TILE_WIDTH
        width = min(self._size - number * TILE_WIDTH, TILE_WIDTH)
        data, found = self._read(entries_path(number, width), entries_path(number), width)
        try:
            return parse_bundle(data, found)[index % TILE_WIDTH]
        except FormatError as error:
            raise self._damaged(entries_path(number, width), error) from error

    def subtree(self, height: int, at: int) -> bytes:
        """Hash of the `at`-th complete subtree of 2^`height` leaves."""
        level, rest = divmod(height, _TILE_HEIGHT)
        first = at << rest
        row = self._tile(level, first // TILE_WIDTH)[first % TILE_WIDTH :][: 1 << rest]
        while len(row) > 1:
            row = [_join(*row[one : one + 2]) for one in range(0, len(row), 2)]
        return row[0]

    def _tile(self, level: int, number: int) -> list[bytes]:
        if (level, number) not in self._hashes:
            width = min((self._size >> (level * _TILE_HEIGHT)) - number * TILE_WIDTH, TILE_WIDTH)
            partial, full = tile_path(level, number, width), tile_path(level, number)
            data, found = self._read(partial, full, width)
            try:
                self._hashes[level, number] = parse_hashes(data, found)
            except FormatError as error:
                raise self._damaged(partial, error) from error
        return self._hashes[level, number]

    def _read(self, partial: str, full: str, width: int) -> tuple[bytes, int]:
        """A resource and its width: the partial one may have been replaced since the checkpoint was read."""
        for path, found in ((partial, width), (full, TILE_WIDTH)):
            try:
                return (self._directory / path).read_bytes(), found
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._damaged(path, error) from error
        raise self._damaged(partial, "it is missing")

    def _damaged(self, path: str, why: object) -> NotARecord:
        return NotARecord(f"{self._directory / path}: {why}; run verify")
