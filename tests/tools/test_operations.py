"""The table of operations: the desk's verbs, the record's bounds, and a document that plays as it says."""

from __future__ import annotations

import ast
import http.client
import inspect
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.formats.canonical import format_canonical
from aar.formats.errors import FormatError
from aar.formats.kinds import check_body
from aar.lab.protocol.json_schema import fault
from aar.lab.protocol.operations import (
    COMMENT,
    DONE,
    FINDING,
    OPERATIONS,
    PLAN,
    PROPOSAL,
    REQUEST,
    SUBMISSION,
    VOTE,
    Operation,
)
from aar.outside import admission
from aar.outside.gateway import kept as kept_files
from aar.outside.gateway import requests, researcher_desk
from aar.outside.gateway.openapi import openapi_document, status_of
from aar.outside.gateway.researcher_desk import ResearcherDesk
from real_gateway import METHOD, RealGateway

OF_KIND = {
    "finding": FINDING,
    "comment": COMMENT,
    "vote": VOTE,
    "task-proposed": PROPOSAL,
    "plan-declared": PLAN,
    "task-closed": DONE,
}
STEP = {"name": "s", "what": "w", "families": ["knn"], "submissions": 1}
BODIES: dict[str, dict[str, Any]] = {
    "finding": {
        "type": "insight",
        "title": "t",
        "text": "x",
        "method": "m",
        "numbers": {"pgr": "0.1000", "low": "0.0500", "high": "0.2000"},
        "receipts": [1],
        "parents": [2],
    },
    "comment": {"on": 1, "text": "x"},
    "vote": {"on": 1, "value": 1},
    "task-proposed": {"title": "t", "direction": "d", "reason": "r"},
    "plan-declared": {"task": "t1", "steps": [STEP], "amends": -1},
    "task-closed": {"task": "t1", "outcome": "done", "reason": "r"},
}
# At and beyond each bound there is, of every shape that a field has.
VALUES: list[Any] = [
    *("", "x", "x" * 64, "x" * 65, "x" * 128, "x" * 129, "x" * 200, "x" * 201, "x" * 8_000, "x" * 8_001),
    *(
        "a b",
        "-a",
        "a.",
        "\u00e4",
        "0.1000",
        "0.10000",
        "1",
        "-0.05",
        "99999.00",
        "result",
        "done",
        "explore",
    ),
    *(-2, -1, 0, 1, 2, 100_000, 100_001, 2**53 - 1, 2**53, True, 1.0, None),
    *(
        [],
        [1],
        [1] * 64,
        [1] * 65,
        ["knn"] * 64,
        ["knn"] * 65,
        [STEP],
        [STEP] * 256,
        [STEP] * 257,
        [-1],
        [""],
    ),
    *({}, {"pgr": "0.1000"}, {**STEP, "more": 1}, {"pgr": "0.1000", "low": "0.10", "high": "x"}),
]


