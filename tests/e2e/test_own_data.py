"""A study on a data set of the operator's: from three files to a verified record, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.cli.run import _check_same_data
from aar.outside.control_plane import ServiceEnded
from aar.outside.study_data import DataUnusable, keep_data, read_data
from aar.outside.study_directory import StudyDirectory, service_uids
from e2e.conftest import Finished
from e2e.test_attacks import METHOD, Open
from jsonl_data import FEW, SIZES, Files, questions, written
from small_study import SMALL, Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

OWN = SMALL.replace('problem = "digits"', 'problem = "jsonl"\ndata = "data"')
# Scored if, and only if, no data set is to be seen where a method runs.
LOOKING = METHOD.replace("    return ", '    assert not Path("/data").exists()\n    return ')


def every_row(files: Files) -> list[dict[str, Any]]:
    return [row for rows in files.values() for row in rows]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A study whose data warn of a field that tells a little, run to its close."""
    commands = Commands(tmp_path_factory.mktemp("own"))
    files, rng = questions(), np.random.default_rng(3)
    for row in every_row(files):
        is_told = rng.random() < 0.17
        row["subset"] = "abc"[row["label"] if is_told else 2] if is_told else "xyz"[rng.integers(3)]
    written(commands.directory / "data", files)
    path = commands.directory / "study"
    done = commands.run("run", commands.study_file(OWN), "--dir", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "jsonl: field subset alone gets 0." in done.stderr
    return Finished(commands, path, done.stdout)


def test_it_verifies_from_public_bytes_alone(study: Finished, tmp_path: Path) -> None:
    assert json.loads(study.printed)["submissions"] == 6
    public_bytes(study, tmp_path)
    for place in (study.path, tmp_path):
        report = study.commands.json("verify", str(place), "--json")
        assert (report["verdict"], report["findings"]) == ("ok", [])


def test_its_terms_are_those_of_a_fixed_pool_with_a_sealed_half(study: Finished) -> None:
    (opened,) = study.commands.entries(str(study.path), "--kind", "study-opened")
    body = opened["body"]
    assert body["problem"] == "jsonl"
    assert body["pool"] == {
        "items": sum(SIZES.values()),
        "sealed": 300,
        "labelled": 80,
        "unlabelled": 800,
        "tested": 0,
        "group": 2,
    }
    assert (body["release"]["rule"], body["interval"]["method"]) == ("ladder", "crossed-bootstrap")
    assert float(body["baselines"]["gap"]) >= 0.1


def a_receipt(study: Finished) -> str:
    return str(study.commands.entries(str(study.path), "--kind", "score-receipt")[0]["index"])


def test_a_receipt_is_met_with_the_study_s_own_copy_of_the_data(study: Finished) -> None:
    found = study.commands.json("reproduce", str(study.path), a_receipt(study), "--json")
    assert (found["verdict"], found["exact"]) == ("met", True)


def public_bytes(study: Finished, directory: Path) -> None:
    shutil.copytree(study.path / "record", directory / "record")
    for name in ("policy", "aar-study.json"):
        shutil.copy(study.path / name, directory)


def test_with_the_public_bytes_alone_a_receipt_wants_the_data(study: Finished, tmp_path: Path) -> None:
    public_bytes(study, tmp_path)
    arguments = ("reproduce", str(tmp_path), a_receipt(study), "--json")
    done = study.commands.run(*arguments)
    assert done.returncode == 2
    assert "--data DIR" in json.loads(done.stdout)["reason"]
    found = study.commands.json(*arguments, "--data", str(study.commands.directory / "data"))
    assert (found["verdict"], found["exact"]) == ("met", True)
    other = shutil.copytree(study.commands.directory / "data", tmp_path / "other")
    one_label_turned(other / "test.jsonl")
    done = study.commands.run(*arguments, "--data", str(other))
    assert done.returncode == 2
    assert "give the data that the study was run with" in json.loads(done.stdout)["reason"]
    done = study.commands.run(*arguments, "--data", str(tmp_path))
    assert done.returncode == 2
    assert "train_label.jsonl cannot be read" in json.loads(done.stdout)["reason"]


def one_label_turned(path: Path) -> None:
    text = path.read_text()
    row = json.loads(text.splitlines()[4])
    turned = json.dumps({**row, "label": 1 - row["label"]})
    path.write_text(text.replace(json.dumps(row), turned, 1))


def test_files_that_are_not_there_are_refused_before_anything_is_made(commands: Commands) -> None:
    written(commands.directory / "data", questions(FEW))
    (commands.directory / "data" / "test.jsonl").unlink()
    done = commands.run("run", commands.study_file(OWN), "--dir", "study")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{commands.directory / 'data' / 'test.jsonl'} cannot be read: No such file" in done.stderr
    assert not (commands.directory / "study").exists()


def test_the_command_refuses_bad_data_in_one_line_and_takes_them_mended(commands: Commands) -> None:
    files = questions()
    del files["train_unlabel.jsonl"][3]["label"]
    data = written(commands.directory / "data", files)
    arguments = ("run", commands.study_file(OWN), "--dir", "study", "--minutes", "0.02")
    done = commands.run(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "MalformedData: train_unlabel.jsonl:4: label is missing; want 0 or 1" in done.stderr
    assert (commands.directory / "study" / "record" / "checkpoint").read_text().split("\n")[1] == "0"
    written(data, questions())
    assert commands.run(*arguments).returncode == 0


def repeat_an_id(files: Files) -> None:
    files["test.jsonl"][7]["id"] = files["train_label.jsonl"][2]["id"]


def keep_one_class(files: Files) -> None:
    files["test.jsonl"] = [row for row in files["test.jsonl"] if row["label"]]


def empty_the_test(files: Files) -> None:
    files["test.jsonl"] = []


def leave_two_to_test(files: Files) -> None:
    files["test.jsonl"] = files["test.jsonl"][:2]


def toss_the_labels(files: Files) -> None:
    rng = np.random.default_rng(1)
    for row in every_row(files):
        row["label"] = int(rng.integers(2))


def let_the_subset_tell(files: Files) -> None:
    for row in every_row(files):
        row["subset"] = "algebra" if row["label"] else "geometry"


BAD: dict[str, tuple[Callable[[Files], None], str]] = {
    "an id twice": (repeat_an_id, "stands already in train_label.jsonl:3"),
    "one class": (keep_one_class, "test.jsonl: all 300 labels are 1; want rows of both classes"),
    "an empty split": (empty_the_test, "MalformedData: test.jsonl: no rows"),
    "nothing to seal": (leave_two_to_test, "one of the halves may have none to test"),
    "no gap": (toss_the_labels, "DegenerateGapError: gap "),
    "metadata": (let_the_subset_tell, "MetadataPredictsLabels: field subset alone gets 1.000"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_refused_before_a_study_is_opened(tmp_path: Path, case: str) -> None:
    spoil, says = BAD[case]
    files = questions()
    spoil(files)
    with pytest.raises(ServiceEnded) as refused:
        Open(tmp_path / "study", OWN, written(tmp_path / "data", files))
    assert refused.value.is_refusal
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_study_goes_on_with_the_data_that_it_was_opened_with_and_with_no_others(tmp_path: Path) -> None:
    data = written(tmp_path / "data", questions())
    opened = Open(tmp_path / "study", OWN, data)
    study, plane = opened.study, opened.plane
    try:
        receipt = opened.receipt(0, opened.submit(0, "look", LOOKING))
        assert (receipt["outcome"], receipt["reason"]) == ("scored", "")
    finally:
        plane.stop()
    # The operator's directory may go, or change: the study has its own copy, and says so to who names it.
    _check_same_data(study, data)
    one_label_turned(data / "test.jsonl")
    with pytest.raises(DataUnusable, match="has other data than .* was opened with"):
        _check_same_data(study, data)
    kept = read_data(study.data)
    keep_data(study.data, read_data(data), service_uids().evaluator)
    with pytest.raises(ServiceEnded, match="another one than the study was opened with") as refused:
        plane.start(opening=False)
    plane.stop()
    assert refused.value.is_refusal
    assert str(refused.value).endswith("put back the data that it was opened with")
    (study.data / "test.jsonl").unlink()
    with pytest.raises(ServiceEnded, match="data/test.jsonl cannot be read"):
        plane.start(opening=False)
    plane.stop()
    keep_data(study.data, kept, service_uids().evaluator)
    plane.start(opening=False)
    plane.stop()


def test_a_data_set_may_be_what_is_held_out(tmp_path: Path) -> None:
    text = SMALL.replace('problem = "digits"', 'problem = "digits"\nheldout = ["jsonl"]\ndata = "data"')
    opened = Open(tmp_path / "study", text, written(tmp_path / "data", questions()))
    opened.plane.stop()
    told = opened.plane.evaluator_material["problems"]
    assert set(told) == {"digits", "jsonl"}
    assert StudyDirectory(tmp_path / "study").data.is_dir()
