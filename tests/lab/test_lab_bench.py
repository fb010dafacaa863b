"""The bench as the evaluator uses it: a process behind a pipe; labels go back, the instance has none."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets

from aar.inside.official_run import read_instances
from aar.lab.bench import answer
from aar.lab.experiment import draw_seed
from aar.lab.instance import STUDENT_L2, Instance
from aar.lab.probe import Probe, predict
from aar.lab.problems.digits import SIZES, Digits
from aar.lab.problems.problem import Drawn, Sizes, Taught
from aar.outside.evaluation.official_run import places_of
from aar.verify.splits import sealed_items, shuffled, split

SOURCE = Path(__file__).resolve().parents[2] / "src"
SEALED = list(sealed_items(b"k" * 32, SIZES.pool, SIZES.sealed))
PUBLIC = sorted(set(range(SIZES.pool)) - set(SEALED))
RUNS = [[2**47 + 1, 0], [2**47 + 1, 1], [5, 0]]
KEY, OTHER_KEY = b"\x01" * 32, b"\x02" * 32


class Pipe:
    """One bench process; asks and reads exactly what is announced."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aar.lab.bench"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )

    def ask_raw(self, line: bytes) -> tuple[dict[str, Any], list[bytes]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        return told, [self.process.stdout.read(size) for size in told.get("bytes", [])]

    def ask(self, **request: Any) -> tuple[dict[str, Any], list[bytes]]:
        return self.ask_raw(json.dumps({"problem": "digits", **request}).encode())

    def close(self) -> bytes:
        rest, _nothing = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return bytes(rest)


@pytest.fixture(scope="module")
def pipe() -> Iterator[Pipe]:
    one = Pipe()
    yield one
    assert one.close() == b"", "the bench said something that nobody asked for"


class Prepared:
    def __init__(self, pipe: Pipe, key: bytes) -> None:
        self.key = key
        self.told, (features, splits, votes) = pipe.ask(do="prepare", runs=RUNS, sealed=SEALED, key=key.hex())
        self.votes = np.load(io.BytesIO(votes), allow_pickle=False)
        self.raw_splits = splits
        self.features = np.load(io.BytesIO(features), allow_pickle=False)
        self.splits: list[dict[str, Any]] = json.loads(splits)["splits"]


@pytest.fixture(scope="module")
def prepared(pipe: Pipe) -> Prepared:
    return Prepared(pipe, KEY)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def order_of(told: dict[str, Any]) -> list[int]:
    """The items of a split in their test order, by the place of each."""
    by_place = sorted((place, item) for item, place in enumerate(places_of(told)))
    return [item for place, item in by_place if place < len(told["truth"])]


def mask(items: Iterable[int], marks: Iterable[Any]) -> str:
    """Marks of items as the hex of a mask, as wide as the pool of the digits."""
    width = 2 * -(-SIZES.pool // 8)
    return f"{sum(1 << item for item, mark in zip(items, marks, strict=True) if mark):0{width}x}"


def items_of_rows(prepared: Prepared, digits: Digits) -> list[int]:
    """Which item lies in each row: whoever has the key can tell, and the features confirm it."""
    items = shuffled(prepared.key + b"rows", range(SIZES.pool))
    np.testing.assert_array_equal(prepared.features, digits.features[items])
    return items


def test_describe_tells_the_sizes_and_the_statement(pipe: Pipe, digits: Digits) -> None:
    told, files = pipe.ask(do="describe")
    assert told == {
        "name": "digits",
        "pool": 1_797,
        "features": 40,
        "sealed": 400,
        "labelled": 150,
        "unlabelled": 750,
        "tested": 0,
        "group": 1,
        "digest": digits.digest,
        "statement": digits.statement,
        "warnings": [],
    }
    assert files == []


def test_baselines_are_the_accuracies_on_public_items(pipe: Pipe, digits: Digits) -> None:
    told, _files = pipe.ask(do="baselines", runs=RUNS, sealed=SEALED)
    by_seed: dict[int, list[Any]] = {}
    for seed, replicate in RUNS:
        one = split(seed, replicate, PUBLIC, SIZES.labelled, SIZES.unlabelled)
        taught = digits.teach(seed + replicate, one.labelled, one.unlabelled, one.tested)
        assert not set(one.tested) & set(SEALED)
        by_seed.setdefault(seed, []).append((taught.weak_correct.mean(), taught.ceiling_correct.mean()))
    weak, ceiling = np.mean([np.mean(pairs, axis=0) for pairs in by_seed.values()], axis=0)
    assert told["weak"] == f"{weak:.4f}"
    assert told["ceiling"] == f"{ceiling:.4f}"
    assert told["gap"] == f"{ceiling - weak:.4f}"
    assert 0 < float(told["se"]) < 0.05
    assert -0.2 < float(told["vanilla"]) < 0.6
    assert 0 < float(told["spread"]) < 0.6


def test_splits_have_exactly_the_keys_that_a_method_may_see(prepared: Prepared) -> None:
    assert set(json.loads(prepared.raw_splits)) == {"splits", "student_l2"}
    assert len(prepared.splits) == len(RUNS)
    for one in prepared.splits:
        assert set(one) == {"train", "test", "weak", "class_prior", "rng"}
        assert len(one["train"]) == len(one["weak"]) == SIZES.unlabelled
        assert len(one["test"]) == SIZES.pool - SIZES.labelled - SIZES.unlabelled
        assert not set(one["train"]) & set(one["test"])


def test_what_a_method_gets_makes_an_instance(prepared: Prepared) -> None:
    for one in prepared.splits:
        instance = Instance(
            train_x=prepared.features[one["train"]],
            weak=np.array([float(value) for value in one["weak"]]),
            test_x=prepared.features[one["test"]],
            class_prior=float(one["class_prior"]),
        )
        assert instance.train_x.dtype == np.float32
        assert instance.class_prior == pytest.approx(instance.weak.mean(), abs=1e-5)


def test_rows_are_shuffled_by_the_key_and_every_item_is_there(prepared: Prepared, digits: Digits) -> None:
    items = items_of_rows(prepared, digits)
    assert sorted(items) == list(range(SIZES.pool))
    assert abs(np.corrcoef(items, range(SIZES.pool))[0, 1]) < 0.1


def test_another_key_gives_other_rows_and_another_test_order(
    pipe: Pipe, prepared: Prepared, digits: Digits
) -> None:
    other = Prepared(pipe, OTHER_KEY)
    assert items_of_rows(other, digits) != items_of_rows(prepared, digits)
    mine, theirs = items_of_rows(prepared, digits), items_of_rows(other, digits)
    for one, two in zip(prepared.splits, other.splits, strict=True):
        tested, tested_too = [mine[row] for row in one["test"]], [theirs[row] for row in two["test"]]
        assert tested != tested_too
        assert sorted(tested) == sorted(tested_too), "the key decides orders, not who is tested"
        assert [mine[row] for row in one["train"]] == [theirs[row] for row in two["train"]]
        assert one["weak"] == two["weak"]
        assert one["rng"] != two["rng"]


def test_the_same_request_has_the_same_answer(pipe: Pipe, prepared: Prepared) -> None:
    again = Prepared(pipe, KEY)
    assert again.told == prepared.told
    assert again.raw_splits == prepared.raw_splits
    np.testing.assert_array_equal(again.features, prepared.features)


def test_where_sealed_items_stand_among_the_tested_tells_nothing(prepared: Prepared, digits: Digits) -> None:
    items, hidden = items_of_rows(prepared, digits), set(SEALED)
    for one in prepared.splits:
        is_sealed = np.array([items[row] in hidden for row in one["test"]])
        assert is_sealed.sum() == SIZES.sealed
        places, rows = np.flatnonzero(is_sealed), np.array(one["test"])
        middle = (len(is_sealed) - 1) / 2
        assert abs(places.mean() - middle) < 60, "sealed items stand together"
        assert abs(rows[is_sealed].mean() - rows[~is_sealed].mean()) < 150, "rows tell who is sealed"


def test_the_told_truth_is_in_the_order_of_the_shuffled_test_items(
    prepared: Prepared, digits: Digits
) -> None:
    y = sklearn.datasets.load_digits().target % 2
    items = items_of_rows(prepared, digits)
    for told, one, (seed, replicate) in zip(prepared.told["splits"], prepared.splits, RUNS, strict=True):
        assert told["truth"] == "".join(str(y[items[row]]) for row in one["test"])
        dealt = split(seed, replicate, PUBLIC, SIZES.labelled, SIZES.unlabelled)
        assert [items[row] for row in one["train"]] == list(dealt.unlabelled)
        assert {items[row] for row in one["test"]} == {*dealt.tested, *SEALED}
        order = [items[row] for row in one["test"]]
        assert order_of(told) == order
        assert places_of(told).count(len(order)) == SIZES.pool - len(order), "who was not tested has no place"
        taught = digits.teach(seed + replicate, dealt.labelled, dealt.unlabelled, order)
        assert told["weak"] == mask(order, taught.weak_correct)
        assert told["ceiling"] == mask(order, taught.ceiling_correct)
        assert told["true"] == mask(order, taught.truth)
        assert told["tested"] == mask(order, [True] * len(order))
        student = Probe(prepared.features[one["train"]], l2=STUDENT_L2).fit(
            (np.array(one["weak"], dtype=float) > 0.5).astype(float)
        )
        plain = predict(student, prepared.features[one["test"]]) > 0.5
        assert told["vanilla"] == mask(order, plain == taught.truth)


def test_the_votes_of_all_splits_lie_one_after_another(prepared: Prepared, digits: Digits) -> None:
    dealt = [split(seed, replicate, PUBLIC, SIZES.labelled, SIZES.unlabelled) for seed, replicate in RUNS]
    for number, (one, (seed, replicate)) in enumerate(zip(dealt, RUNS, strict=True)):
        taught = digits.teach(seed + replicate, one.labelled, one.unlabelled, one.tested)
        assert taught.votes is not None
        rows = slice(number * SIZES.unlabelled, (number + 1) * SIZES.unlabelled)
        np.testing.assert_allclose(prepared.votes[rows], taught.votes, atol=1e-6)


# A problem that draws its items anew.


def tiny(zero_shot: bool = True) -> Any:
    """A teacher that is often wrong, a ceiling that never is; the third feature tells which item one is."""

    class Tiny:
        sizes = Sizes(pool=0, features=3, sealed=4, labelled=5, unlabelled=30, tested=12)
        statement, student_l2, digest = "two clouds", 0.02, "ab" * 32

        def draw(self, seed: int) -> Drawn:
            rng = np.random.default_rng(seed)
            x = rng.normal(size=(42, 3)).astype(np.float32)
            x[:, 2] = np.arange(42) - 30
            truth = x[:, 0] > 0
            wrong = rng.random(42) < 0.3
            taught = Taught(
                weak=np.where(truth ^ wrong, 0.9, 0.1)[:30],
                class_prior=0.5,
                truth=truth[30:],
                weak_correct=~wrong[30:],
                ceiling_correct=np.ones(12, dtype=bool),
                votes=rng.random((30, 2)).round(3),
                zero_shot=(rng.random(30), rng.random(12)) if zero_shot else None,
            )
            return Drawn(train_x=x[:30], test_x=x[30:], taught=taught)

    return Tiny()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    from aar.lab import bench

    problem = tiny()
    monkeypatch.setattr(bench, "problem_named", lambda _name: problem)
    return problem


def asked(**request: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    told, data = answer(json.dumps({"problem": "tiny", **request}).encode())
    files, at = {}, 0
    for name, size in told.get("files", {}).items():
        files[name] = data[at : at + size]
        at += size
    assert at == len(data)
    return told, files


def test_each_split_of_a_fresh_problem_has_rows_of_its_own(fresh: Any) -> None:
    told, files = asked(do="prepare", runs=RUNS, sealed=[8, 9, 10, 11], key=KEY.hex())
    features = np.load(io.BytesIO(files["features.npy"]))
    splits = json.loads(files["splits.json"])["splits"]
    rows = [row for one in splits for row in (*one["train"], *one["test"])]
    assert sorted(rows) == list(range(3 * 42)) == list(range(len(features)))
    orders = []
    for one, kept, (seed, replicate) in zip(splits, told["splits"], RUNS, strict=True):
        drawn = fresh.draw(draw_seed(seed, replicate))
        np.testing.assert_array_equal(features[one["train"]], drawn.train_x)
        # The third feature tells which item it is: told truth and marks are of the items in their order.
        items = order_of(kept)
        assert features[one["test"], 2].astype(int).tolist() == items
        assert sorted(items) == list(range(12))
        assert kept["truth"] == "".join("01"[int(drawn.taught.truth[item])] for item in items)
        assert int(kept["weak"], 16) == int(mask(range(12), drawn.taught.weak_correct), 16)
        assert int(kept["ceiling"], 16) == int(kept["tested"], 16) == (1 << 12) - 1
        orders.append(tuple(items))
    assert len(set(orders)) == 3


def test_a_method_finds_penalty_votes_and_zero_shot_answers_of_its_split(fresh: Any, tmp_path: Path) -> None:
    told, files = asked(do="prepare", runs=RUNS, sealed=[8, 9, 10, 11], key=KEY.hex())
    assert list(files) == ["features.npy", "splits.json", "votes.npy", "zero_shot.npy"]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    instances = [instance for instance, _rng in read_instances(tmp_path)]
    for instance, kept, (seed, replicate) in zip(instances, told["splits"], RUNS, strict=True):
        taught = fresh.draw(draw_seed(seed, replicate)).taught
        assert instance.student_l2 == 0.02
        np.testing.assert_allclose(instance.weak, taught.weak)
        np.testing.assert_allclose(instance.votes, taught.votes)
        own, test = instance.zero_shot
        np.testing.assert_allclose(own, taught.zero_shot[0], atol=1e-6)
        np.testing.assert_allclose(test, taught.zero_shot[1][order_of(kept)], atol=1e-6)


def test_a_problem_without_zero_shot_answers_has_no_file_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from aar.lab import bench

    problem = tiny(zero_shot=False)
    monkeypatch.setattr(bench, "problem_named", lambda _name: problem)
    _told, files = asked(do="prepare", runs=RUNS, sealed=[], key=KEY.hex())
    assert list(files) == ["features.npy", "splits.json", "votes.npy"]


def test_baselines_of_a_fresh_problem_are_over_its_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    from aar.lab import bench

    problem = tiny()
    monkeypatch.setattr(bench, "problem_named", lambda _name: problem)
    runs = [[seed, replicate] for seed in range(30) for replicate in range(2)]
    told, _files = asked(do="baselines", runs=runs, sealed=[])
    taught = [problem.draw(draw_seed(seed, replicate)).taught for seed, replicate in runs]
    assert told["weak"] == f"{np.mean([one.weak_correct.mean() for one in taught]):.4f}"
    assert (told["ceiling"], told["gap"]) == ("1.0000", f"{1 - float(told['weak']):.4f}")
    assert float(told["spread"]) > 0


def test_no_label_is_in_the_instance_but_through_the_weak_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other labels for all items but the teacher's: the truth changes, not one byte of the instance does."""
    from aar.lab import bench

    run = [[11, 0]]
    taught_by = set(split(11, 0, PUBLIC, SIZES.labelled, SIZES.unlabelled).labelled)
    request = {"do": "prepare", "problem": "digits", "runs": run, "sealed": SEALED, "key": KEY.hex()}
    found = []
    for is_turned in (False, True):
        data = sklearn.datasets.load_digits()
        if is_turned:
            others = [item for item in range(SIZES.pool) if item not in taught_by]
            data.target[others] = np.random.default_rng(0).permutation(data.target[others])
        with monkeypatch.context() as patch:
            patch.setattr(sklearn.datasets, "load_digits", lambda data=data: data)
            problem = Digits()
        patch_in = pytest.MonkeyPatch()
        patch_in.setattr(bench, "problem_named", lambda _name, problem=problem: problem)
        found.append(answer(json.dumps(request).encode()))
        patch_in.undo()
    (told, instance), (told_turned, instance_turned) = found
    assert instance == instance_turned
    assert told["splits"][0]["truth"] != told_turned["splits"][0]["truth"]


def test_what_is_told_aside_and_what_follows_are_apart(prepared: Prepared) -> None:
    """The method's files repeat nothing of the answer line, which the evaluator keeps."""
    assert set(prepared.told) == {"splits", "files", "bytes"}
    assert list(prepared.told["files"]) == ["features.npy", "splits.json", "votes.npy"]
    for told in prepared.told["splits"]:
        assert set(told) == {"truth", "places", "tested", "true", "weak", "ceiling", "vanilla"}
        assert json.dumps(order_of(told)).encode() not in prepared.raw_splits
        assert told["places"].encode() not in prepared.raw_splits
        for name in ("truth", "true", "weak", "ceiling"):
            marks = told[name]
            assert marks.encode() not in prepared.raw_splits
            assert ", ".join(marks).encode() not in prepared.raw_splits


GOOD: dict[str, Any] = {"do": "prepare", "runs": [[1, 0]], "sealed": SEALED, "key": "00"}
BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown problem": ({"do": "describe", "problem": "letters"}, "UnknownProblem: no problem 'letters'"),
    "a problem that is a list": ({"do": "describe", "problem": ["digits"]}, "Error"),
    "an unknown verb": ({"do": "labels"}, "cannot 'labels'; want describe, baselines, prepare"),
    "a verb that is a list": ({"do": ["describe"]}, "TypeError"),
    "no runs": ({"do": "baselines", "sealed": []}, "KeyError: 'runs'"),
    "no sealed items": ({"do": "baselines", "runs": [[1, 0]]}, "KeyError: 'sealed'"),
    "no key": ({**GOOD, "key": None}, "TypeError"),
    "a key that is no hex": ({**GOOD, "key": "zz"}, "ValueError"),
    "a run that is no pair": ({**GOOD, "runs": [[1]]}, "ValueError"),
    "a seed that is a text": ({**GOOD, "runs": [["1", 0]]}, "TypeError"),
    "a sealed item beyond the pool": ({**GOOD, "sealed": [1_797]}, "MalformedSplit: sealed"),
    "a sealed item twice": ({**GOOD, "sealed": [3, 3]}, "MalformedSplit: sealed"),
    "too many sealed items": ({**GOOD, "sealed": list(range(1_000))}, "leave none to test"),
    "no splits to judge by": ({"do": "baselines", "runs": [], "sealed": []}, "Error"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_what_cannot_be_answered_gets_an_error_and_the_next_request_an_answer(pipe: Pipe, case: str) -> None:
    request, reason = BAD_REQUESTS[case]
    told, files = pipe.ask(**request)
    assert set(told) == {"error"}
    assert reason in told["error"]
    assert files == []
    assert pipe.ask(do="describe")[0]["pool"] == 1_797


JUNK = [
    b"",
    b"{",
    b"null",
    b"3",
    b"[]",
    b'"do"',
    b"\xff\xfe",
    b"{}",
    b'{"do": 1}',
    b"[" * 100_000,
    b"x" * 100_000,
]


@pytest.mark.parametrize("line", JUNK, ids=lambda line: repr(line[:12]))
def test_a_line_of_junk_gets_one_short_error(pipe: Pipe, line: bytes) -> None:
    told, _files = pipe.ask_raw(line)
    assert set(told) == {"error"}
    assert len(told["error"]) <= 500
    assert pipe.ask(do="describe")[0]["pool"] == 1_797


def test_what_a_library_prints_does_not_get_between_the_answers() -> None:
    """The first print goes through Python, the second to the descriptor itself."""
    code = (
        "import os, sys; from aar.lab import bench\n"
        "def noisy(_):\n  print('hello', flush=True); os.write(1, b'noise'); return {'fine': 1}, b''\n"
        "bench.DO = {'noise': noisy}; bench.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=b'{"do": "noise"}\n{"do": "noise"}\n',
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        timeout=60,
        check=True,
    )
    assert done.stdout == b'{"fine": 1}\n' * 2
    assert b"noise" in done.stderr
