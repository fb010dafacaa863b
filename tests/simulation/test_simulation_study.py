"""Single simulated studies: the record is real, holds, and names what a compromised researcher did to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aar.cli.simulate_picture import draw_demonstration
from aar.outside.projection import Projection
from aar.simulation.demonstration import Demonstration, means_of, studies_of
from aar.simulation.parameters import CLASSES, FREE, VERIFY_MINUTES
from aar.simulation.study import StudyOutcome, simulate_study
from aar.verify.reader import RecordReader
from aar.verify.study import verify_log, verify_study

PROBLEM = "hard-2"
DIGEST = "070ccfe4ecc4e506a0472c1a6296d729084299a25693e00272bd4739870cd536"
ROOTS = [
    "951accfae8e2159b2aa7f3c4187532899277ac9b496cfa246491d5f1cf567c40",
    "fbae80ff267a145f2add50e864f25a22597b101f8f104e857a07f1e095d7ed02",
    "be2bf94d0d10a1e60bbc15f2fa14e36fe240e6fbc9204375e888d8b059eb5248",
    "",
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulated") / "kept"


@pytest.fixture(scope="module")
def shown(kept: Path) -> Demonstration:
    studies = studies_of(PROBLEM, seed=1, keep=kept)
    means = means_of(PROBLEM, seed=1, runs=61, kinds=[PROBLEM])
    return Demonstration(seed=1, problem=PROBLEM, studies=studies, means=means)


def arm(shown: Demonstration, name: str) -> StudyOutcome:
    return next(one for one in shown.studies if one.arm == name)


def attempts(outcome: StudyOutcome) -> dict[str, Any]:
    return {one["what"]: one for one in outcome.attempts}


def test_the_same_seed_gives_the_same_record_and_the_same_numbers_on_any_machine(
    shown: Demonstration,
) -> None:
    assert [one.root for one in shown.studies] == ROOTS
    assert shown.as_json()["digest"] == DIGEST


def test_what_was_simulated_verifies_as_any_study_does(shown: Demonstration, kept: Path) -> None:
    for outcome in shown.studies[:3]:
        directory = kept / outcome.arm
        report = verify_study(directory, policy=(directory / "policy").read_bytes())
        assert (report.verdict, report.findings) == ("ok", [])
        assert (outcome.verdict, outcome.codes) == ("ok", ())
        assert report.tree_size == outcome.entries
        assert report.receipts > 16


def test_queue_plans_receipts_findings_and_a_decision_are_entries(shown: Demonstration, kept: Path) -> None:
    for name in ("free", "fixed"):
        projection = Projection.of(RecordReader(kept / name / "record").entries())
        outcome = arm(shown, name)
        assert {task.outcome for task in projection.tasks.values()} == {"done"}
        assert {task.workflow for task in projection.tasks.values()} == {name}
        assert len(projection.submissions) == FREE.researchers * FREE.submissions
        assert len(projection.findings) == outcome.findings == len(projection.submissions)
        assert [one.decision for one in projection.findings.values() if one.decision] == [outcome.decision]
        assert outcome.alarms == 0
    assert arm(shown, "free").deviations > arm(shown, "fixed").deviations == 0


def test_every_attempt_through_its_own_socket_is_refused_and_becomes_an_alarm(
    shown: Demonstration, kept: Path
) -> None:
    outcome = arm(shown, "one-lying")
    projection = Projection.of(RecordReader(kept / "one-lying" / "record").entries())
    alarms = {one["index"]: one for one in projection.alarms}
    wanted = {
        "a result without a receipt": "result-without-receipt",
        "another's receipt as its own": "foreign-receipt",
        "a vote for itself": "own-vote",
        "a post in another's name": "forged-author",
    }
    for what, code in wanted.items():
        found = attempts(outcome)[what]
        assert found["code"] == code
        assert (alarms[found["entry"]]["code"], alarms[found["entry"]]["who"]) == (code, "researcher-3")
    assert outcome.alarms == len(alarms) == 7
    assert outcome.honest_alarms == 0


def test_an_entry_changed_on_the_disk_is_named_at_the_next_verification(shown: Demonstration) -> None:
    found = attempts(arm(shown, "one-lying"))["an entry changed on the disk"]
    assert found["code"] == "ENTRY_HASH"
    assert found["entry"] > 0
    assert 0 < found["noticed_after_minutes"] <= VERIFY_MINUTES + 45


def test_without_protections_the_same_goes_through_and_nobody_can_verify(shown: Demonstration) -> None:
    outcome = arm(shown, "one-lying-unprotected")
    assert {one["code"] for one in outcome.attempts} == {""}
    assert set(attempts(outcome)) == {"a result without a receipt", "another's result changed"}
    assert (outcome.verdict, outcome.root, outcome.alarms) == ("", "", 0)
    assert outcome.claimed > outcome.published + 1_000


def test_a_kept_record_that_is_changed_is_not_believed(kept: Path, shown: Demonstration) -> None:
    directory = kept / "fixed"
    assert arm(shown, "fixed").verdict == "ok"
    bundles = [path for path in (directory / "record/tile/entries").rglob("*") if path.is_file()]
    bundle = max(bundles, key=lambda path: path.stat().st_size)
    before = bundle.read_bytes()
    try:
        bundle.write_bytes(before.replace(b"reaches 0.", b"reaches 1.", 1))
        report = verify_log(directory, policy=(directory / "policy").read_bytes(), pause=lambda _s: None)
        assert [one.code for one in report.findings] == ["ENTRY_HASH"]
    finally:
        bundle.write_bytes(before)


def test_protections_change_no_number_of_an_honest_study(shown: Demonstration) -> None:
    on_record = arm(shown, "free")
    on_table = simulate_study(CLASSES[PROBLEM], replace(FREE, is_evident=False), seed=1, number=0)
    for field in ("claimed", "published", "found", "tries", "minutes"):
        assert getattr(on_table, field) == getattr(on_record, field), field


def test_the_demonstration_is_drawn(shown: Demonstration, tmp_path: Path) -> None:
    draw_demonstration(shown, tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
