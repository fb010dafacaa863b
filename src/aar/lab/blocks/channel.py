"""Channel: relabelling by a model of how true labels became weak ones, fitted by expectation maximisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.blocks.cross_fit import CrossFit
from aar.lab.instance import Probabilities
from aar.lab.probe import sigmoid

# What every cell of a channel counts before anything was seen.
SMOOTHING = 1.0


def channel_odds(
    symbols: NDArray[np.intp], posterior: Probabilities, weights: Probabilities, count: int
) -> NDArray[np.float64]:
    """log P(symbol | y = 1) / P(symbol | y = 0) for each of `count` symbols, from soft labels."""
    ones = np.bincount(symbols, weights=weights * posterior, minlength=count) + SMOOTHING
    zeros = np.bincount(symbols, weights=weights * (1 - posterior), minlength=count) + SMOOTHING
    odds: NDArray[np.float64] = np.log(ones / ones.sum()) - np.log(zeros / zeros.sum())
    return odds


def _through(
    state: State, symbols: NDArray[np.intp], count: int, rounds: int, rng: np.random.Generator
) -> State:
    """Latent labels: the cross-fitted student is their prior, an item's symbol its evidence."""
    students, posterior = CrossFit(state), state.targets
    for _round in range(rounds):
        prior = students.scores(posterior, state.weights, rng)
        posterior = sigmoid(prior + channel_odds(symbols, posterior, state.weights, count)[symbols])
    return replace(state, targets=posterior)


def _em_class(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """The symbol is the hard label: a 2 x 2 confusion matrix."""
    return _through(state, (state.targets > 0.5).astype(np.intp), 2, int(p["rounds"]), rng)


def _em_conf(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """The symbol is the confidence bin of the label, bins of equal counts."""
    bins = int(p["bins"])
    edges = np.quantile(state.targets, np.arange(1, bins) / bins)
    symbols = np.searchsorted(edges, state.targets, side="right").astype(np.intp)
    return _through(state, symbols, bins, int(p["rounds"]), rng)


def _dawid_skene(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """One confusion matrix per teacher, over their hard votes; the cross-fitted student may be one more."""
    assert state.votes is not None
    hard = (state.votes > 0.5).astype(np.intp)
    students = CrossFit(state)
    posterior = hard.mean(axis=1)
    for _round in range(int(p["rounds"])):
        voters = list(hard.T)
        if p["student"]:
            voters.append((students.scores(posterior, state.weights, rng) > 0).astype(np.intp))
        share = (posterior.sum() + SMOOTHING) / (len(posterior) + 2 * SMOOTHING)
        odds = np.full(len(posterior), np.log(share / (1 - share)))
        for voter in voters:
            odds += channel_odds(voter, posterior, np.ones(len(posterior)), 2)[voter]
        posterior = sigmoid(odds)
    return replace(state, targets=posterior)


def _vote_mean(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The mean opinion of several weak teachers, soft or after each decided, mixed with the target."""
    assert state.votes is not None
    votes = (state.votes > 0.5).astype(np.float64) if p["hard"] else state.votes
    return replace(state, targets=(1 - p["mix"]) * state.targets + p["mix"] * votes.mean(axis=1))


CHANNEL = (
    Block(
        name="em_class",
        kind="relabel",
        family="channel",
        parameters={"rounds": whole(1, 40, 10, 5, 10, 20)},
        source="Dawid and Skene 1979, Maximum likelihood estimation of observer error-rates using EM",
        step=_em_class,
    ),
    Block(
        name="em_conf",
        kind="relabel",
        family="channel",
        parameters={"bins": whole(2, 64, 8, 4, 8, 16), "rounds": whole(1, 40, 10, 5, 10, 20)},
        source="Raykar et al. 2010, Learning from crowds (a classifier as prior; here bins are the symbols)",
        step=_em_conf,
    ),
    Block(
        name="dawid_skene",
        kind="relabel",
        family="ensembles",
        parameters={"rounds": whole(1, 100, 20, 10, 20, 40), "student": whole(0, 1, 0, 0, 1)},
        source="Dawid and Skene 1979, Maximum likelihood estimation of observer error-rates using EM",
        step=_dawid_skene,
        needs=("votes",),
    ),
    Block(
        name="vote_mean",
        kind="relabel",
        family="ensembles",
        parameters={"hard": whole(0, 1, 0, 0, 1), "mix": real(0, 1, 1.0, 0.5, 1.0)},
        source="Agrawal et al. 2024, EnsemW2S, arXiv:2410.04571 (weak ensembles; here unboosted)",
        step=_vote_mean,
        needs=("weak", "votes"),
    ),
)
