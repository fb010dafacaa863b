"""The published study's cached result files: read strictly, one JSON object per seed.

```
{"dataset_name": "chat-0115", "idea_name": "vanilla_w2s", "seed": 42,
 "weak_acc": 0.54, "strong_acc": 0.73, "transfer_acc": 0.60, "pgr": 0.37,
 "fixed_weak_baseline": 0.53, "fixed_strong_baseline": 0.73, "training_time": 6378.7,
 "detailed_eval": {"strong": {"final_eval": {"accuracy": 0.60, "correct": 763, "total": 1263,
   "pred_distribution": {"0": 698, "1": 565}, "per_subset": {NAME: {"accuracy", "correct", "total", ...}}}}}}
```
A file with `transfer_acc` is a run of a method, one with `strong_acc` alone a ceiling, one with `weak_acc`
alone a weak teacher. `dataset` and `method` are other spellings of the first two. More fields may stand in a
file; those read here must be what they should be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aar.lab.errors import LabError

TEACHER, CEILING = "weak teacher", "ceiling"
ROLES = {"weak": TEACHER, "ceiling": CEILING, "strong": "student"}
MAX_FILE_BYTES = 4 << 20
MAX_FILES = 100_000
MAX_SEED = 1 << 53
MAX_TEXT = 200

_SEED_IN_NAME = re.compile("seed_([0-9]{1,15})")


class MalformedResult(LabError):
    """A file that is no cached result, or several that contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """An evaluation as a file tells it: on the whole test or on one of its splits.

    `total` items, of which `correct` were right and `predicted` got some answer; `accuracy` as it stands
    there. What a file leaves out is `None`. Nothing here has been compared with anything.
    """

    accuracy: float
    correct: int | None = None
    total: int | None = None
    predicted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResult:
    """One file: accuracies in [0, 1], and what it says about itself.

    `method` is the directory's where that names one, else the file's own `idea`; `seed` the file name's where
    that names one, else the `told_seed` within. `evaluations` are by role ("weak", "strong", "ceiling"),
    `splits` by role and split.
    """

    path: str
    dataset: str
    method: str
    idea: str | None
    seed: int
    told_seed: int
    weak: float | None
    ceiling: float | None
    student: float | None
    pgr: float | None
    stated_weak: float | None
    stated_ceiling: float | None
    training_s: float | None
    test_items: int | None
    evaluations: Mapping[str, Counted] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, Counted]] = field(default_factory=dict)


def read_published(directory: Path) -> list[CachedResult]:
    """All results below a directory, ordered; `MalformedResult` names the first file that is none.

    Two results of one seed of a method are refused, and so are copies of one under another seed's file name:
    nobody could say which of them counts.
    """
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise MalformedResult(f"{directory} {what}; name the directory of the cached results")
    files = sorted(path for path in directory.rglob("*.json") if path.is_file())
    if not files:
        raise MalformedResult(f"{directory} holds no .json file; name the directory of the cached results")
    if len(files) > MAX_FILES:
        raise MalformedResult(f"{directory} holds {len(files)} .json files; at most {MAX_FILES} are read")
    results = []
    seen: dict[Hashable, str] = {}
    for path in files:
        told = str(path.relative_to(directory))
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        result = parse_result(data, told)
        of = (result.dataset, result.method)
        values = (result.told_seed, result.student, result.ceiling, result.weak)
        for identity, seed in (((*of, result.seed), result.seed), ((*of, values), result.told_seed)):
            if seen.setdefault(identity, told) != told:
                raise MalformedResult(
                    f"{told}: seed {seed} of {result.method} on {result.dataset} stands in "
                    f"{seen[identity]} too; keep one of the two"
                )
        results.append(result)
    return sorted(results, key=lambda one: (one.dataset, one.method, one.seed))


def parse_result(data: bytes, path: str) -> CachedResult:
    """One file's bytes; `path`, relative to the directory that was named, says which method it is of."""
    if len(data) > MAX_FILE_BYTES:
        raise MalformedResult(f"{path}: more than {MAX_FILE_BYTES >> 20} MiB; a cached result has a few kB")
    try:
        value = json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedResult(f"{path}: not JSON ({error}); was it cut short?") from error
    if not isinstance(value, dict):
        raise MalformedResult(f"{path}: want a JSON object, got {value!r:.40}")
    return _Reader(path, value).result()


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _value in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r:.60} stands twice")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


