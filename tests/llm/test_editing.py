"""The editor's commands over files, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from aar.llm.editing import MAX_EDIT_BYTES, MAX_VIEW_CHARACTERS, EditError, edit


class Files:
    """A sandbox's files, in a dict."""

    def __init__(self, **files: bytes) -> None:
        self.files = {f"/workspace/{name}": data for name, data in files.items()}

    def read_file(self, path: str, *, max_bytes: int = 0) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def write_file(self, path: str, data: bytes) -> None:
        self.files[path] = data


def test_a_file_is_made_changed_and_shown() -> None:
    files = Files()
    edit(files, command="create", path="m.py", file_text="a\nb\n")
    edit(files, command="str_replace", path="m.py", old_str="b", new_str="c")
    edit(files, command="insert", path="/workspace/m.py", insert_line=1, insert_text="x")
    edit(files, command="insert", path="m.py", insert_line=3, insert_text="end")
    assert files.files["/workspace/m.py"] == b"a\nx\nc\nend\n"
    assert edit(files, command="view", path="m.py", view_range=[2, 3]) == "     2\tx\n     3\tc"
    assert edit(files, command="view", path="m.py", view_range=[4, -1]) == "     4\tend"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"command": "create", "path": "n"}, "create wants file_text"),
        ({"command": "undo_edit", "path": "f"}, "want view, create"),
        ({"command": "str_replace", "path": "f", "old_str": "a"}, "2 times: want exactly once"),
        ({"command": "str_replace", "path": "f", "old_str": "z"}, "0 times"),
        ({"command": "str_replace", "path": "f", "old_str": ""}, "0 times"),
        ({"command": "insert", "path": "f", "insert_line": 9, "insert_text": "x"}, "want 0 to 2"),
        ({"command": "view", "path": "f", "view_range": [3, 4]}, "the file has 2 lines"),
        ({"command": "view", "path": "f", "view_range": [1]}, "want two line numbers"),
        ({"command": "view", "path": "b"}, "/workspace/b is no text"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(given: dict[str, Any], wanted: str) -> None:
    files = Files(f=b"a\na\n", b=b"\xff")
    before = dict(files.files)
    with pytest.raises(EditError, match=wanted):
        edit(files, **given)
    assert files.files == before


@pytest.mark.parametrize(
    "text", [b"\n" * MAX_EDIT_BYTES, b"x" * MAX_EDIT_BYTES, b"x" * MAX_EDIT_BYTES + b"\n\n"]
)
def test_a_view_stays_small_whatever_the_file(text: bytes) -> None:
    assert len(edit(Files(f=text), command="view", path="f")) < MAX_VIEW_CHARACTERS + 200


def test_a_view_that_is_cut_says_how_to_see_the_rest() -> None:
    files = Files(f=b"x\n" * 100_000)
    shown = edit(files, command="view", path="f")
    assert shown.endswith("[cut here: the file has 100000 lines; view_range shows others]")
    assert edit(files, command="view", path="f", view_range=[100_000, -1]) == "100000\tx"
