"""What the worker is told at its start: one JSON object on standard input, from the supervisor alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A conversation is shortened when it gets longer than this; every model that is worth a study takes it.
COMPACT_AT_TOKENS = 120_000
MAX_TURNS = 1_000


class WorkerConfigError(Exception):
    """The configuration cannot be used; the message says what of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One researcher: its name and model, and where it is reached.

    `gateway` is the worker's socket of it, `gateway_dir` the host directory that its sandbox sees, `slot` its
    sandbox's uid slot, `agent` the program in there that the model thinks through, "" for our own loop.
    """

    name: str
    model: str
    gateway: str
    gateway_dir: str
    slot: int
    direction: str = ""
    seed: int = 0
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """A whole team of one study. `uid` 0 keeps the caller's; `brief` is the text of the study's template.

    `fresh`: a conversation begins anew, from brief and notebook, each time a finding was posted. `monitor`:
    what `study-opened` says of a monitor that is a model, and as `told` what it is told; empty without one.
    """

    study: str
    origin: str
    researchers: tuple[Place, ...]
    worker_socket: str
    launcher_fd: int
    directory: str
    lifeline_fd: int = -1
    uid: int = 0
    brief: str = ""
    fresh: bool = False
    compact_at_tokens: int = COMPACT_AT_TOKENS
    max_turns: int = MAX_TURNS
    model_args: Mapping[str, Any] = field(default_factory=dict)
    monitor: Mapping[str, Any] = field(default_factory=dict)


def parse_worker_config(text: str) -> WorkerConfig:
    """Raises `WorkerConfigError`. What is there beyond the fields above is for others and left alone."""
    try:
        told = json.loads(text)
        places = tuple(Place(**_known(Place, one)) for one in told["researchers"])
        config = WorkerConfig(**_known(WorkerConfig, told) | {"researchers": places})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkerConfigError(
            f"configuration on standard input: {type(error).__name__}: {error}"
        ) from error
    if not places and not config.monitor:
        raise WorkerConfigError("configuration on standard input: researchers is empty")
    if places and config.launcher_fd < 0:
        raise WorkerConfigError("configuration on standard input: researchers without launcher_fd")
    if config.uid and config.lifeline_fd < 0:
        # Rights are dropped where the lifeline is taken up: without one they would be kept.
        raise WorkerConfigError("configuration on standard input: uid without lifeline_fd")
    return config


def _known(kind: type[Place] | type[WorkerConfig], told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key in kind.__dataclass_fields__}
