"""A researcher, or somebody with its key, against a real control plane: refused, and recorded."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aar.cli.read import poll_leaves
from aar.formats.keys import Signer, parse_skey
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.staff_client import GatewayRefused, StaffClient
from aar.outside.study_data import keep_data, read_data
from aar.outside.study_directory import StudyDirectory, service_uids
from aar.outside.study_file import parse_study
from aar.outside.study_run import StudyRun
from aar.verify.study import verify_study
from small_study import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

METHOD = """
import json
import socket
from pathlib import Path
from aar.lab.pipeline import parse_pipeline, run_pipeline

def predict(instance, rng):
    return run_pipeline(parse_pipeline([["probe", {}]]), instance, rng)
"""
# Room for every attack's submissions.
ROOMY = SMALL.replace("submissions = 3", "submissions = 12")
ATTESTATION = {"identity": "test", "digest": "0" * 64}


class Open:
    """An open study whose researchers' sockets are in our hands."""

    def __init__(self, directory: Path, text: str = ROOMY, data: Path | None = None) -> None:
        self.study = StudyDirectory(directory)
        file = parse_study(text, source="small", problems=STUDY_PROBLEMS).as_written()
        self.study.create(file.text, service_uids())
        if data is not None:
            keep_data(self.study.data, read_data(data), service_uids().evaluator)
        report = DoctorReport("ok", (), "bubblewrap", {}, ATTESTATION)
        self.reviewer = Signer("reviewer-test", b"r" * 32)
        run = StudyRun(
            self.study, file, reviewer=self.reviewer, doctor=report, on_moment=lambda _moment: None
        )
        self.plane = run.plane
        self.plane.start(opening=True)
        run._open()
        self.researchers = [
            StaffClient(str(self.plane.gateway_directory(name) / "gw.sock"))
            for name in ("researcher-1", "researcher-2")
        ]
        self._plans: dict[int, tuple[str, int]] = {}
        self._scored: tuple[int, dict[str, Any]] | None = None

    def alarms(self) -> list[tuple[str, str]]:
        status = self.plane.control.get("/v1/status")
        return [(one["code"], one["who"]) for one in status["alarms"]]

    def key(self, name: str) -> Signer:
        folder = "evaluator" if name == "evaluator" else "gateway"
        return parse_skey((self.study.path / folder / f"{name}.key").read_text().strip())

    def plan(self, number: int) -> tuple[str, int]:
        if number not in self._plans:
            client = self.researchers[number]
            task = client.post("/v1/lease", {})["task"]["task"]
            steps = [{"name": "s1", "what": "try"}]
            index = client.post("/v1/plan", {"task": task, "steps": steps, "amends": -1})["index"]
            self._plans[number] = (task, index)
        return self._plans[number]

    def submit(self, number: int, request: str, method: str = METHOD) -> int:
        task, plan = self.plan(number)
        told = self.researchers[number].post(
            "/v1/submit",
            {
                "task": task,
                "plan": plan,
                "step": "s1",
                "name": "m",
                "files": {"method.py": method},
                "request": request,
            },
        )
        index: int = told["index"]
        return index

    def receipt(self, number: int, submission: int) -> dict[str, Any]:
        while True:
            told = self.researchers[number].get("/v1/receipt", submission=submission, wait_s=20)["receipt"]
            if told is not None:
                receipt: dict[str, Any] = told
                return receipt

    def scored(self) -> tuple[int, dict[str, Any]]:
        """A scored submission of the first researcher, made once."""
        if self._scored is None:
            submission = self.submit(0, "honest")
            self._scored = submission, self.receipt(0, submission)
        return self._scored


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    study = Open(tmp_path_factory.mktemp("attacked") / "study")
    yield study
    study.plane.stop()
    assert verify_study(study.study.path).verdict == "ok"


RANDOM = """
import numpy as np

def predict(instance, rng):
    return np.random.default_rng(%d).random(len(instance.test_x))
"""


def test_random_answers_are_an_alarm_with_the_receipts_it_rests_on(opened: Open) -> None:
    """What asks and does not try is seen in the row of runs; nothing of it is told to who asked."""
    client = opened.researchers[1]
    asked = [opened.submit(1, f"random-{number}", RANDOM % number) for number in range(3)]
    receipts = [opened.receipt(1, one)["index"] for one in asked]
    alarms = [
        leaf.signed.entry.body
        for leaf in poll_leaves(opened.study)
        if leaf.signed.entry.kind == "alarm" and leaf.signed.entry.body["code"] == "queries-below-weak"
    ]
    (alarm,) = alarms
    assert alarm["who"] == "researcher-2"
    assert set(receipts) < set(alarm["evidence"])
    assert "queries-below-weak" not in json.dumps(client.get("/v1/forum", since=0))


def finding(**changes: Any) -> dict[str, Any]:
    body = {"type": "result", "title": "PGR 2.3", "text": "believe me", "method": "m"}
    return {**body, "numbers": {}, "receipts": [], "parents": [], **changes}


