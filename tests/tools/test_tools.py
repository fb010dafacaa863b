"""The registry over a real gateway: each tool does its verb, and any arguments get one clear answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from aar.formats.entry import parse_leaf
from aar.formats.proof import TlogProof, format_proof, parse_proof
from aar.formats.strict import decode_base64
from aar.inside.gateway_client import GatewayError
from aar.inside.tools import TOOL, TOOLS, Toolbox, call_tool
from aar.lab.protocol.json_schema import fault
from aar.lab.protocol.operations import MAX_METHOD_BYTES, OPERATIONS
from real_gateway import METHOD, REVIEWER, RealGateway

NUMBERS = {"pgr": "0.4000", "low": "0.3000", "high": "0.5000"}
# Beside arguments that fit: each is wrong in one way, for whatever tool has the key.
HOSTILE: list[Any] = [
    *(None, True, 1.5, -1, 10**5000, float("nan"), b"bytes", object()),
    *("", "x" * 10**6, "a\0b", "\ud800", "\x1b[2J" * 3_000, [], ["x"] * 10**5, {}, {"k": {"k": {}}}),
    *({"x" * 10**6: 1}, {1: 2}, [[[[[]]]]], {"../../etc": "x"}, {"method.py": None}),
]


def told(box: Toolbox, tool: str, /, **arguments: Any) -> Any:
    text, is_error = box.call(tool, arguments)
    assert not is_error, text
    return json.loads(text)


def refusal(box: Toolbox, name: object, arguments: object) -> str:
    text, is_error = box.call(name, arguments)
    assert is_error, text[:200]
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) <= 600
    text.encode("utf-8")
    return text


@pytest.fixture(scope="module")
def box(real_gateway: RealGateway) -> Toolbox:
    return Toolbox(real_gateway.client("researcher-2"))


@pytest.fixture(scope="module")
def worked(box: Toolbox, real_gateway: RealGateway) -> Mapping[str, int]:
    """One researcher's way through a task with nothing but its tools; the indexes that it was told."""
    task = told(box, "next_task")["task"]["task"]
    assert told(box, "next_task")["task"]["task"] == task
    plan = told(box, "declare_plan", task=task, steps=[{"name": "s1", "what": "halves"}])["plan"]
    handed_in = {"task": task, "step": "s1", "name": "half", "files": METHOD}
    submission = told(box, "submit_method", **handed_in)["submission"]
    # The same again is the same submission, and costs nothing.
    assert told(box, "submit_method", **handed_in, plan=plan)["submission"] == submission
    assert told(box, "score_status", submission=submission)["status"] == "waiting"
    receipt = real_gateway.score(submission)
    assert told(box, "score_status", submission=submission, wait_s=5)["receipt"]["index"] == receipt
    finding = told(
        box,
        "post_finding",
        type="result",
        title="halves work on sinkhorn",
        text="They do.",
        numbers=NUMBERS,
        receipts=[receipt],
    )["entry"]
    told(box, "confirm_method", submission=submission)
    confirmed = real_gateway.score_confirmation(submission)
    status = told(box, "score_status", submission=submission, tier="confirm", wait_s=5)
    assert status["receipt"]["index"] == confirmed
    return {"submission": submission, "receipt": receipt, "finding": finding, "confirmed": confirmed}


