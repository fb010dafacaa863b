"""The bench: teachers, ceilings and labels behind a pipe; ``python -m aar.lab.bench``, trusted code only.

One JSON object per line on standard input, one back on standard output:

```
{"do": "describe", "problem": P}                             sizes, digest, statement, warnings
{"do": "baselines", "problem": P, "runs": [[SEED, REPLICATE]...], "sealed": [ids]}    weak, ceiling, gap, se
{"do": "prepare", "problem": P, "runs": [...], "sealed": [ids], "key": hex}
{"do": "residual", ..., "lines": [answers]}                                           for the audit
```
The answer to `prepare` is followed by the bytes of the files it names, of the lengths it announces, as a
method will see them: features.npy, splits.json, and where the problem has such, votes.npy and zero_shot.npy
(over all splits, training items before tested ones). What cannot be answered gets ``{"error": text}``. It
runs in a sandbox of the evaluator's, and where a study has a data set of its own with that directory as its
argument: it is the problem `jsonl`. A `prepare` with `"control": N` deals the weak labels to other items, in
another way for every N.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from aar.lab.audit import MOST_AUDITED, distillability_residual, permuted
from aar.lab.errors import LabError, MalformedSplit
from aar.lab.experiment import draw_seed
from aar.lab.instance import Floats, Instance
from aar.lab.pipeline import VANILLA, parse_pipeline_text, run_pipeline
from aar.lab.problems import JSONL
from aar.lab.problems.jsonl import JsonlProblem
from aar.lab.problems.preflight import preflight
from aar.lab.problems.problem import AnyProblem, FreshProblem, Marks, Problem, Taught, baselines_of
from aar.lab.problems.registry import IN_DIRECTORY, problem_named
from aar.verify.splits import Split, shuffled, split

Answer = tuple[dict[str, Any], bytes]

# Taught requests that are kept: one for each of the evaluator's workers. At most 40 MB each.
KEPT = 2


def _problem(request: Mapping[str, Any]) -> AnyProblem:
    """The problem asked for; `jsonl` alone is the one data set that this bench was handed."""
    name = request["problem"]
    return problem_named(f"{IN_DIRECTORY}." if name == JSONL else name)


def describe(request: Mapping[str, Any]) -> Answer:
    """Sizes, digest and statement of a problem, and what the pre-flight warns of."""
    problem = _problem(request)
    sizes = problem.sizes
    return {
        "name": request["problem"],
        "pool": sizes.pool,
        "features": sizes.features,
        "sealed": sizes.sealed,
        "labelled": sizes.labelled,
        "unlabelled": sizes.unlabelled,
        "tested": sizes.tested,
        "group": sizes.group,
        "digest": problem.digest,
        "statement": problem.statement,
        "warnings": preflight(problem).warnings if isinstance(problem, JsonlProblem) else (),
    }, b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One split as a method will see it, and what the evaluator keeps of it.

    `run` are its seed and replicate; `train` and `test` rows of the features file. `items` [m] number the
    tested items: ids of the pool, or places among those that a fresh split drew; the marks of `taught` and
    `vanilla` are in the same order.
    """

    run: tuple[int, int]
    train: Sequence[int]
    test: Sequence[int]
    items: Sequence[int]
    instance: Instance
    taught: Taught
    vanilla: Marks


