"""JSONL files and prompts: what is read, what is cut, and every line that is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.lab.students.errors import MalformedInputs, MalformedSettings, MalformedTexts
from aar.lab.students.texts import SPLITS, TEMPLATES, Answers, Items, Text, items_of, read_directory

Lines = Mapping[str, Sequence[object]]

GOOD: dict[str, list[object]] = {
    name: [
        {
            "id": f"{name}{number}",
            "question": f"{number}?",
            "choice": "yes",
            "label": number % 2 == 0,
            "extra": 1,
        }
        for number in range(4)
    ]
    for name in SPLITS
}


class Characters:
    """A tokenizer of single characters; the answers are characters beyond them."""

    bos_token_id: int | None = 1
    words: Mapping[str, int] = {" False": 2, " True": 3, " A": 4, " B": 5}

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [self.words[text]] if text in self.words else [ord(one) for one in text]


def written(directory: Path, lines: Lines) -> Path:
    for name, values in lines.items():
        text = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in values)
        (directory / f"{name}.jsonl").write_text(text)
    return directory


def changed(split: str, number: int, **fields: object) -> Lines:
    lines = {name: [dict(one) for one in values] for name, values in GOOD.items()}  # type: ignore[call-overload]
    for key, value in fields.items():
        if value is ...:
            del lines[split][number][key]
        else:
            lines[split][number][key] = value
    return lines


def test_a_directory_of_questions_and_choices_is_read_with_its_truth(tmp_path: Path) -> None:
    template, data = read_directory(written(tmp_path, GOOD))
    assert template is TEMPLATES["binary"]
    assert data.labelled[1] == {"question": "1?", "choice": "yes"}
    assert [len(part) for part in (data.labelled, data.unlabelled, data.test)] == [4, 4, 4]
    for marks in (data.labels, data.unlabelled_truth, data.test_truth):
        assert marks.tolist() == [True, False, True, False]


def test_a_directory_of_comparisons_is_read_and_b_is_one(tmp_path: Path) -> None:
    lines = {
        name: [{"prompt": "p", "first": "a", "second": "b", "label": label} for label in ("A", "B", 0, 1)]
        for name in SPLITS
    }
    template, data = read_directory(written(tmp_path, lines))
    assert template is TEMPLATES["comparison"]
    assert data.test_truth.tolist() == [False, True, False, True]


def test_a_line_separator_inside_a_text_is_text(tmp_path: Path) -> None:
    lines = changed("test", 0, question="one\u2028two")
    for name, values in lines.items():
        text = "\n".join(json.dumps(one, ensure_ascii=False) for one in values)
        (tmp_path / f"{name}.jsonl").write_text(text)
    assert read_directory(tmp_path)[1].test[0]["question"] == "one\u2028two"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (changed("test", 2, choice=...), "test.jsonl, line 3: choice"),
        (changed("test", 2, choice=7), "test.jsonl, line 3: choice"),
        (changed("train_label", 0, question=...), "train_label.jsonl, line 1: fields"),
        (changed("train_label", 1, id="train_label0"), "train_label.jsonl, line 2: id"),
        (changed("train_label", 1, id=[1]), "train_label.jsonl, line 2: id"),
        (changed("train_unlabel", 3, label=...), "train_unlabel.jsonl, line 4: label None"),
        (changed("train_unlabel", 3, label=-1), "label -1"),
        (changed("train_unlabel", 3, label=1.0), "label 1.0"),
        (changed("train_unlabel", 3, label="yes"), "label 'yes'"),
        (changed("train_unlabel", 3, label=[1]), "label"),
        ({**GOOD, "test": ["{"]}, "is not JSON"),
        ({**GOOD, "test": ["[" * 100_000]}, "is not JSON"),
        ({**GOOD, "test": ["[1]"]}, "want an object"),
        ({**GOOD, "test": [*GOOD["test"], ""]}, "is not JSON"),
        ({**GOOD, "test": []}, "is not JSON"),
        ({**GOOD, "test": GOOD["test"][:1]}, "want both classes"),
        ({"train_label": GOOD["train_label"]}, "train_unlabel"),
    ],
)
def test_a_line_that_is_no_item_is_named(tmp_path: Path, lines: Lines, said: str) -> None:
    with pytest.raises(MalformedTexts, match=r".*".join(said.split(" "))):
        read_directory(written(tmp_path, lines))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    (tmp_path / "test.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedTexts, match="three files"):
        read_directory(tmp_path)


def test_the_fingerprint_is_of_items_order_and_truth_and_of_nothing_else(tmp_path: Path) -> None:
    def fingerprint(lines: Lines) -> str:
        return read_directory(written(tmp_path, lines))[1].fingerprint

    plain = fingerprint(GOOD)
    assert fingerprint(changed("test", 0, id="other", extra=2)) == plain
    assert fingerprint({**GOOD, "test": GOOD["test"][::-1]}) != plain
    assert fingerprint(changed("test", 0, question="!")) != plain
    assert fingerprint(changed("train_unlabel", 0, label=False)) != plain


def test_items_may_be_tokens_and_each_split_wants_as_many_labels() -> None:
    tokens = np.arange(6).reshape(2, 3)
    data: Items[Any] = items_of(dict.fromkeys(SPLITS, (tokens, [True, False])))
    assert len(data.fingerprint) == 64
    for items, labels in ((tokens, [True]), (tokens[:0], []), (tokens, [True, True])):
        with pytest.raises(MalformedTexts, match="test"):
            items_of({**dict.fromkeys(SPLITS, (tokens, [True, False])), "test": (items, labels)})


def test_a_prompt_is_the_template_filled_in_and_ends_before_the_answer() -> None:
    encoded = TEMPLATES["binary"].encode([{"question": "1+1?", "choice": "{2}"}], Characters(), 1_000)
    assert encoded.rows[0][0] == 1
    assert "".join(map(chr, encoded.rows[0][1:])) == "Question: 1+1?\nAnswer: {2}\nLabel:"
    assert (encoded.no, encoded.yes, encoded.cut) == (2, 3, 0)
    both: Text = {"prompt": "p", "first": "f", "second": "s"}
    encoded = TEMPLATES["comparison"].encode([both], Characters(), 1_000)
    assert "".join(map(chr, encoded.rows[0][1:])) == "Question: p\nAnswer A: f\nAnswer B: s\nLabel:"
    assert (encoded.no, encoded.yes) == (4, 5)


def test_of_a_prompt_that_is_too_long_the_end_of_the_body_goes_and_the_label_stays() -> None:
    items = [{"question": "q" * 50, "choice": "c" * 50}, {"question": "", "choice": ""}]
    encoded = TEMPLATES["binary"].encode(items, Characters(), 40)
    assert encoded.cut == 1
    assert len(encoded.rows[0]) == 40
    assert "".join(map(chr, encoded.rows[0][-6:])) == "Label:"
    assert "".join(map(chr, encoded.rows[0][1:12])) == "Question: q"


def test_a_tokenizer_without_a_beginning_gives_prompts_without_one() -> None:
    tokenizer = Characters()
    tokenizer.bos_token_id = None
    encoded = TEMPLATES["binary"].encode([{"question": "", "choice": ""}], tokenizer, 100)
    assert encoded.rows[0][0] == ord("Q")


def test_an_answer_of_two_tokens_no_room_and_a_missing_field_are_refused() -> None:
    item = {"question": "", "choice": ""}
    odd = dataclasses.replace(TEMPLATES["binary"], yes="maybe")
    with pytest.raises(MalformedSettings, match="'maybe' is 5 tokens"):
        odd.encode([item], Characters(), 100)
    with pytest.raises(MalformedSettings, match="needs 7"):
        TEMPLATES["binary"].encode([item], Characters(), 7)
    with pytest.raises(MalformedInputs, match="item 1: choice"):
        TEMPLATES["binary"].encode([item, {"question": ""}], Characters(), 100)


def test_tokens_are_taken_as_they_are_and_a_row_of_none_or_too_many_is_refused() -> None:
    encoded = Answers(no=4, yes=2).encode(np.array([[3, 1], [0, 9]]).tolist(), 2)
    assert encoded.rows == [[3, 1], [0, 9]]
    assert (encoded.no, encoded.yes) == (4, 2)
    for bad in ([], [1, 2, 3], [-1]):
        with pytest.raises(MalformedInputs, match="item 1"):
            Answers(no=4, yes=2).encode([[1], bad], 2)
