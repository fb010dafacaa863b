"""What the lab costs, and what its methods are worth: one run prints everything that is claimed of its speed.

    python benchmarks/lab.py [--seeds N] [--rounds N] [--problems NAME,NAME]
    python benchmarks/lab.py --table [--seeds N] [--replicates N] [--problems NAME,..] [--methods NAME,..]

Times are processor milliseconds on one thread unless it says otherwise; what is compared takes turns in the
same run. Read the ratios: a shared machine is never twice the same. The table is PGR (ratio of differences of
means over splits) with its standard error over seeds; `digits` takes --replicates splits a seed, others one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from aar.lab.experiment import Sampled, sample
from aar.lab.instance import Instance
from aar.lab.method_directory import method_files
from aar.lab.methods import METHODS, methods_for
from aar.lab.neighbours import KEPT, nearest, normalised_graph
from aar.lab.pipeline import offered_by, parse_pipeline_text, run_pipeline
from aar.lab.probe import ITERATIONS, Probe, predict, sigmoid, with_bias
from aar.lab.problems import PROBLEMS
from aar.lab.problems.registry import problem_named
from aar.outside.evaluation.bench import Bench
from aar.outside.evaluation.official_run import Problem as OfficialProblem
from aar.outside.evaluation.official_run import pool_of, run_officially
from aar.outside.evaluation.release import release
from aar.outside.sandbox.backend import missing_backend
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.verify.interval import DRAWS
from aar.verify.payload import format_payload

# The mix that an experiment's mean cost is stated for.
MIX = (
    "vanilla",
    "logconf_aux_.75",
    "conf_filter_50",
    "knn_relabel_20",
    "label_prop",
    "icm_crossfit",
    "em_conf_channel",
    "born_again_x5",
)
# Mean cost of a 5-seed experiment, ms; experiments a minute on two cores.
TARGETS = {"digits": (40, 2_500), "overlap": (80, 1_200), "claims": (120, 800)}
SEEDS_OF_AN_EXPERIMENT = 5
FIRST_SEED = 1_000
FOLDS = 4
BATCH = 32
NEWTON_STEPS = 30
REPLICATED = "digits"
# Splits a seed of an official run, as the embedded studies have them; of other problems 4.
REPLICATES_OF_A_RUN = {"digits": 20}
FIRST_UID_SLOT = 100
COLD = """
import time
begun = time.perf_counter(), time.process_time()
import sys
import numpy as np
from aar.lab.experiment import sample
from aar.lab.pipeline import VANILLA, parse_pipeline_text, run_pipeline
from aar.lab.problems.registry import problem_named
one = sample(problem_named(sys.argv[1]), 1)
run_pipeline(parse_pipeline_text(VANILLA), one.instance, np.random.default_rng(0))
spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
print(*spent, *[name for name in ("torch", "sklearn", "scipy") if name in sys.modules])
"""


def ms_of(work: Callable[[], object], rounds: int) -> float:
    """The median of several runs."""
    times = []
    for _round in range(rounds):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return statistics.median(times) * 1_000


def samples_of(name: str, seeds: int, replicates: int = 1) -> list[tuple[int, Sampled]]:
    """Splits under the benchmark's own seeds."""
    problem = problem_named(name)
    return [
        (seed, sample(problem, seed, replicate))
        for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        for replicate in range(replicates)
    ]


# What a fit costs.


def exact(instance: Instance, targets: np.ndarray) -> np.ndarray:
    """The optimum by Newton's method in double precision."""
    data, count = with_bias(instance.train_x), len(targets)
    penalty = np.append(np.full(data.shape[1] - 1, instance.student_l2), 1e-6)
    found = np.zeros(data.shape[1])
    for _step in range(NEWTON_STEPS):
        own = sigmoid(data @ found)
        bent = (data * (own * (1 - own))[:, None]).T @ data / count + np.diag(penalty)
        found = found - np.linalg.solve(bent, data.T @ (own - targets) / count + penalty * found)
    return found


def agreement(name: str, seeds: int) -> float:
    """The share of test items that our fit puts on the side of the exact optimum, soft and hard labels."""
    same = []
    for _seed, one in samples_of(name, seeds):
        x, weak = one.instance.train_x, one.instance.weak
        probe = Probe(x, l2=one.instance.student_l2)
        for targets in (weak, (weak > 0.5).astype(np.float64)):
            ours = predict(probe.fit(targets), one.instance.test_x) > 0.5
            same.append((ours == (with_bias(one.instance.test_x) @ exact(one.instance, targets) > 0)).mean())
    return float(np.mean(same))


