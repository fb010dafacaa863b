"""The bench: teachers, ceilings and labels behind a pipe; ``python -m aar.lab.bench``, trusted code only.

One JSON object per line on standard input, one back on standard output:

```
{"do": "describe", "problem": P}                                    sizes, digest and statement
{"do": "baselines", "problem": P, "runs": [[SEED, REPLICATE]...], "sealed": [ids]}    weak, ceiling, gap, se
{"do": "prepare", "problem": P, "runs": [...], "sealed": [ids], "key": hex}
```
The answer to `prepare` is followed by the bytes of two files, of the lengths it announces: features.npy and
splits.json, as a method will see them. What cannot be answered gets ``{"error": text}``. It runs in a sandbox
of the evaluator's.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import IO, Any

import numpy as np

from aar.lab.errors import LabError, MalformedSplit
from aar.lab.problems import check_problem
from aar.lab.problems.digits import Digits
from aar.lab.problems.problem import Marks, Problem, baselines_of
from aar.verify.splits import Split, shuffled, split

PROBLEM_OF: Mapping[str, Callable[[], Problem]] = {"digits": Digits}

Answer = tuple[dict[str, Any], bytes]


@cache
def problem_named(name: str) -> Problem:
    """The problem of that name, built once; `UnknownProblem` lists what there is."""
    check_problem(name)
    return PROBLEM_OF[name]()


def describe(request: Mapping[str, Any]) -> Answer:
    """Sizes, digest and statement of a problem."""
    problem = problem_named(request["problem"])
    sizes = problem.sizes
    return {
        "name": request["problem"],
        "pool": sizes.pool,
        "features": sizes.features,
        "sealed": sizes.sealed,
        "labelled": sizes.labelled,
        "unlabelled": sizes.unlabelled,
        "digest": problem.digest,
        "statement": problem.statement,
    }, b""


def prepare(request: Mapping[str, Any]) -> Answer:
    """Teach every split and write the instance: features and splits.json, no labels in either.

    Rows and test items are shuffled by the request's key, so that a method sees neither item ids nor which
    test items are sealed. Items, truth and what teacher and ceiling get right are told in the test order.
    """
    problem = problem_named(request["problem"])
    key, sealed = bytes.fromhex(request["key"]), request["sealed"]
    rows = shuffled(key + b"rows", range(problem.sizes.pool))
    row_of = {item: row for row, item in enumerate(rows)}
    told, instance = [], []
    for number, (seed, replicate, one) in enumerate(_splits(problem, request)):
        test = shuffled(key + b"test%d" % number, [*one.tested, *sealed])
        taught = problem.teach(seed + replicate, one.labelled, one.unlabelled, test)
        told.append(
            {
                "items": test,
                "truth": _marks(taught.truth),
                "weak": _marks(taught.weak_correct),
                "ceiling": _marks(taught.ceiling_correct),
            }
        )
        instance.append(
            {
                "train": [row_of[item] for item in one.unlabelled],
                "test": [row_of[item] for item in test],
                "weak": [f"{value:.6f}" for value in taught.weak],
                "class_prior": f"{taught.class_prior:.6f}",
                "rng": int.from_bytes(hashlib.sha256(key + b"rng%d" % number).digest()[:6], "big"),
            }
        )
    file = io.BytesIO()
    np.save(file, problem.features[np.asarray(rows, dtype=np.intp)], allow_pickle=False)
    splits = json.dumps({"splits": instance}).encode()
    return {"splits": told, "bytes": [file.tell(), len(splits)]}, file.getvalue() + splits


def baselines(request: Mapping[str, Any]) -> Answer:
    """Accuracies of teacher and ceiling on the public test items; refuses a degenerate gap."""
    problem = problem_named(request["problem"])
    found = baselines_of(
        [
            (seed, problem.teach(seed + replicate, one.labelled, one.unlabelled, one.tested))
            for seed, replicate, one in _splits(problem, request)
        ]
    )
    values = {"weak": found.weak, "ceiling": found.ceiling, "gap": found.gap, "se": found.error}
    return {name: f"{value:.4f}" for name, value in values.items()}, b""


def _splits(problem: Problem, request: Mapping[str, Any]) -> Iterator[tuple[int, int, Split]]:
    """Each run's split of the public items, derived as the verifier derives it."""
    sizes, hidden = problem.sizes, set(request["sealed"])
    if len(hidden) != len(request["sealed"]) or not hidden <= set(range(sizes.pool)):
        raise MalformedSplit(
            f"sealed: {len(request['sealed'])} ids, want some of 0 to {sizes.pool - 1}, once each"
        )
    public = [item for item in range(sizes.pool) if item not in hidden]
    for seed, replicate in request["runs"]:
        yield seed, replicate, split(seed, replicate, public, sizes.labelled, sizes.unlabelled)


def _marks(values: Marks) -> str:
    return "".join("1" if value else "0" for value in values)


DO: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
    "describe": describe,
    "baselines": baselines,
    "prepare": prepare,
}


def answer(line: bytes) -> Answer:
    """One request line to its answer and the bytes that follow it; errors are answers too."""
    try:
        request = json.loads(line)
        if request["do"] not in DO:
            return {"error": f"cannot {request['do']!r:.40}; want {', '.join(DO)}"}, b""
        return DO[request["do"]](request)
    except (LabError, KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}, b""


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the requests end."""
    for line in requests:
        told, data = answer(line)
        answers.write(json.dumps(told).encode() + b"\n" + data)
        answers.flush()


def main() -> None:
    """Standard output is for answers alone: what a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
