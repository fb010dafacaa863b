"""How a conversation ends: in order, at a limit, or cut off so that it goes on in the worker's next life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["done", "failed", "budget", "stopped", "interrupted"]

# As the gateway says it, and as the record does.
_WHY = {
    "tokens": "its limit on tokens was reached",
    "dollars": "its limit on dollars was reached",
    "seconds": "the study's time was over",
    "submissions": "no submission was left",
    "minutes": "its limit on minutes was reached",
    "sandbox-seconds": "its limit on seconds of its sandboxes was reached",
    "task-tokens": "the task's limit on tokens was reached",
    "task-dollars": "the task's limit on dollars was reached",
    "task-minutes": "the task's limit on minutes was reached",
    "task-sandbox-seconds": "the task's limit on seconds of sandboxes was reached",
    "stopped": "it was stopped",
}


class ModelUnusable(Exception):
    """A model cannot be asked: its name, key or library is not what it must be; the message is a line."""


@dataclass(frozen=True, slots=True)
class Ending:
    """`outcome` as the record has it; after "interrupted" the task is still held, its work kept for later."""

    outcome: Outcome
    reason: str

    @property
    def is_over(self) -> bool:
        return self.outcome != "interrupted"


def ending_for(stop: str) -> Ending:
    """What the gateway's word for a limit means for a task.

    >>> ending_for("tokens")
    Ending(outcome='budget', reason='its limit on tokens was reached')
    """
    return Ending("stopped" if stop == "stopped" else "budget", _WHY.get(stop, f"the gateway said {stop}"))