def compare_fits(name: str, rounds: int) -> None:
    """A student of every fold, as cross-fitting needs them, by ours and by scikit-learn; then the limit."""
    instance = samples_of(name, 1)[0][1].instance
    x, l2 = instance.train_x, instance.student_l2
    count, width = len(x), x.shape[1] + 1
    targets = (instance.weak > 0.5).astype(np.float64)
    fold = np.random.default_rng(0).permutation(count) % FOLDS
    others = (fold[:, None] != np.arange(FOLDS)).astype(np.float64)
    folds = np.repeat(targets[:, None], FOLDS, axis=1)
    flips = np.random.default_rng(1).random((count, BATCH)) < 0.1
    many = np.abs(targets[:, None] - flips)
    masks = np.repeat(others, BATCH // FOLDS, axis=1)
    probe = Probe(x, l2=l2)
    parts = [(x[fold != one], targets[fold != one]) for one in range(FOLDS)]

    def theirs() -> None:
        for part, labels in parts:
            LogisticRegression(C=1 / (l2 * len(labels))).fit(part, labels)

    big = np.random.default_rng(2).normal(size=(1_024, 1_024)).astype(np.float32)
    scores = np.random.default_rng(3).normal(size=(BATCH, count)).astype(np.float32)
    work: dict[str, Callable[[], object]] = {
        "theirs": theirs,
        "four": lambda: predict(probe.fit(folds, others), x),
        "many": lambda: predict(probe.fit(many, masks), x),
        "prepared": lambda: Probe(x, l2=l2).fit(targets, iterations=0),
        "one": lambda: probe.fit(targets),
        "product": lambda: big @ big,
        "tanh": lambda: np.tanh(scores),
    }
    for step in work.values():
        step()
    times: dict[str, list[float]] = {key: [] for key in work}
    for _round in range(rounds):
        for key, step in work.items():
            times[key].append(ms_of(step, 3))
    ms = {key: statistics.median(values) for key, values in times.items()}
    sklearn, four, lot = ms["theirs"] / FOLDS, ms["four"] / FOLDS, ms["many"] / BATCH
    peak = 2 * 1_024**3 / ms["product"] / 1e6
    limit = ITERATIONS * (4 * count * width / peak / 1e6 + ms["tanh"] / BATCH)
    print(f"\none logistic fit inside cross-fitting, {name}: {count} x {width - 1}, {ITERATIONS} iterations")
    print(f"  scikit-learn, lbfgs, fold by fold        {sklearn:8.3f}")
    print(f"  ours, {FOLDS} folds at once                    {four:8.3f}   {sklearn / four:5.1f} times less")
    print(f"  ours, {BATCH} folds and targets at once       {lot:8.3f}   {sklearn / lot:5.1f} times less")
    print(
        f"  ours, one target                         {ms['one']:8.3f}   {sklearn / ms['one']:5.1f} times less"
    )
    print(f"  once per instance: bound and its inverse {ms['prepared']:8.3f}")
    print(
        f"  limit, {peak:5.1f} GFLOP/s and tanh at speed  {limit:8.3f}   ours is {lot / limit:.1f} times that"
    )


def compare_neighbours(name: str, rounds: int) -> None:
    """The first and the second method on an instance that ask for neighbours."""
    points = samples_of(name, 1)[0][1].instance.train_x

    def first() -> None:
        KEPT.clear()
        nearest(points, points, 20, skip_self=True)

    def first_graph() -> None:
        KEPT.clear()
        normalised_graph(points, 15)

    print(f"\nneighbours, {name}: {len(points)} x {points.shape[1]}")
    for label, new, again in (
        ("20 neighbours", first, lambda: nearest(points, points, 20, skip_self=True)),
        ("graph of 15", first_graph, lambda: normalised_graph(points, 15)),
    ):
        cold = ms_of(new, rounds)
        warm = ms_of(again, rounds * 3)
        print(f"  {label:14} first {cold:8.2f}, second {warm:6.2f}: {cold / warm:5.0f} times less")


# What an experiment costs.


def mix_ms(name: str) -> dict[str, float]:
    """Each method's time over five seeds; neighbours are found by the first method that wants them."""
    runs = samples_of(name, SEEDS_OF_AN_EXPERIMENT)
    run_pipeline(parse_pipeline_text(METHODS["vanilla"]), runs[0][1].instance, np.random.default_rng(0))
    KEPT.clear()
    found = {}
    for method in MIX:
        pipeline = parse_pipeline_text(METHODS[method])
        before = time.process_time()
        for seed, one in runs:
            run_pipeline(pipeline, one.instance, np.random.default_rng(seed))
        found[method] = (time.process_time() - before) * 1_000
    return found


def mixes_for(name: str, seconds: float) -> int:
    """How many experiments of the mix this process finishes in about so long."""
    with threadpool_limits(1):
        mix_ms(name)
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            mix_ms(name)
            done += len(MIX)
        return round(done * seconds / (time.perf_counter() - begun))


def measure_experiments(names: Sequence[str], rounds: int, seconds: float) -> None:
    print(f"\na 5-seed experiment, mean over {len(MIX)} methods ({', '.join(MIX)})")
    for name in names:
        rows = [mix_ms(name) for _round in range(rounds)]
        by_method = {method: statistics.median(row[method] for row in rows) for method in MIX}
        mean = statistics.fmean(by_method.values())
        wanted, a_minute = TARGETS.get(name, (0, 0))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            both = sum(pool.starmap(mixes_for, [(name, seconds)] * 2)) * 60 / seconds
        target = f" (target {wanted})" if wanted else ""
        print(f"  {name:9} {mean:6.1f} ms{target}")
        target = f" (target {a_minute:,})" if a_minute else ""
        print(f"            two cores, a minute: {2 * 60_000 / mean:,.0f} by processor time{target},")
        print(f"            {both:,.0f} by the clock, beside everything else that runs here")
        print("            " + ", ".join(f"{method} {one:.0f}" for method, one in by_method.items()))


def measure_cold_start(name: str) -> None:
    """A new interpreter: imports, the problem, one split, the plain baseline."""
    told = []
    for _start in range(3):
        done = subprocess.run(
            [sys.executable, "-c", COLD, name],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        told.append(done.stdout.split())
    clock, processor, *modules = min(told, key=lambda one: float(one[0]))
    print(f"\ncold start of {name} to the first answer: {float(clock):.2f} s by the clock,")
    print(f"  {float(processor):.2f} s of processor time; of torch, sklearn and scipy it imported")
    print(f"  {', '.join(modules) or 'nothing'}")


# What an official run costs beside its method.


class TimedBench:
    """A bench that adds up what its sandbox spends."""

    def __init__(self, bench: Bench, client: LauncherClient) -> None:
        self._bench = bench
        self._client = client
        self.spent_s = 0.0

    def prepare(self, *request: Any, **more: Any) -> Any:
        before = self._client.usage()["sandboxes_cpu_s"]
        prepared = self._bench.prepare(*request, **more)
        self.spent_s += self._client.usage()["sandboxes_cpu_s"] - before
        return prepared


def official_ms(launcher: LauncherClient, bench: Bench, name: str, replicates: int) -> dict[str, float]:
    """Processor ms of the mix's official runs, in real sandboxes, by what they were spent on; a mean.

    What the method itself takes is measured here, on as many splits: the same code on the same data.
    """
    pool = pool_of(bench.describe(name))
    problem = OfficialProblem(name=name, pool=pool, seeds=SEEDS_OF_AN_EXPERIMENT, replicates=replicates)
    timed: Any = TimedBench(bench, launcher)
    spent = dict.fromkeys(("methods", "teaching", "sandbox", "evaluator", "clock"), 0.0)
    # A first one, not counted: imports, features, page cache.
    for method in (MIX[0], *MIX):
        if method == MIX[0]:
            spent = dict.fromkeys(spent, 0.0)
            timed.spent_s = 0.0
        before, mine, begun = launcher.usage(), time.process_time(), time.perf_counter()
        snapshot = json.dumps({"files": method_files(parse_pipeline_text(METHODS[method]))}).encode()
        result = run_officially(
            secret=bytes(32),
            problem=problem,
            label="explore",
            digest=hashlib.sha256(snapshot).hexdigest(),
            snapshot=snapshot,
            bench=timed,
            launcher=launcher,
            uid_slot=FIRST_UID_SLOT,
        )
        if result.public is None or result.sealed is None:
            raise RuntimeError(f"{method} on {name} failed: {result.reason}")
        for payload in (result.public, result.sealed):
            format_payload(payload)
        release(result.public, {}, draws=DRAWS, group=pool.group)
        after = launcher.usage()
        spent["clock"] += time.perf_counter() - begun
        spent["evaluator"] += time.process_time() - mine + after["launcher_cpu_s"] - before["launcher_cpu_s"]
        spent["sandbox"] += after["sandboxes_cpu_s"] - before["sandboxes_cpu_s"]
    spent["teaching"] = timed.spent_s
    for method in MIX:
        pipeline = parse_pipeline_text(METHODS[method])
        for seed, one in samples_of(name, SEEDS_OF_AN_EXPERIMENT, replicates):
            before_s = time.process_time()
            run_pipeline(pipeline, one.instance, np.random.default_rng(seed))
            spent["methods"] += time.process_time() - before_s
    spent["sandbox"] -= spent["teaching"] + spent["methods"]
    return {key: value * 1_000 / len(MIX) for key, value in spent.items()}


def measure_overhead(names: Sequence[str]) -> None:
    """Where a sandbox can be had: all that an official run takes beside its method."""
    missing = missing_backend()
    if missing is not None:
        print(f"\nevaluator overhead over method CPU: not measured, {missing}")
        return
    print("\nevaluator overhead over method CPU: official runs of the mix, each in a sandbox of its own,")
    print(
        "  mean processor ms a run; teaching is weak teachers, ceilings and the plain students;\n"
        "  the sandbox is a fresh interpreter that imports numpy; the evaluator's requests, masks, intervals"
    )
    running = Launcher.spawn({"official-run", "bench"})
    try:
        client = LauncherClient(running.sockets[0])
        bench = Bench(client)
        for name in names:
            replicates = REPLICATES_OF_A_RUN.get(name, 4)
            ms = official_ms(client, bench, name, replicates)
            print(
                f"  {name:9} {SEEDS_OF_AN_EXPERIMENT} x {replicates:2} splits: method {ms['methods']:6.0f}, "
                f"teaching {ms['teaching']:6.0f}, sandbox {ms['sandbox']:5.0f}, "
                f"evaluator {ms['evaluator']:5.0f}; by the clock {ms['clock']:6.0f}"
            )
            own, isolated = ms["evaluator"], ms["evaluator"] + ms["sandbox"]
            print(
                f"            over the method: the evaluator's own work {own / ms['methods']:.0%} "
                f"(target 20 %), with a fresh sandbox {isolated / ms['methods']:.0%}, "
                f"with teaching {(isolated + ms['teaching']) / ms['methods']:.0%}"
            )
        bench.close()
    finally:
        running.close()


# What the methods are worth.


def print_table(names: Sequence[str], methods: Sequence[str], seeds: int, replicates: int) -> None:
    for name in names:
        runs = samples_of(name, seeds, replicates if name == REPLICATED else 1)
        weak = np.array([one.taught.weak_correct.mean() for _seed, one in runs])
        ceiling = np.array([one.taught.ceiling_correct.mean() for _seed, one in runs])
        gap = ceiling.mean() - weak.mean()
        print(
            f"\n{name}: {seeds} seeds, {len(runs)} splits; "
            f"weak {weak.mean():.3f}, ceiling {ceiling.mean():.3f}"
        )
        print(f"{'method':26} {'PGR':>6} {'se':>6} {'ms a split':>11}")
        offered = methods_for(offered_by(runs[0][1].instance))
        for method in [one for one in methods if one in offered]:
            pipeline = parse_pipeline_text(offered[method])
            before = time.process_time()
            correct = np.array(
                [
                    (
                        (run_pipeline(pipeline, one.instance, np.random.default_rng(k)) > 0.5)
                        == one.taught.truth
                    ).mean()
                    for k, (_seed, one) in enumerate(runs)
                ]
            )
            spent = (time.process_time() - before) * 1_000 / len(runs)
            by_seed = ((correct - weak) / gap).reshape(seeds, -1).mean(axis=1)
            error = by_seed.std(ddof=1) / seeds**0.5 if seeds > 1 else float("nan")
            print(f"{method:26} {by_seed.mean():6.2f} {error:6.2f} {spent:11.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="the methods' PGR instead of the lab's speed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long the two-core count takes")
    parser.add_argument("--problems", default=",".join(name for name in PROBLEMS if not name.endswith("-ue")))
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    names = options.problems.split(",")
    with threadpool_limits(1):
        if options.table:
            print_table(names, options.methods.split(","), options.seeds, options.replicates)
            return
        print(f"processor ms, one thread; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        wide = "claims" if "claims" in names else names[-1]
        compare_fits(wide, options.rounds)
        for name in names:
            same = agreement(name, options.seeds)
            print(f"  {name}: {same:.2%} of test items on the exact optimum's side (target 99.9 %)")
        compare_neighbours(wide, options.rounds)
        measure_experiments(names, options.rounds, options.seconds)
        measure_overhead(names)
        measure_cold_start("claims" if "claims" in PROBLEMS else PROBLEMS[0])


if __name__ == "__main__":
    main()