def prepare(request: Mapping[str, Any]) -> Answer:
    """Teach every split and write the instance files, no labels in any of them.

    Rows and test items are shuffled by the request's key, so that a method sees neither item ids nor which
    test items are sealed. What is told of a split: the
    true labels in the test order; `places`, which has for each item its place in that order, or one beyond
    the last (base64 of little-endian 16-bit numbers); masks by item in hex, bit i is item i: the tested, the
    true ones, what teacher, ceiling and plain student got right.
    """
    problem, key = _problem(request), bytes.fromhex(request["key"])
    features, prepared = _taught(problem, request)
    if request.get("control"):
        prepared = [_controlled(one, key, number, request["control"]) for number, one in enumerate(prepared)]
    sizes = problem.sizes
    told, instance = [], []
    for number, one in enumerate(prepared):
        told.append(
            {
                "truth": _marks(one.taught.truth),
                **_by_item(one, sizes.tested if sizes.is_fresh else sizes.pool),
            }
        )
        instance.append(
            {
                "train": list(one.train),
                "test": list(one.test),
                "weak": [f"{value:.6f}" for value in one.instance.weak.tolist()],
                "class_prior": f"{one.taught.class_prior:.6f}",
                "rng": int.from_bytes(hashlib.sha256(key + b"rng%d" % number).digest()[:6], "big"),
            }
        )
    files = {
        "features.npy": _npy(features),
        "splits.json": json.dumps({"splits": instance, "student_l2": repr(problem.student_l2)}).encode(),
    }
    votes = [one.instance.votes for one in prepared if one.instance.votes is not None]
    if votes:
        files["votes.npy"] = _npy(np.concatenate(votes))
    zero_shot = [both for one in prepared for both in one.instance.zero_shot or ()]
    if zero_shot:
        files["zero_shot.npy"] = _npy(np.concatenate(zero_shot))
    lengths = {name: len(data) for name, data in files.items()}
    return {"splits": told, "files": lengths, "bytes": list(lengths.values())}, b"".join(files.values())


def residual(request: Mapping[str, Any]) -> Answer:
    """How little of a run's answers follows from the features (`aar.lab.audit`), the mean over its splits.

    The request is that of `prepare` and `lines`, one per run: '0' and '1' for its items in the test order.
    """
    problem, found = _problem(request), []
    prepared = _taught(problem, request)[1]
    for number, (one, line) in enumerate(zip(prepared, request["lines"], strict=True)):
        answers = np.array([mark == "1" for mark in line])[:MOST_AUDITED]
        features = one.instance.test_x[:MOST_AUDITED]
        rng = np.random.default_rng(number)
        found.append(distillability_residual(features, answers, rng, l2=one.instance.student_l2))
    return {"residual": f"{np.mean(found):.6f}"}, b""


_kept: dict[str, tuple[AnyProblem, Floats, list[Prepared]]] = {}


def _taught(problem: AnyProblem, request: Mapping[str, Any]) -> tuple[Floats, list[Prepared]]:
    """Features of all splits, and the splits; the last few are kept: audit and controls ask for them again.

    A run's audit asks for its first splits alone: those of a kept request that begins with them.
    """
    same = {name: request[name] for name in ("problem", "sealed", "key")}
    label = hashlib.sha256(json.dumps(same).encode()).hexdigest()
    told = [(seed, replicate) for seed, replicate in request["runs"]]
    kept = _kept.pop(label, None)
    if kept is None or kept[0] is not problem or [one.run for one in kept[2][: len(told)]] != told:
        key = bytes.fromhex(request["key"])
        if problem.sizes.is_fresh:
            kept = problem, *_drawn(cast("FreshProblem", problem), request, key)
        else:
            kept = problem, *_dealt(cast("Problem", problem), request, key)
    _kept[label] = kept
    while len(_kept) > KEPT:
        del _kept[next(iter(_kept))]
    return kept[1], kept[2][: len(told)]


def _controlled(one: Prepared, key: bytes, number: int, control: int) -> Prepared:
    """The same split with weak labels that say nothing."""
    label = hashlib.sha256(key + b"control%d %d" % (number, control)).digest()
    rng = np.random.default_rng(int.from_bytes(label[:8], "big"))
    return replace(one, instance=permuted(one.instance, rng))


