"""The researcher's tools: one registry, for MCP and for whoever runs a model, over one gateway socket.

A tool's parameters are a JSON Schema with the bounds of the gateway's operations (`aar.lab.protocol`). What a
model hands in is a stranger's: it is checked before anything is asked, and what is wrong with it comes back
as one line for the model to read. What others wrote comes back as data, with its author and its flags.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aar.formats.entry import check_entry_signatures
from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey, parse_vkey
from aar.formats.kinds import kind_named
from aar.formats.policy import Policy
from aar.formats.proof import TlogProof, format_proof, parse_proof
from aar.formats.strict import decode_base64
from aar.inside.forum_copy import ForumCopy
from aar.inside.gateway_client import GatewayClient, GatewayError
from aar.inside.injection import CLAIMS, flags_of, shown_json, visible
from aar.lab.protocol import operations as spoken
from aar.lab.protocol.json_schema import Schema, fault, shown
from aar.lab.snapshot import snapshot_digest
from aar.verify.receipt import ReceiptRefused, check_receipt

MAX_STATUS_WAIT_S = 25
MAX_READ = 50
MAX_FOUND = 20
EXCERPT_CHARACTERS = 600
# A forum's page for a model; one entry alone may be longer.
PAGE_CHARACTERS = 40_000
MOST_ANSWER_CHARACTERS = 200_000
READABLE = ("task-opened", "plan-declared", "submission", "score-receipt", "finding", "comment", "vote")
# What is to be done when the gateway refuses, for a model that cannot look it up.
_ADVICE = {
    "budget": "nothing is left to spend on this: say what you found and hand the task back with finish_task",
    "paused": "a human paused the queue: nothing is leased, handed in or confirmed until it is resumed",
    "held": "a human looks at that method first: go on with something else, or hand the task back",
    "stopped": "a human stopped you: nothing more is taken from you until that is lifted",
    "study-closing": "the study is ending: post what you know and hand the task back with finish_task",
    "study-closed": "the study is over",
    "not-leased": "take a task with next_task first",
    "no-plan": "declare a plan with declare_plan first",
    "old-plan": "hand it in under your last plan of the task",
    "scope": "amend your plan with declare_plan, inside the task's scope",
    "numbers": "copy pgr, low and high of a receipt of yours exactly, or give no numbers",
    "said-enough": "no more words are taken from you",
}

ReadDirectory = Callable[[str], Mapping[str, bytes]]
Arguments = Mapping[str, Any]


class Told(NamedTuple):
    """What a tool answers: a text for the model, and whether it is about an error."""

    text: str
    is_error: bool


class BadArguments(ValueError):
    """What a model handed in cannot be used; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. `verb` is the operation that it mainly asks; with `reads_workspace` it can take a directory
    of the researcher's workspace where somebody reads that for it.
    """

    name: str
    description: str
    parameters: Schema
    call: Callable[[Toolbox, Arguments], Any]
    verb: tuple[str, str]
    reads_workspace: bool = False

    @property
    def remote_parameters(self) -> Schema:
        """The parameters where nobody can read the workspace: files come by value."""
        if not self.reads_workspace:
            return self.parameters
        properties = {key: one for key, one in self.parameters["properties"].items() if key != "directory"}
        required = [*self.parameters["required"], "files"]
        return {**self.parameters, "properties": properties, "required": required}


@dataclass(slots=True)
class Toolbox:
    """The tools in one researcher's hands: its gateway, what it read of the forum, what was refused.

    `read_directory`: name and bytes of each file of a directory in the workspace, one level deep; raises
    `OSError` or `ValueError` with a line for the model. `more_left`: of what the gateway tells others, such
    as tokens and dollars, how much is left, for `budget`; raises `GatewayLost`. Not for several threads at
    once.
    """

    gateway: GatewayClient
    read_directory: ReadDirectory | None = None
    more_left: Callable[[], Mapping[str, Any]] | None = None
    forum: ForumCopy = field(default_factory=ForumCopy)
    refused: Counter[str] = field(default_factory=Counter)
    _study: dict[str, Any] = field(default_factory=dict)

    def call(self, name: object, arguments: object) -> Told:
        """The answer of the tool of that name. Raises `GatewayLost` and `RecordMisbehaved`, nothing else."""
        try:
            tool = TOOL.get(name) if isinstance(name, str) else None
            if tool is None:
                return self._refuse("unknown-tool", f"no tool {shown(name)}: there are {', '.join(TOOL)}")
            parameters = tool.parameters if self.read_directory is not None else tool.remote_parameters
            wrong = fault({} if arguments is None else arguments, parameters)
            if wrong:
                return self._refuse("bad-arguments", f"{tool.name}: {wrong}; nothing was done")
            if not self._study:
                self._study = self.gateway.study()
            given: Any = arguments or {}
            return Told(_cut(shown_json(tool.call(self, given))), False)
        except BadArguments as error:
            return self._refuse("bad-arguments", f"{name}: {error}; nothing was done")
        except GatewayError as error:
            advice = _ADVICE.get(error.code, "")
            return self._refuse(error.code, f"{name}: refused ({error.code}): {error}", advice)

    @property
    def researcher(self) -> str:
        """Whose tools these are, once one was called."""
        return str(self._study.get("researcher", ""))

    @property
    def study(self) -> Mapping[str, Any]:
        """What the gateway says of the study, as it was at the first call."""
        return self._study

    def files_of(self, arguments: Arguments, wanted: Schema) -> dict[str, str]:
        """The files that are handed in, by value or as a directory of the workspace."""
        if ("files" in arguments) == ("directory" in arguments):
            raise BadArguments("want files or directory, one of them")
        if "files" in arguments:
            return dict(arguments["files"])
        directory = arguments["directory"]
        if self.read_directory is None:
            raise BadArguments("there is no workspace to read a directory from: hand in files")
        try:
            found = self.read_directory(directory)
        except (OSError, ValueError) as error:
            raise BadArguments(f"directory {shown(directory)} cannot be read: {_line(error)}") from error
        texts = {}
        for file_name, data in found.items():
            try:
                texts[file_name] = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadArguments(f"file {shown(file_name)} in {shown(directory)} is no text") from error
        wrong = fault(texts, wanted, f"directory {shown(directory)}")
        if wrong:
            raise BadArguments(wrong)
        return texts

    def _refuse(self, code: str, line: str, advice: str = "") -> Told:
        self.refused[code] += 1
        return Told(_line(f"{line}. {advice[:1].upper()}{advice[1:]}" if advice else line), True)


def call_tool(
    gateway: GatewayClient, name: object, arguments: object, *, read_directory: ReadDirectory | None = None
) -> Told:
    """One call without a toolbox: who makes several keeps one, which reads the forum once."""
    return Toolbox(gateway, read_directory).call(name, arguments)


# What each tool does.


def _next_task(box: Toolbox, _arguments: Arguments) -> Any:
    task = box.gateway.lease()
    if task is None:
        return {"task": None, "note": "there is no task for you now: you are done, or ask again later"}
    return {"task": task}


def _finish_task(box: Toolbox, arguments: Arguments) -> Any:
    outcome, reason = arguments.get("outcome", "done"), arguments.get("reason", "")
    return _entered(box.gateway.done(arguments["task"], outcome, reason))


def _declare_plan(box: Toolbox, arguments: Arguments) -> Any:
    return {"plan": box.gateway.plan(arguments["task"], arguments["steps"], arguments.get("amends", -1))}


def _submit_method(box: Toolbox, arguments: Arguments) -> Any:
    files = box.files_of(arguments, spoken.METHOD_FILES)
    task, step = arguments["task"], arguments["step"]
    plan = arguments.get("plan", -1)
    if plan < 0:
        box.forum.refresh(box.gateway)
        plan = box.forum.last_plan(box.researcher, task)
        if plan < 0:
            raise BadArguments(f"you have no plan of task {task}: declare one with declare_plan")
    digest = snapshot_digest(files)
    # What it is named after is all that makes it another one: who asks again gets the first answer.
    derived = hashlib.sha256(f"{task}/{step}/{digest}".encode()).hexdigest()
    submission = box.gateway.submit(
        task=task,
        plan=plan,
        step=step,
        name=arguments["name"],
        files=files,
        request=arguments.get("request", derived),
    )
    return {
        "submission": submission,
        "digest": digest,
        "note": "its official run is waiting: ask for its receipt with score_status",
    }


def _confirm_method(box: Toolbox, arguments: Arguments) -> Any:
    charged = box.gateway.confirm(arguments["submission"])
    return {"charged": charged, "note": "ask for its receipt with score_status, tier confirm"}


def _score_status(box: Toolbox, arguments: Arguments) -> Any:
    if "submission" in arguments:
        submission, tier = arguments["submission"], arguments.get("tier", "explore")
        receipt = box.gateway.receipt_within(submission, arguments.get("wait_s", 0), tier=tier)
        if receipt is None:
            return {"submission": submission, "status": "waiting", "note": "ask again with wait_s"}
        return {"submission": submission, "status": receipt["outcome"], "receipt": receipt}
    box.forum.refresh(box.gateway)
    mine = []
    for index in box.forum.of_kind("submission"):
        body = box.forum.entries[index]["body"]
        if body["researcher"] != box.researcher:
            continue
        at = box.forum.receipt_of(index)
        told: dict[str, Any] = {"submission": index, "task": body["task"], "name": body["name"]}
        if at < 0:
            mine.append({**told, "status": "waiting"})
            continue
        receipt = box.forum.entries[at]["body"]
        mine.append({**told, "status": receipt["outcome"], "receipt": at, "released": receipt["released"]})
    return {"submissions": mine[-MAX_READ:], "of": len(mine)}


def _read_forum(box: Toolbox, arguments: Arguments) -> Any:
    box.forum.refresh(box.gateway)
    forum, limit = box.forum, arguments.get("limit", 20)
    if "finding" in arguments:
        finding = arguments["finding"]
        if finding not in forum.of_kind("finding"):
            raise BadArguments(f"entry {finding} is not a finding")
        return _paged(box, [finding, *forum.comments_on(finding)], MAX_READ)
    kinds = arguments.get("kinds", ["finding", "comment"])
    since = arguments.get("since", -1)
    found = sorted(index for kind in set(kinds) for index in forum.of_kind(kind) if index >= since)
    # From a place on it is read forwards; without one, the newest are what is wanted.
    return _paged(box, found if since >= 0 else found[-limit:], limit)


def _paged(box: Toolbox, indexes: Iterable[int], limit: int) -> Any:
    """As many of these entries as fit a page, at least one, and where to go on."""
    shown_entries: list[dict[str, Any]] = []
    characters = 0
    answer: dict[str, Any] = {"note": CLAIMS, "entries": shown_entries}
    for index in indexes:
        entry = _as_claim(box.forum, index)
        characters += len(shown_json(entry))
        if len(shown_entries) >= limit or (shown_entries and characters > PAGE_CHARACTERS):
            answer["more_since"] = index
            break
        shown_entries.append(entry)
    return answer


def _as_claim(forum: ForumCopy, index: int) -> dict[str, Any]:
    entry = forum.entries[index]
    told = {key: entry[key] for key in ("index", "kind", "author")}
    if entry["kind"] == "finding":
        told["standing"] = forum.standing(index)
    flags = forum.flags_on(index)
    return {**told, **({"flags": list(flags)} if flags else {}), "body": entry["body"]}


def _search_forum(box: Toolbox, arguments: Arguments) -> Any:
    box.forum.refresh(box.gateway)
    found = []
    for hit in box.forum.search(arguments["query"], arguments.get("limit", 8)):
        body = box.forum.entries[hit.index]["body"]
        claim = _as_claim(box.forum, hit.index)
        excerpt = body["text"][:EXCERPT_CHARACTERS]
        claim["body"] = {
            **{key: body[key] for key in ("type", "title", "method", "receipts")},
            "text": excerpt,
        }
        claim["comments"] = len(box.forum.comments_on(hit.index))
        found.append(claim)
    return {"note": CLAIMS, "findings": found}


def _post_finding(box: Toolbox, arguments: Arguments) -> Any:
    index = box.gateway.finding(
        type=arguments["type"],
        title=arguments["title"],
        text=arguments["text"],
        method=arguments.get("method", ""),
        numbers=arguments.get("numbers", {}),
        receipts=arguments.get("receipts", []),
        parents=arguments.get("parents", []),
    )
    return _entered(index)


def _comment(box: Toolbox, arguments: Arguments) -> Any:
    return _entered(box.gateway.comment(arguments["on"], arguments["text"]))


def _vote(box: Toolbox, arguments: Arguments) -> Any:
    return _entered(box.gateway.vote(arguments["on"], arguments["value"]))


def _propose_task(box: Toolbox, arguments: Arguments) -> Any:
    asked = {key: arguments[key] for key in ("title", "direction", "reason")}
    return _entered(box.gateway.propose(**asked))


def _get_snapshot(box: Toolbox, arguments: Arguments) -> Any:
    if "submission" not in arguments:
        return {"note": "what you kept last with put_snapshot", "files": box.gateway.kept()["files"]}
    files = box.gateway.snapshot(arguments["submission"])
    flags = flags_of(*files.values())
    told = {"flags": list(flags)} if flags else {}
    return {"note": CLAIMS, "submission": arguments["submission"], **told, "files": files}


def _put_snapshot(box: Toolbox, arguments: Arguments) -> Any:
    return box.gateway.keep(box.files_of(arguments, spoken.KEPT_FILES))


def _budget(box: Toolbox, _arguments: Arguments) -> Any:
    told = box.gateway.study()
    left = {key: told["budget"][f"{key}_left"] for key in ("submissions", "confirmations")}
    seconds = max((told["deadline_ms"] - told["now_ms"]) // 1000, 0)
    left["seconds"] = seconds
    more = dict(box.more_left() if box.more_left is not None else {})
    # Its own limits and its task's may be nearer than the study's.
    return {"left": {**more, **{key: min(value, more.get(key, value)) for key, value in left.items()}}}


def _verify_receipt(box: Toolbox, arguments: Arguments) -> Any:
    if ("entry" in arguments) == ("receipt" in arguments):
        raise BadArguments("want entry or receipt, one of them")
    if "receipt" in arguments:
        data = arguments["receipt"].encode("utf-8")
    else:
        proof, leaf = box.gateway.inclusion(arguments["entry"])
        if not leaf:
            raise BadArguments(f"entry {arguments['entry']} is not for researchers to read whole")
        try:
            bare = parse_proof(proof.encode("utf-8"))
            held = TlogProof(bare.index, bare.hashes, bare.checkpoint, decode_base64(leaf))
        except FormatError as error:
            return {"holds": False, "why": f"the gateway's proof is none: {_line(error)}"}
        data = format_proof(held)
    return _judged(data, box.study)


def _judged(data: bytes, study: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a tlog-proof with its leaf holds under the study's keys: inclusion, witnesses, signatures."""
    try:
        keys = {one["name"]: parse_vkey(one["vkey"]) for one in study.get("keys", ())}
        held = check_receipt(data, _policy_of(study))
        entry = held.leaf.signed.entry
        signers = check_entry_signatures(held.leaf.signed, keys.values())
    except ReceiptRefused as refused:
        return {"holds": False, "why": f"{refused.code}: {_line(refused)}"}
    except FormatError as error:
        return {"holds": False, "why": f"it is no receipt of this study: {_line(error)}"}
    roles = {one["name"]: one["role"] for one in study["keys"]}
    if roles[entry.author] not in kind_named(entry.kind).authors:
        return {"holds": False, "why": f"a {entry.kind} is not for a {roles[entry.author]} to sign"}
    return {
        "holds": True,
        "entry": held.leaf.index,
        "kind": entry.kind,
        "signed_by": [key.name for key in signers],
        "tree_size": held.checkpoint.size,
        "witnesses": sorted(held.cosigned_s),
        "body": entry.body,
    }


