"""What each block of the lab is worth on `digits`, and what it costs.

    python benchmarks/lab_methods.py [--seeds N] [--replicates N] [--rounds N]

PGR over seeds x replicates, each a fresh split, as in an official run; its standard deviation between seeds;
processor seconds for all splits, on one thread. Below, a logistic fit beside scikit-learn's on the same data,
taking turns in the same run: read the ratio, a shared machine is never twice the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from aar.lab.blocks import BLOCKS
from aar.lab.instance import STUDENT_L2, Instance
from aar.lab.pipeline import parse_pipeline, pipeline_name, run_pipeline
from aar.lab.probe import Probe, predict
from aar.lab.problems.digits import SIZES, Digits
from aar.lab.problems.problem import Taught
from aar.verify.splits import sealed_items, split

SECRET = b"lab_methods, a fixed secret: the same splits every time"
FIRST_SEED = 1_000
TARGETS = 32
COMPOSED: Sequence[Any] = (
    [["knn", {"k": 10}], ["label_prop", {}], ["probe", {}]],
    [["label_prop", {}], ["balance", {}], ["probe", {}]],
    [["label_prop", {"alpha": 0.97}], ["knn_vote", {}]],
    [["label_prop", {}], ["logconf", {}]],
    [["whiten", {}], ["label_prop", {}], ["knn_vote", {}]],
    [["agree_keep", {}], ["conf_w", {}], ["probe", {}]],
    [["bag", {}], ["label_prop", {}], ["probe", {}]],
)


@dataclass(frozen=True, slots=True)
class Run:
    """One split: what a method is given, and what is known of it."""

    seed: int
    instance: Instance
    taught: Taught


def runs_of(seeds: int, replicates: int) -> list[Run]:
    digits = Digits()
    sealed = sealed_items(SECRET, SIZES.pool, SIZES.sealed)
    hidden = set(sealed)
    public = [item for item in range(SIZES.pool) if item not in hidden]
    found = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for replicate in range(replicates):
            one = split(seed, replicate, public, SIZES.labelled, SIZES.unlabelled)
            test = [*one.tested, *sealed]
            taught = digits.teach(seed + replicate, one.labelled, one.unlabelled, test)
            instance = Instance(
                train_x=digits.features[list(one.unlabelled)],
                weak=taught.weak,
                test_x=digits.features[test],
                class_prior=taught.class_prior,
            )
            found.append(Run(seed, instance, taught))
    return found


def pgr_by_seed(runs: Sequence[Run], correct: Sequence[float]) -> list[float]:
    """Per seed, over the gap of all seeds: one seed's own gap would add its noise."""
    weak = [float(run.taught.weak_correct.mean()) for run in runs]
    gap = statistics.fmean(run.taught.ceiling_correct.mean() for run in runs) - statistics.fmean(weak)
    gains: dict[int, list[float]] = {}
    for run, right, base in zip(runs, correct, weak, strict=True):
        gains.setdefault(run.seed, []).append(right - base)
    return [statistics.fmean(values) / gap for values in gains.values()]


def measured(runs: Sequence[Run], value: Any) -> tuple[str, float, float, float]:
    """Name, mean and deviation of the PGR, processor seconds."""
    pipeline = parse_pipeline(value)
    correct = []
    before = time.process_time()
    for number, run in enumerate(runs):
        answer = run_pipeline(pipeline, run.instance, np.random.default_rng(number))
        correct.append(float(((answer > 0.5) == run.taught.truth).mean()))
    spent = time.process_time() - before
    values = pgr_by_seed(runs, correct)
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return pipeline_name(pipeline), statistics.fmean(values), deviation, spent


def in_a_pipeline(name: str) -> Any:
    """A block alone: with the plain student behind it, if it is no student itself."""
    return [[name, {}]] if BLOCKS[name].kind == "objective" else [[name, {}], ["probe", {}]]


def seconds_of(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def compare_fits(runs: Sequence[Run], rounds: int) -> None:
    """The same penalty, the same hard weak labels; the solvers take turns."""
    data = [(run.instance.train_x, (run.instance.weak > 0.5).astype(np.float64)) for run in runs]
    many = [(x, np.repeat(y[:, None], TARGETS, axis=1)) for x, y in data[:4]]

    def ours() -> None:
        for x, y in data:
            Probe(x, l2=STUDENT_L2).fit(y)

    def theirs() -> None:
        for x, y in data:
            LogisticRegression(C=1 / (STUDENT_L2 * len(y))).fit(x, y)

    def batched() -> None:
        for x, y in many:
            Probe(x, l2=STUDENT_L2).fit(y)

    times: dict[str, list[float]] = {"ours": [], "theirs": [], "batched": []}
    for _round in range(rounds):
        times["ours"].append(seconds_of(ours) / len(data))
        times["theirs"].append(seconds_of(theirs) / len(data))
        times["batched"].append(seconds_of(batched) / (len(many) * TARGETS))
    apart = max(
        float(
            np.abs(
                predict(Probe(x, l2=STUDENT_L2).fit(y), x)
                - LogisticRegression(C=1 / (STUDENT_L2 * len(y)), tol=1e-8).fit(x, y).predict_proba(x)[:, 1]
            ).max()
        )
        for x, y in data[:8]
    )
    middle = {name: statistics.median(values) * 1_000 for name, values in times.items()}
    rows, columns = data[0][0].shape
    print(f"\none logistic fit, {rows} x {columns}, median of {rounds} rounds, processor ms")
    print(f"  scikit-learn                        {middle['theirs']:8.3f}")
    for label, name in (("aar.lab.probe", "ours"), (f"aar.lab.probe, {TARGETS} targets at once", "batched")):
        print(f"  {label:34}  {middle[name]:8.3f}   {middle['theirs'] / middle[name]:5.1f} times less")
    print(f"  largest difference of a predicted probability: {apart:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with threadpool_limits(1):
        runs = runs_of(options.seeds, options.replicates)
        weak = statistics.fmean(run.taught.weak_correct.mean() for run in runs)
        ceiling = statistics.fmean(run.taught.ceiling_correct.mean() for run in runs)
        print(f"digits, {options.seeds} seeds x {options.replicates} replicates")
        print(f"weak {weak:.3f}, ceiling {ceiling:.3f}")
        print(f"{'method':44} {'PGR':>6} {'sd':>6} {'CPU s':>7}")
        for value in [*map(in_a_pipeline, BLOCKS), *COMPOSED]:
            name, mean, deviation, spent = measured(runs, value)
            print(f"{name:44} {mean:6.3f} {deviation:6.3f} {spent:7.2f}")
        compare_fits(runs, options.rounds)


if __name__ == "__main__":
    main()
