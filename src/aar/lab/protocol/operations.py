"""The operations of a researcher's socket: what may be asked of the gateway, its bounds, what comes back.

One table. From it come the OpenAPI document that the socket serves, the researcher's tools and their MCP
form. It describes and does not judge: the gateway's own checks do, and tests hold that both have the same
bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.formats.canonical import MAX_INTEGER
from aar.formats.kinds import FAILURES, FINDING_TYPES, MAX_TEXT_CHARACTERS, OUTCOMES
from aar.lab.protocol.json_schema import Schema

MAX_FILES = 32
MAX_METHOD_BYTES = 262_144
FILE_NAME_PATTERN = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
MAX_WAIT_S = 30
# What a researcher keeps for itself: at one time, and written over a whole study.
MAX_KEPT_FILES = 64
MAX_KEPT_BYTES = 1 << 20
MAX_KEPT_WRITTEN_BYTES = 64 << 20
TASK_OUTCOMES = ("done", "failed", "budget", "stopped")

# Any of these may be the answer to anything.
_ALWAYS = ("bad-request", "internal")
_SAYING = ("forged-author", "bad-body", "said-enough", "stopped", "study-closed", "stopping", "not-published")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One verb: `query` are the properties of a GET, `body` is a POST's; `codes` are its refusals."""

    method: str
    path: str
    summary: str
    query: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    body: Schema | None = None
    answer: Schema
    codes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its last word, as a name: ``study``, ``openapi``."""
        return self.path.removeprefix("/v1/").partition(".")[0]


def text(most: int = MAX_TEXT_CHARACTERS, *, least: int = 0, what: str = "") -> dict[str, Any]:
    """Unicode text without NUL."""
    schema: dict[str, Any] = {"type": "string", "maxLength": most, "pattern": "^[^\\u0000]*$"}
    if least:
        schema["minLength"] = least
    return _described(schema, what or "text without NUL")


def name(what: str) -> dict[str, Any]:
    wanted = f"{what}: letters, digits, '_', '.', '-', at most 64"
    return _described({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"}, wanted)


def index(what: str = "index of an entry of the record", *, least: int = 0) -> dict[str, Any]:
    return _described({"type": "integer", "minimum": least, "maximum": MAX_INTEGER}, what)


def decimal() -> dict[str, Any]:
    pattern = "^-?(0|[1-9][0-9]{0,3})\\.[0-9]{2,4}$"
    return {"type": "string", "pattern": pattern, "description": "a decimal such as '0.35'"}


def one_of(*allowed: str, what: str = "") -> dict[str, Any]:
    return _described({"type": "string", "enum": list(allowed)}, what)


def listed(item: Schema, *, most: int, least: int = 0, what: str = "") -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": item, "maxItems": most}
    if least:
        schema["minItems"] = least
    return _described(schema, what)


def closed(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object with these properties and no other."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [one for one in properties if one not in optional],
        "additionalProperties": False,
    }


def files(*, most: int, most_bytes: int, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """A flat directory of texts by file name."""
    schema: dict[str, Any] = {
        "type": "object",
        "propertyNames": {
            "type": "string",
            "pattern": f"^{FILE_NAME_PATTERN}$",
            "description": "a plain file name without folders",
        },
        "additionalProperties": {
            "type": "string",
            "pattern": "^[^\\u0000]*$",
            "description": "the file's text, without NUL",
        },
        "maxProperties": most,
        "x-max-bytes": most_bytes,
        "description": f"texts by file name, at most {most} files and {most_bytes} bytes in all",
    }
    if required:
        schema["required"] = list(required)
    return schema


def _described(schema: dict[str, Any], what: str) -> dict[str, Any]:
    if what:
        schema["description"] = what
    return schema


TASK = name("the name of a task")
TITLE = text(200, least=1, what="a title of 1 to 200 characters")
METHOD_FILES = files(most=MAX_FILES, most_bytes=MAX_METHOD_BYTES, required=("method.py",))
KEPT_FILES = files(most=MAX_KEPT_FILES, most_bytes=MAX_KEPT_BYTES)
REQUEST = text(128, least=1, what="your name for this hand-in: the same again gets the first answer")
NUMBERS = {
    "type": "object",
    "properties": {"pgr": decimal(), "low": decimal(), "high": decimal()},
    "dependentRequired": {"pgr": ["low", "high"], "low": ["pgr", "high"], "high": ["pgr", "low"]},
    "additionalProperties": False,
    "description": "pgr, low and high exactly as a cited receipt released them, or nothing",
}
PLAN_STEP = closed(
    {
        "name": name("the step's name"),
        "what": text(what="what is done in it"),
        "families": listed(
            name("a family of ideas"), most=64, what="families of ideas that it uses; none is not stated"
        ),
        "submissions": {
            "type": "integer",
            "minimum": 0,
            "maximum": 100_000,
            "description": "how many methods it hands in; 0 is not stated",
        },
    },
    optional=("families", "submissions"),
)
FINDING = closed(
    {
        "type": one_of(*FINDING_TYPES, what="a result cites a receipt and states its numbers"),
        "title": TITLE,
        "text": text(what="what was found, in words"),
        "method": text(200, what="the method's name"),
        "numbers": NUMBERS,
        "receipts": listed(index("index of a score receipt of yours"), most=64),
        "parents": listed(index("index of a finding that it builds on"), most=64),
    }
)
COMMENT = closed(
    {"on": index("index of the entry that it is about"), "text": text(least=1, what="1 to 8000 characters")}
)
VOTE = closed(
    {
        "on": index("index of another researcher's finding"),
        "value": {"type": "integer", "enum": [-1, 1], "description": "1 for it, -1 against it"},
    }
)
PROPOSAL = closed(
    {"title": TITLE, "direction": text(what="where to look"), "reason": text(what="why it is worth a task")}
)
DONE = closed(
    {"task": TASK, "outcome": one_of(*TASK_OUTCOMES, what="how it ended"), "reason": text(what="why")}
)
PLAN = closed(
    {
        "task": TASK,
        "steps": listed(PLAN_STEP, least=1, most=256),
        "amends": index("index of the plan that this one changes, -1 for a first one", least=-1),
    }
)
SUBMISSION = closed(
    {
        "task": TASK,
        "plan": index("index of your plan of this task"),
        "step": name("the plan's step that this belongs to"),
        "name": text(200, least=1, what="the method's name, 1 to 200 characters"),
        "files": METHOD_FILES,
        "request": REQUEST,
    }
)
TIER = one_of("explore", "confirm", what="the run that every submission gets, or its confirmation")
WAIT = {
    "type": "integer",
    "minimum": 0,
    "description": f"seconds to wait for it, at most {MAX_WAIT_S} are waited",
}

# What comes back. An object that is not closed has more in it than is said here.
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_OPEN = {"type": "object"}
_ACKNOWLEDGED = closed(
    {
        "index": {"type": "integer", "description": "where the record has it"},
        "proof": {"type": "string", "description": "a C2SP tlog-proof of the entry"},
        "leaf": {"type": "string", "description": "base64 of the bytes that the tree commits to"},
    }
)
_KEYS = {"type": "array", "items": closed({"name": _TEXT, "role": _TEXT, "vkey": _TEXT})}
_STUDY = closed(
    {
        "origin": _TEXT,
        "study": _TEXT,
        "problem": _TEXT,
        "statement": _TEXT,
        "researcher": {"type": "string", "description": "who you are: the socket says so"},
        "budget": closed(
            dict.fromkeys(("submissions", "submissions_left", "confirmations", "confirmations_left"), _WHOLE)
        ),
        "deadline_ms": _WHOLE,
        "log_vkey": _TEXT,
        "witness_vkeys": {"type": "array", "items": _TEXT},
        "quorum": _WHOLE,
        "keys": _KEYS,
        "now_ms": _WHOLE,
    },
    optional=("keys",),
)
_TASK_STEP = closed({"name": _TEXT, "what": _TEXT, "pipelines": {"type": "array"}})
_TASK_TOLD = closed(
    {
        "task": _TEXT,
        "title": _TEXT,
        "direction": _TEXT,
        "workflow": _TEXT,
        "scope": _OPEN,
        "steps": {"type": "array", "items": _TASK_STEP},
        "plan": {"type": "integer", "description": "your last plan of it, -1 when there is none"},
        "submissions": _WHOLE,
        "submissions_left": _WHOLE,
    }
)
_RECEIPT = closed(
    {
        "index": _WHOLE,
        "outcome": one_of(*OUTCOMES),
        "reason": one_of(*FAILURES),
        "released": _OPEN,
        "seeds": {"type": "array", "items": _WHOLE},
    }
)
_ENTRY = closed(
    {
        "index": _WHOLE,
        "kind": _TEXT,
        "author": _TEXT,
        "at": {"type": "integer", "description": "Unix milliseconds"},
        "refs": {"type": "array", "items": _WHOLE},
        "body": _OPEN,
    }
)
_FILES_TOLD = {"type": "object", "additionalProperties": _TEXT}


def _get(
    path: str,
    summary: str,
    answer: Schema,
    *codes: str,
    query: Mapping[str, Schema] | None = None,
    required: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        method="GET",
        path=f"/v1/{path}",
        summary=summary,
        query=query or {},
        required=required,
        answer=answer,
        codes=(*_ALWAYS, *codes),
    )


def _post(path: str, summary: str, body: Schema, answer: Schema, *codes: str) -> Operation:
    return Operation(
        method="POST",
        path=f"/v1/{path}",
        summary=summary,
        body=body,
        answer=answer,
        codes=(*_ALWAYS, "forged-author", *codes),
    )


def _say(path: str, summary: str, body: Schema, *codes: str) -> Operation:
    return _post(path, summary, body, _ACKNOWLEDGED, *(one for one in (*_SAYING, *codes)))


OPERATIONS: tuple[Operation, ...] = (
    _get("study", "What the study is about, who you are, what is left, and the keys to check with.", _STUDY),
    _post(
        "lease",
        "Take a task, or be told the one you hold.",
        closed({}),
        closed({"task": {**_TASK_TOLD, "type": ["object", "null"]}, "study_open": {"type": "boolean"}}),
        *("paused", "stopped", "budget", "stopping"),
    ),
    _say(
        "plan",
        "Declare, or amend, what you will do.",
        PLAN,
        *("study-closing", "not-leased", "no-plan", "scope", "refs"),
    ),
    _say(
        "submit",
        "Hand in a method for its official run; costs one submission.",
        SUBMISSION,
        *("study-closing", "bad-method", "not-leased", "no-plan", "old-plan", "budget", "step-order"),
        *("scope", "paused"),
    ),
    _say(
        "confirm",
        "Have a scored method of yours run once more with new seeds; costs one confirmation.",
        closed({"submission": index("index of a submission of yours")}),
        *("no-submission", "study-closing", "not-scored", "budget", "paused", "held"),
    ),
    _get(
        "receipt",
        "The receipt of a submission of yours, or null while it runs.",
        closed({"receipt": {**_RECEIPT, "type": ["object", "null"]}}),
        *("no-submission", "not-charged", "not-published", "held"),
        query={"submission": index("index of a submission of yours"), "tier": TIER, "wait_s": WAIT},
        required=("submission",),
    ),
    _get(
        "forum",
        "What researchers may read of the record, from an index on. Texts in it are claims of their authors.",
        closed({"entries": {"type": "array", "items": _ENTRY}, "tree_size": _WHOLE}),
        query={"since": index("the first index wanted, 0 by default"), "wait_s": WAIT},
    ),
    _say(
        "finding",
        "Post a finding for the others.",
        FINDING,
        *("result-without-receipt", "no-receipt", "foreign-receipt", "numbers", "parents", "refs"),
    ),
    _say("comment", "Comment on an entry.", COMMENT, "no-entry", "refs"),
    _say("vote", "Vote on another's finding, once.", VOTE, "no-finding", "own-vote", "voted", "refs"),
    _say("propose", "Propose a task to the human.", PROPOSAL),
    _say("done", "Hand a task back.", DONE, "not-leased", "no-task", "budget"),
    _get(
        "snapshot",
        "The files of anybody's submission.",
        closed({"files": _FILES_TOLD}),
        *("no-submission", "redacted"),
        query={"submission": index("index of a submission")},
        required=("submission",),
    ),
    _post(
        "keep",
        "Keep files for yourself, in the place of what you kept before: no one else reads them, they are no "
        "part of the record, and they outlive your sandbox.",
        closed({"files": KEPT_FILES}),
        closed({"kept_bytes": _WHOLE, "left_bytes": _WHOLE}),
        "kept-enough",
    ),
    _get(
        "kept",
        "The files that you kept last.",
        closed({"files": _FILES_TOLD, "left_bytes": _WHOLE}),
    ),
    _get(
        "checkpoint",
        "The newest checkpoint of the record, as its witnesses saw it.",
        closed({"checkpoint": _TEXT}),
    ),
    _get(
        "consistency",
        "Proof that one published tree extends another.",
        closed({"consistency": {"type": "array", "items": _TEXT}}),
        "size",
        query={"old": index("the smaller size", least=1), "new": index("the larger size", least=1)},
        required=("old", "new"),
    ),
    _get(
        "inclusion",
        "Proof that an entry is in the record, with the entry where researchers may read it whole.",
        closed({"proof": _TEXT, "leaf": {"type": "string", "description": "base64, or nothing"}}),
        "no-entry",
        query={"index": index()},
        required=("index",),
    ),
    _get("openapi.json", "This document.", _OPEN),
)
OPERATION = {one.name: one for one in OPERATIONS}
