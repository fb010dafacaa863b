"""Blocks: the steps that methods are composed of, each a pure function with its citation.

A block takes the state of an experiment and returns the next: relabel changes the targets, select and
reweight the weights, represent the features, an objective fits the student and predicts. `aggregate` wraps
all that comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aar.lab.errors import MalformedPipeline
from aar.lab.instance import Floats, Instance, Probabilities
from aar.lab.neighbours import nearest, normalised_graph, spread
from aar.lab.probe import Probe, predict

STUDENT_L2 = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An experiment between two blocks; `answer` is P(y = 1) on the test items once an objective ran."""

    train_x: Floats
    targets: Probabilities
    weights: Probabilities
    test_x: Floats
    class_prior: float
    answer: Probabilities | None = None

    @classmethod
    def of(cls, instance: Instance) -> State:
        return cls(
            train_x=instance.train_x,
            targets=instance.weak,
            weights=np.ones(len(instance.weak)),
            test_x=instance.test_x,
            class_prior=instance.class_prior,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that a parameter may take; `grid` are the ones worth trying first."""

    low: float
    high: float
    default: float
    grid: tuple[float, ...]
    is_whole: bool = False


Step = Callable[[State, Mapping[str, Any], np.random.Generator], State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One step: its name, kind, parameters and source."""

    name: str
    kind: str
    family: str
    parameters: Mapping[str, Range]
    source: str
    step: Step


def _knn(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Replace each target by a mix with the mean over its neighbours in the strong space."""
    chosen, _squared = nearest(state.train_x, state.train_x, int(p["k"]), skip_self=True)
    mixed = (1 - p["mix"]) * state.targets + p["mix"] * state.targets[chosen].mean(axis=1)
    return replace(state, targets=mixed)


def _label_prop(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Diffuse the weak labels over the kNN graph of training and test items, keep what reaches training."""
    points = np.vstack([state.train_x, state.test_x])
    graph = normalised_graph(points, int(p["k"]))
    start = np.zeros(len(points))
    start[: len(state.targets)] = 2 * state.targets - 1
    value = start
    for _iteration in range(int(p["steps"])):
        value = p["alpha"] * spread(graph, value) + (1 - p["alpha"]) * start
    value = value[: len(state.targets)]
    scale = max(float(np.abs(value).mean()), 1e-12)
    return replace(state, targets=0.5 * (1 + np.tanh(value / scale)))


def _self_train(state: State, p: Mapping[str, Any], rng: np.random.Generator) -> State:
    """Cross-fitted students relabel, a few times over (born-again networks)."""
    targets = state.targets
    for _round in range(int(p["rounds"])):
        fold = rng.integers(0, 4, len(targets))
        fitted = targets.copy()
        for number in range(4):
            held, rest = fold == number, fold != number
            if held.any() and rest.any():
                probe = Probe(state.train_x[rest], l2=STUDENT_L2)
                fitted[held] = predict(probe.fit(targets[rest], state.weights[rest]), state.train_x[held])
        targets = (1 - p["mix"]) * targets + p["mix"] * fitted
    return replace(state, targets=targets)


def _harden(state: State, _p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Hard labels at the threshold that keeps the weak teacher's class prior."""
    cut = np.quantile(state.targets, 1 - state.class_prior)
    return replace(state, targets=(state.targets > cut).astype(np.float64))


def _conf_keep(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Keep, per class, the share of items that the targets are surest of."""
    sure = np.abs(state.targets - 0.5)
    keep = np.zeros(len(sure), dtype=bool)
    for side in (state.targets > 0.5, state.targets <= 0.5):
        if side.any():
            keep |= side & (sure >= np.quantile(sure[side], 1 - p["q"]))
    return replace(state, weights=state.weights * keep)


def _agree_keep(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Drop items whose neighbours' mean target is on the other side."""
    chosen, _squared = nearest(state.train_x, state.train_x, int(p["k"]), skip_self=True)
    around = state.targets[chosen].mean(axis=1)
    agrees = (around > np.median(around)) == (state.targets > np.median(state.targets))
    return replace(state, weights=state.weights * agrees)


def _conf_w(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Weight items by how sure the targets are, to a power."""
    return replace(state, weights=state.weights * np.abs(2 * state.targets - 1) ** p["power"])


def _pca(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Project on the leading principal components of training and test items."""
    both = np.vstack([state.train_x, state.test_x]).astype(np.float64)
    centred = both - both.mean(axis=0)
    _u, _s, axes = np.linalg.svd(centred, full_matrices=False)
    reduced = (centred @ axes[: int(p["k"])].T).astype(np.float32)
    return replace(state, train_x=reduced[: len(state.targets)], test_x=reduced[len(state.targets) :])


def _probe(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """The plain student: a logistic probe on the targets."""
    fitted = Probe(state.train_x, l2=p["l2"]).fit(state.targets, state.weights)
    return replace(state, answer=predict(fitted, state.test_x))


def _early_stop(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """A student stopped after a few steps, before it fits the teacher's mistakes."""
    fitted = Probe(state.train_x, l2=STUDENT_L2).fit(state.targets, state.weights, iterations=int(p["steps"]))
    return replace(state, answer=predict(fitted, state.test_x))


def _logconf(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Auxiliary confidence loss: the student's own hardened predictions join the targets, warmed up."""
    probe = Probe(state.train_x, l2=STUDENT_L2)
    fitted = probe.fit(state.targets, state.weights)
    for share in np.linspace(0, p["c"], int(p["rounds"]) + 1)[1:]:
        own = predict(fitted, state.train_x)
        hard = (own > np.quantile(own, 1 - state.class_prior)).astype(np.float64)
        fitted = probe.fit((1 - share) * state.targets + share * hard, state.weights)
    return replace(state, answer=predict(fitted, state.test_x))


def _knn_vote(state: State, p: Mapping[str, Any], _rng: np.random.Generator) -> State:
    """Predict by the weighted mean target of the nearest training items."""
    chosen, _squared = nearest(state.test_x, state.train_x, int(p["k"]))
    weights = state.weights[chosen] + 1e-9
    answer = (state.targets[chosen] * weights).sum(axis=1) / weights.sum(axis=1)
    cut = float(np.quantile(state.targets, 1 - state.class_prior))
    return replace(state, answer=np.clip(answer - cut + 0.5, 0, 1))


def _whole(low: int, high: int, default: int, *grid: int) -> Range:
    return Range(low=low, high=high, default=default, grid=grid, is_whole=True)


def _real(low: float, high: float, default: float, *grid: float) -> Range:
    return Range(low=low, high=high, default=default, grid=grid)


BLOCKS: Mapping[str, Block] = {
    block.name: block
    for block in (
        Block(
            name="knn",
            kind="relabel",
            family="neighbourhood",
            parameters={"k": _whole(1, 200, 20, 5, 10, 20, 40), "mix": _real(0, 1, 1.0, 0.5, 0.8, 1.0)},
            source="EleutherAI 2024, Experiments in weak-to-strong generalization (kNN averaging)",
            step=_knn,
        ),
        Block(
            name="label_prop",
            kind="relabel",
            family="neighbourhood",
            parameters={
                "k": _whole(2, 100, 12, 6, 12, 24),
                "alpha": _real(0, 0.999, 0.9, 0.8, 0.9, 0.97),
                "steps": _whole(1, 100, 20, 10, 20, 40),
            },
            source="Zhou et al. 2003, Learning with local and global consistency",
            step=_label_prop,
        ),
        Block(
            name="self_train",
            kind="relabel",
            family="self-training",
            parameters={"rounds": _whole(1, 10, 2, 1, 2, 4), "mix": _real(0, 1, 1.0, 0.5, 1.0)},
            source="Furlanello et al. 2018, Born-again neural networks, arXiv:1805.04770",
            step=_self_train,
        ),
        Block(
            name="harden",
            kind="relabel",
            family="confidence",
            parameters={},
            source="Burns et al. 2023, arXiv:2312.09390 (hard labels at the class prior)",
            step=_harden,
        ),
        Block(
            name="conf_keep",
            kind="select",
            family="confidence",
            parameters={"q": _real(0.05, 1, 0.5, 0.3, 0.5, 0.75)},
            source="Wen et al. 2026, Automated weak-to-strong researcher (train on confident labels)",
            step=_conf_keep,
        ),
        Block(
            name="agree_keep",
            kind="select",
            family="neighbourhood",
            parameters={"k": _whole(1, 200, 15, 8, 15, 30)},
            source="Wu et al. 2020, A topological filter for learning with label noise",
            step=_agree_keep,
        ),
        Block(
            name="conf_w",
            kind="reweight",
            family="confidence",
            parameters={"power": _real(0, 8, 1.0, 0.5, 1.0, 2.0)},
            source="Wen et al. 2026, Automated weak-to-strong researcher (confidence weighting)",
            step=_conf_w,
        ),
        Block(
            name="pca",
            kind="represent",
            family="representation",
            parameters={"k": _whole(1, 512, 20, 10, 20, 30)},
            source="Jolliffe 2002, Principal component analysis",
            step=_pca,
        ),
        Block(
            name="probe",
            kind="objective",
            family="baseline",
            parameters={"l2": _real(1e-6, 100, STUDENT_L2, 0.003, 0.01, 0.1)},
            source="Burns et al. 2023, arXiv:2312.09390 (naive finetuning on weak labels)",
            step=_probe,
        ),
        Block(
            name="early_stop",
            kind="objective",
            family="simplicity",
            parameters={"steps": _whole(1, 50, 4, 2, 4, 8)},
            source="Medvedev et al. 2025, arXiv:2503.02877 (early stopping)",
            step=_early_stop,
        ),
        Block(
            name="logconf",
            kind="objective",
            family="confidence",
            parameters={"c": _real(0, 0.95, 0.5, 0.3, 0.5, 0.75), "rounds": _whole(1, 20, 4, 2, 4, 8)},
            source="Burns et al. 2023, arXiv:2312.09390 (auxiliary confidence loss)",
            step=_logconf,
        ),
        Block(
            name="knn_vote",
            kind="objective",
            family="neighbourhood",
            parameters={"k": _whole(1, 200, 15, 8, 15, 30)},
            source="Cover and Hart 1967, Nearest neighbor pattern classification",
            step=_knn_vote,
        ),
        Block(
            name="bag",
            kind="aggregate",
            family="ensembles",
            parameters={"count": _whole(2, 20, 5, 3, 5), "share": _real(0.1, 1, 0.7, 0.5, 0.7)},
            source="Breiman 1996, Bagging predictors; Agrawal et al. 2024, arXiv:2410.04571",
            step=lambda state, _parameters, _rng: state,
        ),
    )
}


def block_named(name: object) -> Block:
    """The block of that name; `MalformedPipeline` lists what there is."""
    block = BLOCKS.get(name) if isinstance(name, str) else None
    if block is None:
        raise MalformedPipeline(f"no block {name!r:.60}; there is: {', '.join(BLOCKS)}")
    return block
