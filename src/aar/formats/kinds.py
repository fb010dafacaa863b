"""The closed set of entry kinds: who may sign each, and the exact shape of its body.

One table serves the writer, which refuses what it would not accept, and the verifier, which reports it.
Floats do not exist in an entry; a decimal is a string such as ``"0.35"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aar.formats.canonical import Value
from aar.formats.entry import NO_ISOLATION
from aar.formats.errors import MalformedBody

ROLES = ("operator", "reviewer", "gateway", "evaluator", "monitor", "researcher")

WORKFLOWS = ("fixed", "free", "hybrid")
# Who gets which task, and which direction with it.
POLICIES = ("directed", "undirected", "round-robin", "bandit", "risk-tiered")
RISKS = ("low", "medium", "high")
PURPOSES = ("alignment", "capabilities")
# What is done when a signal is beyond its limit.
ACTIONS = ("notify", "require-review", "pause")
TIERS = ("explore", "reproduce", "confirm", "heldout")
# What is charged to a study's budget.
CHARGES = ("submissions", "confirmations", "tokens", "sandbox")
# What a call of a model is paid for, each at a price of its own.
TOKENS = ("input", "output", "cache_read", "cache_write")
# Programs of others that a model may think through, inside its sandbox.
AGENTS = ("claude-code", "codex")
# What may be limited, by its field and in a word. A researcher's seconds are those for which it held a task,
# a task's those for which somebody held it; a study's are of work.
LIMIT_WORD = {
    "tokens": "tokens",
    "dollars": "dollars",
    "sandbox_seconds": "sandbox-seconds",
    "seconds": "minutes",
    "submissions": "submissions",
}
# Why a charge is the last one, or one beyond it: the limit that was reached, of the researcher, its study or
# its task. What is charged is tokens or processor time; of time that passed a charge may tell.
LIMITS = (
    "",
    "tokens",
    "dollars",
    "sandbox-seconds",
    "minutes",
    "study-tokens",
    "study-dollars",
    "study-sandbox-seconds",
    "task-tokens",
    "task-dollars",
    "task-sandbox-seconds",
    "task-minutes",
)
HALVES = ("public", "sealed")
RULES = ("ladder", "exact")
INTERVALS = ("crossed-bootstrap", "t-over-seeds")
OUTCOMES = ("scored", "failed")
# A closed set: text written by a method would be a channel from test inputs back to a researcher.
FAILURES = ("", "exception", "bad-output", "wall", "cpu", "memory", "launch-failed", "killed", "no-gap")
FINDING_TYPES = ("result", "hypothesis", "insight", "error")
DECISIONS = ("publish", "retract", "refine")
CHECKLIST_OUTCOMES = ("pass", "fail", "not-applicable")
# What the calls of a monitor that is a model are charged to: no researcher of such a study has this name.
MONITOR = "monitor"
# What a monitor that is a model raises, by how bad it says that it is; that it could not read; and that it is
# at its limit.
SEVERITIES = ("low", "medium", "high")
MODEL_ALARMS = tuple(f"model-alarm-{severity}" for severity in SEVERITIES)
# The one that may hold a submission.
HOLDING = MODEL_ALARMS[-1]
UNREAD, MONITOR_SPENT = "monitor-unread", "monitor-spent"
# The backend of a study whose researchers run like any other program of the machine.
NO_SANDBOX = "bare"

MAX_TEXT_CHARACTERS = 8_000

Check = Callable[[str, Value], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of entry: the role of its author, a co-signing role, and its body's fields."""

    name: str
    authors: tuple[str, ...]
    cosigner: str = ""
    fields: Mapping[str, Check]


def _refuse(where: str, got: object, wanted: str) -> MalformedBody:
    return MalformedBody(f"{where}: got {got!r:.80}, want {wanted}")


def _text(limit: int = MAX_TEXT_CHARACTERS, *, least: int = 0) -> Check:
    def check(where: str, value: Value) -> None:
        if not isinstance(value, str) or not least <= len(value) <= limit:
            raise _refuse(where, value, f"text of {least} to {limit} characters")

    return check


def _pattern(expression: str, wanted: str) -> Check:
    compiled = re.compile(expression, re.ASCII)

    def check(where: str, value: Value) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise _refuse(where, value, wanted)

    return check


def _one_of(*allowed: str) -> Check:
    def check(where: str, value: Value) -> None:
        if value not in allowed:
            raise _refuse(where, value, "one of " + ", ".join(repr(word) for word in allowed))

    return check