def test_a_task_is_worked_on_with_nothing_but_tools(
    box: Toolbox, worked: Mapping[str, int], real_gateway: RealGateway
) -> None:
    (mine,) = told(box, "score_status")["submissions"]
    assert (mine["submission"], mine["receipt"], mine["released"]["pgr"]) == (
        worked["submission"],
        worked["receipt"],
        "0.4000",
    )
    (found,) = told(box, "search_forum", query="Sinkhorn")["findings"]
    assert (found["index"], found["author"], found["standing"]) == (
        worked["finding"],
        "researcher-2",
        "not published",
    )
    comment = told(box, "comment", on=worked["finding"], text="and again")["entry"]
    read = told(box, "read_forum", finding=worked["finding"])["entries"]
    assert [one["index"] for one in read] == [worked["finding"], comment]
    assert told(box, "get_snapshot", submission=worked["submission"])["files"] == METHOD
    told(box, "put_snapshot", files={"notes.md": "halves"})
    assert told(box, "get_snapshot")["files"] == {"notes.md": "halves"}
    told(box, "propose_task", title="thirds", direction="a third", reason="half worked")
    other = Toolbox(real_gateway.client())
    told(other, "vote", on=worked["finding"], value=1)
    left = told(box, "budget")["left"]
    assert set(left) == {"submissions", "confirmations", "seconds"}
    box.more_left = lambda: {"tokens": 7, "dollars": "0.01"}
    assert told(box, "budget")["left"] == {**told(box, "budget")["left"], "tokens": 7, "dollars": "0.01"}
    assert box.researcher == "researcher-2"


def test_a_receipt_is_verified_by_proof_and_a_changed_one_is_not(
    box: Toolbox, worked: Mapping[str, int], real_gateway: RealGateway
) -> None:
    held = told(box, "verify_receipt", entry=worked["receipt"])
    assert (held["holds"], held["kind"], held["signed_by"]) == (True, "score-receipt", ["evaluator"])
    assert held["witnesses"] == ["witness-local"]
    proof, leaf = real_gateway.client("researcher-2").inclusion(worked["receipt"])
    bare, data = parse_proof(proof.encode()), decode_base64(leaf)

    def judged(index: int, extra: bytes | None) -> Any:
        text = format_proof(TlogProof(index, bare.hashes, bare.checkpoint, extra)).decode()
        return told(box, "verify_receipt", receipt=text)

    assert judged(bare.index, data)["holds"]
    for index, extra, word in (
        (bare.index, data.replace(b"0.4000", b"0.9000"), "ENTRY_HASH"),
        (bare.index, None, "ENTRY_HASH"),
        (bare.index + 1, data, "REPLAY"),
        (bare.index, b"x", "no receipt"),
    ):
        verdict = judged(index, extra)
        assert (verdict["holds"], word in verdict["why"]) == (False, True), verdict
    # Under another log's keys nothing holds.
    strange = Toolbox(box.gateway)
    strange._study = {**box.study, "log_vkey": box.study["witness_vkeys"][0]}
    assert not told(strange, "verify_receipt", entry=worked["receipt"])["holds"]
    strange._study = {**box.study, "keys": [one for one in box.study["keys"] if one["name"] != "evaluator"]}
    assert "no signature of a known key" in told(strange, "verify_receipt", entry=worked["receipt"])["why"]


def test_what_is_sealed_is_not_handed_out_with_a_proof(
    real_gateway: RealGateway, worked: Mapping[str, int]
) -> None:
    one, two = real_gateway.client(), real_gateway.client("researcher-2")
    assert one.inclusion(worked["receipt"])[1]
    assert two.inclusion(worked["confirmed"])[1]
    assert one.inclusion(worked["confirmed"])[1] == ""
    with pytest.raises(GatewayError) as refused:
        one.inclusion(0)
    assert refused.value.code == "no-entry"
    body = {
        "decision": "refine",
        "finding": worked["finding"],
        "checklist": [],
        "override": "",
        "note": "more",
    }
    (finding,) = (entry for entry in real_gateway.entries() if entry["index"] == worked["finding"])
    _proof, leaf = two.inclusion(finding["index"])
    body |= {"finding_digest": parse_leaf(decode_base64(leaf)).signed.text_digest}
    body |= dict.fromkeys(("claimed", "reproduced", "sealed"), "")
    control = real_gateway.plane.control
    decision = control.append([REVIEWER], "decision", body, refs=[worked["finding"]])["index"]
    assert two.inclusion(decision)[1] == ""
    assert told(Toolbox(two), "read_forum", finding=worked["finding"])["entries"][0]["standing"] == (
        "to be refined by reviewer-a"
    )
    assert "not for researchers" in refusal(Toolbox(one), "verify_receipt", {"entry": worked["confirmed"]})


