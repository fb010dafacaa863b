"""The directory of a comparison: study files that are the plan's, and one witness for all runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.comparison.arms import budget_of, studies_of
from aar.outside.comparison.assignment import assign, origin_of
from aar.outside.comparison.directory import ComparisonDirectory
from aar.outside.comparison.plan import Plan, PlanError
from aar.outside.study_directory import NotAStudy, StudyInUse, Uids
from aar.outside.study_file import parse_study
from comparison_plans import a_plan


@pytest.fixture
def made(tmp_path: Path) -> tuple[ComparisonDirectory, Plan]:
    text = resources.files("aar.outside.studies").joinpath("comparison.toml").read_text("utf-8")
    template = parse_study(text, source="embedded", problems=STUDY_PROBLEMS)
    studies = studies_of(template, template, ("claims", "digits"), ("fixed", "free"))
    plan = a_plan(
        files={pair: hashlib.sha256(study.text.encode()).hexdigest() for pair, study in studies.items()},
        budget=budget_of(template),
    )
    directory = ComparisonDirectory(tmp_path / "ab")
    directory.create(plan, studies)
    return directory, plan


def test_what_was_written_is_read_back(made: tuple[ComparisonDirectory, Plan]) -> None:
    directory, plan = made
    assert directory.is_comparison
    assert directory.written_plan() == plan
    files = directory.study_files(plan)
    assert {pair: study.problem for pair, study in files.items()} == {pair: pair[0] for pair in plan.files}


def test_a_study_file_that_is_not_the_plans_is_refused(made: tuple[ComparisonDirectory, Plan]) -> None:
    directory, plan = made
    path = directory.studies / "digits-free.toml"
    path.write_text(path.read_text("utf-8").replace("submissions = 6", "submissions = 60"), "utf-8")
    with pytest.raises(PlanError, match=r"digits-free\.toml is not the study file of the plan"):
        directory.study_files(plan)
    path.unlink()
    with pytest.raises(PlanError, match="cannot be read"):
        directory.study_files(plan)


def test_what_is_no_plan_is_refused_with_the_files_name(
    made: tuple[ComparisonDirectory, Plan],
) -> None:
    directory, _plan = made
    directory.plan_file.write_text("{}\n", "utf-8")
    with pytest.raises(PlanError, match=r"plan\.json: not an analysis plan"):
        directory.written_plan()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_in_the_place_of_the_plan_is_refused_at_once(
    make: Callable[[Path], None], made: tuple[ComparisonDirectory, Plan]
) -> None:
    directory, _plan = made
    directory.plan_file.unlink()
    make(directory.plan_file)
    with pytest.raises(PlanError, match=r"plan\.json: not a file"):
        directory.written_plan()


def test_what_a_crash_before_the_plan_left_is_no_comparison_and_may_be_begun_anew(tmp_path: Path) -> None:
    directory = ComparisonDirectory(tmp_path)
    directory.studies.mkdir()
    directory.runs.mkdir()
    assert not directory.is_comparison
    directory.check_new()
    (directory.runs / "001").mkdir()
    with pytest.raises(NotAStudy, match="not empty and not a comparison"):
        directory.check_new()


def test_the_runs_share_a_witness_and_their_logs_have_the_names_of_the_plan(
    made: tuple[ComparisonDirectory, Plan],
) -> None:
    directory, plan = made
    directory.prepare_witness(0)
    for run in assign(plan)[:2]:
        study = directory.study(run.number)
        for _again in range(2):
            study.create("", Uids(), origin=origin_of(plan, run), witness=directory.witness)
        assert study.origin == origin_of(plan, run)
        assert os.path.samefile(study.witness, directory.witness)
    moved = directory.path.rename(directory.path.with_name("moved"))
    assert os.path.samefile(ComparisonDirectory(moved).study(1).witness, moved / "witness")


def test_the_witness_remembers_a_log_by_its_origin(made: tuple[ComparisonDirectory, Plan]) -> None:
    directory, plan = made
    origin = origin_of(plan, assign(plan)[0])
    assert not directory.was_witnessed(origin)
    name = hashlib.sha256(origin.encode()).hexdigest()
    (directory.witness / "state" / name).mkdir(parents=True)
    (directory.witness / "state" / name / "checkpoint").write_text("", "utf-8")
    assert directory.was_witnessed(origin)
    assert not directory.was_witnessed(origin_of(replace(plan, nonce="f" * 16), assign(plan)[0]))


def test_two_at_once_do_not_run_the_same_comparison(made: tuple[ComparisonDirectory, Plan]) -> None:
    directory, _plan = made
    directory.lock()
    with pytest.raises(StudyInUse, match=r"in use by another \./aar ab"):
        ComparisonDirectory(directory.path).lock()