def _integer(least: int = 0, most: int = 2**53 - 1) -> Check:
    def check(where: str, value: Value) -> None:
        if not isinstance(value, int) or not least <= value <= most:
            raise _refuse(where, value, f"an integer from {least} to {most}")

    return check


def _list(item: Check, *, least: int = 0, most: int = 1_000) -> Check:
    def check(where: str, value: Value) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _refuse(where, value, f"a list of {least} to {most} items")
        for position, element in enumerate(value):
            item(f"{where}[{position}]", element)

    return check


def _object(**fields: Check) -> Check:
    def check(where: str, value: Value) -> None:
        _check_fields(where, value, fields)

    return check


def _some_of(**fields: Check) -> Check:
    """An object with one of these fields at least: what it does not name is as it was."""

    def check(where: str, value: Value) -> None:
        if not isinstance(value, dict) or not value or not set(value) <= set(fields):
            got = sorted(value) if isinstance(value, dict) else value
            raise _refuse(where, got, "an object with some of " + ", ".join(sorted(fields)))
        for name, one in value.items():
            fields[name](f"{where}.{name}", one)

    return check


def _empty_or(filled: Check) -> Check:
    def check(where: str, value: Value) -> None:
        if value != {}:
            filled(where, value)

    return check


def _released(where: str, value: Value) -> None:
    """Nothing, what an explore run releases, or what a confirm run does; the tier is looked at afterwards."""
    if value != {}:
        confirms = isinstance(value, dict) and "difference" in value
        (_CONFIRMED if confirms else _RELEASED)(where, value)


def _usage(where: str, value: Value) -> None:
    """Nothing, what calls of a model used, or sandboxes; which one is told by what was charged."""
    if value != {}:
        is_of_sandboxes = isinstance(value, dict) and "calls" not in value
        (_SANDBOX_USAGE if is_of_sandboxes else _USAGE)(where, value)


def _check_fields(where: str, value: Value, fields: Mapping[str, Check]) -> None:
    wanted = "an object with exactly " + ", ".join(sorted(fields))
    if not isinstance(value, dict):
        raise _refuse(where, value, wanted)
    if set(value) != set(fields):
        lacks, beside = sorted(set(fields) - set(value)), sorted(set(value) - set(fields))
        got = [f"none of {', '.join(lacks)}"] if lacks else []
        got += [f"{', '.join(map(repr, beside)):.80} beside"] if beside else []
        raise MalformedBody(f"{where}: got {' and '.join(got)}, want {wanted}")
    for name, check in fields.items():
        check(f"{where}.{name}", value[name])


NAME = _pattern("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a name of letters, digits, '_', '.', '-'")
HEX32 = _pattern("[0-9a-f]{64}", "64 lower-case hex digits")
DECIMAL = _pattern("-?(0|[1-9][0-9]{0,3})\\.[0-9]{2,4}", "a decimal such as '0.35'")
# One spelling of each amount: two digits behind the point, or more of which the last is not 0. A price has at
# most four of them; a price times a number of tokens, over a million, ten.
_DOLLARS = "(0|[1-9][0-9]{0,8})\\.[0-9]{2}"
DOLLARS = _pattern(f"{_DOLLARS}([0-9]{{0,7}}[1-9])?", "an amount of dollars such as '0.35' or '0.0012'")
PRICE = _pattern(f"{_DOLLARS}([0-9]?[1-9])?", "dollars for a million tokens such as '3.00' or '0.125'")
_EMPTY_OR_DECIMAL = _pattern("|-?(0|[1-9][0-9]{0,3})\\.[0-9]{2,4}", "nothing, or a decimal such as '0.35'")
BASE64 = _pattern("[A-Za-z0-9+/]*={0,2}", "base64")
TITLE = _text(200, least=1)
TEXT = _text()
INDEX = _integer()

