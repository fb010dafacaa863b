"""The bench: teachers, ceilings and labels behind a pipe; ``python -m aar.lab.bench``, trusted code only.

One JSON object per line on standard input, one back on standard output; the answer to `prepare` is followed
by the bytes it announces, a .npy file and a JSON file. It runs in a sandbox of the evaluator's.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import IO, Any

import numpy as np

from aar.lab.errors import LabError
from aar.lab.problems import check_problem
from aar.lab.problems.digits import FEATURES, LABELLED, POOL, SEALED, STATEMENT, UNLABELLED, Digits, check_gap
from aar.verify.splits import Split, shuffled, split


@cache
def problem_named(name: str) -> Digits:
    """The problem of that name, built once."""
    check_problem(name)
    return Digits()


def describe(request: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes, digest and statement of a problem."""
    problem = problem_named(request["problem"])
    return {
        "name": request["problem"],
        "pool": POOL,
        "features": FEATURES,
        "sealed": SEALED,
        "labelled": LABELLED,
        "unlabelled": UNLABELLED,
        "digest": problem.digest,
        "statement": STATEMENT,
    }


def prepare(request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Teach every split. The instance follows, as a method will see it: features and splits.json, no labels.

    Rows and test items are shuffled by the request's key, so that a method sees neither item ids nor which
    test items are sealed. Truth and what teacher and ceiling get right are told in the shuffled test order.
    """
    problem = problem_named(request["problem"])
    key, sealed = bytes.fromhex(request["key"]), request["sealed"]
    rows = shuffled(key + b"rows", range(POOL))
    row_of = {item: row for row, item in enumerate(rows)}
    told, instance = [], []
    for number, (seed, replicate, one) in enumerate(_splits(request)):
        test = shuffled(key + b"test%d" % number, [*one.tested, *sealed])
        taught = problem.teach(seed + replicate, one.labelled, one.unlabelled, test)
        told.append(
            {
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


def baselines(request: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy of teacher and ceiling over seeds, on the public test items; refuses a degenerate gap."""
    problem = problem_named(request["problem"])
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for seed, replicate, one in _splits(request):
        taught = problem.teach(seed + replicate, one.labelled, one.unlabelled, one.tested)
        by_seed.setdefault(seed, []).append(
            (float(taught.weak_correct.mean()), float(taught.ceiling_correct.mean()))
        )
    means = [np.mean(values, axis=0) for values in by_seed.values()]
    weak, ceiling, gap, error = check_gap([float(m[0]) for m in means], [float(m[1]) for m in means])
    return {"weak": f"{weak:.4f}", "ceiling": f"{ceiling:.4f}", "gap": f"{gap:.4f}", "se": f"{error:.4f}"}


def _splits(request: Mapping[str, Any]) -> Iterator[tuple[int, int, Split]]:
    hidden = set(request["sealed"])
    public = [item for item in range(POOL) if item not in hidden]
    for seed, replicate in request["runs"]:
        yield seed, replicate, split(seed, replicate, public, LABELLED, UNLABELLED)


def _marks(values: Any) -> str:
    return "".join("1" if value else "0" for value in values)


def answer(line: bytes) -> tuple[dict[str, Any], bytes]:
    """One request line to its answer and the bytes that follow it; errors are answers too."""
    try:
        request = json.loads(line)
        if request["do"] == "describe":
            return describe(request), b""
        if request["do"] == "baselines":
            return baselines(request), b""
        if request["do"] == "prepare":
            return prepare(request)
        return {"error": f"cannot {request['do']!r:.40}; want describe, baselines or prepare"}, b""
    except (LabError, KeyError, TypeError, ValueError, IndexError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}, b""


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the requests end."""
    for line in requests:
        told, data = answer(line)
        answers.write(json.dumps(told).encode() + b"\n" + data)
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
