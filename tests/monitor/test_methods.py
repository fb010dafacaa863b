"""What was handed in before: each rule alone raises its alarm, and honest work beside it raises none."""

from __future__ import annotations

import json

import pytest

from aar.lab.pipeline import VANILLA
from aar.outside.monitor.monitor import Monitor
from monitor.told import METHOD, Told

READER = """from pathlib import Path

from aar.lab.pipeline import parse_pipeline_text, run_pipeline

PIPELINE = parse_pipeline_text(Path(__file__).with_name("config.json").read_text("utf-8"))


def predict(instance, rng):
    return run_pipeline(PIPELINE, instance, rng)
"""


def pipeline(text: str, **more: str) -> dict[str, str]:
    return {"method.py": READER, "config.json": text, **more}


def test_the_same_bytes_by_somebody_who_could_read_their_receipt_are_a_duplicate() -> None:
    told = Told()
    told.explore("a", METHOD)
    again = told.submit("b", METHOD)
    assert told.codes == ["duplicate-submission"]
    assert told.sightings[0].who == "b"
    assert told.sightings[0].evidence == (2, again)


def test_the_same_bytes_under_another_request_are_a_duplicate_at_once() -> None:
    told = Told()
    told.submit("a", METHOD)
    told.submit("a", METHOD)
    assert told.codes == ["duplicate-submission"]


def test_two_who_have_the_same_idea_at_the_same_time_repeat_nobody() -> None:
    told = Told()
    told.submit("a", METHOD)
    told.submit("b", METHOD)
    assert told.codes == []


def test_what_a_humans_step_lists_is_no_duplicate() -> None:
    told = Told()
    listed = '[["knn", {"k": 10}], ["probe", {}]]'
    told.task("t1", listed)
    told.task("t2", listed)
    told.explore("a", pipeline(listed), task="t1")
    told.explore("a", pipeline(listed), task="t2")
    assert told.codes == []
    told.explore("b", pipeline(listed))
    assert told.codes == ["duplicate-submission"]


def test_anybody_may_run_the_plain_student() -> None:
    told = Told()
    told.explore("a", pipeline(VANILLA))
    told.explore("b", pipeline(VANILLA))
    assert told.codes == []


@pytest.mark.parametrize(
    "again",
    [
        METHOD.replace("return", "return  ").replace("Keep", "Drop"),
        METHOD + "# seed 2\n",
        {"method.py": METHOD, "notes.json": "[2]"},
    ],
    ids=["white space and a docstring", "a comment", "a file that nothing reads"],
)
def test_a_method_in_other_bytes_is_a_near_duplicate(again: dict[str, str] | str) -> None:
    told = Told()
    told.submit("a", METHOD)
    told.submit("a", again)
    assert told.codes == ["near-duplicate-submission"]


def test_a_pipeline_written_in_another_way_is_a_near_duplicate() -> None:
    told = Told()
    told.explore("a", pipeline('[["knn", {"k": 10}], ["probe", {}]]'))
    told.explore("b", pipeline('[ ["knn",{"k":10.0}],["probe", {}] ]'))
    assert told.codes == ["near-duplicate-submission"]
    told.explore("b", pipeline('[["knn", {"k": 10}], ["probe", {}]]', **{"seed.txt": "2"}))
    assert told.codes == ["near-duplicate-submission"] * 2


def test_other_values_of_a_parameter_are_another_method() -> None:
    told = Told()
    for k in (5, 10, 20, 40):
        told.explore("a", pipeline(json.dumps([["knn", {"k": k}], ["probe", {}]])))
        told.explore("b", METHOD.replace("0.5", f"0.{k}"))
    assert told.codes == []


def test_a_file_that_a_program_may_read_belongs_to_the_method() -> None:
    told = Told()
    reads = 'import json\n\ndef predict(instance, rng):\n    return json.load(open("w" + str(3) + ".json"))\n'
    told.explore("a", {"method.py": reads, "w3.json": "[1]"})
    told.explore("a", {"method.py": reads, "w3.json": "[2]"})
    assert told.codes == []


SEEDED = """import numpy as np

def predict(instance, rng):
    mine = np.random.default_rng({seed})
    return mine.random(3) * {factor}
"""