# A pipeline is carried as its JSON text: the record has no floats, and only the lab says what a pipeline is.
_STEP = _object(name=NAME, what=TEXT, pipelines=_list(_text(4_000, least=2), most=32))
# What a step of a researcher's plan may use: families of ideas, and how many submissions; 0 is not stated.
_PLANNED = _object(name=NAME, what=TEXT, families=_list(NAME, most=64), submissions=_integer(0, 100_000))
# What the human leaves free in a hybrid task: families, own programs, submissions per step of a plan.
_SCOPE = _object(
    families=_list(NAME, least=1, most=64), programs=_integer(0, 1), submissions=_integer(1, 100_000)
)
_LIMIT = _object(signal=NAME, side=_one_of("above", "below"), value=DECIMAL, action=_one_of(*ACTIONS))
_OVERSIGHT = _object(
    purpose=_one_of("", *PURPOSES),
    human=_empty_or(_object(pgr=DECIMAL, hours=DECIMAL, source=_text(1_000, least=1))),
    limits=_list(_LIMIT, most=64),
    downstream=_list(_object(name=NAME, kind=NAME, gate=NAME, researchers=_list(NAME, most=512)), most=64),
)
_BLOB = _object(sha256=HEX32, size=_integer(), type=_text(100, least=1))
_RELEASED = _object(pgr=DECIMAL, low=DECIMAL, high=DECIMAL, improved=_integer(0, 1))
_CONFIRMED = _object(
    pgr=DECIMAL,
    low=DECIMAL,
    high=DECIMAL,
    difference=DECIMAL,
    difference_low=DECIMAL,
    difference_high=DECIMAL,
)
# A fixed problem has `items` and nothing `tested` of its own, a fresh one the other way round.
_POOL = _object(
    items=_integer(0, 65_536),
    sealed=_integer(1, 65_536),
    labelled=_integer(1, 65_536),
    unlabelled=_integer(1, 65_536),
    tested=_integer(0, 65_536),
    group=_integer(1, 65_536),
)
# `vanilla` is the plain student's PGR, `spread` the standard deviation over seeds of its PGR.
_BASELINES = _object(weak=DECIMAL, ceiling=DECIMAL, gap=DECIMAL, se=DECIMAL, vanilla=DECIMAL, spread=DECIMAL)
_NUMBERS = _object(pgr=DECIMAL, low=DECIMAL, high=DECIMAL)
# A researcher that is a language model: what its tokens cost, and how much of them it may use. `agent`: the
# program inside its sandbox that asks it, with the digest of that file; nothing where we ask it ourselves.
_MODEL = _object(
    researcher=NAME,
    model=_text(200, least=1),
    prices=_object(**dict.fromkeys(TOKENS, PRICE)),
    tokens=_integer(1),
    dollars=DOLLARS,
    agent=_empty_or(_object(name=_one_of(*AGENTS), sha256=HEX32)),
)
# What of a study is a model's: the limits of all of them together, the digest of what each is told first.
_MODELS = _object(
    brief=HEX32, tokens=_integer(1), dollars=DOLLARS, researchers=_list(_MODEL, least=1, most=512)
)
# A monitor that is a model: what its tokens cost, how much of them it may use, what it is told, after how
# many turns of a researcher it reads, and whether it holds submissions.
_MODEL_MONITOR = _object(
    model=_text(200, least=1),
    prices=_object(**dict.fromkeys(TOKENS, PRICE)),
    tokens=_integer(1),
    dollars=DOLLARS,
    instructions=HEX32,
    every_turns=_integer(1, 1_000),
    holds=_integer(0, 1),
)
FILE_NAME = _pattern(
    "[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}", "a file's name of letters, digits, '_', '.', '+', '-'"
)
_TRANSCRIPT = _object(name=FILE_NAME, sha256=HEX32, size=INDEX)
# Calls of a model since the researcher's last charge, what all of its calls came to, and where they stand.
_USAGE = _object(
    calls=INDEX,
    **dict.fromkeys(TOKENS, INDEX),
    dollars=DOLLARS,
    total=_object(calls=INDEX, tokens=INDEX, dollars=DOLLARS),
    limit=_one_of(*LIMITS),
    transcripts=_list(_TRANSCRIPT, most=64),
)
# Processor milliseconds of a researcher's own sandboxes in all, and where they stand.
_SANDBOX_USAGE = _object(total=INDEX, limit=_one_of(*LIMITS))
_MONEY = {"tokens": _integer(1), "dollars": DOLLARS}
_TIME = {"seconds": _integer(1, 10_000_000), "sandbox_seconds": _integer(1, 1_000_000_000)}
_SUBMISSIONS = {"submissions": _integer(1, 100_000)}
_CHECKLIST = _list(_object(item=NAME, outcome=_one_of(*CHECKLIST_OUTCOMES), detail=TEXT), most=32)