class _Reader:
    """The fields of one file, each checked as it is taken."""

    def __init__(self, path: str, value: Mapping[str, Any]) -> None:
        self._path = path
        self._value = value

    def result(self) -> CachedResult:
        dataset = self._text("dataset_name") or self._text("dataset")
        if dataset is None:
            raise self._wrong("dataset_name", "is missing: want the data set's name")
        idea = self._text("idea_name") or self._text("method")
        method = _method_of_directory(Path(self._path), dataset, self._text("hyperparam_config_key")) or idea
        if method is None:
            raise self._wrong("idea_name", "is missing: want the method's name")
        weak, ceiling, student = (
            self._accuracy(self._value, name, name) for name in ("weak_acc", "strong_acc", "transfer_acc")
        )
        if weak is None and ceiling is None and student is None:
            raise self._wrong(
                "transfer_acc", "is missing, and so are strong_acc and weak_acc: want one of them"
            )
        evaluations, splits = self._evaluations()
        told_seed = self._count(self._value, "seed", "seed")
        if told_seed is None:
            raise self._wrong("seed", "is missing: want a whole number from 0")
        named = _SEED_IN_NAME.fullmatch(Path(self._path).stem)
        return CachedResult(
            path=self._path,
            dataset=dataset,
            method=method,
            idea=idea,
            seed=int(named[1]) if named else told_seed,
            told_seed=told_seed,
            weak=weak,
            ceiling=ceiling,
            student=student,
            pgr=self._number(self._value, "pgr", "pgr"),
            stated_weak=self._accuracy(self._value, "fixed_weak_baseline", "fixed_weak_baseline"),
            stated_ceiling=self._accuracy(self._value, "fixed_strong_baseline", "fixed_strong_baseline"),
            training_s=self._training_s(),
            test_items=self._test_items(evaluations),
            evaluations=evaluations,
            splits=splits,
        )

    def _training_s(self) -> float | None:
        for name in ("training_time", "total_training_time"):
            seconds = self._number(self._value, name, name)
            if seconds is not None:
                if seconds < 0:
                    raise self._wrong(name, f"is {seconds}: want seconds from 0")
                return seconds
        return None

    def _test_items(self, evaluations: Mapping[str, Counted]) -> int | None:
        loading = self._object(self._value, "step1_data_loading", "step1_data_loading")
        totals = {one.total for one in evaluations.values() if one.total is not None}
        told = self._count(loading, "test_samples", "step1_data_loading.test_samples")
        totals |= {told} if told is not None else set()
        if len(totals) > 1 or 0 in totals:
            raise self._wrong(
                "total", f"is {sorted(totals)} in one file: want one number of test items above 0"
            )
        return totals.pop() if totals else None

    def _evaluations(self) -> tuple[dict[str, Counted], dict[str, dict[str, Counted]]]:
        evaluations: dict[str, Counted] = {}
        splits: dict[str, dict[str, Counted]] = {}
        detailed = self._object(self._value, "detailed_eval", "detailed_eval")
        for role in ROLES:
            where = f"detailed_eval.{role}.final_eval"
            final = self._object(self._object(detailed, role, where), "final_eval", where)
            if not final:
                continue
            evaluations[role] = self._counted(final, where)
            per_split = self._object(final, "per_subset", f"{where}.per_subset")
            if per_split:
                splits[role] = {
                    self._name(name, where): self._counted(
                        self._object(per_split, name, f"{where}.{name}"), f"{where}.per_subset.{name}"
                    )
                    for name in per_split
                }
        return evaluations, splits

    def _counted(self, value: Mapping[str, Any], where: str) -> Counted:
        accuracy = self._accuracy(value, "accuracy", f"{where}.accuracy")
        if accuracy is None:
            raise self._wrong(f"{where}.accuracy", "is missing: want a number from 0 to 1")
        correct, total = (self._count(value, name, f"{where}.{name}") for name in ("correct", "total"))
        if correct is not None and total is not None and correct > total:
            raise self._wrong(f"{where}.correct", f"is {correct} of {total}")
        predictions = self._object(value, "pred_distribution", f"{where}.pred_distribution")
        told = [self._count(predictions, name, f"{where}.pred_distribution") or 0 for name in predictions]
        return Counted(
            accuracy=accuracy, correct=correct, total=total, predicted=sum(told) if predictions else None
        )

    def _text(self, name: str) -> str | None:
        value = self._value.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._wrong(name, f"is {value!r:.40}: want a text")
        return self._name(value, name)

    def _name(self, value: str, where: str) -> str:
        if not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
            raise self._wrong(where, f"is {value!r:.60}: want a name of 1 to {MAX_TEXT} printable characters")
        return value

    def _object(self, value: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
        found = value.get(name)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self._wrong(where, f"is {found!r:.40}: want an object")
        return found

    def _number(self, value: Mapping[str, Any], name: str, where: str) -> float | None:
        found = value.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not abs(found) < 1e300:
            raise self._wrong(where, f"is {found!r:.40}: want a number")
        return float(found)

    def _accuracy(self, value: Mapping[str, Any], name: str, where: str) -> float | None:
        found = self._number(value, name, where)
        if found is not None and not 0 <= found <= 1:
            raise self._wrong(where, f"is {found}: an accuracy lies from 0 to 1")
        return found

    def _count(self, value: Mapping[str, Any], name: str, where: str) -> int | None:
        found = value.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < MAX_SEED:
            raise self._wrong(where, f"is {found!r:.40}: want a whole number from 0")
        return found

    def _wrong(self, where: str, what: str) -> MalformedResult:
        return MalformedResult(f"{self._path}: {where} {what}")


def _method_of_directory(path: Path, dataset: str, settings: str | None) -> str | None:
    """The method that a path names as DATASET_METHOD/seed_N.json or DATASET_METHOD/SETTINGS/seed_N.json.

    The data set may be shortened to its first letters: `chat_vanilla_w2s` for `chat-0115`.
    """
    parts = path.parent.parts
    if parts and settings is not None and parts[-1] == settings:
        parts = parts[:-1]
    if not parts:
        return None
    short = re.match("[A-Za-z]*", dataset)
    for prefix in (dataset, short[0] if short else ""):
        if prefix and parts[-1].startswith(f"{prefix}_") and len(parts[-1]) > len(prefix) + 1:
            return parts[-1][len(prefix) + 1 :]
    return None
