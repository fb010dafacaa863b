"""A researcher at work before a gateway double: both workflows to the end, and nothing said twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.inside import researcher as researcher_module
from aar.inside.gateway_client import GatewayClient, GatewayError, GatewayLost
from aar.inside.researcher import EXIT_LOST, EXIT_MISBEHAVED, Researcher, practised, request_of
from aar.lab.method_directory import method_files, pipeline_of
from aar.lab.pipeline import format_pipeline, parse_pipeline, pipeline_digest
from aar.verify.workflow import plan_faults, submission_faults
from inside.gateway_double import GatewayDouble, Refuse

SOURCE = Path(__file__).resolve().parents[2] / "src"
STEPS: list[dict[str, Any]] = [
    {
        "name": "s1",
        "what": "the baseline",
        "pipelines": [[["probe", {}]], [["conf_keep", {}], ["probe", {}]]],
    },
    {"name": "s2", "what": "neighbours", "pipelines": [[["knn", {}], ["probe", {}]], [["probe", {}]]]},
]


def fixed(name: str = "walk", steps: Any = STEPS, budget: int = 9) -> dict[str, Any]:
    return task(name, budget, workflow="fixed", steps=steps)


def task(name: str = "t", budget: int = 4, *, promised: int | None = None, **more: Any) -> dict[str, Any]:
    """`budget` is what the double grants, `promised` what the task says of it."""
    return {
        "task": name,
        "title": "Search",
        "direction": "neighbours",
        "workflow": "free",
        "steps": [],
        "plan": -1,
        "submissions": budget if promised is None else promised,
        "submissions_left": budget,
        "budget": budget,
        **more,
    }


def work(gateway: GatewayDouble, seed: int = 1) -> Researcher:
    one = Researcher(GatewayClient(gateway.path, first_pause_s=0.0001), seed=seed)
    one.work()
    return one


def by_digest(files: dict[str, str]) -> float | None:
    """A score that is a function of the method: some are better, some are not, some fail."""
    pipeline = pipeline_of(files)
    assert pipeline is not None
    number = int(pipeline_digest(pipeline)[:4], 16)
    return None if number % 5 == 0 else number / 65_536


def handed_in(gateway: GatewayDouble) -> list[tuple[str, str, str]]:
    """Task, step and pipeline of every submission of ours, in order."""
    return [
        (one.body["task"], one.body["step"], gateway.files[index]["config.json"])
        for index, one in enumerate(gateway.record.entries)
        if one.kind == "submission" and one.body["researcher"] == "r1"
    ]


def check_tidy(gateway: GatewayDouble) -> None:
    """What holds of every record a researcher leaves: each receipt has one finding that says what it says."""
    cited = Counter(body["receipts"][0] for body in gateway.kinds("finding"))
    confirmed = list(gateway.confirm_receipts.values())
    assert [cited[one] for one in confirmed] == [1] * len(confirmed)
    ours = [
        (index, one.body)
        for index, one in enumerate(gateway.record.entries)
        if one.kind == "score-receipt" and one.body["researcher"] == "r1" and index not in confirmed
    ]
    assert len(ours) == len(handed_in(gateway))
    for index, receipt in ours:
        assert cited[index] == 1
        finding = next(body for body in gateway.kinds("finding") if index in body["receipts"])
        released = receipt["released"]
        if receipt["outcome"] != "scored":
            assert (finding["type"], finding["numbers"]) == ("error", {})
        elif released["improved"]:
            assert finding["type"] == "result"
            assert finding["numbers"] == {key: released[key] for key in ("pgr", "low", "high")}
        else:
            assert (finding["type"], finding["numbers"]) == ("insight", {})
    methods = handed_in(gateway)
    assert len(set(methods)) == len(methods), "a method was handed in twice"


# The fixed workflow.


def test_a_fixed_workflow_is_walked_step_by_step_in_order(gateway: GatewayDouble) -> None:
    gateway.tasks.append(fixed())
    gateway.score = by_digest
    work(gateway)
    assert handed_in(gateway) == [
        ("walk", step["name"], format_pipeline(parse_pipeline(value)))
        for step in STEPS
        for value in step["pipelines"]
    ]
    plans = gateway.kinds("plan-declared")
    steps = [{"name": one["name"], "what": one["what"], "families": [], "submissions": 0} for one in STEPS]
    assert plans == [{"task": "walk", "steps": steps, "amends": -1}]
    assert gateway.kinds("task-closed")[0]["outcome"] == "done"
    check_tidy(gateway)


def test_a_receipt_is_waited_for_before_the_next_method_is_handed_in(gateway: GatewayDouble) -> None:
    gateway.tasks.append(fixed())
    work(gateway)
    kinds = [one.kind for one in gateway.record.entries]
    assert kinds == ["plan-declared", *["submission", "score-receipt", "finding"] * 4, "task-closed"]


def test_a_step_that_cannot_be_run_fails_the_task_before_anything_is_spent(gateway: GatewayDouble) -> None:
    broken = [*STEPS, {"name": "s3", "what": "?", "pipelines": [[["probes", {}]]]}]
    gateway.tasks += [fixed(steps=broken), fixed("next")]
    work(gateway)
    closed = gateway.kinds("task-closed")
    assert [(one["task"], one["outcome"]) for one in closed] == [("walk", "failed"), ("next", "done")]
    assert "no block 'probes'" in closed[0]["reason"]
    assert {one[0] for one in handed_in(gateway)} == {"next"}


# The free workflow.


def test_a_free_search_spends_its_budget_and_says_what_came_of_each_run(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=6))
    gateway.score = by_digest
    work(gateway)
    assert len(handed_in(gateway)) == 6
    check_tidy(gateway)
    closed = gateway.kinds("task-closed")
    assert [(one["outcome"], one["reason"]) for one in closed] == [("done", "the task's budget was spent")]
    assert gateway.calls["lease"] == 2


def test_a_plan_names_a_family_before_a_method_of_it_is_handed_in(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=8))
    gateway.score = by_digest
    work(gateway)
    latest = -1
    steps: list[str] = []
    for index, entry in enumerate(gateway.record.entries):
        if entry.kind == "plan-declared":
            assert entry.body["amends"] == latest, "a plan amends the one before"
            names = [step["name"] for step in entry.body["steps"]]
            assert names[: len(steps)] == steps, "an amended plan keeps what was planned"
            latest, steps = index, names
        elif entry.kind == "submission":
            assert entry.body["plan"] == latest
            assert entry.body["step"] in steps
    assert len(steps) > 1


def test_the_search_ends_with_a_proposal_to_go_on_from_the_best(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=5))
    gateway.score = by_digest
    work(gateway)
    (proposal,) = gateway.kinds("task-proposed")
    receipts = [
        one for one in gateway.kinds("score-receipt") if one["released"] and one["released"]["improved"]
    ]
    best = max(receipts, key=lambda one: float(one["released"]["pgr"]))
    assert f"of submission {best['submission']}" in proposal["reason"]
    assert f"{float(best['released']['pgr']):.2f}" in proposal["reason"]


def test_a_search_has_its_best_confirmed_before_it_says_its_last(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=5))
    gateway.score, gateway.confirmations = by_digest, 1
    work(gateway)
    (charge,) = gateway.kinds("budget-charged")
    explored = [one for one in gateway.kinds("score-receipt") if one["tier"] == "explore" and one["released"]]
    best = max(
        (one for one in explored if one["released"]["improved"]),
        key=lambda one: float(one["released"]["pgr"]),
    )
    assert charge["submission"] == best["submission"]
    told = gateway.kinds("finding")[-1]
    (confirmed,) = (one for one in gateway.kinds("score-receipt") if one["tier"] == "confirm")
    assert told["type"] == "result"
    assert told["numbers"] == {key: confirmed["released"][key] for key in ("pgr", "low", "high")}
    assert gateway.record.entries[told["receipts"][0]].body == confirmed
    assert confirmed["released"]["difference"] in told["text"]
    assert [one.kind for one in gateway.record.entries][-2:] == ["task-proposed", "task-closed"]


def test_where_exact_values_are_told_a_result_is_what_beats_our_best(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=8))
    gateway.score, gateway.is_exact = by_digest, True
    work(gateway)
    best = None
    receipts = {at: one.body for at, one in enumerate(gateway.record.entries) if one.kind == "score-receipt"}
    for finding in gateway.kinds("finding"):
        released = receipts[finding["receipts"][0]]["released"]
        if not released:
            continue
        is_better = best is None or float(released["pgr"]) > best
        assert finding["type"] == ("result" if is_better else "insight")
        assert finding["numbers"]["pgr"] == released["pgr"]
        best = max(float(released["pgr"]), -9.0 if best is None else best)
    assert {one["type"] for one in gateway.kinds("finding")} >= {"result", "insight"}


def test_where_nothing_was_scored_there_is_nothing_to_propose(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=3))
    gateway.score = lambda _files: None
    work(gateway)
    assert gateway.kinds("task-proposed") == []
    assert [one["type"] for one in gateway.kinds("finding")] == ["error"] * 3
    assert gateway.kinds("task-closed")[0]["outcome"] == "done"


def test_when_the_ideas_are_spent_the_task_is_done(
    gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(researcher_module, "choose", lambda *_arguments, **_named: None)
    gateway.tasks.append(task())
    work(gateway)
    assert gateway.kinds("task-closed")[0]["reason"] == "every idea in reach was tried"


def test_another_seed_searches_elsewhere_and_the_same_one_in_the_same_places(
    gateway: GatewayDouble, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import tempfile

    found = []
    for seed in (1, 1, 2):
        with tempfile.TemporaryDirectory(prefix="gw-") as directory:
            double = GatewayDouble(Path(directory) / "gw.sock")
            double.tasks.append(task(budget=3))
            work(double, seed)
            found.append(handed_in(double))
            double.close()
    assert found[0] == found[1] != found[2]


# The others.


def test_a_good_method_of_somebody_else_is_built_on_with_credit(gateway: GatewayDouble) -> None:
    theirs = gateway.somebody_else(
        method_files(parse_pipeline([["label_prop", {"k": 7}], ["probe", {}]])), pgr=0.9
    )
    gateway.tasks.append(task(budget=4))
    gateway.score = lambda _files: 0.2
    work(gateway)
    assert gateway.kinds("vote") == [{"on": theirs, "value": 1}]
    (comment,) = gateway.kinds("comment")
    assert comment["on"] == theirs
    built = [one for one in gateway.kinds("finding") if theirs in one["parents"]]
    assert built
    assert "Built on label_prop(k=7)+probe" in built[0]["text"]


def test_what_somebody_else_tried_is_not_tried_again(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=3))
    work(gateway)
    alone = handed_in(gateway)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gw-") as directory:
        double = GatewayDouble(Path(directory) / "gw.sock")
        double.somebody_else({"method.py": "", "config.json": alone[0][2]}, pgr=-5.0)
        double.tasks.append(task(budget=3))
        work(double)
        assert alone[0][2] not in {one[2] for one in handed_in(double)}
        double.close()


@pytest.mark.parametrize("config", ["", "[[", '[["probe", {"l2_factor": "x"}]]', "[" * 3_000])
def test_a_method_that_is_no_pipeline_is_passed_over(gateway: GatewayDouble, config: str) -> None:
    gateway.somebody_else({"method.py": "own code", "config.json": config}, pgr=0.9)
    gateway.somebody_else({"method.py": "own code"}, pgr=0.9)
    gateway.tasks.append(task(budget=2))
    work(gateway)
    assert len(handed_in(gateway)) == 2


# Refusals.


def test_a_budget_that_is_smaller_than_promised_ends_the_task_in_order(gateway: GatewayDouble) -> None:
    gateway.tasks += [task("first", 2, promised=9), task("second", 1)]
    work(gateway)
    assert Counter(one[0] for one in handed_in(gateway)) == {"first": 2, "second": 1}
    assert [(one["task"], one["outcome"]) for one in gateway.kinds("task-closed")] == [
        ("first", "done"),
        ("second", "done"),
    ]
    assert "refused: budget" in gateway.kinds("task-closed")[0]["reason"]
    check_tidy(gateway)


def test_a_budget_that_is_too_small_for_a_fixed_workflow_ends_it_in_order(gateway: GatewayDouble) -> None:
    gateway.tasks.append(fixed(budget=2))
    work(gateway)
    assert len(handed_in(gateway)) == 2
    assert gateway.kinds("task-closed")[0]["outcome"] == "done"
    assert "budget" in gateway.kinds("task-closed")[0]["reason"]


@pytest.mark.parametrize("code", ["study-closing", "study-closed", "not-leased"])
def test_a_study_that_closes_ends_the_work_without_a_fault(gateway: GatewayDouble, code: str) -> None:
    gateway.tasks.append(task())
    gateway.refuse["submit"] = gateway.refuse["done"] = Refuse(code, 403)
    work(gateway)
    assert handed_in(gateway) == []
    assert gateway.calls["submit"] == gateway.calls["done"] == 1


def test_a_refusal_that_is_a_fault_fails_the_task_and_the_next_one_is_taken(gateway: GatewayDouble) -> None:
    gateway.tasks += [task("first"), fixed("second")]
    gateway.refuse["submit"] = Refuse("bad-method")
    work(gateway)
    assert [(one["task"], one["outcome"]) for one in gateway.kinds("task-closed")] == [
        ("first", "failed"),
        ("second", "failed"),
    ]
    assert gateway.calls["submit"] == 2


def test_a_refusal_to_close_a_task_that_is_a_fault_travels(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task(budget=1))
    gateway.refuse["done"] = Refuse("bad-request")
    with pytest.raises(GatewayError, match="bad-request"):
        work(gateway)


# The hybrid workflow.

SCOPE = {"families": ["confidence", "neighbourhood"], "programs": 0, "submissions": 3}


def test_a_hybrid_task_is_searched_inside_its_scope_and_as_planned(gateway: GatewayDouble) -> None:
    gateway.score = by_digest
    # What another did well lies outside of the scope: it is not built on.
    gateway.somebody_else(method_files(parse_pipeline([["early_stop", {}]])), pgr=0.99)
    gateway.tasks.append(task(budget=6, workflow="hybrid", scope=SCOPE))
    work(gateway)
    plans = {
        index: one.body for index, one in enumerate(gateway.record.entries) if one.kind == "plan-declared"
    }
    for plan in plans.values():
        assert list(plan_faults(SCOPE, plan["steps"])) == []
    ours = [one for one in gateway.kinds("submission") if one["researcher"] == "r1"]
    assert len(ours) == 6
    before: Counter[str] = Counter()
    for body in ours:
        steps = plans[body["plan"]]["steps"]
        told = {"step": body["step"], "families": body["families"], "before": before[body["step"]]}
        assert list(submission_faults(SCOPE, steps, **told)) == []
        before[body["step"]] += 1
    (closed,) = gateway.kinds("task-closed")
    assert closed["outcome"] == "done"


def test_a_hybrid_task_ends_when_every_family_has_had_its_share(gateway: GatewayDouble) -> None:
    gateway.score = by_digest
    gateway.tasks.append(task(budget=9, workflow="hybrid", scope={**SCOPE, "submissions": 2}))
    work(gateway)
    assert Counter(step for _task, step, _method in handed_in(gateway)) == dict.fromkeys(SCOPE["families"], 2)
    (closed,) = gateway.kinds("task-closed")
    assert closed["reason"] == "every idea in reach was tried"


def test_a_step_walked_by_another_is_not_walked_again(gateway: GatewayDouble) -> None:
    gateway.score = by_digest
    gateway.tasks.append(fixed())
    first = parse_pipeline([["probe", {}]])
    gateway.somebody_else(method_files(first), pgr=0.3, task="walk", request=request_of("walk", "s1", first))
    work(gateway)
    assert len(handed_in(gateway)) == 3


# Practice.


def test_a_method_that_fails_on_practice_data_is_not_handed_in(
    gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> Any:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(researcher_module, "run_pipeline", fail)
    gateway.tasks.append(task())
    work(gateway)
    assert handed_in(gateway) == []
    (closed,) = gateway.kinds("task-closed")
    assert closed["outcome"] == "failed"
    assert "LinAlgError: singular" in closed["reason"]


def test_practice_finds_answers_of_a_wrong_shape_and_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = parse_pipeline([["probe", {}]])
    assert practised(pipeline) == ""
    for answer in (np.zeros(3), np.zeros((300, 1)), np.full(300, np.nan)):
        monkeypatch.setattr(researcher_module, "run_pipeline", lambda *_arguments, answer=answer: answer)
        assert "want 300 finite numbers" in practised(pipeline)


# Lives that end early.


def live(gateway: GatewayDouble, calls: int) -> bool:
    """A life of so many answers: the call after them is done, but not heard. True if it reached its end."""
    left = [calls]

    def cut(_verb: str, _told: dict[str, Any]) -> dict[str, Any] | None:
        left[0] -= 1
        if left[0] < 0:
            gateway.drop_answers = 1
        return None

    gateway.lies[:] = [cut]
    try:
        work(gateway)
    except GatewayLost:
        return False
    finally:
        gateway.lies.clear()
        gateway.drop_answers = 0
    return True


@pytest.mark.parametrize("workflow", ["fixed", "free"])
def test_a_researcher_cut_off_after_any_call_goes_on_and_repeats_nothing(workflow: str) -> None:
    import tempfile

    def fresh(directory: str) -> GatewayDouble:
        double = GatewayDouble(Path(directory) / "gw.sock")
        double.tasks.append(fixed() if workflow == "fixed" else task(budget=3))
        double.score, double.confirmations = by_digest, 1
        return double

    with tempfile.TemporaryDirectory(prefix="gw-") as directory:
        whole = fresh(directory)
        work(whole)
        wanted, total = handed_in(whole), sum(whole.calls.values())
        whole.close()
    assert total > 15
    for calls in range(1, total, 1 if workflow == "fixed" else 2):
        with tempfile.TemporaryDirectory(prefix="gw-") as directory:
            double = fresh(directory)
            assert not live(double, calls)
            work(double)
            assert handed_in(double) == wanted, f"cut off after call {calls}"
            assert [one["outcome"] for one in double.kinds("task-closed")] == ["done"]
            check_tidy(double)
            assert len(double.confirm_receipts) == (workflow == "free")
            double.close()


def test_a_researcher_that_dies_again_and_again_still_gets_to_the_end(gateway: GatewayDouble) -> None:
    gateway.tasks += [fixed(), task(budget=2)]
    gateway.score = by_digest
    lives = 0
    while not live(gateway, 14):
        lives += 1
        assert lives < 40
    assert lives > 2
    assert len(handed_in(gateway)) == 6
    check_tidy(gateway)


def test_a_request_is_a_function_of_what_is_handed_in() -> None:
    one, other = parse_pipeline([["probe", {}]]), parse_pipeline([["knn_vote", {}]])
    assert request_of("t", "s", one) == request_of("t", "s", parse_pipeline([["probe", {"l2_factor": 1.0}]]))
    assert len({request_of("t", "s", one), request_of("t", "s", other), request_of("t", "u", one)}) == 3
    assert len(request_of("t" * 300, "s", one)) == 128


# The process.


def start(gateway: GatewayDouble) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aar.inside.researcher", "--seed", "1", "--socket", gateway.path],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_researcher_s_process_works_until_there_is_no_task_left(gateway: GatewayDouble) -> None:
    gateway.tasks += [fixed(), task(budget=2)]
    out, error = start(gateway).communicate(timeout=60)
    assert (out, error) == ("", "")
    assert len(handed_in(gateway)) == 6


def test_a_researcher_that_finds_a_lie_stops_and_shows_it(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task())
    gateway.lies.append(
        lambda verb, told: (
            {**told, "proof": gateway.record.proof(told["index"], witnesses=())} if verb == "submit" else None
        )
    )
    process = start(gateway)
    _out, error = process.communicate(timeout=60)
    assert process.returncode == EXIT_MISBEHAVED == 5
    message, evidence = error.splitlines()
    assert "without its witnesses" in message
    assert json.loads(evidence)["asked"]["verb"] == "submit"
    assert gateway.calls["receipt"] == gateway.calls["done"] == 0


def test_a_researcher_without_a_gateway_says_so(gateway: GatewayDouble) -> None:
    os.unlink(gateway.path)
    process = start(gateway)
    _out, error = process.communicate(timeout=60)
    assert process.returncode == EXIT_LOST == 6
    assert "no answer after" in error


def test_a_researcher_that_is_told_to_end_ends_at_once(gateway: GatewayDouble) -> None:
    gateway.tasks.append(task())

    def never(verb: str, _told: dict[str, Any]) -> dict[str, Any] | None:
        if verb != "receipt":
            return None
        time.sleep(0.05)
        return {"receipt": None}

    gateway.lies.append(never)
    process = start(gateway)
    deadline = time.monotonic() + 30
    while not gateway.calls["receipt"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _out, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (0, "")
