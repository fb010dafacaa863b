"""A researcher's tools as Inspect's: the registry's, and a shell, Python and an editor in its sandbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
from inspect_ai.tool import ToolDef, ToolError, ToolParam, ToolParams

from aar.inside.tools import TOOLS
from aar.llm.editing import EditError, edit
from aar.llm.seat import Seat
from aar.outside.sandbox.session import CallRefused, ExecResult, FileRefused, SessionEnded
from aar.outside.sandbox.spec import SandboxError

TIMEOUT_S = 600
DEFAULT_TIMEOUT_S = 120
FINISH = "finish_task"
Answer = TypeVar("Answer")


class Watch(Protocol):
    """Waits for something as long as its researcher may go on; `None` when it was not waited for."""

    async def __call__(self, ask: Callable[[], Awaitable[str]], /) -> str | Exception | None: ...


# The worker takes tasks and hands them back: one conversation is about one task.
NOT_FOR_MODELS = ("next_task", FINISH)


def study_tools(seat: Seat) -> list[ToolDef]:
    """Every tool of the registry that a model uses itself, one call after the other whoever makes them.

    A call is a thread, of which all researchers of this process have few together.
    """
    one_by_one = anyio.Lock()
    return [_study_tool(seat, one.name, one_by_one) for one in TOOLS if one.name not in NOT_FOR_MODELS]


def _study_tool(seat: Seat, name: str, one_by_one: anyio.Lock) -> ToolDef:
    tool = next(one for one in TOOLS if one.name == name)

    async def execute(**arguments: Any) -> str:
        async with one_by_one:
            told = await in_thread(partial(seat.use, name, arguments))
        if told.is_error:
            raise ToolError(told.text)
        return told.text

    return ToolDef(
        execute,
        name=name,
        description=tool.description,
        parameters=ToolParams.model_validate(described(tool.parameters)),
        parallel=False,
    )


def described(schema: Any, name: str = "") -> Any:
    """A JSON Schema in which every property has a description, as Inspect wants it; by default its name."""
    if isinstance(schema, list):
        return [described(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    whole = {
        key: {one: described(value, one) for one, value in part.items()}
        if key == "properties"
        else described(part)
        for key, part in schema.items()
    }
    return {"description": name.replace("_", " "), **whole} if name else whole


def sandbox_tools(seat: Seat, watch: Watch) -> list[ToolDef]:
    """`bash`, `python` and `text_editor`, all in the researcher's sandbox, for as long as `watch` waits."""

    async def bash(command: str, timeout_s: int = DEFAULT_TIMEOUT_S) -> str:
        run = partial(seat.run, ("/bin/bash", "-c", command), timeout_s=_within(timeout_s))
        return await _in_sandbox(seat, watch, lambda: _shown(run()))

    async def python(code: str, timeout_s: int = DEFAULT_TIMEOUT_S) -> str:
        argv = ("/bin/bash", "-c", "exec python3 -")
        run = partial(seat.run, argv, stdin=code.encode(), timeout_s=_within(timeout_s))
        return await _in_sandbox(seat, watch, lambda: _shown(run()))

    async def text_editor(
        command: str,
        path: str,
        file_text: str | None = None,
        old_str: str | None = None,
        new_str: str | None = None,
        insert_line: int | None = None,
        insert_text: str | None = None,
        view_range: list[int] | None = None,
    ) -> str:
        change = partial(
            edit,
            command=command,
            path=path,
            file_text=file_text,
            old_str=old_str,
            new_str=new_str,
            insert_line=insert_line,
            insert_text=insert_text,
            view_range=view_range,
        )
        return await _in_sandbox(seat, watch, lambda: change(seat.session()))

    seconds = ToolParam(
        type="integer", description=f"seconds, at most {TIMEOUT_S}", default=DEFAULT_TIMEOUT_S
    )
    return [
        ToolDef(
            bash,
            name="bash",
            description="Run a command with bash in your sandbox, in /workspace, and read what it writes.",
            parameters=_params({"command": _text("the command"), "timeout_s": seconds}, "command"),
            parallel=False,
        ),
        ToolDef(
            python,
            name="python",
            description="Run a Python program in your sandbox, in /workspace; print what you want to see.",
            parameters=_params({"code": _text("the program"), "timeout_s": seconds}, "code"),
            parallel=False,
        ),
        ToolDef(
            text_editor,
            name="text_editor",
            description="View and change text files in your sandbox: view, create, str_replace, insert.",
            parameters=_params(
                {
                    "command": ToolParam(
                        type="string",
                        description="what to do",
                        enum=["view", "create", "str_replace", "insert"],
                    ),
                    "path": _text("an absolute path, or one below /workspace"),
                    "file_text": _text("create: the whole content"),
                    "old_str": _text("str_replace: the text to replace; it must be there exactly once"),
                    "new_str": _text("str_replace: what to put there; nothing by default"),
                    "insert_line": ToolParam(
                        type="integer", description="insert: the line after which, 0 for the beginning"
                    ),
                    "insert_text": _text("insert: the text"),
                    "view_range": ToolParam(
                        type="array",
                        items=ToolParam(type="integer"),
                        description="view: first and last line, -1 for the end",
                    ),
                },
                "command",
                "path",
            ),
            parallel=False,
        ),
    ]


async def in_thread(call: Callable[[], Answer]) -> Answer:
    """A call that blocks, in a thread; one that is not waited for any more is left to its own timeout."""
    answer: Answer = await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
    return answer


def _params(properties: dict[str, ToolParam], *required: str) -> ToolParams:
    return ToolParams(properties=properties, required=list(required))


def _text(description: str) -> ToolParam:
    return ToolParam(type="string", description=description)


def _within(timeout_s: int) -> float:
    return float(max(1, min(timeout_s, TIMEOUT_S)))


async def _in_sandbox(seat: Seat, watch: Watch, call: Callable[[], str]) -> str:
    def beside_the_forum() -> str:
        seat.copy_forum()
        return call()

    said = await watch(partial(in_thread, beside_the_forum))
    if said is None:
        # What still runs in there ends with the sandbox, as soon as this turn is over.
        raise ToolError("your work on this task is over: this was not done, or not to its end")
    if isinstance(said, (EditError, CallRefused, FileRefused, SessionEnded, OSError, SandboxError)):
        raise ToolError(f"{seat.take_note()}{said}") from said
    if isinstance(said, Exception):
        raise said
    return f"{seat.take_note()}{said}"


def _shown(result: ExecResult) -> str:
    """What a command wrote, and how it ended where that is not as it should be."""
    parts = [one.decode("utf-8", "backslashreplace") for one in (result.stderr, result.stdout) if one]
    if result.truncated:
        parts.append("[there was more: it is cut here]")
    if result.reason == "wall":
        parts.append("[its time was up: it was killed]")
    elif result.reason == "output":
        parts.append("[it wrote far too much: it was killed]")
    elif result.reason == "sandbox-died":
        parts.append("[the sandbox ended: too much memory or too many processes, or a command ended it]")
    elif result.returncode:
        parts.append(f"[exit status {result.returncode}]")
    return "\n".join(parts) or "[no output]"
