"""The researcher's line to the gateway: an honest record is believed, each kind of lie ends with evidence."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aar.formats.checkpoint import open_checkpoint
from aar.formats.keys import COSIGNATURE, Signer, format_vkey
from aar.formats.proof import parse_proof
from aar.inside.gateway_client import GatewayClient, GatewayError, GatewayLost, RecordMisbehaved
from aar.lab.snapshot import snapshot_digest
from inside.gateway_double import LOG, ORIGIN, OTHER_LOG, WITNESSES, GatewayDouble, Refuse, root_of

FILES = {"method.py": "def predict(instance, rng): ...\n", "config.json": "[]"}


@pytest.fixture
def client(gateway: GatewayDouble) -> GatewayClient:
    gateway.tasks.append({"task": "t", "budget": 5})
    one = GatewayClient(gateway.path, first_pause_s=0.001)
    one.study()
    return one


def submit(client: GatewayClient, request: str = "t/0") -> int:
    return client.submit(task="t", plan=0, step="s", name="a method", files=FILES, request=request)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Honest answers.


def test_what_is_said_is_in_the_record_under_the_index_told(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    plan = client.plan("t", [{"name": "s", "what": "try"}])
    submission = submit(client)
    receipt = client.receipt(submission)
    finding = client.finding(
        type="insight", title="x", text="y", method="z", numbers={}, receipts=[receipt["index"]], parents=[]
    )
    client.comment(finding, "well")
    client.vote(finding, 1)
    client.propose(title="go on", direction="there", reason="it helps")
    client.done("t", "done", "over")
    assert [one.kind for one in gateway.record.entries] == [
        *("plan-declared", "submission", "score-receipt", "finding", "comment", "vote"),
        *("task-proposed", "task-closed"),
    ]
    assert (plan, submission, finding) == (0, 1, 3)
    assert gateway.record.entries[1].body["digest"] == snapshot_digest(FILES)
    assert client.lease() is None


def test_the_largest_checkpoint_is_kept_with_the_note_it_came_in(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    for number in range(9):
        client.comment(0, f"{number}")
    assert client.largest is not None
    assert client.largest.checkpoint.size == 9
    assert open_checkpoint(client.largest.note, LOG.vkey)[0] == client.largest.checkpoint
    assert client.largest.checkpoint.root == root_of(gateway.record.hashes())


def test_an_answer_of_an_earlier_moment_is_believed_if_it_fits(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    for number in range(7):
        client.comment(0, f"{number}")

    def early(verb: str, told: dict[str, Any]) -> dict[str, Any] | None:
        return {**told, "proof": gateway.record.proof(told["index"], 5)} if verb == "comment" else None

    gateway.lies.append(early)
    assert client.comment(0, "3") == 3
    assert client.largest is not None
    assert client.largest.checkpoint.size == 7, "a smaller tree takes nothing back"


def test_saying_something_before_asking_for_the_keys_is_our_own_mistake(gateway: GatewayDouble) -> None:
    with pytest.raises(GatewayError) as caught:
        GatewayClient(gateway.path).comment(0, "hello")
    assert caught.value.code == "no-study"
    assert not gateway.asked


# Lies about one entry.

Ack = dict[str, Any]


def other_record(gateway: GatewayDouble) -> Any:
    """The same sizes, other words: what a log shows to somebody else."""
    from inside.gateway_double import Record

    other = Record()
    for number in range(len(gateway.record.leaves)):
        other.append("r1", "comment", {"on": 0, "text": f"not {number}"})
    return other


LIES: dict[str, tuple[Callable[[GatewayDouble, Ack], Any], str]] = {
    "the proof of a neighbour": (
        lambda g, a: {"proof": g.record.proof(a["index"] - 1)},
        "proves another one",
    ),
    "another index": (lambda _g, a: {"index": a["index"] - 1}, "proves another one"),
    "an index that is a text": (lambda _g, a: {"index": str(a["index"])}, "proves another one"),
    "no index": (lambda _g, _a: {"index": None}, "proves another one"),
    "another leaf": (lambda g, _a: {"leaf": encoded(g.record.leaves[0])}, "proves another one"),
    "a leaf with one bit turned": (
        lambda g, a: {"leaf": encoded(g.record.leaves[a["index"]].replace(b"third", b"thirD"))},
        "leads to another root",
    ),
    "no leaf": (lambda _g, _a: {"leaf": None}, "does not hold"),
    "a leaf that is no base64": (lambda _g, _a: {"leaf": "*"}, "does not hold"),
    "a leaf that is no entry": (lambda _g, _a: {"leaf": encoded(b"hello")}, "does not hold"),
    "no proof": (lambda _g, _a: {"proof": None}, "does not hold"),
    "an empty proof": (lambda _g, _a: {"proof": ""}, "does not hold"),
    "a proof in a list": (lambda _g, a: {"proof": [a["proof"]]}, "does not hold"),
    "a proof that is no Unicode": (lambda _g, _a: {"proof": "\ud800"}, "does not hold"),
    "a root that the log signed without a tree": (
        lambda g, a: {"proof": g.record.proof(a["index"], root=b"r" * 32)},
        "leads to another root",
    ),
    "a proof with a hash too many": (
        lambda _g, a: {"proof": a["proof"].replace("\n\n", f"\n{encoded(b'h' * 32)}\n\n", 1)},
        "does not hold",
    ),
    "a checkpoint of another log": (
        lambda g, a: {"proof": g.record.proof(a["index"], log=OTHER_LOG)},
        "no signature of a known key",
    ),
    "no cosignature": (
        lambda g, a: {"proof": g.record.proof(a["index"], witnesses=())},
        "without its witnesses",
    ),
    "one cosignature of two": (
        lambda g, a: {"proof": g.record.proof(a["index"], witnesses=WITNESSES[:1])},
        "without its witnesses",
    ),
    "a cosignature of a stranger": (
        lambda g, a: {"proof": g.record.proof(a["index"], witnesses=(WITNESSES[0], STRANGER))},
        "without its witnesses",
    ),
    "a cosignature under a witness's name": (
        lambda g, a: {"proof": g.record.proof(a["index"], witnesses=(WITNESSES[0], IMPOSTOR))},
        "without its witnesses",
    ),
    "a cosignature over another tree": (lambda g, a: {"proof": with_old_cosignature(g, a)}, "does not hold"),
    "an entry of a tree that is too small for it": (
        lambda g, a: {"proof": with_checkpoint_of(g, a, a["index"])},
        "does not hold",
    ),
}
STRANGER = Signer("witness-three", b"3" * 32, COSIGNATURE)
IMPOSTOR = Signer("witness-two", b"3" * 32, COSIGNATURE)


def with_old_cosignature(gateway: GatewayDouble, ack: Ack) -> str:
    """The witnesses' lines are of the tree before."""
    old = gateway.record.proof(0, ack["index"]).split("\n")
    new = ack["proof"].split("\n")
    return "\n".join([*new[:-3], *old[-3:]])