def fitting(tool: str, worked: Mapping[str, int]) -> dict[str, Any]:
    """Arguments that fit a tool's schema; what they ask for may be refused all the same."""
    found: dict[str, Any] = {
        "next_task": {},
        "declare_plan": {"task": "t9", "steps": [{"name": "s", "what": ""}], "amends": -1},
        "submit_method": {"task": "t9", "step": "s", "name": "n", "files": METHOD, "plan": 0, "request": "r"},
        "score_status": {"submission": worked["submission"], "tier": "explore", "wait_s": 0},
        "confirm_method": {"submission": 0},
        "read_forum": {"since": 10**9, "finding": worked["finding"], "kinds": ["finding"], "limit": 1},
        "search_forum": {"query": "q", "limit": 1},
        "post_finding": {"type": "insight", "title": "t", "text": "", "method": "", "numbers": {}},
        "comment": {"on": 10**9, "text": "x"},
        "vote": {"on": 10**9, "value": 1},
        "get_snapshot": {"submission": worked["submission"]},
        "put_snapshot": {"files": {"a": ""}},
        "propose_task": {"title": "t", "direction": "", "reason": ""},
        "budget": {},
        "verify_receipt": {"entry": 0, "receipt": "x"},
        "finish_task": {"task": "t9", "outcome": "done", "reason": ""},
    }[tool]
    if tool == "post_finding":
        found |= {"receipts": [], "parents": []}
    assert fault(found, TOOL[tool].parameters) == ""
    assert set(found) | {"directory"} >= set(TOOL[tool].parameters["properties"])
    return found


@pytest.mark.parametrize("tool", [one.name for one in TOOLS])
def test_whatever_a_model_hands_in_comes_back_as_one_line_and_is_counted(
    tool: str, box: Toolbox, worked: Mapping[str, int], real_gateway: RealGateway
) -> None:
    size = real_gateway.client().forum()[1]
    good = fitting(tool, worked)
    cases: list[Any] = [[], "x", 7, True, {"more": 1}, {**good, "more": 1}, {**good, "a\0\ud800" * 99: 1}]
    cases += [{**good, key: value} for key in good for value in HOSTILE]
    before = sum(box.refused.values())
    for arguments in cases:
        if fault(arguments, TOOL[tool].remote_parameters):
            line = refusal(box, tool, arguments)
            assert line.startswith(f"{tool}: ")
            assert line.endswith("nothing was done")
        elif any(tool == one for one in ("comment", "vote", "finish_task", "declare_plan", "confirm_method")):
            refusal(box, tool, arguments)
    assert sum(box.refused.values()) > before
    assert real_gateway.client().forum()[1] == size


@pytest.mark.parametrize("name", ["", "nope", "x" * 10**6, "a\n\x1b[2J\ud800", None, 7, ["next_task"], {}])
def test_a_tool_that_there_is_not_is_named_with_those_that_there_are(box: Toolbox, name: Any) -> None:
    before = box.refused["unknown-tool"]
    assert "there are next_task, declare_plan" in refusal(box, name, {})
    assert box.refused["unknown-tool"] == before + 1