def _dealt(problem: Problem, request: Mapping[str, Any], key: bytes) -> tuple[Floats, list[Prepared]]:
    """Splits of a fixed pool: all of them share its features, one row per item."""
    rows = np.asarray(shuffled(key + b"rows", range(problem.sizes.pool)), dtype=np.intp)
    row_of = np.argsort(rows)
    features = problem.features[rows]
    prepared = []
    for number, (seed, replicate, one) in enumerate(_splits(problem, request)):
        items = shuffled(key + b"test%d" % number, [*one.tested, *request["sealed"]])
        taught = problem.teach(seed + replicate, one.labelled, one.unlabelled, items)
        train, test = (row_of[list(some)].tolist() for some in (one.unlabelled, items))
        instance = _instance(problem, features[train], features[test], taught)
        vanilla = _vanilla(instance, taught)
        prepared.append(
            Prepared(
                run=(seed, replicate),
                train=train,
                test=test,
                items=items,
                instance=instance,
                taught=taught,
                vanilla=vanilla,
            )
        )
    return features, prepared


def _drawn(problem: FreshProblem, request: Mapping[str, Any], key: bytes) -> tuple[Floats, list[Prepared]]:
    """Splits that each draw their own items: each has rows of its own in the features, one after another."""
    sizes, rows, prepared, at = problem.sizes, [], [], 0
    for number, (seed, replicate) in enumerate(request["runs"]):
        drawn = problem.draw(draw_seed(seed, replicate))
        items = shuffled(key + b"test%d" % number, range(sizes.tested))
        taught = _in_order(drawn.taught, items)
        rows += [drawn.train_x, drawn.test_x[items]]
        middle, end = at + len(drawn.train_x), at + len(drawn.train_x) + len(items)
        instance = _instance(problem, rows[-2], rows[-1], taught)
        prepared.append(
            Prepared(
                run=(seed, replicate),
                train=range(at, middle),
                test=range(middle, end),
                items=items,
                instance=instance,
                taught=taught,
                vanilla=_vanilla(instance, taught),
            )
        )
        at = end
    return np.concatenate(rows), prepared


def _in_order(taught: Taught, items: Sequence[int]) -> Taught:
    """The same with its tested items in another order."""
    own, test = taught.zero_shot or (None, None)
    return replace(
        taught,
        truth=taught.truth[items],
        weak_correct=taught.weak_correct[items],
        ceiling_correct=taught.ceiling_correct[items],
        zero_shot=None if own is None or test is None else (own, test[items]),
    )


def _instance(problem: AnyProblem, train_x: Floats, test_x: Floats, taught: Taught) -> Instance:
    """What a method will see of a split, to the digits that it will see."""
    zero_shot = taught.zero_shot
    return Instance(
        train_x=train_x,
        weak=taught.weak.round(6),
        test_x=test_x,
        class_prior=float(f"{taught.class_prior:.6f}"),
        student_l2=problem.student_l2,
        votes=None if taught.votes is None else taught.votes.round(6),
        zero_shot=None if zero_shot is None else (zero_shot[0].round(6), zero_shot[1].round(6)),
    )


def _vanilla(instance: Instance, taught: Taught) -> Marks:
    """What the plain student gets right: the other side of every paired comparison."""
    answer = run_pipeline(parse_pipeline_text(VANILLA), instance, np.random.default_rng(0))
    marks: Marks = (answer > 0.5) == taught.truth
    return marks


def _npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def baselines(request: Mapping[str, Any]) -> Answer:
    """Accuracies of teacher and ceiling on public test items, and the plain student's PGR with its spread.

    Refuses a degenerate gap. The spread is the standard deviation over seeds of the PGR of each.
    """
    problem = _problem(request)
    taught: list[tuple[int, Taught]] = []
    counts: dict[int, list[tuple[int, int]]] = {}
    for seed, one, vanilla in _judged(problem, request):
        taught.append((seed, one))
        above = int(vanilla.sum()) - int(one.weak_correct.sum())
        gap = int(one.ceiling_correct.sum()) - int(one.weak_correct.sum())
        counts.setdefault(seed, []).append((above, gap))
    found = baselines_of(taught)
    sums = np.array([np.sum(pairs, axis=0) for pairs in counts.values()], dtype=float)
    each = sums[:, 0] / np.maximum(sums[:, 1], 1)
    values = {
        "weak": found.weak,
        "ceiling": found.ceiling,
        "gap": found.gap,
        "se": found.error,
        "vanilla": sums[:, 0].sum() / sums[:, 1].sum(),
        "spread": each.std(ddof=1) if len(each) > 1 else 0.0,
    }
    return {name: f"{value:.4f}" for name, value in values.items()}, b""