def with_checkpoint_of(gateway: GatewayDouble, ack: Ack, size: int) -> str:
    head, _empty, _checkpoint = ack["proof"].partition("\n\n")
    return f"{head}\n\n{gateway.record.proof(0, size).partition(chr(10) * 2)[2]}"


@pytest.mark.parametrize("case", LIES)
def test_an_acknowledgement_that_does_not_prove_the_entry_is_a_lie(
    gateway: GatewayDouble, client: GatewayClient, case: str
) -> None:
    change, reason = LIES[case]
    client.comment(0, "first")
    client.comment(0, "second")
    gateway.lies.append(lambda verb, told: {**told, **change(gateway, told)} if verb == "comment" else None)
    with pytest.raises(RecordMisbehaved, match=reason) as caught:
        client.comment(0, "third")
    evidence = json.loads(caught.value.evidence)
    assert evidence["asked"] == {"verb": "comment", "on": 0, "text": "third"}
    assert set(evidence["told"]) == {"index", "proof", "leaf"}


@pytest.mark.parametrize("told", [[], None, 3, "fine", {}], ids=repr)
def test_an_acknowledgement_that_is_nothing_of_the_kind_is_a_lie(
    gateway: GatewayDouble, client: GatewayClient, told: Any
) -> None:
    gateway.lies.append(lambda verb, _told: json.dumps(told).encode() if verb == "comment" else None)  # type: ignore[arg-type,return-value]
    with pytest.raises(RecordMisbehaved):
        client.comment(0, "third")


WORDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "other words": ("r1", "comment", {"on": 0, "text": "I withdraw everything"}),
    "words about another entry": ("r1", "comment", {"on": 1, "text": "mine"}),
    "the right words of somebody else": ("r2", "comment", {"on": 0, "text": "mine"}),
    "another kind": ("r1", "vote", {"on": 0, "value": 1}),
}


@pytest.mark.parametrize("case", WORDS)
def test_an_entry_that_says_something_else_is_a_lie_though_it_is_in_the_record(
    gateway: GatewayDouble, client: GatewayClient, case: str
) -> None:
    index = gateway.record.append(*WORDS[case])
    gateway.lies.append(lambda verb, _told: gateway.acknowledge(index) if verb == "comment" else None)
    with pytest.raises(RecordMisbehaved, match="does not say what was asked"):
        client.comment(0, "mine")


SUBMISSION_CHANGES: dict[str, dict[str, Any]] = {
    "another method": {"digest": "0" * 64},
    "another researcher": {"researcher": "r2"},
    "another task": {"task": "u"},
    "another step": {"step": "u"},
    "another name": {"name": "better"},
    "another request": {"request": "t/1"},
}


@pytest.mark.parametrize("case", SUBMISSION_CHANGES)
def test_a_submission_that_is_not_what_was_handed_in_is_a_lie(
    gateway: GatewayDouble, client: GatewayClient, case: str
) -> None:
    submit(client)
    body = {**gateway.record.entries[0].body, **SUBMISSION_CHANGES[case]}
    index = gateway.record.append("gateway", "submission", body)
    gateway.lies.append(lambda verb, _told: gateway.acknowledge(index) if verb == "submit" else None)
    with pytest.raises(RecordMisbehaved, match="does not say what was asked"):
        submit(client)


# Lies about history.