def test_a_directory_of_the_workspace_is_handed_in_as_its_files(
    real_gateway: RealGateway, worked: Mapping[str, int]
) -> None:
    workspace: dict[str, Any] = {
        "good": {"notes.md": b"n", "method.py": METHOD["method.py"].encode()},
        "binary": {"method.py": b"\xff\xfe"},
        "nested": {"method.py": b"", "a/b": b""},
        "huge": {"method.py": b"x" * (MAX_METHOD_BYTES + 1)},
        "empty": {},
    }

    def read(directory: str) -> Mapping[str, bytes]:
        if directory not in workspace:
            raise FileNotFoundError(2, "No such file or directory", directory)
        found: Mapping[str, bytes] = workspace[directory]
        return found

    box = Toolbox(real_gateway.client("researcher-2"), read)
    wanted = {"task": told(box, "next_task")["task"]["task"], "step": "s1", "name": "from a directory"}
    submission = told(box, "submit_method", **wanted, directory="good")["submission"]
    files = told(box, "get_snapshot", submission=submission)["files"]
    assert files == {"notes.md": "n", "method.py": METHOD["method.py"]}
    for directory, word in (
        ("binary", "is no text"),
        ("nested", "plain file name"),
        ("huge", "bytes in all"),
        ("empty", "it lacks method.py"),
        ("absent", "No such file"),
    ):
        assert word in refusal(box, "submit_method", {**wanted, "directory": directory})
    assert "one of them" in refusal(box, "submit_method", wanted)
    assert "one of them" in refusal(box, "submit_method", {**wanted, "directory": "good", "files": METHOD})
    # Where nobody reads a workspace there is no such parameter.
    blind = Toolbox(real_gateway.client("researcher-2"))
    assert "unknown 'directory'" in refusal(blind, "submit_method", {**wanted, "directory": "good"})
    assert "directory" not in TOOL["submit_method"].remote_parameters["properties"]


def test_what_the_gateway_refuses_comes_with_its_code_and_what_to_do(box: Toolbox) -> None:
    line = refusal(box, "declare_plan", {"task": "t9", "steps": [{"name": "s", "what": ""}]})
    assert "refused (not-leased)" in line
    assert "next_task" in line
    assert box.refused["not-leased"] >= 1
    assert "no plan of task t9" in refusal(
        box, "submit_method", {"task": "t9", "step": "s", "name": "n", "files": METHOD}
    )


def test_a_page_of_the_forum_goes_on_where_it_was_cut(box: Toolbox, worked: Mapping[str, int]) -> None:
    for number in range(3):
        told(box, "comment", on=worked["finding"], text=f"{number} " + "x" * 7_000)
    first = told(box, "read_forum", since=worked["finding"], limit=2)
    assert len(first["entries"]) == 2
    seen = [one["index"] for one in first["entries"]]
    while "more_since" in first:
        first = told(box, "read_forum", since=first["more_since"], limit=2)
        seen += [one["index"] for one in first["entries"]]
    assert seen == sorted(set(seen))
    assert "claims" in first["note"]


def test_a_paused_queue_is_said_and_not_waited_for(real_gateway: RealGateway) -> None:
    control = real_gateway.plane.control
    reason = {"signal": "", "value": "", "limit": "", "reason": "a test", "evidence": [], "researcher": ""}
    pause = control.append([REVIEWER], "queue-paused", reason)["index"]
    try:
        text, is_error = call_tool(
            real_gateway.client(), "submit_method",
            {"task": "t1", "step": "s1", "plan": 5, "name": "n", "files": METHOD, "request": "paused"},
        )  # fmt: skip
        assert is_error
        assert "refused (paused)" in text
        assert "until it is resumed" in text
    finally:
        body = {"pause": pause, "reason": "done"}
        control.append([REVIEWER], "queue-resumed", body, refs=[pause])


def test_every_tool_asks_an_operation_that_there_is_and_its_schema_is_closed() -> None:
    asked = {(one.method, one.path) for one in OPERATIONS}
    for tool in TOOLS:
        assert tool.verb in asked
        assert tool.parameters["additionalProperties"] is False
        assert tool.description
    # Every verb of a researcher's is in some tool's hands, but for what is of the line and not of the work.
    of_the_line = {"kept", "checkpoint", "consistency", "openapi"}
    assert {
        one.name for one in OPERATIONS if (one.method, one.path) not in {t.verb for t in TOOLS}
    } == of_the_line
