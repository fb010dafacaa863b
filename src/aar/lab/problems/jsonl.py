"""`jsonl`: a data set in the published study's layout, three files of questions, choices and labels.

```
DIR/train_label.jsonl      {"id": "q17-a", "question": "...", "choice": "...", "label": 1}   one object a line
DIR/train_unlabel.jsonl    the operator's copy has labels, for the ceiling; a researcher's copy has none
DIR/test.jsonl             the same; a researcher has no copy at all
```
`label` is 0 or 1: whether the choice is right. Other fields are metadata: no teacher, student or method sees
them, and `preflight` asks what they would give away. Bench code: it holds labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from aar.lab.errors import MalformedData
from aar.lab.instance import STUDENT_L2, Floats
from aar.lab.problems import JSONL_FILES
from aar.lab.problems.problem import Marks, Sizes, Taught, check_split
from aar.lab.problems.teachers import CLIP, VOTERS, Parts, taught_linearly
from aar.verify.splits import Split

FILES = JSONL_FILES
TRAIN_LABEL, TRAIN_UNLABEL, TEST = FILES
# What a researcher's copy is made of; a label is not.
MAY_LEAVE = ("id", "question", "choice")
# Metadata that name a row's part of the data set: figures are told by part, and no method sees which it is.
PART_FIELDS = ("subset", "split", "source")
MAX_LINE_BYTES = 1 << 20
MAX_ID_CHARACTERS = 200

TEACHER_L2 = 1e-2
# Few buckets: words share them, and the teacher's knowledge is blurred.
BUCKETS = 256
COMPONENTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question with one choice; `metadata` are the other fields, as text."""

    id: str
    question: str
    choice: str
    label: bool | None
    metadata: Mapping[str, str]

    @property
    def text(self) -> str:
        """What teachers and students read."""
        return f"{self.question}\n{self.choice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlData:
    """The rows of the three files in their order; no id stands twice among them."""

    train_label: tuple[Row, ...]
    train_unlabel: tuple[Row, ...]
    test: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows: those that teach, then those that train, then those tested."""
        return self.train_label + self.train_unlabel + self.test

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over all rows with labels and metadata, file by file, however they were spelled."""
        told = [
            [[row.id, row.question, row.choice, row.label, dict(row.metadata)] for row in rows]
            for rows in (self.train_label, self.train_unlabel, self.test)
        ]
        text = json.dumps(told, separators=(",", ":"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_jsonl(directory: Path) -> JsonlData:
    """The operator's copy, labels in all three files; `MalformedData` says where what is wrong."""
    files = [_rows(directory / name, is_labelled=True) for name in FILES]
    _check_ids(files)
    return JsonlData(train_label=files[0], train_unlabel=files[1], test=files[2])


def read_researcher_copy(directory: Path) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The rows of a copy for researchers: labelled ones, and unlabelled ones.

    `MalformedData` if a label was left in train_unlabel.jsonl, if there is a test.jsonl, or as `read_jsonl`.
    """
    if (directory / TEST).exists():
        raise MalformedData(str(directory / TEST), 0, "test items in a researcher's copy; take the file away")
    files = [
        _rows(directory / TRAIN_LABEL, is_labelled=True),
        _rows(directory / TRAIN_UNLABEL, is_labelled=False),
    ]
    _check_ids(files)
    return files[0], files[1]


def write_researcher_copy(data: JsonlData, directory: Path) -> None:
    """train_label.jsonl with labels and train_unlabel.jsonl without; no metadata, no test items."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / TRAIN_LABEL, data.train_label, (*MAY_LEAVE, "label"))
    _write(directory / TRAIN_UNLABEL, data.train_unlabel, MAY_LEAVE)


def write_jsonl(data: JsonlData, directory: Path) -> None:
    """The operator's copy: all rows with labels and metadata."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(FILES, (data.train_label, data.train_unlabel, data.test), strict=True):
        _write(directory / name, rows, (*MAY_LEAVE, "label", "metadata"))


class JsonlProblem:
    """A data set of this layout as a fixed problem, with teachers and students that need no model's weights.

    The weak teacher is a logistic regression on 256 hashed words, the strong features are 64 components of
    TF-IDF over all texts (made without labels, so the setting is transductive). Official runs deal teaching,
    training and test items anew from all rows, in the published numbers, questions held together where each
    has as many choices; `published` is the split as the files have it.
    """

    student_l2 = STUDENT_L2

    def __init__(self, data: JsonlData) -> None:
        order, group = _grouped(data.rows)
        self.data = data
        self._rows = tuple(data.rows[item] for item in order)
        self._y: Marks = np.array([row.label is True for row in self._rows])
        self._place = {row.id: item for item, row in enumerate(self._rows)}
        sealed = len(data.test) // 2 // group * group
        self.sizes = Sizes(
            pool=len(order),
            features=self.features.shape[1],
            sealed=sealed,
            labelled=len(data.train_label),
            unlabelled=len(data.train_unlabel),
            group=group,
        )
        self.statement = (
            "Binary classification with a weak teacher. You never see true labels or test items. A method is "
            "a directory with method.py defining predict(instance, rng) -> P(y = 1) for instance.test_x; "
            f"instance.train_x are features [{self.sizes.unlabelled}, {self.sizes.features}] of a question "
            "with a choice, y is whether the choice is right, instance.weak are the weak teacher's P(y = 1). "
            "The score is the performance gap recovered between weak teacher (0) and the same student with "
            "true labels (1). You are told a score only when it beats your best one by more than 0.05."
        )

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the data and this construction's parameters, not over floating-point features."""
        parameters = (self.sizes, BUCKETS, COMPONENTS, TEACHER_L2, STUDENT_L2, CLIP, VOTERS)
        return hashlib.sha256(f"jsonl/v2 {parameters}\n{self.data.fingerprint}\n".encode()).hexdigest()

    @property
    def part_of(self) -> tuple[str, ...] | None:
        """The part that each item of the pool is of, by a field that test rows have; `None` without one."""
        for field in PART_FIELDS:
            if any(field in row.metadata for row in self.data.test):
                return tuple(row.metadata.get(field, "") for row in self._rows)
        return None

    @property
    def published(self) -> Split:
        """Who teaches, trains and is tested in the files, as items of the pool."""
        parts = (self.data.train_label, self.data.train_unlabel, self.data.test)
        return Split(*(tuple(self._place[row.id] for row in rows) for rows in parts))

    @cached_property
    def features(self) -> Floats:
        """Standardised components of TF-IDF over words and pairs of words [pool, at most 64], no labels."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"(?u)\b\w+\b")
        try:
            table = words.fit_transform([row.text for row in self._rows])
        except ValueError as error:
            raise MalformedData(TRAIN_LABEL, 0, f"no word stands in two rows: {error}") from error
        count = min(COMPONENTS, table.shape[1] - 1)
        if count < 1:
            raise MalformedData(TRAIN_LABEL, 0, "one word stands in two rows; want texts to learn from")
        raw = TruncatedSVD(count, random_state=0).fit_transform(table)
        spread = raw.std(axis=0)
        features: Floats = ((raw - raw.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
        return features

    @cached_property
    def _words(self) -> Floats:
        """What the weak teacher reads: each text's words in 256 buckets, its length made one."""
        from sklearn.feature_extraction.text import HashingVectorizer

        buckets = HashingVectorizer(n_features=BUCKETS, norm="l2", token_pattern=r"(?u)\b\w+\b")
        words: Floats = buckets.transform([row.text for row in self._rows]).toarray().astype(np.float32)
        return words * np.float32(BUCKETS**0.5)

    def teach(
        self,
        seed: int,
        labelled: Sequence[int],
        unlabelled: Sequence[int],
        tested: Sequence[int],
        *,
        with_votes: bool = True,
    ) -> Taught:
        """Train the weak teacher and the ceiling of one split."""
        check_split(self.sizes.pool, labelled, unlabelled, tested)
        taught, train, test = (np.asarray(items, dtype=np.intp) for items in (labelled, unlabelled, tested))
        words, strong = self._words, self.features
        return taught_linearly(
            Parts(labelled=words[taught], unlabelled=words[train], tested=words[test]),
            Parts(labelled=strong[taught], unlabelled=strong[train], tested=strong[test]),
            (self._y[taught], self._y[train], self._y[test]),
            teacher_l2=TEACHER_L2,
            student_l2=STUDENT_L2,
            rng=np.random.default_rng(seed),
            with_votes=with_votes,
        )


def _grouped(rows: Sequence[Row]) -> tuple[list[int], int]:
    """Rows in an order in which those of one question are neighbours, and how many each question has.

    Where questions have different numbers of rows, the order is the given one and groups are of one.
    """
    by_question: dict[str, list[int]] = {}
    for item, row in enumerate(rows):
        by_question.setdefault(row.question, []).append(item)
    counts = {len(items) for items in by_question.values()}
    if len(counts) > 1:
        return list(range(len(rows))), 1
    return [item for items in by_question.values() for item in items], counts.pop()


def _rows(path: Path, *, is_labelled: bool) -> tuple[Row, ...]:
    found = [_row(path, number, value, is_labelled) for number, value in _objects(path)]
    if not found:
        raise MalformedData(str(path), 0, "no rows; want one JSON object a line")
    labels = {row.label for row in found}
    if is_labelled and len(labels) == 1:
        raise MalformedData(
            str(path), 0, f"all {len(found)} labels are {int(labels == {True})}; want rows of both classes"
        )
    return tuple(found)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The JSON object of each line with its number."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise MalformedData(str(path), 0, f"cannot be read: {error.strerror}") from error
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_BYTES:
            raise MalformedData(str(path), number, f"{len(line)} bytes, at most {MAX_LINE_BYTES}")
        try:
            value = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise MalformedData(str(path), number, f"not a JSON object in UTF-8: {error}") from error
        if not isinstance(value, dict):
            raise MalformedData(str(path), number, f"got {value!r:.40}, want a JSON object")
        yield number, value


def _row(path: Path, number: int, value: Mapping[str, object], is_labelled: bool) -> Row:
    def text(name: str) -> str:
        found = value.get(name)
        if not isinstance(found, str) or not found.strip():
            what = "is missing" if name not in value else f"is {found!r:.40}"
            raise MalformedData(str(path), number, f"{name} {what}; want text that is not empty")
        return found

    if is_labelled:
        label = value.get("label")
        # True == 1: one spelling alone is taken.
        if isinstance(label, bool) or label not in (0, 1) or not isinstance(label, int):
            what = "is missing" if "label" not in value else f"is {label!r:.40}"
            raise MalformedData(str(path), number, f"label {what}; want 0 or 1")
    elif "label" in value:
        raise MalformedData(str(path), number, "a label was left in; a researcher's copy has none here")
    name = value.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_ID_CHARACTERS:
        what = "is missing" if "id" not in value else f"is {name!r:.40}"
        raise MalformedData(
            str(path), number, f"id {what}; want a whole number or 1 to {MAX_ID_CHARACTERS} characters"
        )
    return Row(
        id=name,
        question=text("question"),
        choice=text("choice"),
        label=bool(value["label"]) if is_labelled else None,
        metadata={
            key: other if isinstance(other, str) else json.dumps(other, sort_keys=True)
            for key, other in value.items()
            if key not in (*MAY_LEAVE, "label")
        },
    )


def _check_ids(files: Sequence[Sequence[Row]]) -> None:
    """Refuse an id that stands twice, in one file or in two."""
    first: dict[str, tuple[str, int]] = {}
    for name, rows in zip(FILES, files, strict=False):
        for number, row in enumerate(rows, 1):
            if row.id in first:
                where, line = first[row.id]
                raise MalformedData(name, number, f"id {row.id!r:.60} stands already in {where}:{line}")
            first[row.id] = (name, number)


def _write(path: Path, rows: Sequence[Row], fields: Sequence[str]) -> None:
    lines = []
    for row in rows:
        told: dict[str, object] = {"id": row.id, "question": row.question, "choice": row.choice}
        if "label" in fields and row.label is not None:
            told["label"] = int(row.label)
        if "metadata" in fields:
            told |= row.metadata
        lines.append(json.dumps(told, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError(f"a key stands twice among {[key for key, _value in pairs]!r:.80}")
    return dict(pairs)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