def _judged(problem: AnyProblem, request: Mapping[str, Any]) -> Iterator[tuple[int, Taught, Marks]]:
    """Each run's seed, its teacher and ceiling on public items, and what the plain student gets right."""
    if problem.sizes.is_fresh:
        fresh = cast("FreshProblem", problem)
        for seed, replicate in request["runs"]:
            drawn = fresh.draw(draw_seed(seed, replicate))
            instance = _instance(fresh, drawn.train_x, drawn.test_x, drawn.taught)
            yield seed, drawn.taught, _vanilla(instance, drawn.taught)
        return
    fixed = cast("Problem", problem)
    for seed, replicate, one in _splits(fixed, request):
        taught = fixed.teach(seed + replicate, one.labelled, one.unlabelled, one.tested, with_votes=False)
        train_x, test_x = (fixed.features[list(items)] for items in (one.unlabelled, one.tested))
        yield seed, taught, _vanilla(_instance(fixed, train_x, test_x, taught), taught)


def _splits(problem: Problem, request: Mapping[str, Any]) -> Iterator[tuple[int, int, Split]]:
    """Each run's split of the public items, derived as the verifier derives it."""
    sizes, hidden = problem.sizes, set(request["sealed"])
    if len(hidden) != len(request["sealed"]) or not hidden <= set(range(sizes.pool)):
        raise MalformedSplit(
            f"sealed: {len(request['sealed'])} ids, want some of 0 to {sizes.pool - 1}, once each"
        )
    public = [item for item in range(sizes.pool) if item not in hidden]
    for seed, replicate in request["runs"]:
        yield seed, replicate, split(seed, replicate, public, sizes.labelled, sizes.unlabelled, sizes.group)


def _marks(values: Marks) -> str:
    return (values.astype(np.uint8) + ord("0")).tobytes().decode("ascii")


def _by_item(one: Prepared, width: int) -> dict[str, Any]:
    """Where each of `width` items stands in the test order, and the split's masks over them."""
    items = np.asarray(one.items, dtype=np.intp)
    places = np.full(width, len(items))
    places[items] = np.arange(len(items))
    told = {"places": base64.b64encode(places.astype("<u2").tobytes()).decode("ascii")}
    for name, marks in (
        ("tested", np.ones(len(items), dtype=bool)),
        ("true", one.taught.truth),
        ("weak", one.taught.weak_correct),
        ("ceiling", one.taught.ceiling_correct),
        ("vanilla", one.vanilla),
    ):
        whole = np.zeros(width, dtype=bool)
        whole[items] = marks
        told[name] = np.packbits(whole, bitorder="little").tobytes()[::-1].hex()
    return told


DO: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
    "describe": describe,
    "baselines": baselines,
    "prepare": prepare,
    "residual": residual,
}


def answer(line: bytes) -> Answer:
    """One request line to its answer and the bytes that follow it; errors are answers too."""
    try:
        request = json.loads(line)
        if request["do"] not in DO:
            return {"error": f"cannot {request['do']!r:.40}; want {', '.join(DO)}"}, b""
        return DO[request["do"]](request)
    except (LabError, KeyError, TypeError, ValueError, IndexError, RecursionError, MemoryError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}, b""


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the requests end."""
    for line in requests:
        told, data = answer(line)
        answers.write(json.dumps(told).encode() + b"\n" + data)
        answers.flush()


def main() -> None:
    """Standard output is for answers alone: what a library prints goes to standard error."""
    if len(sys.argv) > 1:
        # Errors then name a data set's file as its owner does.
        os.chdir(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