def _policy_of(study: Mapping[str, Any]) -> Policy:
    """The log, the witnesses and the quorum that the study was opened with."""
    witnesses = [parse_vkey(one) for one in study["witness_vkeys"]]
    named: dict[str, VerifierKey] = {}
    for number, key in enumerate(witnesses, 1):
        named[key.name if key.name not in named else f"{key.name}#{number}"] = key
    log = parse_vkey(study["log_vkey"])
    if study["quorum"] < 1:
        return Policy(log, tuple(named.items()))
    return Policy.with_witnesses(log, tuple(named.items()), study["quorum"])


def _entered(index: int) -> dict[str, Any]:
    return {"entry": index, "note": "it is in the record"}


def _line(what: object) -> str:
    """One line of at most 600 characters, with nothing in it that acts on a terminal."""
    text = visible(" ".join(str(what).split()))[:600]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(text: str) -> str:
    if len(text) <= MOST_ANSWER_CHARACTERS:
        return text
    return f"{text[:MOST_ANSWER_CHARACTERS]}\n... cut here: the answer has {len(text)} characters"


# The registry.

_DIRECTORY = {
    **spoken.text(
        400, least=1, what="a directory of your workspace, instead of files: its files, one level deep"
    ),
}
_SUBMISSION = spoken.index("index of a submission")


