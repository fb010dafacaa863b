"""Calibrates the detectors on honest runs of the method library.

    .venv/bin/python tools/calibrate_detectors.py [--out FILE] [--json] [PROBLEM...]

A run is one method over several splits, as an official run. Every second method of the library sets the
thresholds: what 95 of 100 of its readings stay below, and a margin. The others, under other seeds, say how
often an honest run is flagged. Then leaks are made, and it is counted how many of them are flagged: 200
known labels, one label of five known, all of them known. Problems named keep the file's other ones; it is
src/aar/outside/evaluation/thresholds.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from aar.lab.audit import MOST_AUDITED, distillability_residual, permuted
from aar.lab.experiment import Sampled, sample
from aar.lab.instance import Instance
from aar.lab.methods import METHODS, VANILLA, methods_for
from aar.lab.pipeline import offered_by, parse_pipeline_text, run_pipeline
from aar.lab.problems.problem import Marks
from aar.lab.problems.registry import problem_named

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "src" / "aar" / "outside" / "evaluation" / "thresholds.json"
PROBLEMS = ("digits", "overlap", "shortcut", "claims")
SPLITS = 3
PERMUTATIONS = 8
ROUNDS = 2
QUANTILE = 0.95
# Above the quantile: as a share of its distance from the middle reading, or from certainty.
MARGIN = 0.5
MARGIN_TO_CERTAINTY = 0.25
KNOWN = 200
KNOWN_SHARE = 0.2
CODES = ("undistillable", "prediction-prior", "prediction-entropy", "labels-from-elsewhere")


def shortened(one: Sampled) -> Sampled:
    """The same with at most so many test items."""
    keep = slice(MOST_AUDITED)
    zero_shot = one.instance.zero_shot
    instance = replace(
        one.instance,
        test_x=one.instance.test_x[keep],
        zero_shot=None if zero_shot is None else (zero_shot[0], zero_shot[1][keep]),
    )
    taught = replace(
        one.taught,
        truth=one.taught.truth[keep],
        weak_correct=one.taught.weak_correct[keep],
        ceiling_correct=one.taught.ceiling_correct[keep],
    )
    return Sampled(instance=instance, taught=taught)


def answers_of(text: str, instance: Instance, seed: int) -> Marks:
    marks: Marks = run_pipeline(parse_pipeline_text(text), instance, np.random.default_rng(seed)) > 0.5
    return marks


def readings(splits: list[Sampled], answers: list[Marks]) -> dict[str, float]:
    """The statistics of one run's answers, means over its splits, as the evaluator's detectors have them."""
    residuals, distances, lacking = [], [], []
    for number, (one, marks) in enumerate(zip(splits, answers, strict=True)):
        residuals.append(residual_of(one, marks, number))
        share = float(marks.mean())
        distances.append(abs(share - one.instance.class_prior))
        lacking.append(1 + sum(p * np.log2(p) for p in (share, 1 - share) if p))
    return {
        "undistillable": float(np.mean(residuals)),
        "prediction-prior": float(np.mean(distances)),
        "prediction-entropy": float(np.mean(lacking)),
    }


def residual_of(one: Sampled, marks: Marks, number: int) -> float:
    rng = np.random.default_rng(number)
    return distillability_residual(one.instance.test_x, marks, rng, l2=one.instance.student_l2)


def permuted_accuracy(text: str, splits: list[Sampled], seed: int) -> float:
    found = []
    for number in range(PERMUTATIONS):
        one = splits[number % len(splits)]
        instance = permuted(one.instance, np.random.default_rng([seed, number]))
        found.append(float((answers_of(text, instance, number) == one.taught.truth).mean()))
    return float(np.mean(found))


def calibrate(name: str) -> dict[str, object]:
    problem = problem_named(name)
    rounds = [
        [shortened(sample(problem, 10_000 * (number + 1) + split)) for split in range(SPLITS)]
        for number in range(2 * ROUNDS)
    ]
    methods = list(methods_for(offered_by(rounds[0][0].instance)).values())
    found: dict[str, tuple[list[float], list[float]]] = {code: ([], []) for code in CODES}
    for place, text in enumerate(methods):
        is_validation = place % 2
        for number in range(ROUNDS):
            splits = rounds[2 * number + is_validation]
            answers = [answers_of(text, one.instance, at) for at, one in enumerate(splits)]
            values = readings(splits, answers)
            values["labels-from-elsewhere"] = permuted_accuracy(text, splits, 77 + number)
            for code, value in values.items():
                found[code][is_validation].append(value)
    told: dict[str, object] = {}
    thresholds = {}
    for code, (calibration, validation) in found.items():
        reached = float(np.quantile(calibration, QUANTILE))
        if code == "labels-from-elsewhere":
            # Who has the labels is right almost always: there is room, and a partial leak is rarer than luck.
            thresholds[code] = reached + MARGIN_TO_CERTAINTY * (1 - reached)
        else:
            thresholds[code] = reached + MARGIN * (reached - median(calibration))
        told[code] = {
            "threshold": f"{thresholds[code]:.4f}",
            "calibrated_on": len(calibration),
            "validated_on": len(validation),
            "false_alarms": sum(value > thresholds[code] for value in validation),
            "middle": f"{median(calibration):.4f}",
            "largest": f"{max(calibration):.4f}",
            "largest_validated": f"{max(validation):.4f}",
        }
    return {"detectors": told, "caught": caught(rounds, thresholds)}


def caught(rounds: list[list[Sampled]], thresholds: dict[str, float]) -> dict[str, str]:
    """How many of the leaks are flagged by which detector, of how many."""
    flagged = {"200 labels known": 0, "a fifth known": 0, "all known, weak labels permuted": 0}
    for number, splits in enumerate(rounds):
        rng = np.random.default_rng([5, number])
        honest = [answers_of(VANILLA, one.instance, at) for at, one in enumerate(splits)]
        for name, share in (("200 labels known", None), ("a fifth known", KNOWN_SHARE)):
            leaked = []
            for one, marks in zip(splits, honest, strict=True):
                # 200 of the public items: of each split's test items their share.
                known = rng.random(len(marks)) < (KNOWN / max(len(marks), 1_000) if share is None else share)
                leaked.append(np.where(known, one.taught.truth, marks))
            flagged[name] += readings(splits, leaked)["undistillable"] > thresholds["undistillable"]
        # Who has all labels is right, whatever the weak labels say.
        flagged["all known, weak labels permuted"] += thresholds["labels-from-elsewhere"] < 1
    return {name: f"{count} of {len(rounds)}" for name, count in flagged.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Calibrate the detectors on honest runs of the library.")
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", default=PROBLEMS)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the whole file too")
    options = parser.parse_args()
    whole = (
        json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"problems": {}, "caught": {}}
    )
    for name in options.problems:
        found = calibrate(name)
        whole["problems"][name], whole["caught"][name] = found["detectors"], found["caught"]
        options.out.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", "utf-8")
        print(f"{name} ({len(METHODS)} methods in the library)")
        for code, one in whole["problems"][name].items():
            print(
                f"  {code:<22} threshold {one['threshold']}, honest {one['middle']} to {one['largest']}, "
                f"flagged {one['false_alarms']} of {one['validated_on']} honest runs of other methods"
            )
        for leak, count in whole["caught"][name].items():
            print(f"  {leak}: {count} flagged")
    if options.json:
        print(json.dumps(whole, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
