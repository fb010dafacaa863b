"""One weak-to-strong experiment with fine-tuned models: teacher, student and ceiling, judged item by item.

The teacher learns from true labels and labels the student's items; the student learns from those; the ceiling
is the student on true labels. Teacher and ceiling do not depend on the method and are kept in a cache.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from aar.lab.instance import Probabilities
from aar.lab.students.artefacts import Arrays, Artefacts
from aar.lab.students.errors import MalformedSettings
from aar.lab.students.huggingface import HFClassifier
from aar.lab.students.losses import Loss
from aar.lab.students.models import Pretrained, Source
from aar.lab.students.settings import HFConfig
from aar.lab.students.texts import Answers, Items, Marks, Template
from aar.verify.pgr import pgr

Item = TypeVar("Item")

# Weak labels [n] in, targets [n] and weights [n] out.
Relabel = Callable[[Probabilities], tuple[Probabilities, Probabilities]]


def hard(weak: Probabilities) -> tuple[Probabilities, Probabilities]:
    """1 where the teacher says more than one half: vanilla (Burns et al. 2023)."""
    return (weak > 0.5).astype(np.float64), np.ones(len(weak))


def soft(weak: Probabilities) -> tuple[Probabilities, Probabilities]:
    """What the teacher says, as it is."""
    return weak, np.ones(len(weak))


def confident(weak: Probabilities) -> tuple[Probabilities, Probabilities]:
    """Hard labels of the more confident half of the items, no weight for the rest (the study's baseline)."""
    sure = np.abs(weak - 0.5)
    return (weak > 0.5).astype(np.float64), (sure >= np.quantile(sure, 0.5)).astype(np.float64)


RELABELS: Mapping[str, Relabel] = MappingProxyType({"hard": hard, "soft": soft, "confident": confident})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What teacher, student and ceiling get right of the tested items, each [m], in their order.

    `weak_labels_right` is the share of the student's items that the teacher labelled rightly.
    """

    weak: Marks
    student: Marks
    ceiling: Marks
    weak_labels_right: float

    @property
    def accuracies(self) -> tuple[float, float, float]:
        """Of teacher, student and ceiling, in [0, 1]."""
        return float(self.weak.mean()), float(self.student.mean()), float(self.ceiling.mean())

    @property
    def pgr(self) -> float:
        """The performance gap recovered; raises `UndefinedPGR` when the ceiling is not above the teacher."""
        count = len(self.weak)
        weak, student, ceiling = (
            Fraction(int(marks.sum()), count) for marks in (self.weak, self.student, self.ceiling)
        )
        return float(pgr(weak=weak, student=student, ceiling=ceiling))


def hf_experiment(
    data: Items[Item],
    reading: Template | Answers,
    weak_model: Source | str,
    strong_model: Source | str,
    *,
    config: HFConfig,
    seed: int,
    cache: Path,
    relabel: str | Relabel = "hard",
    weak_config: HFConfig | None = None,
) -> Outcome:
    """Run one seed.

    `config` are the settings of student and ceiling, `weak_config` the teacher's (the same where it is None);
    the loss in `config` is the student's alone: teacher and ceiling learn true labels by cross-entropy. The
    settings' seed is not used. A model given as a text is `Pretrained` of that name.
    """
    method = RELABELS.get(relabel) if isinstance(relabel, str) else relabel
    if method is None:
        raise MalformedSettings(f"relabel {relabel!r:.40}: want one of {', '.join(RELABELS)}, or a function")
    weak_source, strong_source = (
        Pretrained(model) if isinstance(model, str) else model for model in (weak_model, strong_model)
    )
    # Before the first training: a model that cannot be had is an error now, and not in two hours.
    weak_name, strong_name = weak_source.identity(), strong_source.identity()
    plain = Loss.of("xent")
    of_teacher = replace(weak_config or config, loss=plain, seed=seed)
    of_ceiling = replace(config, loss=plain, seed=seed)
    of_student = replace(config, seed=seed)
    kept = Artefacts(cache)

    def teach() -> Arrays:
        teacher = HFClassifier[Any](weak_source, of_teacher, reading)
        teacher.fit(data.labelled, data.labels.astype(np.float64))
        answers = {"unlabelled": teacher.predict(data.unlabelled), "test": teacher.predict(data.test)}
        del teacher
        _free(of_teacher)
        return answers

    def reach() -> Arrays:
        ceiling = HFClassifier[Any](strong_source, of_ceiling, reading)
        ceiling.fit(data.unlabelled, data.unlabelled_truth.astype(np.float64))
        answers = {"test": ceiling.predict(data.test)}
        del ceiling
        _free(of_ceiling)
        return answers

    taught = kept.of(_key("teacher", weak_name, data, of_teacher, reading), teach)
    reached = kept.of(_key("ceiling", strong_name, data, of_ceiling, reading), reach)
    student = HFClassifier[Any](strong_source, of_student, reading)
    targets, weights = method(taught["unlabelled"])
    student.fit(data.unlabelled, targets, weights)
    answers = student.predict(data.test)
    del student
    _free(of_student)
    return Outcome(
        weak=_right(taught["test"], data.test_truth),
        student=_right(answers, data.test_truth),
        ceiling=_right(reached["test"], data.test_truth),
        weak_labels_right=float(_right(taught["unlabelled"], data.unlabelled_truth).mean()),
    )


def _right(answers: Probabilities, truth: Marks) -> Marks:
    right: Marks = (answers > 0.5) == truth
    return right


def _key(
    role: str, model: str, data: Items[Any], config: HFConfig, reading: Template | Answers
) -> dict[str, Any]:
    return {
        "v": 1,
        "role": role,
        "model": model,
        "data": data.fingerprint,
        "seed": config.seed,
        "settings": config.digest,
        "reading": repr(reading),
    }


def _free(config: HFConfig) -> None:
    """Give the device's memory back, so that the next model fits beside no other."""
    gc.collect()
    if config.device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