def _changed(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The body with each field once as each value, and without it, and with one more."""
    found = [body, {**body, "more": 1}]
    for key in body:
        found += [{**body, key: value} for value in VALUES]
        found.append({one: value for one, value in body.items() if one != key})
    if "steps" in body:
        found += [{**body, "steps": [{**STEP, key: value}]} for key in STEP for value in VALUES]
        found += [
            {**body, "steps": [{one: value for one, value in STEP.items() if one != key}]} for key in STEP
        ]
    return found


def _is_taken(kind: str, body: dict[str, Any]) -> bool:
    """Whether it can be an entry's body."""
    try:
        check_body(kind, body)
        format_canonical(body)
    except FormatError:
        return False
    return True


@pytest.mark.parametrize("kind", OF_KIND)
def test_a_schema_takes_exactly_what_the_record_takes_of_that_kind(kind: str) -> None:
    whole = {"researcher": "researcher-1"} if kind == "task-closed" else {}
    differing = []
    for body in _changed(BODIES[kind]):
        is_taken = _is_taken(kind, {**body, **whole})
        if is_taken != (fault(body, OF_KIND[kind]) == ""):
            differing.append((is_taken, body, fault(body, OF_KIND[kind])))
    # The desk fills in what a plan's step leaves out.
    filled_in = [one for one in differing if kind == "plan-declared" and not one[0] and not one[2]]
    assert [one for one in differing if one not in filled_in] == []
    assert all(len(step) < 4 for one in filled_in for step in one[1]["steps"])


def test_a_submission_is_bounded_as_its_entry_is() -> None:
    entry: dict[str, Any] = {
        "task": "t1",
        "researcher": "researcher-1",
        "plan": 1,
        "step": "s",
        "name": "n",
        "families": [],
        "digest": "0" * 64,
        "size": 1,
        "request": "r",
    }
    check_body("submission", entry)
    for key in ("task", "plan", "step", "name", "request"):
        for value in VALUES:
            is_taken = _is_taken("submission", {**entry, key: value})
            assert is_taken == (fault(value, SUBMISSION["properties"][key]) == ""), (key, value)
    assert fault("r", REQUEST) == ""


def test_the_desk_has_these_verbs_and_no_other() -> None:
    desk = ResearcherDesk(None, None, "r", is_closing=lambda: False)  # type: ignore[arg-type]
    assert {(one.method, one.path) for one in OPERATIONS} == set(desk.verbs())
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)


