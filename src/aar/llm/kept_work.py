"""Work in progress, kept outside the sandbox after every turn: the conversation and the workspace.

One file names both, so that they are always of the same moment; it is replaced in one step. A worker that was
killed goes on from it: what the model had asked for and was not done yet is done then, in the workspace as it
was when the model asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aar.outside.keyring import write_durably

STATE = "state.json"
KEPT = "workspace-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A conversation, as the provider's messages in JSON, and the workspace that goes with it."""

    messages: Sequence[Mapping[str, Any]]
    turns: int
    life: int = 1
    context_tokens: int = 0
    lives_without_turn: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict)


class KeptWork:
    """What is kept of one researcher's task, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._digest = ""
        self._saving = threading.Lock()

    def save(self, moment: Moment) -> None:
        """Keep this moment instead of the last one; one that is being kept by another thread comes first."""
        with self._saving:
            self._save(moment)

    def _save(self, moment: Moment) -> None:
        whole = {name: base64.b64encode(data).decode() for name, data in sorted(moment.files.items())}
        data = json.dumps(whole).encode()
        digest = hashlib.sha256(data).hexdigest()
        path = self._directory / f"{KEPT}{digest}.json"
        if digest != self._digest and not path.exists():
            write_durably(path, data, mode=0o600)
        state = {
            "messages": list(moment.messages),
            "turns": moment.turns,
            "life": moment.life,
            "context_tokens": moment.context_tokens,
            "lives_without_turn": moment.lives_without_turn,
            "workspace": digest,
        }
        write_durably(self._directory / STATE, json.dumps(state).encode(), mode=0o600)
        self._digest = digest
        for old in self._directory.glob(f"{KEPT}*"):
            if old != path:
                old.unlink(missing_ok=True)

    def load(self) -> Moment | None:
        """The last moment kept; `None` where there is none."""
        try:
            state = json.loads((self._directory / STATE).read_bytes())
        except FileNotFoundError:
            return None
        self._digest = state["workspace"]
        kept = json.loads((self._directory / f"{KEPT}{self._digest}.json").read_bytes())
        return Moment(
            messages=state["messages"],
            turns=state["turns"],
            life=state["life"],
            context_tokens=state["context_tokens"],
            lives_without_turn=state["lives_without_turn"],
            files={name: base64.b64decode(text) for name, text in kept.items()},
        )

    def end_life_in_order(self) -> None:
        """This life was ended from outside: that it took no turn does not speak against the next one."""
        moment = self.load()
        if moment is not None:
            self.save(replace(moment, lives_without_turn=0))

    def forget(self) -> None:
        """The task is over: there is nothing to go on with."""
        for path in self._directory.iterdir():
            path.unlink()
        os.rmdir(self._directory)
