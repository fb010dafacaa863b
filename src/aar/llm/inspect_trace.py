"""Reading what a researcher that is a model was told, said and did: Inspect's transcripts as plain values."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalSample, read_eval_log
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageTool, ModelOutput

from aar.llm.kept_work import STATE

TRANSCRIPTS = "transcripts"
KEPT = "kept"


def transcript_files(worker: Path, researcher: str) -> list[Path]:
    """A researcher's finished transcripts, oldest first."""
    found = filter(_is_plain, (worker / TRANSCRIPTS / researcher).glob("*.eval"))
    return sorted(found, key=lambda one: one.stat().st_mtime_ns)


def read_transcript(path: Path) -> dict[str, Any]:
    """One transcript: its digest, and what was said, each a dict of plain values."""
    log = read_eval_log(str(path))
    sample = (log.samples or [])[0]
    return {
        "file": path.name,
        "sha256": digest_of(path),
        "model": log.eval.model,
        "lives": _lives(sample),
        "calls": [_call(one) for one in _outputs(sample)],
        "messages": [_message(one) for one in sample.messages],
    }


def read_unfinished(worker: Path, researcher: str) -> list[dict[str, Any]]:
    """What is kept of conversations that are not over: the newest words of a study that runs."""
    found = []
    for path in filter(_is_plain, sorted((worker / KEPT / researcher).glob(f"*/{STATE}"))):
        state = json.loads(path.read_bytes())
        told = [_raw_message(one) for one in state["messages"]]
        found.append({"task": path.parent.name, "turns": state["turns"], "messages": told})
    return found


def _is_plain(path: Path) -> bool:
    """Not a pipe to wait at, nor a link to what the worker may not read: its directory is the worker's."""
    return stat.S_ISREG(path.lstat().st_mode)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copies_of(files: Iterable[Path], scratch: Path) -> list[Path]:
    """Copies to show: whoever has an account here may ask the viewer to change or delete what it shows."""
    folder = scratch / TRANSCRIPTS
    folder.mkdir()
    return [Path(shutil.copy2(path, folder / path.name)) for path in files]


def view(folder: Path, *, port: int, scratch: Path) -> int:
    """Serve Inspect View on loopback until it is interrupted; no content is rendered, only shown."""
    words = ["view", "start", "--recursive", "--host", "127.0.0.1", "--port", str(port), "--no-trust-content"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INSPECT_")}
    environment |= dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(scratch))
    done = subprocess.run(
        [sys.executable, "-m", "inspect_ai", *words, "--log-dir", str(folder)],
        cwd=scratch,
        env=environment,
        check=False,
    )
    return done.returncode


def _lives(sample: EvalSample) -> list[Mapping[str, Any]]:
    """Where the conversation was taken up again after the worker had ended."""
    told = [one.data for one in sample.events if one.event == "info"]
    return [one["resumed"] for one in told if isinstance(one, dict) and "resumed" in one]


def _outputs(sample: EvalSample) -> Iterable[ModelOutput]:
    return (one.output for one in sample.events if one.event == "model" and one.output.usage is not None)


def _call(output: ModelOutput) -> dict[str, int]:
    """What one call of the model used, in tokens."""
    usage = output.usage
    return {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.input_tokens_cache_read or 0,
        "cache_write": usage.input_tokens_cache_write or 0,
    }


def _message(message: ChatMessage) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "text": message.text}
    if isinstance(message, ChatMessageAssistant) and message.tool_calls:
        told["calls"] = [{"tool": one.function, "arguments": one.arguments} for one in message.tool_calls]
    if isinstance(message, ChatMessageTool):
        told["tool"] = message.function
        if message.error is not None:
            told["text"], told["is_error"] = message.error.message, True
    return told


def _raw_message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content", "")
    parts = content if isinstance(content, list) else [{"text": content}]
    told: dict[str, Any] = {"role": message["role"], "text": "".join(one.get("text", "") for one in parts)}
    if message.get("tool_calls"):
        told["calls"] = [
            {"tool": one["function"], "arguments": one["arguments"]} for one in message["tool_calls"]
        ]
    if message["role"] == "tool":
        told["tool"] = message.get("function", "")
        if message.get("error"):
            told["text"], told["is_error"] = message["error"]["message"], True
    return told
