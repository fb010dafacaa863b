"""Changing text files of a sandbox: view, create, str_replace and insert, over its session."""

from __future__ import annotations

from typing import Any, Protocol

MAX_EDIT_BYTES = 4 << 20
# Of a file of millions of empty lines the view would be a hundred times the file.
MAX_VIEW_CHARACTERS = 1 << 16
WORKSPACE = "/workspace"


class EditError(Exception):
    """What was asked cannot be done; the message is for the model."""


class Files(Protocol):
    """As much of a sandbox's session as editing needs."""

    def read_file(self, path: str, *, max_bytes: int = ...) -> bytes: ...
    def write_file(self, path: str, data: bytes) -> None: ...


def edit(files: Files, *, command: str, path: str, **given: Any) -> str:
    """Do one command and say what was done. Raises `EditError`, and what `files` raises."""
    where = path if path.startswith("/") else f"{WORKSPACE}/{path}"
    if command == "create":
        text = _wanted(given, "file_text", command)
        files.write_file(where, text.encode())
        return f"{where} is written: {len(text.splitlines())} lines."
    if command not in ("view", "str_replace", "insert"):
        raise EditError(f"command {command!r:.40}: want view, create, str_replace or insert")
    text = _text_of(files, where)
    if command == "view":
        return _numbered(text, given.get("view_range"))
    if command == "str_replace":
        old, new = _wanted(given, "old_str", command), given.get("new_str") or ""
        count = text.count(old) if old else 0
        if count != 1:
            raise EditError(
                f"old_str is in {where} {count} times: want exactly once; give more lines around it"
            )
        text = text.replace(old, new)
    else:
        lines, at = text.splitlines(keepends=True), given.get("insert_line")
        if not isinstance(at, int) or not 0 <= at <= len(lines):
            raise EditError(f"insert_line {at!r:.20}: want 0 to {len(lines)}")
        inserted = _wanted(given, "insert_text", command)
        if at and not lines[at - 1].endswith("\n"):
            lines[at - 1] += "\n"
        if not inserted.endswith("\n"):
            inserted += "\n"
        text = "".join([*lines[:at], inserted, *lines[at:]])
    files.write_file(where, text.encode())
    return f"{where} is changed: {len(text.splitlines())} lines."


def _wanted(given: dict[str, Any], name: str, command: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise EditError(f"{command} wants {name}")
    return value


def _text_of(files: Files, path: str) -> str:
    try:
        return files.read_file(path, max_bytes=MAX_EDIT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise EditError(f"{path} is no text") from error


def _numbered(text: str, view_range: Any) -> str:
    lines = text.splitlines()
    first, last = 1, len(lines)
    if view_range is not None:
        if len(view_range) != 2 or not all(isinstance(one, int) for one in view_range):
            raise EditError("view_range: want two line numbers")
        first, last = view_range[0], view_range[1] if view_range[1] != -1 else len(lines)
    if not 1 <= first <= max(last, 1) or first > max(len(lines), 1):
        raise EditError(f"view_range {view_range}: the file has {len(lines)} lines")
    shown, characters = list[str](), 0
    for number, line in enumerate(lines[first - 1 : last], first):
        shown.append(f"{number:6}\t{line[:MAX_VIEW_CHARACTERS]}")
        characters += len(shown[-1]) + 1
        if characters > MAX_VIEW_CHARACTERS and number < last:
            shown.append(f"[cut here: the file has {len(lines)} lines; view_range shows others]")
            break
    return "\n".join(shown) or "[empty]"