def _kind(name: str, authors: str, fields: Mapping[str, Check], *, cosigner: str = "") -> Kind:
    return Kind(name=name, authors=tuple(authors.split()), cosigner=cosigner, fields=fields)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind(
            "study-opened",
            "operator",
            {
                "name": NAME,
                "problem": NAME,
                "problem_digest": HEX32,
                "statement": TEXT,
                # The log's key orders entries, it writes none: it is no author's key.
                "log": _text(300, least=1),
                "keys": _list(
                    _object(name=NAME, role=_one_of(*ROLES), vkey=_text(300, least=1)), least=1, most=1_000
                ),
                "researchers": _list(NAME, least=1, most=512),
                "witnesses": _list(_text(300, least=1), most=64),
                "quorum": _integer(0, 64),
                "anchors": _list(
                    _object(name=NAME, kind=_one_of("directory", "mirror", "s3"), where=_text(500)), most=16
                ),
                "anchors_needed": _integer(0, 16),
                "budget": _object(
                    submissions=_integer(1, 100_000),
                    confirmations=_integer(0, 100_000),
                    seconds=_integer(1, 10_000_000),
                ),
                "commitments": _object(seed_secret=HEX32, split=HEX32),
                "pool": _POOL,
                "baselines": _BASELINES,
                # Problems that no researcher sees: what a result claims is run on them when the study ends.
                "heldout": _list(_object(name=NAME, digest=HEX32, pool=_POOL, baselines=_BASELINES), most=16),
                # The rule follows from the problem: exact values where each run draws fresh items.
                "release": _object(rule=_one_of(*RULES), step=DECIMAL),
                "runs": _object(seeds=_integer(1, 1_000), replicates=_integer(1, 1_000)),
                "interval": _object(method=_one_of(*INTERVALS), draws=_integer(1, 100_000), level=DECIMAL),
                "allocation": _object(
                    policy=_one_of(*POLICIES), directions=_list(_text(2_000, least=1), most=64)
                ),
                "oversight": _OVERSIGHT,
                # A run of a comparison carries the plan of the whole, and its own number in it.
                "comparison": _empty_or(_object(plan=_text(least=2), run=INDEX)),
                # Researchers that are not ours: the digest of the program that each is.
                "programs": _list(_object(researcher=NAME, sha256=HEX32), most=512),
                "models": _empty_or(_MODELS),
                "monitor": _empty_or(_MODEL_MONITOR),
                # Of single researchers, whatever each is; under "" of all of them together.
                "limits": _list(
                    _object(researcher=_text(64), limits=_some_of(**_TIME, **_SUBMISSIONS)), most=513
                ),
                "sandbox": _object(
                    backend=NAME,
                    verdict=_one_of("ok", "none"),
                    probes=_integer(),
                    digest=HEX32,
                    identity=NAME,
                ),
            },
            cosigner="reviewer",
        ),
        _kind(
            "study-closed",
            "operator",
            {
                "reason": _one_of("tasks-done", "time-over", "stopped", "budget"),
                "seed_secret": HEX32,
                "split_nonce": HEX32,
                "sealed": BASE64,
            },
            cosigner="reviewer",
        ),
        _kind(
            "task-opened",
            "reviewer",
            {
                "task": NAME,
                "title": TITLE,
                "direction": TEXT,
                "workflow": _one_of(*WORKFLOWS),
                "steps": _list(_STEP, most=64),
                "scope": _empty_or(_SCOPE),
                "submissions": _integer(1, 100_000),
                # Further ones, that all who work on it share; it is closed when one is reached.
                "limits": _empty_or(_some_of(**_MONEY, **_TIME)),
                # A higher one is given out first.
                "priority": _integer(0, 9),
                "risk": _one_of(*RISKS),
            },
        ),
        _kind("task-approved", "reviewer", {"proposal": INDEX, "task": INDEX, "reason": TEXT}),
        _kind("task-refused", "reviewer", {"proposal": INDEX, "reason": _text(least=1)}),
        _kind("task-proposed", "researcher", {"title": TITLE, "direction": TEXT, "reason": TEXT}),
        _kind(
            "task-leased",
            "gateway",
            # A lease that is over when it is said is how a task is taken from a researcher that was lost.
            {"task": NAME, "researcher": NAME, "until_ms": INDEX, "epoch": _integer(1), "direction": TEXT},
        ),
        _kind(
            "task-closed",
            "gateway",
            {
                "task": NAME,
                "researcher": _text(64),
                "outcome": _one_of("done", "failed", "budget", "stopped"),
                "reason": TEXT,
            },
        ),
        _kind(
            "plan-declared",
            "researcher",
            {
                "task": NAME,
                "steps": _list(_PLANNED, least=1, most=256),
                "amends": _integer(-1),
            },
        ),
        _kind(
            "submission",
            "gateway",
            {
                "task": NAME,
                "researcher": NAME,
                "plan": INDEX,
                "step": NAME,
                "name": TITLE,
                # As the gateway reads them from a pipeline's bytes; none for a program of its own.
                "families": _list(NAME, most=64),
                "digest": HEX32,
                "size": _integer(1),
                "request": _text(128, least=1),
            },
        ),
        _kind(
            "budget-charged",
            "gateway",
            {
                "researcher": NAME,
                # Of tokens and of sandboxes: the task that was worked on, if any.
                "task": _text(64),
                "what": _one_of(*CHARGES),
                # Of sandboxes: in processor milliseconds.
                "amount": _integer(),
                "submission": _integer(-1),
                "usage": _usage,
            },
        ),
        # From here on these are limits of that researcher, of that task, or with neither of the study.
        _kind(
            "budget-set",
            "reviewer",
            {
                "researcher": _text(64),
                "task": _text(64),
                "limits": _some_of(**_MONEY, **_TIME, **_SUBMISSIONS),
                "reason": _text(least=1),
            },
        ),
        _kind(
            "score-receipt",
            "evaluator",
            {
                "submission": INDEX,
                "digest": HEX32,
                "researcher": NAME,
                "tier": _one_of(*TIERS),
                "problem": NAME,
                "outcome": _one_of(*OUTCOMES),
                "reason": _one_of(*FAILURES),
                "seeds": _list(_integer(0, 2**48 - 1), least=1, most=1_000),
                "released": _released,
                "commitments": _empty_or(_object(public=HEX32, sealed=HEX32)),
            },
        ),
        _kind(
            "finding",
            "researcher",
            {
                "type": _one_of(*FINDING_TYPES),
                "title": TITLE,
                "text": TEXT,
                "method": _text(200),
                "numbers": _empty_or(_NUMBERS),
                "receipts": _list(INDEX, most=64),
                "parents": _list(INDEX, most=64),
            },
        ),
        _kind("comment", "researcher reviewer", {"on": INDEX, "text": _text(least=1)}),
        _kind("vote", "researcher reviewer", {"on": INDEX, "value": _integer(-1, 1)}),
        _kind(
            "decision",
            "reviewer",
            {
                "decision": _one_of(*DECISIONS),
                "finding": INDEX,
                "finding_digest": HEX32,
                "checklist": _CHECKLIST,
                "claimed": _text(16),
                "reproduced": _text(16),
                "sealed": _text(16),
                "override": TEXT,
                "note": TEXT,
            },
        ),
        _kind(
            "score-revealed",
            "evaluator",
            {
                "receipt": INDEX,
                "half": _one_of(*HALVES),
                "nonce": HEX32,
                "blob": _BLOB,
                "pgr": DECIMAL,
                "low": _EMPTY_OR_DECIMAL,
                "high": _EMPTY_OR_DECIMAL,
                "difference": _EMPTY_OR_DECIMAL,
                "difference_low": _EMPTY_OR_DECIMAL,
                "difference_high": _EMPTY_OR_DECIMAL,
            },
        ),
        _kind(
            "alarm",
            "monitor",
            {
                "code": NAME,
                "who": _text(64),
                "what": TEXT,
                "evidence": _list(INDEX, most=64),
                "attempt": TEXT,
            },
        ),
        # Nothing is leased, handed in or confirmed from a pause on until a reviewer lifts it: by nobody, or
        # not by the researcher that it names.
        _kind(
            "queue-paused",
            "monitor reviewer operator",
            {
                "researcher": _text(64),
                "signal": _text(64),
                "value": _text(32),
                "limit": _text(200),
                "reason": _text(least=1),
                "evidence": _list(INDEX, most=64),
            },
        ),
        _kind("queue-resumed", "reviewer", {"pause": INDEX, "reason": _text(least=1)}),
        # Of a method that is held no run is begun, and nothing that rests on it is published.
        # `running`: runs of it that were begun before; their receipts are taken.
        _kind(
            "submission-held",
            "monitor",
            {
                "submission": INDEX,
                "alarm": INDEX,
                "reason": _text(least=1),
                "running": _list(_object(submission=INDEX, run=_text(80, least=1)), most=256),
            },
        ),
        # A reviewer lets it go, or says that it stays held.
        _kind(
            "submission-released",
            "reviewer",
            {"submission": INDEX, "released": _integer(0, 1), "reason": _text(least=1)},
        ),
        _kind("redaction", "reviewer", {"sha256": HEX32, "reason": _text(least=1)}),
    )
}


