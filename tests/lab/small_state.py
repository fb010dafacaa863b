"""A small state that blocks are tested on, and the plain computations that several tests compare with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from aar.lab.blocks import BLOCKS
from aar.lab.blocks.block import State
from aar.lab.instance import STUDENT_L2, Instance

RNG = np.random.default_rng(21)
N, M, WIDTH, TEACHERS = 160, 70, 6, 5
RAW = RNG.normal(size=(N + M, WIDTH)) @ RNG.normal(size=(WIDTH, WIDTH))
# Columns of one deviation, as strong features are; not quite centred, so that who forgets to centre is seen.
BASE = (RAW - RAW.mean(axis=0)) / RAW.std(axis=0) + 0.5
WEAK = np.clip(expit(BASE[:N, 0] - 0.5 + RNG.normal(size=N)), 0.02, 0.98)
STATE_WEIGHTS = RNG.uniform(0.1, 1, N)
INSTANCE = Instance(
    train_x=BASE[:N].astype(np.float32),
    weak=WEAK,
    test_x=BASE[N:].astype(np.float32),
    class_prior=0.4,
    votes=np.clip(WEAK[:, None] + 0.4 * RNG.normal(size=(N, TEACHERS)), 0.02, 0.98),
    zero_shot=(expit(BASE[:N, 1] - 0.5), expit(BASE[N:, 1] - 0.5)),
)
STATE = replace(State.of(INSTANCE), weights=STATE_WEIGHTS)


def after(name: str, state: State = STATE, seed: int = 0, **parameters: float) -> State:
    """The state after a block."""
    block = BLOCKS[name]
    whole = {key: span.default for key, span in block.parameters.items()} | parameters
    return block.step(state, whole, np.random.default_rng(seed))


def answer_of(name: str, state: State = STATE, seed: int = 0, **parameters: float) -> np.ndarray:
    """What an objective answers."""
    answer = after(name, state, seed, **parameters).answer
    assert answer is not None
    return answer


def sklearn_probe(
    x: np.ndarray, targets: np.ndarray, weights: np.ndarray, l2: float = STUDENT_L2
) -> LogisticRegression:
    """Soft targets as two weighted rows each; its C is over the sum, our penalty under the mean."""
    model = LogisticRegression(C=1 / (l2 * weights.sum()), tol=1e-9, max_iter=5_000)
    return model.fit(
        np.vstack([x, x]),
        np.repeat([1, 0], len(x)),
        np.concatenate([weights * targets, weights * (1 - targets)]),
    )


def cross_fitted(targets: np.ndarray, rng: np.random.Generator, state: State = STATE) -> np.ndarray:
    """P(y = 1) of each item by a scikit-learn student on the other folds, folds drawn as blocks draw them."""
    fold = rng.permutation(N) % 4
    own = np.zeros(N)
    for number in range(4):
        held = fold == number
        model = sklearn_probe(state.train_x[~held], targets[~held], state.weights[~held])
        own[held] = model.predict_proba(state.train_x[held])[:, 1]
    return own


def neighbours(k: int) -> np.ndarray:
    """Of every training item, without itself."""
    model = NearestNeighbors(n_neighbors=k).fit(STATE.train_x)
    return np.asarray(model.kneighbors(return_distance=False))


def dense_graph(points: np.ndarray, k: int) -> np.ndarray:
    """Zhou et al. 2003 with a Gaussian of the median squared neighbour distance, edge by edge."""
    distances, chosen = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    w = np.zeros((len(points), len(points)))
    for i in range(len(points)):
        for j, distance in zip(chosen[i], distances[i], strict=True):
            w[i, j] = w[j, i] = np.exp(-(distance**2) / np.median(distances**2))
    degree = w.sum(1)
    return w / np.sqrt(np.outer(degree, degree))
