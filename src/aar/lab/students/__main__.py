"""Weak-to-strong runs on a directory of JSONL files: ``python -m aar.lab.students DIR --help``.

One JSON object per seed on standard output, with the names of the published study's cached results
(`weak_acc`, `strong_acc`, `transfer_acc`), and the last line over all seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from aar.lab.errors import LabError
from aar.lab.students.experiment import RELABELS, Outcome, hf_experiment
from aar.lab.students.losses import LOSSES, Loss
from aar.lab.students.models import Pretrained
from aar.lab.students.settings import ADAPTATIONS, PRESETS, HFConfig
from aar.lab.students.texts import read_directory
from aar.verify.pgr import UndefinedPGR, pgr


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds; exit status 0, or 2 when something given cannot be used."""
    options = parser().parse_args(arguments)
    try:
        _run(options)
    except LabError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """All arguments."""
    arguments = argparse.ArgumentParser(prog="python -m aar.lab.students", description=__doc__)
    arguments.add_argument(
        "directory", type=Path, metavar="DIR", help="train_label, train_unlabel, test (.jsonl)"
    )
    arguments.add_argument(
        "--cache", type=Path, required=True, metavar="DIR", help="what teachers and ceilings said"
    )
    arguments.add_argument("--device", required=True, help='as torch names it: "cuda" or "cpu"')
    arguments.add_argument(
        "--weak", default=PRESETS["weak"], help="model name or directory (default: %(default)s)"
    )
    arguments.add_argument(
        "--strong", default=PRESETS["strong"], help="model name or directory (default: %(default)s)"
    )
    arguments.add_argument("--offline", action="store_true", help="fetch nothing: only files that are here")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44, 45, 46], metavar="N")
    arguments.add_argument("--loss", choices=list(LOSSES), default="xent", help="the student's")
    arguments.add_argument(
        "--labels", choices=list(RELABELS), default="hard", help="what becomes of weak labels"
    )
    arguments.add_argument("--adaptation", choices=ADAPTATIONS, default="lora")
    for name in ("epochs", "batch", "micro-batch", "rank", "max-tokens", "predict-batch"):
        arguments.add_argument(f"--{name}", type=int, metavar="N")
    arguments.add_argument("--learning-rate", type=float, metavar="X")
    arguments.add_argument("--gradient-checkpointing", action="store_true", help="less memory, more time")
    return arguments


def _run(options: argparse.Namespace) -> None:
    template, data = read_directory(options.directory)
    numbers = ("epochs", "batch", "micro_batch", "rank", "max_tokens", "predict_batch", "learning_rate")
    given = {name: getattr(options, name) for name in numbers if getattr(options, name) is not None}
    config = HFConfig(
        device=options.device,
        loss=Loss.of(options.loss),
        adaptation=options.adaptation,
        gradient_checkpointing=options.gradient_checkpointing,
        **given,
    )
    outcomes = []
    for seed in options.seeds:
        outcome = hf_experiment(
            data,
            template,
            Pretrained(options.weak, local_files_only=options.offline),
            Pretrained(options.strong, local_files_only=options.offline),
            config=config,
            seed=seed,
            cache=options.cache,
            relabel=options.labels,
        )
        outcomes.append(outcome)
        weak, student, ceiling = outcome.accuracies
        _say(
            {
                "dataset": options.directory.name,
                "method": f"{options.labels}+{options.loss}",
                "seed": seed,
                "weak_acc": weak,
                "hard_weak_label_acc": outcome.weak_labels_right,
                "strong_acc": ceiling,
                "transfer_acc": student,
                "settings": config.digest,
            }
        )
    _say({"seeds": len(outcomes), "pgr": _pgr_over(outcomes)})


def _pgr_over(outcomes: Sequence[Outcome]) -> float | None:
    """Over the summed counts of all seeds; none where the ceilings are not above the teachers."""
    count = sum(len(one.weak) for one in outcomes)
    weak, student, ceiling = (
        Fraction(sum(int(getattr(one, name).sum()) for one in outcomes), count)
        for name in ("weak", "student", "ceiling")
    )
    try:
        return float(pgr(weak=weak, student=student, ceiling=ceiling))
    except UndefinedPGR:
        return None


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