def kind_named(name: str) -> Kind:
    """The kind of that name; `MalformedBody` when the set has no such kind."""
    kind = KINDS.get(name)
    if kind is None:
        raise MalformedBody(f"kind {name!r:.80} is not one of the {len(KINDS)} kinds: {', '.join(KINDS)}")
    return kind


def isolation_of(opened: Mapping[str, Any]) -> str:
    """What each entry of a study says of its isolation, from the body of its opening; {} says nothing yet."""
    return NO_ISOLATION if opened and opened["sandbox"]["backend"] == NO_SANDBOX else ""


def check_body(kind: str, body: Value) -> None:
    """Raise `MalformedBody` unless `body` has exactly the fields of its kind, each of its shape."""
    _check_fields(kind, body, kind_named(kind).fields)
    if kind == "score-receipt" and isinstance(body, dict):
        _check_receipt(body)
    if kind == "study-opened" and isinstance(body, dict):
        sandbox = body["sandbox"]
        if isinstance(sandbox, dict) and (sandbox["backend"] == NO_SANDBOX) != (sandbox["verdict"] == "none"):
            raise MalformedBody(
                f"study-opened.sandbox: backend {sandbox['backend']!r} with verdict {sandbox['verdict']!r}: "
                f"{NO_SANDBOX!r} has the verdict 'none', every other one 'ok'"
            )
    if kind == "task-opened" and isinstance(body, dict):
        if (body["workflow"] == "fixed") != bool(body["steps"]):
            raise MalformedBody(
                "task-opened.steps: a fixed workflow has the human's steps, another one has none"
            )
        if (body["workflow"] == "hybrid") != bool(body["scope"]):
            raise MalformedBody("task-opened.scope: a hybrid workflow has a scope, another one has none")
    if kind == "budget-charged" and isinstance(body, dict):
        _check_charge(body)
    if kind == "budget-set" and isinstance(body, dict) and body["researcher"] != "" != body["task"]:
        raise MalformedBody("budget-set: got a researcher and a task, want limits of one of them, or neither")
    if kind == "vote" and isinstance(body, dict) and body["value"] == 0:
        raise MalformedBody("vote.value: got 0, want 1 or -1")