def test_a_fork_of_the_same_size_is_a_lie_and_both_signed_notes_are_the_evidence(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    client.comment(0, "one")
    client.comment(0, "two")
    other = other_record(gateway)
    gateway.record.leaves[1], gateway.record.entries[1] = other.leaves[1], other.entries[1]
    with pytest.raises(RecordMisbehaved, match="tree 2 is not shown to extend tree 2") as caught:
        client.comment(0, "not 1")
    evidence = json.loads(caught.value.evidence)
    older, newer = (open_checkpoint(evidence[key].encode(), LOG.vkey)[0] for key in ("older", "newer"))
    assert (older.size, newer.size) == (2, 2)
    assert older.root != newer.root


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_a_longer_record_with_another_past_is_a_lie(
    gateway: GatewayDouble, client: GatewayClient, extra: int
) -> None:
    for number in range(6):
        client.comment(0, f"{number}")
    gateway.record.leaves[2] = other_record(gateway).leaves[2]
    for number in range(extra):
        gateway.record.append("r2", "comment", {"on": 0, "text": f"more {number}"})
    with pytest.raises(RecordMisbehaved, match=f"tree {7 + extra} is not shown to extend tree 6"):
        client.comment(0, "and now")


def test_a_rollback_to_another_shorter_history_is_a_lie(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    for number in range(6):
        client.comment(0, f"{number}")
    gateway.record = other_record(gateway)
    del gateway.record.leaves[3:], gateway.record.entries[3:]
    with pytest.raises(RecordMisbehaved, match="tree 6 is not shown to extend tree 4"):
        client.comment(0, "after the rollback")


def test_a_rollback_of_the_true_history_is_seen_as_soon_as_it_goes_on(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    for number in range(6):
        client.comment(0, f"{number}")
    del gateway.record.leaves[4:], gateway.record.entries[4:]
    with pytest.raises(RecordMisbehaved, match="tree 6 is not shown to extend tree 5"):
        client.comment(0, "instead of the fifth")


NO_PROOFS: dict[str, Any] = {
    "empty": {"consistency": []},
    "missing": {},
    "a text": {"consistency": "AAAA"},
    "numbers": {"consistency": [5]},
    "no base64": {"consistency": ["*"]},
    "short hashes": {"consistency": [encoded(b"x")]},
    "random hashes": {"consistency": [encoded(b"x" * 32)] * 2},
    "null": {"consistency": None},
}


@pytest.mark.parametrize("case", NO_PROOFS)
def test_no_proof_that_the_record_grew_is_as_bad_as_a_wrong_one(
    gateway: GatewayDouble, client: GatewayClient, case: str
) -> None:
    for number in range(3):
        client.comment(0, f"{number}")
    gateway.lies.append(lambda verb, _told: NO_PROOFS[case] or {"none": 1} if verb == "consistency" else None)
    with pytest.raises(RecordMisbehaved, match="tree 4 is not shown to extend tree 3"):
        client.comment(0, "and now")


def test_a_refusal_to_prove_that_the_record_grew_is_evidence_too(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    client.comment(0, "one")
    gateway.refuse["consistency"] = Refuse("size")
    with pytest.raises(RecordMisbehaved, match="tree 2 is not shown to extend tree 1"):
        client.comment(0, "two")


def test_as_many_cosignatures_as_the_quorum_are_enough(gateway: GatewayDouble, client: GatewayClient) -> None:
    def with_a_quorum_of_one(verb: str, told: dict[str, Any]) -> dict[str, Any] | None:
        if verb == "study":
            return {**told, "quorum": 1}
        return {**told, "proof": gateway.record.proof(told["index"], witnesses=WITNESSES[1:])}

    gateway.lies[:] = [with_a_quorum_of_one]
    asked = GatewayClient(client._path)
    asked.study()
    assert asked.comment(0, "one") == len(gateway.record.leaves) - 1


def test_a_study_keeps_its_keys_and_our_name(gateway: GatewayDouble, client: GatewayClient) -> None:
    assert client.study()["researcher"] == "r1"
    for change in (
        {"log_vkey": format_vkey(OTHER_LOG.vkey)},
        {"witness_vkeys": [format_vkey(WITNESSES[0].vkey)]},
        {"quorum": 1},
        {"researcher": "r2"},
    ):
        gateway.lies[:] = [lambda verb, told, change=change: {**told, **change} if verb == "study" else None]  # type: ignore[misc]
        with pytest.raises(RecordMisbehaved, match="changed its keys or our name"):
            client.study()


# Lost answers, refusals.


@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_answer_is_asked_for_again_and_nothing_is_said_twice(
    gateway: GatewayDouble, client: GatewayClient, lost: int
) -> None:
    gateway.drop_answers = lost
    assert submit(client) == 0
    gateway.drop_answers = lost
    assert client.comment(0, "once") == 1
    assert gateway.calls["submit"] == gateway.calls["comment"] == lost + 1
    assert [one.kind for one in gateway.record.entries] == ["submission", "comment"]


def test_an_entry_that_is_not_published_yet_is_asked_for_again(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    gateway.said_unpublished = 2
    assert client.comment(0, "once") == 0
    assert gateway.calls["comment"] == 3


def test_a_gateway_that_does_not_come_back_is_lost(gateway: GatewayDouble, client: GatewayClient) -> None:
    gateway.drop_answers = 1_000
    with pytest.raises(GatewayLost, match="POST /v1/comment: no answer after 6 tries"):
        client.comment(0, "hello?")
    gateway.drop_answers = 0
    gateway.said_unpublished = 1_000
    with pytest.raises(GatewayLost, match="refused: not-published"):
        client.comment(0, "hello?")


def test_where_no_gateway_is_it_is_lost(tmp_path: Any) -> None:
    with pytest.raises(GatewayLost, match="FileNotFoundError"):
        GatewayClient(str(tmp_path / "none.sock"), first_pause_s=0.0001).study()


@pytest.mark.parametrize("verb", ["submit", "lease"])
def test_while_the_queue_is_paused_it_waits_until_a_reviewer_lifts_it(
    gateway: GatewayDouble, client: GatewayClient, verb: str
) -> None:
    gateway.refuse[verb] = Refuse("paused", 409)
    done: list[Any] = []
    asking = threading.Thread(
        target=lambda: done.append(submit(client) if verb == "submit" else client.lease())
    )
    asking.start()
    wait_for(lambda: gateway.calls[verb] >= 8)
    assert done == []
    del gateway.refuse[verb]
    asking.join(10)
    assert len(done) == 1


def test_a_pause_that_outlasts_the_study_ends_with_the_study(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    gateway.refuse["submit"] = Refuse("paused", 409)
    refused: list[str] = []

    def ask() -> None:
        with pytest.raises(GatewayError) as caught:
            submit(client)
        refused.append(caught.value.code)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: gateway.calls["submit"] >= 3)
    gateway.refuse["submit"] = Refuse("study-closing", 403)
    asking.join(10)
    assert refused == ["study-closing"]


def test_a_pause_holds_up_nothing_else_that_is_said(gateway: GatewayDouble, client: GatewayClient) -> None:
    gateway.refuse["comment"] = Refuse("paused", 409)
    with pytest.raises(GatewayError, match="refused: paused"):
        client.comment(0, "hello")


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(("code", "status"), [("budget", 403), ("step-order", 409), ("bad-request", 400)])
def test_a_refusal_has_its_code_and_is_not_tried_again(
    gateway: GatewayDouble, client: GatewayClient, code: str, status: int
) -> None:
    gateway.refuse["submit"] = Refuse(code, status)
    with pytest.raises(GatewayError, match=f"refused: {code}") as caught:
        submit(client)
    assert caught.value.code == code
    assert gateway.calls["submit"] == 1


@pytest.mark.parametrize("told", [{}, [], {"error": "no"}, {"error": {"code": "budget"}}, 7])
def test_a_refusal_that_is_none_of_a_gateway_s_ends_the_call_and_is_shown(
    gateway: GatewayDouble, client: GatewayClient, told: Any
) -> None:
    gateway.refuse["submit"] = Refuse("", 404, told=told)
    with pytest.raises(GatewayError, match="status 404 without an error") as caught:
        submit(client)
    assert caught.value.code == "bad-answer"


def test_waiting_for_a_receipt_goes_on_until_there_is_one(
    gateway: GatewayDouble, client: GatewayClient
) -> None:
    submission = submit(client)
    waits = 3

    def not_yet(verb: str, _told: dict[str, Any]) -> dict[str, Any] | None:
        return {"receipt": None} if verb == "receipt" and gateway.calls["receipt"] <= waits else None

    gateway.lies.append(not_yet)
    assert client.receipt(submission)["outcome"] == "scored"
    assert gateway.calls["receipt"] == waits + 1


def test_the_double_speaks_the_record_s_formats(gateway: GatewayDouble, client: GatewayClient) -> None:
    """Else the lies above would be told apart by their form."""
    client.comment(0, "hello")
    proof = parse_proof(gateway.acknowledge(0)["proof"].encode())
    assert open_checkpoint(proof.checkpoint, LOG.vkey)[0].origin == ORIGIN
