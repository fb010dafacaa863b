"""What a monitor that is a model hears of conversations: all that is new, and no more of it is kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageTool, ChatMessageUser
from inspect_ai.tool import ToolCall, ToolCallError

from aar.llm import inspect_monitor
from aar.llm.inspect_monitor import BACKLOG, ModelMonitor
from aar.llm.monitor_words import Item


def monitor_in(directory: Path, desk: Any = None) -> ModelMonitor:
    return ModelMonitor(told={}, desk=desk, directory=directory, say=lambda _line: None)


def unread(monitor: ModelMonitor) -> list[Item]:
    return monitor._backlogs["researcher-1"].unread


def called(command: Any, name: str = "m1") -> ChatMessageAssistant:
    call = ToolCall(id="1", function="bash", arguments={"command": command})
    return ChatMessageAssistant(id=name, content="so", tool_calls=[call])


def test_messages_of_one_id_that_say_other_things_are_all_heard(tmp_path: Path) -> None:
    monitor = monitor_in(tmp_path)
    failed = ToolCallError("unknown", "no such file")
    told: list[ChatMessage] = [
        called("ls"),
        called("cat /secret"),
        ChatMessageTool(id="m1", content="so", function="bash"),
        ChatMessageTool(id="m1", content="so", function="bash", error=failed),
        ChatMessageUser(id="m1", content="so"),
    ]
    for one in told:
        monitor.heard("researcher-1", [one])
    assert len(unread(monitor)) == len(told)


def test_of_a_conversation_only_what_it_is_now_is_kept_at_hand(tmp_path: Path, monkeypatch: Any) -> None:
    monitor, made = monitor_in(tmp_path), list[ChatMessage]()
    show = inspect_monitor.shown
    monkeypatch.setattr(inspect_monitor, "shown", lambda one: made.append(one) or show(one))
    talk: list[ChatMessage] = [ChatMessageUser(content=str(number)) for number in range(50)]
    for length in range(1, 51):
        monitor.heard("researcher-1", talk[:length])
    assert (len(made), len(unread(monitor))) == (50, 50)
    # Begun afresh, or another that it has beside the first.
    monitor.heard("researcher-1", talk[:2])
    assert len(monitor._shown["researcher-1"]) == 2


def test_a_message_of_no_depth_that_can_be_shown_is_heard_as_that(tmp_path: Path) -> None:
    deep: Any = "x"
    for _level in range(100_000):
        deep = [deep]
    monitor = monitor_in(tmp_path)
    monitor.heard("researcher-1", [called("ls"), called(deep)])
    assert unread(monitor)[1]["text"] == "[it cannot be shown: RecursionError]"


class Desk:
    """A gateway with one submission of two files."""

    def unread(self, since: int, **_flags: Any) -> dict[str, Any]:
        body = {"name": "knn", "digest": "0a" * 32}
        one = {"index": 4, "researcher": "researcher-1", "kind": "submission", "body": body}
        return {"entries": [one][since:], "upto": 1, "is_last": False}

    def files(self, submission: int) -> dict[str, str]:
        return {"method.py": "import os", "more.py": f"of = {submission}"}


def test_a_method_whose_files_a_kill_cut_off_is_heard_again_with_all_of_them(tmp_path: Path) -> None:
    first = monitor_in(tmp_path, Desk())
    anyio.run(first._look)
    path = tmp_path / BACKLOG / "researcher-1.jsonl"
    for lines in range(3):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
        again_there = monitor_in(tmp_path, Desk())
        anyio.run(again_there._look)
        assert unread(again_there) == unread(first)
    assert sorted(one["file"] for one in unread(first) if "file" in one) == ["method.py", "more.py"]


def test_a_monitor_that_says_it_has_read_all_ends_only_where_nothing_came_meanwhile(
    tmp_path: Path, monkeypatch: Any
) -> None:
    more, asked = [{"index": 4}], list[bool]()

    def unread_now(_since: int, *, is_alone: bool, is_done: bool = False) -> dict[str, Any]:
        asked.append(is_done)
        return {"entries": more[:] if is_done else [], "upto": 4, "is_last": is_alone}

    monitor = monitor_in(tmp_path, SimpleNamespace(unread=unread_now))
    monitor.told, monitor.is_alone = {"every_turns": 10}, True
    monkeypatch.setattr(inspect_monitor, "LOOK_S", 0)
    group: Any = None
    assert anyio.run(monitor._step, group) is False
    more.clear()
    assert anyio.run(monitor._step, group) is True
    assert asked == [False, True] * 2