def _check_charge(body: Mapping[str, Value]) -> None:
    usage = body["usage"] if isinstance(body["usage"], dict) else {}
    is_of_tokens, is_of_sandboxes = body["what"] == "tokens", body["what"] == "sandbox"
    is_of_use = is_of_tokens or is_of_sandboxes
    if is_of_use != (usage != {}) or is_of_use != (body["submission"] == -1):
        raise MalformedBody(
            "budget-charged: tokens and sandboxes have a usage and no submission, runs have it the other way"
        )
    if is_of_use and is_of_tokens != ("calls" in usage):
        raise MalformedBody(f"budget-charged.usage: got that of another charge than of {body['what']}")
    if body["task"] != "" or not is_of_use:
        NAME("budget-charged.task", body["task"])
    if not is_of_use:
        _integer(1)("budget-charged.amount", body["amount"])
    elif not is_of_tokens:
        return
    elif body["amount"] != sum(usage[one] for one in TOKENS):  # type: ignore[misc]
        raise MalformedBody(
            f"budget-charged.amount: got {body['amount']}, want the sum of the usage's tokens"
        )
    elif usage["calls"] == 0 and (body["amount"] != 0 or usage["transcripts"] == []):
        raise MalformedBody("budget-charged.usage: no call wants no tokens, and a transcript to tell of")


def _check_receipt(body: Mapping[str, Value]) -> None:
    scored = body["outcome"] == "scored"
    if scored != (body["reason"] == ""):
        raise MalformedBody(f"score-receipt.reason: {body['reason']!r} with outcome {body['outcome']!r}")
    if scored != (body["commitments"] != {}):
        raise MalformedBody(
            "score-receipt.commitments: a scored run commits to both halves, a failed one to none"
        )
    # A reproduction and a held-out run release nothing: a reviewer reads their opened values.
    wanted = {"explore": "improved", "confirm": "difference"}.get(str(body["tier"]), "")
    released = body["released"] if isinstance(body["released"], dict) else {}
    if (scored and wanted != "") != (released != {}) or (released and wanted not in released):
        raise MalformedBody(
            "score-receipt.released: present exactly when an explore or a confirm run was scored, in the "
            f"shape of its tier; got {sorted(released)} at {body['tier']!r}"
        )