def _tool(
    name: str,
    verb: str,
    call: Callable[[Toolbox, Arguments], Any],
    description: str,
    properties: Mapping[str, Schema],
    *,
    optional: Iterable[str] = (),
    reads_workspace: bool = False,
) -> Tool:
    operation = spoken.OPERATION[verb]
    return Tool(
        name=name,
        description=description,
        parameters=spoken.closed(properties, optional=tuple(optional)),
        call=call,
        verb=(operation.method, operation.path),
        reads_workspace=reads_workspace,
    )


def _of(schema: Schema, *names: str) -> dict[str, Schema]:
    """Some of an operation's properties, as they are there."""
    properties: Mapping[str, Schema] = schema["properties"]
    return {key: properties[key] for key in (names or properties)}


TOOLS: tuple[Tool, ...] = (
    _tool(
        "next_task",
        "lease",
        _next_task,
        "Take a task to work on, or be told again which one you hold. Start here.",
        {},
    ),
    _tool(
        "declare_plan",
        "plan",
        _declare_plan,
        "Declare what you will do in a task, step by step, before you hand anything in; amend it with the "
        "index of the plan that changes. Returns the plan's index.",
        _of(spoken.PLAN),
        optional=("amends",),
    ),
    _tool(
        "submit_method",
        "submit",
        _submit_method,
        "Hand in a method (a method.py with predict(instance, rng), and files beside it) for its official "
        "run. Costs one submission of the budget; the same files in the same step are the same submission.",
        {**_of(spoken.SUBMISSION), "directory": _DIRECTORY},
        optional=("plan", "files", "directory", "request"),
        reads_workspace=True,
    ),
    _tool(
        "score_status",
        "receipt",
        _score_status,
        "The receipt of a submission of yours, waiting up to wait_s seconds for it; without submission, all "
        "of yours and how they stand.",
        {
            "submission": _SUBMISSION,
            "tier": spoken.TIER,
            "wait_s": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_STATUS_WAIT_S,
                "description": f"seconds to wait, 0 to {MAX_STATUS_WAIT_S}",
            },
        },
        optional=("submission", "tier", "wait_s"),
    ),
    _tool(
        "confirm_method",
        "confirm",
        _confirm_method,
        "Have a scored submission of yours run once more with new seeds. Costs one confirmation.",
        {"submission": _SUBMISSION},
    ),
    _tool(
        "read_forum",
        "forum",
        _read_forum,
        "Read the forum: the newest entries, those from an index on, or one finding with its comments.",
        {
            "since": spoken.index("the first index wanted; without it the newest are read"),
            "finding": spoken.index("index of one finding, to read it with its comments"),
            "kinds": spoken.listed(
                spoken.one_of(*READABLE), least=1, most=len(READABLE), what="findings and comments by default"
            ),
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_READ,
                "description": f"how many, 1 to {MAX_READ}, 20 by default",
            },
        },
        optional=("since", "finding", "kinds", "limit"),
    ),
    _tool(
        "search_forum",
        "forum",
        _search_forum,
        "Find findings by the words in them and in their comments, the best fitting first.",
        {
            "query": spoken.text(500, least=1, what="words to look for, 1 to 500 characters"),
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_FOUND,
                "description": f"how many, 1 to {MAX_FOUND}, 8 by default",
            },
        },
        optional=("limit",),
    ),
    _tool(
        "post_finding",
        "finding",
        _post_finding,
        "Post a finding for the others. A result cites a receipt of yours and states its pgr, low and high "
        "exactly; a hypothesis, an insight or an error needs none.",
        _of(spoken.FINDING),
        optional=("method", "numbers", "receipts", "parents"),
    ),
    _tool("comment", "comment", _comment, "Comment on an entry of the record.", _of(spoken.COMMENT)),
    _tool(
        "vote",
        "vote",
        _vote,
        "Vote on another researcher's finding, once: for one that helped you, or against one that is wrong.",
        _of(spoken.VOTE),
    ),
    _tool(
        "get_snapshot",
        "snapshot",
        _get_snapshot,
        "The files of anybody's submission; without submission, what you kept with put_snapshot.",
        {"submission": _SUBMISSION},
        optional=("submission",),
    ),
    _tool(
        "put_snapshot",
        "keep",
        _put_snapshot,
        "Keep files for yourself (a notebook, a draft), in the place of those kept before. No one else reads "
        "them; they outlive your sandbox.",
        {"files": spoken.KEPT_FILES, "directory": _DIRECTORY},
        optional=("files", "directory"),
        reads_workspace=True,
    ),
    _tool(
        "propose_task",
        "propose",
        _propose_task,
        "Propose a task that the human may open.",
        _of(spoken.PROPOSAL),
    ),
    _tool(
        "budget",
        "study",
        _budget,
        "What is left to spend: submissions, confirmations, seconds; where they count, tokens, dollars, "
        "seconds of sandboxes.",
        {},
    ),
    _tool(
        "verify_receipt",
        "inclusion",
        _verify_receipt,
        "Check that an entry is in the witnessed record and who signed it, by proof: an entry by its index, "
        "or the text of a receipt that you hold.",
        {
            "entry": spoken.index("index of an entry, such as a score receipt"),
            "receipt": spoken.text(200_000, least=1, what="a C2SP tlog-proof with its entry"),
        },
        optional=("entry", "receipt"),
    ),
    _tool(
        "finish_task",
        "done",
        _finish_task,
        "Hand a task back when you are done with it, or cannot go on.",
        _of(spoken.DONE),
        optional=("outcome", "reason"),
    ),
)
TOOL: Mapping[str, Tool] = {one.name: one for one in TOOLS}
