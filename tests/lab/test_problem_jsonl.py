"""`jsonl`: the published layout is read strictly, runs end to end offline, and metadata give nothing away."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aar.lab.errors import MalformedData, MetadataPredictsLabels, UnknownProblem
from aar.lab.experiment import sample
from aar.lab.pipeline import VANILLA, parse_pipeline_text, run_pipeline
from aar.lab.problems.jsonl import (
    FILES,
    JsonlProblem,
    read_jsonl,
    read_researcher_copy,
    write_jsonl,
    write_researcher_copy,
)
from aar.lab.problems.preflight import preflight
from aar.lab.problems.registry import problem_named
from aar.verify.splits import sealed_items
from jsonl_data import FEW, SIZES, questions, written


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> JsonlProblem:
    return JsonlProblem(read_jsonl(written(tmp_path_factory.mktemp("data"), questions())))


# Reading.


def test_rows_are_read_in_the_order_of_the_files(tmp_path: Path) -> None:
    files = questions(FEW)
    data = read_jsonl(written(tmp_path, files))
    told = [row for name in FILES for row in files[name]]
    assert [row.id for row in data.rows] == [row["id"] for row in told]
    assert [row.label for row in data.rows] == [row["label"] == 1 for row in told]
    assert data.rows[3].text == told[3]["question"] + "\n" + told[3]["choice"]


def test_what_is_written_is_read_again_metadata_too(tmp_path: Path) -> None:
    files = questions(FEW)
    for row in files["test.jsonl"]:
        row |= {"subset": "geometry", "turns": [1, 2]}
    data = read_jsonl(written(tmp_path / "given", files))
    assert data.test[0].metadata == {"subset": "geometry", "turns": "[1, 2]"}
    write_jsonl(data, tmp_path / "again")
    assert read_jsonl(tmp_path / "again") == data


def test_a_researcher_s_copy_has_no_labels_no_metadata_and_no_test_items(tmp_path: Path) -> None:
    files = questions(FEW)
    for rows in files.values():
        for row in rows:
            row["subset"] = "secret-subset"
    data = read_jsonl(written(tmp_path / "given", files))
    write_researcher_copy(data, tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "train_label.jsonl",
        "train_unlabel.jsonl",
    ]
    unlabelled = (tmp_path / "copy" / "train_unlabel.jsonl").read_text()
    assert {key for line in unlabelled.splitlines() for key in json.loads(line)} == {
        "id",
        "question",
        "choice",
    }
    assert "secret-subset" not in unlabelled + (tmp_path / "copy" / "train_label.jsonl").read_text()
    taught, train = read_researcher_copy(tmp_path / "copy")
    assert [row.label for row in taught] == [row.label for row in data.train_label]
    assert [row.text for row in train] == [row.text for row in data.train_unlabel]
    assert {row.label for row in train} == {None}


def test_a_label_left_in_a_researcher_s_copy_is_found(tmp_path: Path) -> None:
    data = read_jsonl(written(tmp_path / "given", questions(FEW)))
    write_researcher_copy(data, tmp_path / "copy")
    path = tmp_path / "copy" / "train_unlabel.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = json.dumps({**json.loads(lines[4]), "label": 0})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(MalformedData, match="a label was left in") as found:
        read_researcher_copy(tmp_path / "copy")
    assert (found.value.file, found.value.line) == (str(path), 5)


def test_test_items_in_a_researcher_s_copy_are_found(tmp_path: Path) -> None:
    with pytest.raises(MalformedData, match="test items in a researcher's copy"):
        read_researcher_copy(written(tmp_path, questions(FEW)))


Change = Callable[[list[str]], Sequence[str]]


def changed(number: int, change: Callable[[dict[str, Any]], object]) -> Change:
    def apply(lines: list[str]) -> list[str]:
        value = json.loads(lines[number])
        change(value)
        return [*lines[:number], json.dumps(value), *lines[number + 1 :]]

    return apply


def replaced(number: int, text: str) -> Change:
    return lambda lines: [*lines[:number], text, *lines[number + 1 :]]


# What is wrong: the change, the line told (0 for the file), and words of the message.
WRONG_FILES: dict[str, tuple[Change, int, str]] = {
    "no id": (changed(3, lambda row: row.pop("id")), 4, "id is missing"),
    "no question": (changed(3, lambda row: row.pop("question")), 4, "question is missing"),
    "no choice": (changed(3, lambda row: row.pop("choice")), 4, "choice is missing"),
    "no label": (changed(3, lambda row: row.pop("label")), 4, "label is missing"),
    "a blank question": (changed(3, lambda row: row.update(question="  ")), 4, "question is '  '"),
    "a number for a choice": (changed(3, lambda row: row.update(choice=7)), 4, "choice is 7"),
    "an empty id": (changed(3, lambda row: row.update(id="")), 4, "id is ''"),
    "a truth for an id": (changed(3, lambda row: row.update(id=True)), 4, "id is True"),
    "an endless id": (changed(3, lambda row: row.update(id="x" * 201)), 4, "1 to 200 characters"),
    "a label of two": (changed(3, lambda row: row.update(label=2)), 4, "label is 2"),
    "a label that is true": (changed(3, lambda row: row.update(label=True)), 4, "label is True"),
    "a label with a point": (changed(3, lambda row: row.update(label=1.0)), 4, "label is 1.0"),
    "a label in words": (changed(3, lambda row: row.update(label="1")), 4, "label is '1'"),
    "a line cut short": (lambda lines: [*lines[:3], lines[3][:-5], *lines[4:]], 4, "not a JSON object"),
    "a blank line": (replaced(3, ""), 4, "not a JSON object"),
    "a list": (replaced(3, "[1]"), 4, "want a JSON object"),
    "not a number": (changed(3, lambda row: row.update(extra=float("nan"))), 4, "NaN is no JSON"),
    "a key twice": (replaced(3, '{"id": "a", "id": "b"}'), 4, "stands twice"),
    "nested without end": (replaced(3, "[" * 100_000), 4, "not a JSON object"),
    "an endless line": (replaced(3, '"' + "x" * (1 << 20) + '"'), 4, "at most 1048576"),
    "no rows": (lambda _lines: [], 0, "no rows"),
    "one class only": (lambda lines: [line for line in lines if '"label": 1' in line], 0, "both classes"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_that_does_not_fit_is_refused_with_its_name_and_line(
    tmp_path: Path, case: str, name: str
) -> None:
    change, line, words = WRONG_FILES[case]
    path = written(tmp_path, questions(FEW)) / name
    lines = change(path.read_text().splitlines())
    path.write_text("".join(text + "\n" for text in lines))
    with pytest.raises(MalformedData) as found:
        read_jsonl(tmp_path)
    assert words in str(found.value)
    assert (found.value.file, found.value.line) == (str(path), line)
    assert str(path) in str(found.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, questions(FEW)) / "test.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "\xff"}\n')
    with pytest.raises(MalformedData, match="UTF-8") as found:
        read_jsonl(tmp_path)
    assert found.value.line == FEW["test.jsonl"] + 1


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    (written(tmp_path, questions(FEW)) / name).unlink()
    with pytest.raises(MalformedData, match=f"{name}: cannot be read"):
        read_jsonl(tmp_path)


@pytest.mark.parametrize(
    ("name", "other"), [("test.jsonl", "test.jsonl"), ("test.jsonl", "train_label.jsonl")]
)
def test_an_id_that_stands_twice_is_refused_with_both_places(tmp_path: Path, name: str, other: str) -> None:
    files = questions(FEW)
    files[name][7]["id"] = files[other][2]["id"]
    with pytest.raises(MalformedData, match=f"test.jsonl:8: .* stands already in {other}:3"):
        read_jsonl(written(tmp_path, files))


def test_a_number_and_its_text_are_one_id(tmp_path: Path) -> None:
    files = questions(FEW)
    files["test.jsonl"][0]["id"], files["test.jsonl"][1]["id"] = 17, "17"
    with pytest.raises(MalformedData, match="stands already"):
        read_jsonl(written(tmp_path, files))


# As a problem.


def test_it_runs_end_to_end_with_room_between_teacher_and_ceiling(problem: JsonlProblem) -> None:
    sealed_groups = sealed_items(b"s" * 32, problem.sizes.pool // 2, problem.sizes.sealed // 2)
    sealed = [item for group in sealed_groups for item in (2 * group, 2 * group + 1)]
    weak, ceiling, student = [], [], []
    for seed in range(3):
        one = sample(problem, seed, 0, sealed)
        answer = run_pipeline(parse_pipeline_text(VANILLA), one.instance, np.random.default_rng(0))
        student.append(((answer > 0.5) == one.taught.truth).mean())
        weak.append(one.taught.weak_correct.mean())
        ceiling.append(one.taught.ceiling_correct.mean())
        assert one.instance.votes is not None
        assert one.instance.votes.shape == (SIZES["train_unlabel.jsonl"], 7)
    assert 0.55 < np.mean(weak) < 0.85
    assert np.mean(ceiling) > np.mean(weak) + 0.05
    assert np.mean(student) > 0.55


def test_the_published_split_is_that_of_the_files(problem: JsonlProblem) -> None:
    split = problem.published
    told = [(split.labelled, "train_label"), (split.unlabelled, "train_unlabel"), (split.tested, "test")]
    for items, name in told:
        rows = getattr(problem.data, name)
        assert len(items) == len(rows)
        taught = problem.teach(0, split.labelled, split.unlabelled, items if name == "test" else split.tested)
        if name == "test":
            np.testing.assert_array_equal(taught.truth, [row.label for row in rows])
    assert sorted([*split.labelled, *split.unlabelled, *split.tested]) == list(range(problem.sizes.pool))


def test_the_choices_of_a_question_stand_on_one_side(problem: JsonlProblem) -> None:
    assert problem.sizes.group == 2
    assert problem.sizes.sealed == 300
    question = {item: row.question for item, row in enumerate(problem._rows)}
    assert all(question[item] == question[item + 1] for item in range(0, problem.sizes.pool, 2))


def test_questions_with_different_numbers_of_choices_are_not_grouped(tmp_path: Path) -> None:
    files = questions()
    files["test.jsonl"].pop()
    found = JsonlProblem(read_jsonl(written(tmp_path, files)))
    assert found.sizes.group == 1
    assert found.published.labelled == tuple(range(SIZES["train_label.jsonl"]))


def test_features_and_teacher_do_not_see_labels_of_others(problem: JsonlProblem, tmp_path: Path) -> None:
    files = questions()
    for row in files["test.jsonl"] + files["train_unlabel.jsonl"]:
        row["label"] = 1 - row["label"]
    turned = JsonlProblem(read_jsonl(written(tmp_path, files)))
    np.testing.assert_array_equal(turned.features, problem.features)
    split = problem.published
    first, second = (
        one.teach(3, split.labelled, split.unlabelled, split.tested) for one in (problem, turned)
    )
    np.testing.assert_array_equal(first.weak, second.weak)
    np.testing.assert_array_equal(first.truth, ~second.truth)
    assert problem.digest != turned.digest


def test_the_weak_teacher_is_a_logistic_regression_on_its_hashed_words(problem: JsonlProblem) -> None:
    split = problem.published
    taught = problem.teach(3, split.labelled, split.unlabelled, split.tested)
    words, y = problem._words, problem._y
    labelled = list(split.labelled)
    own = LogisticRegression(C=1 / (1e-2 * len(labelled)), tol=1e-9, max_iter=5_000)
    told = own.fit(words[labelled], y[labelled]).predict_proba(words[list(split.unlabelled)])[:, 1]
    np.testing.assert_allclose(taught.weak, np.clip(told, 0.02, 0.98), atol=0.02)


def test_texts_without_a_word_in_common_are_refused(tmp_path: Path) -> None:
    files = questions()
    for name, rows in files.items():
        for number, row in enumerate(rows):
            row |= {"question": f"q{name[6]}{number}", "choice": f"c{name[6]}{number}"}
    with pytest.raises(MalformedData, match="stands in two rows"):
        JsonlProblem(read_jsonl(written(tmp_path, files)))


def test_the_digest_is_of_every_field_and_of_no_spelling(problem: JsonlProblem, tmp_path: Path) -> None:
    for field in ("id", "question", "choice", "label", "subset"):
        files = questions()
        row = files["test.jsonl"][5]
        row[field] = 1 - row["label"] if field == "label" else f"{row.get(field)} changed"
        assert JsonlProblem(read_jsonl(written(tmp_path / field, files))).digest != problem.digest, field
    files = questions()
    files["test.jsonl"][:2] = files["test.jsonl"][1::-1]
    assert JsonlProblem(read_jsonl(written(tmp_path / "order", files))).digest != problem.digest
    spelled = written(tmp_path / "spelled", questions())
    path = spelled / "test.jsonl"
    path.write_text(path.read_text().replace('{"id": ', '{  "id":').replace("word", "w\\u006frd"))
    assert JsonlProblem(read_jsonl(spelled)).digest == problem.digest


# Pre-flight.


def test_an_honest_data_set_passes_and_the_numbers_are_told(problem: JsonlProblem) -> None:
    found = preflight(problem)
    assert found.verdict == "passed"
    assert found.warnings == ()
    found.check()
    told = {one.predictor for one in found.findings}
    assert told == {"id pattern", "id prefix", "id number", "place in file", "lengths"}
    for one in found.findings:
        assert one.accuracy < found.weak
        assert one.pgr == pytest.approx((one.accuracy - found.weak) / (found.ceiling - found.weak))


def subset_tells(row: dict[str, Any]) -> None:
    row["subset"] = "algebra" if row["label"] else "geometry"


def source_tells(row: dict[str, Any]) -> None:
    row["source"] = {"generator": "gpt" if row["label"] else "human"}


def id_s_words_tell(row: dict[str, Any]) -> None:
    row["id"] = f"{'good' if row['label'] else 'evil'}-{row['id']}"


def id_s_pattern_tells(row: dict[str, Any]) -> None:
    row["id"] = f"q-{row['id'][8:]}-{'good' if row['label'] else 'evil'}"


def id_s_parity_tells(row: dict[str, Any]) -> None:
    row["id"] = f"{row['id'][:-1]}{row['label'] + 4}"


def length_tells(row: dict[str, Any]) -> None:
    row["choice"] += " word1" * (6 if row["label"] else 0)


LEAKS = {
    "field subset": subset_tells,
    "field source": source_tells,
    "id prefix": id_s_words_tell,
    "id pattern": id_s_pattern_tells,
    "id number": id_s_parity_tells,
    "lengths": length_tells,
}


@pytest.mark.parametrize("predictor", LEAKS)
def test_metadata_that_tell_the_label_are_refused_by_name(tmp_path: Path, predictor: str) -> None:
    files = questions()
    for rows in files.values():
        for row in rows:
            LEAKS[predictor](row)
    if predictor == "lengths":
        # Else the added words tell the teacher too.
        for rows in files.values():
            for row in rows:
                row["choice"] = " ".join(dict.fromkeys(row["choice"].split())) + "." * (40 * row["label"])
    found = preflight(JsonlProblem(read_jsonl(written(tmp_path, files))))
    assert found.findings[0].predictor == predictor
    assert found.findings[0].accuracy > 0.95
    assert found.verdict == "refused"
    with pytest.raises(MetadataPredictsLabels, match=f"^{predictor} alone gets"):
        found.check()
    with pytest.raises(MetadataPredictsLabels):
        problem_named(f"jsonl:{tmp_path}")


def test_rows_sorted_by_label_are_refused(tmp_path: Path) -> None:
    files = questions()
    for rows in files.values():
        rows.sort(key=lambda row: row["label"])
    found = preflight(JsonlProblem(read_jsonl(written(tmp_path, files))))
    assert (found.findings[0].predictor, found.verdict) == ("place in file", "refused")


def test_metadata_that_tell_a_little_are_warned_of(tmp_path: Path) -> None:
    files, rng = questions(), np.random.default_rng(3)
    for rows in files.values():
        for row in rows:
            is_told = rng.random() < 0.17
            row["subset"] = "abc"[row["label"] if is_told else 2] if is_told else "xyz"[rng.integers(3)]
    found = preflight(JsonlProblem(read_jsonl(written(tmp_path, files))))
    assert found.findings[0].predictor == "field subset"
    assert found.verdict == "warned"
    assert found.warnings[0].startswith("field subset alone gets 0.")
    found.check()


def test_a_data_set_is_a_problem_by_the_name_of_its_directory(tmp_path: Path) -> None:
    directory = written(tmp_path, questions())
    assert problem_named(f"jsonl:{directory}").sizes.pool == sum(SIZES.values())
    with pytest.raises(UnknownProblem):
        problem_named("json")