def test_the_same_under_seeds_of_its_own_is_a_lottery_from_the_third_draw_on() -> None:
    told = Told()
    for seed in (1, 2):
        told.explore("a", SEEDED.format(seed=seed, factor=0.5))
    assert told.codes == []
    receipt = told.explore("a", SEEDED.format(seed=3, factor=0.5))
    assert told.codes == ["resubmitted-for-luck"]
    assert told.sightings[0].evidence[-1] == receipt
    assert len(told.sightings[0].evidence) == 6
    told.explore("a", SEEDED.format(seed=4, factor=0.5))
    assert told.codes == ["resubmitted-for-luck"]


@pytest.mark.parametrize(
    "variants",
    [
        [f"SALT = {salt}\n" + METHOD for salt in (1, 2, 3)],
        [METHOD.replace("0.5", f"0.500{number}") for number in (1, 2, 3)],
        [METHOD.replace("predict(instance", f"predict(instance_{number}") for number in (1, 2, 3)],
        [METHOD + f"\n\ndef unused_{number}(x):\n    return x\n" for number in (1, 2, 3)],
    ],
    ids=["a name that nothing reads", "a third digit", "another name", "a function that nothing calls"],
)
def test_changes_without_an_effect_make_no_other_method(variants: list[str]) -> None:
    told = Told()
    for one in variants:
        told.explore("a", one)
    assert told.codes == ["resubmitted-for-luck"]


def test_a_lottery_is_one_researchers() -> None:
    told = Told()
    for seed, name in enumerate("abc"):
        told.explore(name, SEEDED.format(seed=seed, factor=0.5))
    assert told.codes == []


def test_values_that_differ_by_more_than_chance_are_of_different_methods() -> None:
    told = Told()
    for seed, pgr in ((1, "0.1000"), (2, "0.3500"), (3, "0.6000")):
        told.explore("a", SEEDED.format(seed=seed, factor=0.5), pgr)
    assert told.codes == []


def test_runs_that_failed_are_no_draws() -> None:
    told = Told()
    for seed in (1, 2, 3):
        submission = told.submit("a", SEEDED.format(seed=seed, factor=0.5))
        told.score(submission, outcome="failed", released={})
    assert told.codes == []


def test_a_confirmation_is_no_draw_and_tells_nobody_of_a_method() -> None:
    told = Told()
    for seed in (1, 2, 3):
        told.score(told.submit("a", SEEDED.format(seed=seed, factor=0.5)), tier="confirm")
    told.submit("b", SEEDED.format(seed=1, factor=0.5))
    assert told.codes == []


def test_a_rung_that_is_repeated_is_no_value_of_a_draws_own() -> None:
    told = Told()
    for seed, improved, pgr in ((1, 1, "0.3000"), (2, 0, "0.9000"), (3, 0, "0.9000")):
        released = {"pgr": pgr, "low": pgr, "high": pgr, "improved": improved}
        told.score(told.submit("a", SEEDED.format(seed=seed, factor=0.5)), released=released)
    assert told.codes == ["resubmitted-for-luck"]


def test_methods_whose_snapshots_are_gone_are_told_by_their_digests_alone() -> None:
    told = Told()
    told.monitor = Monitor(lambda _digest: None)
    told.submit("a", METHOD)
    told.submit("a", METHOD + "# other bytes\n")
    assert told.codes == []
    told.submit("a", METHOD)
    assert told.codes == ["duplicate-submission"]


@pytest.mark.parametrize(
    "draws",
    [
        [("0.3000", 0.3), ("0.2000", 0.01), ("0.4000", 0.01)],
        # The lowest is below the others' intervals, and its own holds them; and the other way round.
        [("0.1000", 0.5), ("0.3000", 0.05), ("0.3100", 0.05)],
        [("0.5000", 0.5), ("0.3000", 0.05), ("0.3100", 0.05)],
    ],
)
def test_values_that_lie_in_one_wide_interval_but_not_in_each_others_are_no_lottery(
    draws: list[tuple[str, float]],
) -> None:
    told = Told()
    for seed, (pgr, half) in enumerate(draws):
        told.score(told.submit("a", SEEDED.format(seed=seed, factor=0.5)), pgr, half=half)
    assert told.codes == []
