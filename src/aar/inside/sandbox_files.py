"""Files of a sandbox, read from within: links lead where they do for its programs, never to the host."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    # A header without call and size, and the bytes that go with it.
    Frames = Iterator[tuple[dict[str, Any], bytes]]

CHUNK = 65_536


class FileRefused(Exception):
    """What was asked for is no file, or too much; the word is one of the protocol's."""


def opened(path: str, flags: int) -> int:
    """Open a regular file; what may wait for ever, or never end, is refused."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o644)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise FileRefused("not-a-file")


def file_frames(path: str, max_bytes: int) -> Frames:
    descriptor = opened(path, os.O_RDONLY)
    try:
        yield from _content_frames(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def _content_frames(descriptor: int, max_bytes: int) -> Frames:
    """The content in parts, counted: what a file says of its size may be wrong, and changes."""
    if os.fstat(descriptor).st_size > max_bytes:
        raise FileRefused("too-large")
    left = max_bytes
    while chunk := os.read(descriptor, CHUNK):
        left -= len(chunk)
        if left < 0:
            raise FileRefused("too-large")
        yield {"say": "data"}, chunk


def snapshot_frames(folder: str, caps: dict[str, Any]) -> Frames:
    """Every regular file below a folder, and the name of whatever is left out."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.close(root)
    left_files, left_bytes, left_skips = caps["max_files"], caps["max_bytes"], caps["max_files"]
    waiting = [("", 0)]
    while waiting:
        below, depth = waiting.pop()
        entries = _entries(os.path.join(folder, below))
        if entries is None:
            left_skips -= 1
            if left_skips < 0:
                raise FileRefused("too-many")
            yield {"say": "skipped", "why": "unreadable"}, (below or ".").encode()
            continue
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            why = _why_not(name, entry, depth, caps)
            if why is None and entry.is_dir(follow_symlinks=False):
                waiting.append((name, depth + 1))
                continue
            descriptor = -1 if why is not None else _unfollowed(os.path.join(folder, name))
            if descriptor < 0:
                left_skips -= 1
                if left_skips < 0:
                    raise FileRefused("too-many")
                shown = name.encode("utf-8", "backslashreplace")[-CHUNK:]
                yield {"say": "skipped", "why": why or "unreadable"}, shown
                continue
            try:
                left_files -= 1
                if left_files < 0:
                    raise FileRefused("too-many")
                yield {"say": "file"}, name.encode()
                for header, body in _content_frames(descriptor, left_bytes):
                    left_bytes -= len(body)
                    yield header, body
            finally:
                os.close(descriptor)


def _entries(folder: str) -> list[os.DirEntry[str]] | None:
    """In the order of their names; None for a directory that cannot be read."""
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return None


def _unfollowed(path: str) -> int:
    """A descriptor of the file itself, or -1 where there is none to be had."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1


def _why_not(name: str, entry: os.DirEntry[str], depth: int, caps: dict[str, Any]) -> str | None:
    """Why this entry is left out, in a word of the protocol."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "name"
    if len(encoded) > caps["max_name"] or not name.isprintable():
        return "name"
    if entry.is_symlink():
        return "symlink"
    if entry.is_dir(follow_symlinks=False):
        return "depth" if depth + 1 > caps["max_depth"] else None
    return None if entry.is_file(follow_symlinks=False) else "not-a-file"
