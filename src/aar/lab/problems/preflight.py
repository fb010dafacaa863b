"""Pre-flight: what stands beside the questions must not tell the labels better than the weak teacher does.

Each predictor sees metadata alone: a field's value, the pattern or the number of an id, a row's place in its
file, lengths. It learns from all training labels, which is more than any method has, and answers the test
rows. In the published study's mathematics set the name of the subset alone recovered 5.5 % of the gap.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aar.lab.errors import MetadataPredictsLabels
from aar.lab.problems.jsonl import JsonlProblem, Row
from aar.lab.problems.problem import Marks

# In standard errors of a test accuracy: so far above the teacher is refused, so far above chance is told.
REFUSED_ERRORS, WARNED_ERRORS = 2.0, 3.0
TREE_DEPTH, LEAF_SHARE = 3, 0.02

Verdict = Literal["passed", "warned", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataFinding:
    """How well one predictor from metadata does on the test rows; `pgr` is what it recovers of the gap."""

    predictor: str
    accuracy: float
    pgr: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """All findings, the most accurate first, beside the teacher's and the ceiling's accuracy."""

    weak: float
    ceiling: float
    chance: float
    error: float
    findings: tuple[MetadataFinding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        found = {finding.verdict for finding in self.findings}
        return "refused" if "refused" in found else "warned" if "warned" in found else "passed"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is told of each predictor that knows something, and less than the weak teacher."""
        return tuple(
            f"{one.predictor} alone gets {one.accuracy:.3f} of the test rows right, the weak teacher "
            f"{self.weak:.3f}, chance {self.chance:.3f}"
            for one in self.findings
            if one.verdict == "warned"
        )

    def check(self) -> None:
        """Raise `MetadataPredictsLabels` if one predictor is refused."""
        for one in self.findings:
            if one.verdict == "refused":
                raise MetadataPredictsLabels(
                    f"{one.predictor} alone gets {one.accuracy:.3f} of the test rows right, the weak teacher "
                    f"{self.weak:.3f} (PGR {one.pgr:.2f}): draw the rows again so that it tells nothing"
                )


def preflight(problem: JsonlProblem) -> Preflight:
    """What metadata predicts, on the split that the files have; a finding for each predictor."""
    data, split = problem.data, problem.published
    taught = problem.teach(0, split.labelled, split.unlabelled, split.tested)
    weak, ceiling = float(taught.weak_correct.mean()), float(taught.ceiling_correct.mean())
    train = (*data.train_label, *data.train_unlabel)
    y, truth = _labels(train), _labels(data.test)
    chance = max(float(truth.mean()), 1 - float(truth.mean()))
    error = float((weak * (1 - weak) / len(truth)) ** 0.5) or 1 / len(truth)
    findings = []
    for name, answer in _predictors(data.train_label, data.train_unlabel, data.test):
        accuracy = float((answer(y) == truth).mean())
        gap = ceiling - weak
        findings.append(
            MetadataFinding(
                predictor=name,
                accuracy=accuracy,
                pgr=(accuracy - weak) / gap if gap else float("nan"),
                verdict=_verdict(accuracy, weak, chance, error),
            )
        )
    findings.sort(key=lambda one: (-one.accuracy, one.predictor))
    return Preflight(weak=weak, ceiling=ceiling, chance=chance, error=error, findings=tuple(findings))


def _verdict(accuracy: float, weak: float, chance: float, error: float) -> Verdict:
    if accuracy > weak + REFUSED_ERRORS * error:
        return "refused"
    return "warned" if accuracy > weak or accuracy > chance + WARNED_ERRORS * error else "passed"


# From the labels of the training rows to answers on the test rows.
_Answer: TypeAlias = "Callable[[Marks], Marks]"


def _predictors(
    train_label: Sequence[Row], train_unlabel: Sequence[Row], test: Sequence[Row]
) -> Iterator[tuple[str, _Answer]]:
    train = (*train_label, *train_unlabel)
    for field in sorted({field for row in (*train, *test) for field in row.metadata}):
        yield (
            f"field {field}",
            _by_value([_field(row, field) for row in train], [_field(row, field) for row in test]),
        )
    yield "id pattern", _by_value([_pattern(row) for row in train], [_pattern(row) for row in test])
    yield "id prefix", _by_value([_prefix(row) for row in train], [_prefix(row) for row in test])
    yield "id number", _by_tree([_id_numbers(row) for row in train], [_id_numbers(row) for row in test])
    yield "place in file", _by_tree([*_places(train_label), *_places(train_unlabel)], _places(test))
    yield "lengths", _by_tree([_lengths(row) for row in train], [_lengths(row) for row in test])


def _by_value(train: Sequence[Hashable], test: Sequence[Hashable]) -> _Answer:
    """The majority label of each value; that of all rows where the value is new or even."""

    def answer(y: Marks) -> Marks:
        ones: dict[Hashable, list[bool]] = defaultdict(list)
        for value, label in zip(train, y, strict=True):
            ones[value].append(bool(label))
        overall = bool(y.mean() > 0.5)
        share = {value: sum(labels) / len(labels) for value, labels in ones.items()}
        return np.array([overall if share.get(value, 0.5) == 0.5 else share[value] > 0.5 for value in test])

    return answer


def _by_tree(train: Sequence[Sequence[float]], test: Sequence[Sequence[float]]) -> _Answer:
    """A small decision tree on a few numbers."""

    def answer(y: Marks) -> Marks:
        from sklearn.tree import DecisionTreeClassifier

        leaf = max(2, round(LEAF_SHARE * len(train)))
        tree = DecisionTreeClassifier(max_depth=TREE_DEPTH, min_samples_leaf=leaf, random_state=0)
        answers: NDArray[np.bool_] = tree.fit(np.array(train), y).predict(np.array(test))
        return answers

    return answer


def _labels(rows: Sequence[Row]) -> Marks:
    return np.array([row.label is True for row in rows])


def _field(row: Row, field: str) -> str | None:
    return row.metadata.get(field)


def _pattern(row: Row) -> str:
    return re.sub("[0-9]+", "#", row.id)


def _prefix(row: Row) -> str:
    """The letters that an id begins with."""
    return re.split("[^A-Za-z]", row.id, maxsplit=1)[0]


def _id_numbers(row: Row) -> tuple[float, float, float, float]:
    """The last number of an id, its parity and last digit, and the id's length."""
    found = re.findall("[0-9]+", row.id)
    number = int(found[-1][-15:]) if found else -1
    return float(number), float(number % 2), float(number % 10), float(len(row.id))


def _places(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Where each row stands in its file, 0 to 1, and whether its number is odd."""
    return [(number / len(rows), float(number % 2)) for number in range(len(rows))]


def _lengths(row: Row) -> tuple[float, float, float, float]:
    texts = (row.question, row.choice)
    characters, words = ([float(len(t)) for t in texts], [float(len(t.split())) for t in texts])
    return characters[0], characters[1], words[0], words[1]