def test_a_result_without_a_receipt_is_refused_and_recorded(opened: Open) -> None:
    numbers = {"pgr": "2.3000", "low": "2.2000", "high": "2.4000"}
    with pytest.raises(GatewayRefused, match="cites at least one score receipt") as refused:
        opened.researchers[0].post("/v1/finding", finding(numbers=numbers))
    assert refused.value.code == "result-without-receipt"
    assert ("result-without-receipt", "researcher-1") in opened.alarms()


def test_a_request_that_names_another_author_is_refused_and_recorded(opened: Open) -> None:
    with pytest.raises(GatewayRefused, match="the socket says who speaks"):
        opened.researchers[1].post("/v1/finding", {**finding(type="insight"), "author": "researcher-1"})
    assert ("forged-author", "researcher-2") in opened.alarms()


def test_anothers_receipt_is_refused_and_recorded(opened: Open) -> None:
    _submission, receipt = opened.scored()
    numbers = {key: receipt["released"][key] for key in ("pgr", "low", "high")}
    with pytest.raises(GatewayRefused, match="belongs to researcher-1"):
        opened.researchers[1].post("/v1/finding", finding(receipts=[receipt["index"]], numbers=numbers))
    assert ("foreign-receipt", "researcher-2") in opened.alarms()


def test_better_numbers_than_the_receipts_are_refused_and_recorded(opened: Open) -> None:
    _submission, receipt = opened.scored()
    numbers = {key: receipt["released"][key] for key in ("low", "high")} | {"pgr": "0.9700"}
    with pytest.raises(GatewayRefused, match="not what a cited receipt released"):
        opened.researchers[0].post("/v1/finding", finding(receipts=[receipt["index"]], numbers=numbers))
    assert ("numbers", "researcher-1") in opened.alarms()


def test_a_receipt_copied_from_another_submission_is_refused_even_under_the_evaluators_key(
    opened: Open,
) -> None:
    _submission, receipt = opened.scored()
    other = opened.submit(1, "another", METHOD + "\n# another method\n")
    opened.receipt(1, other)
    status = opened.plane.control.get("/v1/status")
    assert status["submissions"] >= 2
    copied = {
        "submission": other,
        "digest": "0" * 64,
        "researcher": "researcher-1",
        "tier": "explore",
        "problem": "digits",
        "outcome": "scored",
        "reason": "",
        "seeds": receipt["seeds"],
        "released": receipt["released"],
        "commitments": {"public": "1" * 64, "sealed": "2" * 64},
    }
    with pytest.raises(GatewayRefused, match="another method or researcher"):
        opened.plane.control.append([opened.key("evaluator")], "score-receipt", copied, refs=[other])
    assert ("foreign-receipt", "control") in opened.alarms()


def test_a_decision_under_a_researchers_key_is_refused_and_recorded(opened: Open) -> None:
    body = {
        "decision": "publish",
        "finding": 0,
        "finding_digest": "0" * 64,
        "checklist": [],
        "claimed": "",
        "reproduced": "",
        "sealed": "",
        "override": "",
        "note": "",
    }
    with pytest.raises(GatewayRefused, match="a decision is signed by a reviewer"):
        opened.plane.control.append([opened.key("researcher-1")], "decision", body, refs=[0])
    assert ("wrong-role", "control") in opened.alarms()


def test_an_entry_under_a_strangers_key_of_the_same_name_is_refused_and_recorded(opened: Open) -> None:
    stranger = Signer("researcher-1", b"x" * 32)
    with pytest.raises(GatewayRefused):
        opened.plane.control.append([stranger], "comment", {"on": 0, "text": "me again"}, refs=[0])
    assert ("bad-signature", "control") in opened.alarms()


def test_the_same_method_again_gets_the_same_seeds_and_no_second_chance(opened: Open) -> None:
    submission, first = opened.scored()
    again = opened.submit(0, "for luck")
    assert again != submission
    second = opened.receipt(0, again)
    assert second["seeds"] == first["seeds"]
    assert second["released"] == {**first["released"], "improved": 0}


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("def predict(instance, rng):\n    raise ValueError(str(instance.test_x))\n", "exception"),
        ("import os\ndef predict(instance, rng):\n    os._exit(0)\n", "bad-output"),
        ("def predict(instance, rng):\n    return instance.test_x\n", "bad-output"),
    ],
)
def test_a_failed_run_tells_its_researcher_one_word_of_a_closed_set(
    opened: Open, method: str, reason: str
) -> None:
    submission = opened.submit(1, f"fails with {reason} {len(method)}", method)
    receipt = opened.receipt(1, submission)
    assert (receipt["outcome"], receipt["reason"], receipt["released"]) == ("failed", reason, {})


def test_a_flood_of_attempts_leaves_a_bounded_number_of_alarms(opened: Open) -> None:
    for _attempt in range(60):
        with pytest.raises(GatewayRefused):
            opened.researchers[0].post("/v1/vote", {"on": 0, "value": 1, "author": "researcher-2"})
    assert opened.alarms().count(("forged-author", "researcher-1")) == 20


