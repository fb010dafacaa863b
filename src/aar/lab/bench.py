"""The bench: teachers, ceilings and labels behind a pipe; ``python -m aar.lab.bench``, trusted code only.

One JSON object per line on standard input, one back on standard output; `prepare` is followed by the bytes
of a .npy file of the length that its answer announces. It runs in a sandbox of the evaluator's.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from functools import cache
from typing import IO, Any

import numpy as np

from aar.lab.errors import LabError
from aar.lab.problems import check_problem
from aar.lab.problems.digits import FEATURES, LABELLED, POOL, SEALED, STATEMENT, UNLABELLED, Digits, check_gap


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
    """Teach every split; the features of all items follow in the row order asked for."""
    problem = problem_named(request["problem"])
    splits = []
    for one in request["splits"]:
        taught = problem.teach(
            one["seed"] + one["replicate"], one["labelled"], one["unlabelled"], [*one["tested"], *one["sealed"]]
        )
        splits.append(
            {
                "weak": [f"{value:.6f}" for value in taught.weak],
                "class_prior": f"{taught.class_prior:.6f}",
                "truth": _marks(taught.truth),
                "weak_correct": _marks(taught.weak_correct),
                "ceiling_correct": _marks(taught.ceiling_correct),
            }
        )
    file = io.BytesIO()
    np.save(file, problem.features[np.asarray(request["row_order"], dtype=np.intp)], allow_pickle=False)
    return {"features_bytes": file.tell(), "splits": splits}, file.getvalue()


def baselines(request: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy of teacher and ceiling over seeds, on the public test items; refuses a degenerate gap."""
    problem = problem_named(request["problem"])
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for one in request["splits"]:
        taught = problem.teach(one["seed"] + one["replicate"], one["labelled"], one["unlabelled"], one["tested"])
        by_seed.setdefault(one["seed"], []).append(
            (float(taught.weak_correct.mean()), float(taught.ceiling_correct.mean()))
        )
    means = [np.mean(values, axis=0) for values in by_seed.values()]
    weak, ceiling, gap, error = check_gap([float(m[0]) for m in means], [float(m[1]) for m in means])
    return {"weak": f"{weak:.4f}", "ceiling": f"{ceiling:.4f}", "gap": f"{gap:.4f}", "se": f"{error:.4f}"}


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
