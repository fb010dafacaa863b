"""Relabel: other targets than the weak teacher's, from the strong space or from the student itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.blocks.cross_fit import CrossFit
from aar.lab.blocks.mixture import two_gaussians
from aar.lab.blocks.odds import EDGE, log_odds, shifted_to
from aar.lab.blocks.represent import centred, leading
from aar.lab.instance import Probabilities
from aar.lab.neighbours import Graph, nearest, neighbour_means, normalised_graph
from aar.lab.probe import Probe, predict, scores_of, sigmoid

MIXTURE_STEPS = 20


def _knn(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Mix each target with the mean over its neighbours."""
    chosen, _squared = nearest(state.train_x, state.train_x, int(p["k"]), skip_self=True)
    around = neighbour_means(state.targets, chosen)
    return replace(state, targets=(1 - p["mix"]) * state.targets + p["mix"] * around)


def _label_prop(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """f <- alpha S f + (1 - alpha) y over the kNN graph of the training items, y around the class prior.

    Diffusion shrinks f; its scale is restored by its own mean size before it is a probability again.
    """
    graph = normalised_graph(state.train_x, int(p["k"]))
    scores = diffused(graph, state.targets - state.class_prior, p)
    return replace(state, targets=0.5 * (1 + np.tanh(scores)))


def diffused(graph: Graph, start: Probabilities, p: Parameters) -> Probabilities:
    """What f <- alpha S f + (1 - alpha) start arrives at, in units of its own mean size."""
    kept = ((1 - p["alpha"]) * start).astype(np.float32)
    value, share = start.astype(np.float32), np.float32(p["alpha"])
    for _step in range(int(p["steps"])):
        value = share * graph.spread(value) + kept
    scores = value.astype(np.float64)
    return scores / max(float(np.abs(scores).mean()), 1e-12)


def _self_train(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Students relabel the items that they were not trained on, a few times over."""
    students, targets = CrossFit(state), state.targets
    for _round in range(int(p["rounds"])):
        own = students.answers(targets, state.weights, rng)
        targets = (1 - p["mix"]) * targets + p["mix"] * own
    return replace(state, targets=targets)


def _bootstrap(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """A chain of students, each on more principal components and on the labels of the one before."""
    items = centred(state)
    width = items.shape[1]
    axes, _deviations = leading(items, width)
    train = (items @ axes)[: len(state.targets)].astype(np.float32)
    links, targets = int(p["links"]), state.targets
    for link in range(1, links + 1):
        part = np.ascontiguousarray(train[:, : max(width * link // (links + 1), 1)])
        fitted = Probe(part, l2=state.student_l2).fit(targets, state.weights)
        targets = predict(fitted, part)
    return replace(state, targets=targets)


def _balance(state: State, _p: Parameters, _rng: np.random.Generator) -> State:
    """Bring the mean target back to the weak teacher's class prior."""
    return replace(state, targets=shifted_to(log_odds(state.targets), state.class_prior))


def _harden(state: State, _p: Parameters, _rng: np.random.Generator) -> State:
    """Hard labels: 1 where the target is above one half."""
    return replace(state, targets=(state.targets > 0.5).astype(np.float64))


def _sinkhorn(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Cross-fitted students' answers, sharpened, transported to the class prior.

    With two classes the scaled kernel that Sinkhorn's iteration ends at adds one number to all log-odds.
    """
    scores = CrossFit(state).scores(state.targets, state.weights, rng)
    return replace(state, targets=shifted_to(scores / p["temperature"], state.class_prior))


def _student_poe(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """A product of experts: the target times the cross-fitted student's answer to a power."""
    scores = CrossFit(state).scores(state.targets, state.weights, rng)
    return replace(state, targets=sigmoid(log_odds(state.targets) + p["power"] * scores))


def _icm(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Labels that predict each other: hard labels resampled from cross-fitted students, cooler each round.

    They start at the weak labels, which are not looked at again. With `balanced` the class prior's share of
    items is above the threshold in every round, else it is one half. The last round draws nothing.
    """
    students, rounds = CrossFit(state), int(p["rounds"])
    labels = _above(state.targets, state.class_prior)
    for number in range(rounds):
        scores = students.scores(labels, state.weights, rng)
        if p["balanced"]:
            scores = scores - np.quantile(scores, 1 - state.class_prior)
        heat = p["heat"] * (1 - (number + 1) / rounds)
        if heat > 0:
            labels = (rng.random(len(scores)) < sigmoid(scores / heat)).astype(np.float64)
        else:
            labels = (scores > 0).astype(np.float64)
    return replace(state, targets=labels)


def _above(values: Probabilities, share: float) -> Probabilities:
    """1 for the `share` of items with the largest values, 0 for the rest."""
    return (values > np.quantile(values, 1 - share)).astype(np.float64)


def _refine(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Two stages: a student on items whose label it is sure of unseen, which then relabels all others."""
    own = CrossFit(state).answers(state.targets, state.weights, rng)
    sides = state.targets > 0.5
    sure = np.where((own > 0.5) == sides, np.abs(own - 0.5), -1.0)
    kept = np.zeros(len(own), dtype=bool)
    for side in (sides, ~sides):
        if side.any():
            kept |= side & (sure >= 0) & (sure >= np.quantile(sure[side], 1 - p["share"]))
    second = Probe(state.train_x, l2=state.student_l2).fit(state.targets, state.weights * kept)
    return replace(state, targets=np.where(kept, state.targets, predict(second, state.train_x)))


def _dividemix(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Two Gaussians over the cross-fitted loss: what is likely wrong gets the student's answer."""
    own = CrossFit(state).answers(state.targets, state.weights, rng)
    inside = np.clip(own, EDGE, 1 - EDGE)
    loss = -state.targets * np.log(inside) - (1 - state.targets) * np.log(1 - inside)
    noisy = two_gaussians(loss[:, None], (loss > np.median(loss)).astype(np.float64), MIXTURE_STEPS)
    # Of two Gaussians of unlike widths the wider one claims both ends; the lower end is clean.
    noisy = np.where(loss > np.median(loss), noisy, 0.0)
    sharp = sigmoid(log_odds(own) / p["temperature"])
    return replace(state, targets=(1 - noisy) * state.targets + noisy * sharp)


def _views(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Consistency: the cross-fitted student's mean answer over views with features dropped, sharpened."""
    students = CrossFit(state)
    students.scores(state.targets, state.weights, rng)
    fitted, fold = students.students, students.fold
    assert fitted is not None
    middle = state.train_x.mean(axis=0)
    around = state.train_x - middle
    total = np.zeros(len(fold))
    for _view in range(int(p["count"])):
        keep = rng.random(around.shape, dtype=np.float32) >= p["drop"]
        view = middle + around * keep / np.float32(1 - p["drop"])
        total += sigmoid(scores_of(fitted, view)[np.arange(len(fold)), fold])
    guess = sigmoid(log_odds(total / p["count"]) / p["temperature"])
    return replace(state, targets=(1 - p["mix"]) * state.targets + p["mix"] * guess)


RELABEL = (
    Block(
        name="knn",
        kind="relabel",
        family="neighbourhood",
        parameters={"k": whole(1, 200, 20, 5, 10, 20, 40), "mix": real(0, 1, 1.0, 0.5, 0.8, 1.0)},
        source="EleutherAI 2024, Experiments in weak-to-strong generalization (kNN averaging)",
        step=_knn,
    ),
    Block(
        name="label_prop",
        kind="relabel",
        family="neighbourhood",
        parameters={
            "k": whole(2, 100, 12, 6, 12, 24),
            "alpha": real(0, 0.999, 0.9, 0.8, 0.9, 0.97, 0.99),
            "steps": whole(1, 200, 50, 10, 20, 50),
        },
        source="Zhou et al. 2003, Learning with local and global consistency",
        step=_label_prop,
        needs=("weak", "prior"),
    ),
    Block(
        name="self_train",
        kind="relabel",
        family="self-training",
        parameters={"rounds": whole(1, 10, 2, 1, 2, 4), "mix": real(0, 1, 1.0, 0.5, 1.0)},
        source="Furlanello et al. 2018, Born-again neural networks, arXiv:1805.04770",
        step=_self_train,
    ),
    Block(
        name="bootstrap",
        kind="relabel",
        family="self-training",
        parameters={"links": whole(1, 8, 3, 2, 3, 5)},
        source="Burns et al. 2023, arXiv:2312.09390 (bootstrapping; here sizes are principal components)",
        step=_bootstrap,
        needs=("weak", "test inputs"),
    ),
    Block(
        name="balance",
        kind="relabel",
        family="prior",
        parameters={},
        source="Saerens et al. 2002, Adjusting the outputs of a classifier to new a priori probabilities",
        step=_balance,
        needs=("weak", "prior"),
    ),
    Block(
        name="harden",
        kind="relabel",
        family="confidence",
        parameters={},
        source="Burns et al. 2023, arXiv:2312.09390 (hard weak labels)",
        step=_harden,
    ),
    Block(
        name="sinkhorn",
        kind="relabel",
        family="prior",
        parameters={"temperature": real(0.05, 5, 0.5, 0.2, 0.5, 1.0)},
        source="Asano et al. 2020, arXiv:1911.05371 (labels by optimal transport)",
        step=_sinkhorn,
        needs=("weak", "prior"),
    ),
    Block(
        name="student_poe",
        kind="relabel",
        family="self-training",
        parameters={"power": real(0, 4, 1.0, 0.5, 1.0, 2.0)},
        source="Hinton 2002, Training products of experts by minimizing contrastive divergence (the product)",
        step=_student_poe,
    ),
    Block(
        name="icm",
        kind="relabel",
        family="self-training",
        parameters={
            "rounds": whole(1, 40, 10, 5, 10, 20),
            "heat": real(0, 5, 0.5, 0.0, 0.5, 1.0),
            "balanced": whole(0, 1, 0, 0, 1),
        },
        source="Wen et al. 2025, arXiv:2506.10139 (here: mutual predictability by cross-fit)",
        step=_icm,
        needs=("weak", "prior"),
    ),
    Block(
        name="refine",
        kind="relabel",
        family="self-training",
        parameters={"share": real(0.05, 1, 0.5, 0.3, 0.5, 0.8)},
        source="Shi et al. 2025, arXiv:2503.04249 (filter, then relabel the rest)",
        step=_refine,
    ),
    Block(
        name="dividemix",
        kind="relabel",
        family="channel",
        parameters={"temperature": real(0.1, 2, 0.5, 0.3, 0.5, 1.0)},
        source="Li et al. 2020, DivideMix, arXiv:2002.07394 (division and co-refinement, one student)",
        step=_dividemix,
    ),
    Block(
        name="views",
        kind="relabel",
        family="robustness",
        parameters={
            "count": whole(1, 16, 4, 2, 4, 8),
            "drop": real(0, 0.8, 0.3, 0.1, 0.3, 0.5),
            "temperature": real(0.1, 2, 0.5, 0.3, 0.5, 1.0),
            "mix": real(0, 1, 0.5, 0.3, 0.5, 1.0),
        },
        source="Berthelot et al. 2019, MixMatch, arXiv:1905.02249 (label guessing; the views are dropout's)",
        step=_views,
    ),
)