def test_a_refused_submission_leaves_no_file_behind(opened: Open) -> None:
    """Else a researcher whose budget is spent could fill the disk."""
    before = {path.name for path in (opened.study.record / "blobs").iterdir()}
    task, plan = opened.plan(0)
    for number in range(3):
        method = {"method.py": f"# {number} never run"}
        body = {"task": task, "step": "s1", "name": "m", "files": method, "request": f"refused {number}"}
        with pytest.raises(GatewayRefused, match="not a plan"):
            opened.researchers[0].post("/v1/submit", {**body, "plan": plan + 1})
    assert {path.name for path in (opened.study.record / "blobs").iterdir()} == before


def test_nothing_a_researcher_may_ask_tells_of_the_sealed_half(opened: Open) -> None:
    opened.scored()
    entries = opened.researchers[0].get("/v1/forum", since=0)["entries"]
    assert "score-revealed" not in {one["kind"] for one in entries}
    assert "sealed" not in json.dumps(
        [one for one in entries if one["kind"] not in ("score-receipt", "task-opened")]
    )
    for verb in ("/v1/work", "/v1/submission", "/v1/status", "/v1/close-material", "/v1/chain"):
        with pytest.raises(GatewayRefused, match="not one of this socket's verbs"):
            opened.researchers[0].get(verb)


NASTY_REQUESTS = {
    "a path that is half an address": b"GET //[ HTTP/1.1\r\n\r\n",
    "a length of 5,000 digits": b"POST /v1/vote HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "a length that is no number": b"POST /v1/vote HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a length in other digits": "POST /v1/vote HTTP/1.1\r\nContent-Length: ٣\r\n\r\n".encode(),
    "no length": b"POST /v1/vote HTTP/1.1\r\n\r\n",
    "less than it says": b"POST /v1/vote HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
    "a method of its own": b"BREW /v1/study HTTP/1.1\r\n\r\n",
    "no HTTP at all": b"\x00\xff\x00\xff\r\n\r\n",
    "half a request line": b"GET /v1/stu",
    "an endless header": b"GET /v1/study HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "two hundred headers": b"GET /v1/study HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
    "a query of a million fields": b"GET /v1/forum?" + b"a=1&" * 15_000 + b" HTTP/1.1\r\n\r\n",
    "a query of bad escapes": b"GET /v1/forum?since=%ff%00%zz HTTP/1.1\r\n\r\n",
    "HTTP from before headers": b"GET /v1/study\r\n",
    "chunks": b"POST /v1/vote HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", NASTY_REQUESTS)
def test_bytes_that_are_no_request_do_not_stop_the_gateway(opened: Open, name: str) -> None:
    gateway = str(opened.plane.gateway_directory("researcher-1") / "gw.sock")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(gateway)
        with suppress(BrokenPipeError):  # it may hang up before it has heard all of it
            connection.sendall(NASTY_REQUESTS[name])
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65_536)
    assert opened.researchers[1].get("/v1/study")["researcher"] == "researcher-2"


LONE = "\ud800"  # half of a character: JSON can say it, UTF-8 cannot
NASTY_VALUES: list[Any] = [
    LONE,
    "x" * 100_000,
    "",
    "\x1b]0;owned\x07\u202e",
    2**53,
    -1,
    10**400,
    True,
    None,
    [],
    [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]],
    [True, 0],
    [2**60],
    [LONE],
    {},
    {LONE: LONE},
    {"pgr": LONE, "low": [], "high": {}},
    {"method.py": LONE},
    {LONE: "x"},
    {"method.py": "x" * 300_000},
]


@pytest.mark.parametrize("verb", ["plan", "submit", "finding", "comment", "vote", "propose", "done", "lease"])
def test_no_value_in_any_field_stops_the_gateway(opened: Open, verb: str) -> None:
    task, plan = opened.plan(0)
    _submission, receipt = opened.scored()
    honest: dict[str, Any] = {
        "plan": {"task": task, "steps": [{"name": "s1", "what": "try"}], "amends": plan},
        "submit": {
            "task": task,
            "plan": plan,
            "step": "s1",
            "name": "m",
            "files": {"method.py": "nothing"},
            "request": "nasty",
        },
        "finding": finding(type="insight", receipts=[receipt["index"]]),
        "comment": {"on": 0, "text": "x"},
        "vote": {"on": 0, "value": 1},
        "propose": {"title": "t", "direction": "d", "reason": "r"},
        "done": {"task": task, "outcome": "done", "reason": "r"},
        "lease": {},
    }[verb]
    # What is merely odd, such as an escape in a title, is a text like any other.
    odd = ("", NASTY_VALUES[3], [], {}, *([-1] if verb == "plan" else []))
    bodies = [{**honest, name: value} for name in honest for value in NASTY_VALUES if value not in odd]
    bodies += [{**honest, "more": value} for value in NASTY_VALUES]
    client = opened.researchers[0]
    for body in [*bodies, *[one for one in NASTY_VALUES if (verb, one) != ("lease", {})]]:
        with pytest.raises(GatewayRefused) as refused:
            client.post(f"/v1/{verb}", body)
        assert refused.value.code != "internal", body
    assert opened.plane.control.get("/v1/status")["state"] == "open"