def codes_in(source: str, *functions: str) -> set[str]:
    """The codes that these functions of a module refuse with, and those that they call by name."""
    tree = ast.parse(source)
    bodies = {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    todo, seen, found = list(functions), set(), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for one in ast.walk(bodies[name]):
            if not isinstance(one, ast.Call):
                continue
            called = one.func.attr if isinstance(one.func, ast.Attribute) else getattr(one.func, "id", "")
            if called in ("_need", "Refused"):
                code = one.args[1 if called == "_need" else 0]
                found.add(code.value if isinstance(code, ast.Constant) else "")
            elif called in bodies:
                todo.append(called)
    return found - {""}


# What admission refuses and no researcher can bring about: the desk writes these entries itself, in order.
NOT_BY_ASKING = {
    "lease": {"epoch", "leased", "no-researcher", "no-task"},
    "submit": {"repeated", "no-submission", "not-scored", "confirmed", "no-task", "held"},
    "confirm": {"confirmed", "no-task"},
}
RULES = {
    "plan": ("_plan_declared",),
    "submit": ("_submission", "_budget_charged"),
    "confirm": ("_budget_charged",),
    "finding": ("_finding",),
    "comment": ("_comment",),
    "vote": ("_vote",),
    "lease": ("_task_leased",),
    "done": ("_task_closed",),
}


@pytest.mark.parametrize("name", RULES)
def test_the_document_names_every_code_that_admission_refuses_with(name: str) -> None:
    (operation,) = (one for one in OPERATIONS if one.name == name)
    raised = codes_in(inspect.getsource(admission), *RULES[name])
    assert raised - NOT_BY_ASKING.get(name, set()) <= set(operation.codes)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_the_document_names_every_code_that_the_desk_refuses_with(operation: Operation) -> None:
    modules = (researcher_desk, requests, *([kept_files] if operation.name == "keep" else []))
    source = "\n".join(inspect.getsource(one) for one in modules)
    methods = {"openapi": ["openapi"], "keep": ["keep", "put"]}.get(operation.name, [operation.name])
    assert codes_in(source, *methods) <= set(operation.codes)


def test_every_object_that_is_handed_in_is_closed_or_has_bounded_names() -> None:
    def objects(schema: Any) -> Any:
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                yield schema
            for one in schema.values():
                yield from objects(one)

    for one in OPERATIONS:
        for schema in objects(one.body or {}):
            assert schema.get("additionalProperties") is False or "propertyNames" in schema, one.path


def test_the_document_is_openapi_and_its_schemas_are_json_schema() -> None:
    document = openapi_document()
    assert document["openapi"].startswith("3.1.")
    assert json.loads(json.dumps(document)) == document
    jsonschema = pytest.importorskip("jsonschema", reason="comes with the extra llm")
    for path, item in document["paths"].items():
        assert path.startswith("/v1/")
        for method, described in item.items():
            assert method in ("get", "post")
            assert ("requestBody" in described) == (method == "post")
            assert set(described["responses"]) >= {"200", "400", "500"}
            schemas = [one["schema"] for one in described.get("parameters", [])]
            schemas += [
                one["content"]["application/json"]["schema"] for one in described["responses"].values()
            ]
            if "requestBody" in described:
                schemas.append(described["requestBody"]["content"]["application/json"]["schema"])
            for schema in schemas:
                jsonschema.Draft202012Validator.check_schema(schema)


class Line:
    """Plain HTTP over a researcher's socket, as the document describes it."""

    def __init__(self, path: Path) -> None:
        self.connection = http.client.HTTPConnection("gateway", timeout=30)
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.connect(str(path))
        self.seen: dict[str, set[str]] = {}

    def ask(self, operation: Operation, body: Any = None, query: str = "") -> tuple[int, Any]:
        data = json.dumps(body).encode() if operation.method == "POST" else None
        self.connection.request(operation.method, operation.path + query, data)
        response = self.connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            code = answer["error"]["code"]
            assert code in operation.codes, f"{operation.path}: {code} is not in the document"
            assert response.status == status_of(code)
            self.seen.setdefault(operation.name, set()).add(code)
        return response.status, answer


def test_every_operation_plays_as_the_document_says(real_gateway: RealGateway) -> None:
    line = Line(real_gateway.socket())
    operation = {one.name: one for one in OPERATIONS}

    def play(name: str, body: Any = None, query: str = "") -> Any:
        status, answer = line.ask(operation[name], body, query)
        assert status == 200, answer
        assert fault(answer, operation[name].answer, name) == ""
        played.add(name)
        return answer

    played: set[str] = set()
    document = play("openapi")
    assert document == openapi_document()
    play("study")
    task = play("lease", {})["task"]["task"]
    steps = [{"name": "s1", "what": "halves", "families": [], "submissions": 0}]
    plan = play("plan", {"task": task, "steps": steps, "amends": -1})["index"]
    handed_in = {"task": task, "plan": plan, "step": "s1", "name": "half", "files": METHOD, "request": "r/1"}
    submission = play("submit", handed_in)["index"]
    assert play("receipt", query=f"?submission={submission}") == {"receipt": None}
    receipt = real_gateway.score(submission)
    assert play("receipt", query=f"?submission={submission}&wait_s=5")["receipt"]["index"] == receipt
    play("confirm", {"submission": submission})
    real_gateway.score_confirmation(submission)
    told = play("receipt", query=f"?submission={submission}&wait_s=5&tier=confirm")["receipt"]
    assert told["released"]["difference"] == "0.1000"
    numbers = {"pgr": "0.4000", "low": "0.3000", "high": "0.5000"}
    finding = {"type": "result", "title": "half", "text": "It is half.", "method": "half", "numbers": numbers}
    said = play("finding", {**finding, "receipts": [receipt], "parents": []})["index"]
    play("comment", {"on": said, "text": "as expected"})
    play("propose", {"title": "thirds", "direction": "a third", "reason": "half worked"})
    assert play("snapshot", query=f"?submission={submission}")["files"] == METHOD
    size = play("forum")["tree_size"]
    assert play("forum", query=f"?since={size}&wait_s=0")["entries"] == []
    play("keep", {"files": {"notes.md": "halves work"}})
    assert play("kept")["files"] == {"notes.md": "halves work"}
    play("checkpoint")
    play("consistency", query=f"?old=2&new={size}")
    assert play("inclusion", query=f"?index={receipt}")["leaf"]
    play("done", {"task": task, "outcome": "done", "reason": "played"})
    other = Line(real_gateway.socket("researcher-2"))
    status, _answer = other.ask(operation["vote"], {"on": said, "value": 1})
    assert status == 200
    assert played | {"vote"} == set(operation)


def test_every_refusal_comes_with_a_code_and_a_status_of_the_document(real_gateway: RealGateway) -> None:
    line = Line(real_gateway.socket("researcher-2"))
    for operation in OPERATIONS:
        if operation.method == "POST":
            for body in ({"author": "researcher-1"}, {"more": 1}, [], "x", None):
                if body == {"more": 1} or operation.body != {}:
                    assert line.ask(operation, body)[0] == 400, (operation.path, body)
            assert line.seen[operation.name] == {"bad-request", "forged-author"}
        elif operation.required:
            assert line.ask(operation, query="?")[0] == 400
            assert line.seen[operation.name] == {"bad-request"}
    by_name = {one.name: one for one in OPERATIONS}
    handed_in = {"task": "t9", "plan": 0, "step": "s", "name": "n", "request": "r"}
    for name, body, code in (  # each is refused for one reason
        ("comment", {"on": 10**9, "text": "x"}, "refs"),
        ("comment", {"on": 0, "text": "a\0b"}, "bad-request"),
        ("comment", {"on": 0, "text": "\ud800"}, "bad-request"),
        ("vote", {"on": 0, "value": 1}, "no-finding"),
        ("done", {"task": "t9", "outcome": "done", "reason": ""}, "not-leased"),
        ("plan", {"task": "t9", "steps": [STEP], "amends": -1}, "not-leased"),
        ("confirm", {"submission": 0}, "no-submission"),
        ("keep", {"files": {"a/b": ""}}, "bad-request"),
        ("keep", {"files": {"a": "x" * (1 << 20) + "y"}}, "bad-request"),
        ("submit", {**handed_in, "files": METHOD}, "not-leased"),
        ("submit", {**handed_in, "files": {}}, "bad-method"),
    ):  # fmt: skip
        line.ask(by_name[name], body)
        assert code in line.seen[name], (name, line.seen[name])
    # As deep as a parser goes, and where exactly it stops is Python's affair.
    for depth in range(100, 1_200, 50):
        nested = "[" * depth + "]" * depth
        line.connection.request("POST", "/v1/plan", f'{{"task": "t9", "steps": [{nested}], "amends": -1}}')
        answer = json.loads(line.connection.getresponse().read())
        assert answer["error"]["code"] in ("bad-request", "bad-body"), depth
    for name, query, code in (
        ("snapshot", "?submission=0", "no-submission"),
        ("receipt", "?submission=0", "no-submission"),
        ("inclusion", "?index=999999", "no-entry"),
        ("consistency", "?old=9&new=2", "size"),
    ):
        line.ask(by_name[name], query=query)
        assert code in line.seen[name], (name, line.seen[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([one for one in OPERATIONS if one.body]), st.data())
def test_no_body_makes_the_gateway_stumble_or_answer_what_the_document_does_not_say(
    real_gateway: RealGateway, operation: Operation, data: st.DataObject
) -> None:
    """Whatever is refused is refused with a code of the document, never `internal`."""
    bounds = operation.body or {}
    body = {key: data.draw(JSON, label=key) for key in bounds["properties"]}
    if data.draw(st.booleans(), label="strange"):
        body |= data.draw(st.dictionaries(st.text(max_size=8), JSON, max_size=2))
    line = Line(real_gateway.socket("researcher-2"))
    status, answer = line.ask(operation, body)
    line.connection.close()
    if status != 200:
        assert answer["error"]["code"] != "internal", body
    elif fault(body, bounds):
        # What the gateway takes beyond the document: nothing.
        raise AssertionError(body)


def test_the_forum_is_waited_for_until_it_grows_and_no_longer(real_gateway: RealGateway) -> None:
    one, two = real_gateway.client(), real_gateway.client("researcher-2")
    two.study()
    _entries, size = one.forum()
    entries, same = one.forum(size, wait_s=1)
    assert (entries, same) == ([], size)
    said = two.comment(0, f"at {size}")
    entries, _size = one.forum(size, wait_s=20)
    assert [entry["index"] for entry in entries] == [said]
