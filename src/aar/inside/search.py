"""The free researcher's choice of what to try next: a rule over what the forum's receipts say.

Thompson-style: each family of blocks has a score from the best released values it took part in, widened where
little was tried; the task's direction is a prior, not an order. From the winning family a block is put into
the best pipeline known, or into a plain one. What was tried by anyone is not tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aar.lab.blocks import BLOCKS
from aar.lab.blocks.block import Block
from aar.lab.errors import MalformedPipeline
from aar.lab.pipeline import Pipeline, format_pipeline, parse_pipeline

PLAIN: Pipeline = parse_pipeline([["probe", {}]])
# What a receipt without a new rung says of a method: below its researcher's best, by an unknown amount.
NOT_BETTER = 0.05
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "neighbourhood": ("neighbour", "geometry", "graph", "smooth", "local"),
    "confidence": ("confiden", "sure", "trust"),
    "self-training": ("self-train", "self train", "itself", "born-again"),
    "ensembles": ("ensemble", "bag", "vote"),
    "representation": ("represent", "component", "pca"),
    "simplicity": ("simpl", "early", "regular"),
    "baseline": ("baseline",),
}
ORDER = ("represent", "relabel", "select", "reweight", "objective")
MAX_STEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A method that somebody handed in, and what its receipt released."""

    submission: int
    researcher: str
    pipeline: Pipeline
    pgr: float
    is_improved: bool
    finding: int = -1

    @property
    def worth(self) -> float:
        return self.pgr if self.is_improved else self.pgr - NOT_BETTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to try next, from which family of ideas, and on whose method it builds."""

    pipeline: Pipeline
    family: str
    parent: Tried | None


def families_of(pipeline: Pipeline) -> list[str]:
    return [BLOCKS[name].family for name, _values in pipeline]


def choose(tried: Sequence[Tried], direction: str, rng: np.random.Generator) -> Choice | None:
    """The next pipeline, or `None` when a hundred ideas in a row were known already."""
    known = {format_pipeline(one.pipeline) for one in tried}
    if not tried:
        return Choice(pipeline=PLAIN, family="baseline", parent=None)
    ranked = sorted(tried, key=lambda one: one.worth, reverse=True)
    for _attempt in range(100):
        family = _family(tried, direction, rng)
        parent = ranked[min(int(rng.exponential(1.2)), len(ranked) - 1)] if rng.random() < 0.75 else None
        pipeline = _with_block_of(family, parent.pipeline if parent else PLAIN, rng)
        if pipeline is not None and format_pipeline(pipeline) not in known:
            return Choice(pipeline=pipeline, family=family, parent=parent)
    return None


def _family(tried: Sequence[Tried], direction: str, rng: np.random.Generator) -> str:
    """Draw a score for each family from what it did so far; the largest wins."""
    text = direction.lower()
    scores = {}
    for family, words in KEYWORDS.items():
        if family == "baseline":
            continue
        worths = [one.worth for one in tried if family in families_of(one.pipeline)]
        is_asked_for = any(word in text for word in words)
        mean = max(worths) if worths else 0.35 + 0.15 * is_asked_for
        scores[family] = rng.normal(mean + 0.05 * is_asked_for, 0.15 / (1 + len(worths)) ** 0.5)
    return max(scores, key=lambda family: scores[family])


def _with_block_of(family: str, base: Pipeline, rng: np.random.Generator) -> Pipeline | None:
    """The base with one block of the family added, replaced, or tuned."""
    blocks = [block for block in BLOCKS.values() if block.family == family]
    block = blocks[int(rng.integers(len(blocks)))]
    steps = [(name, dict(values)) for name, values in base]
    present = [place for place, (name, _values) in enumerate(steps) if name == block.name]
    step = (block.name, _drawn(block, rng))
    if block.kind == "aggregate":
        steps = [step, *(one for one in steps if BLOCKS[one[0]].kind != "aggregate")]
    elif present:
        steps[present[0]] = step
    elif block.kind == "objective":
        steps[-1] = step
    else:
        steps.append(step)
        steps.sort(key=lambda one: -1 if BLOCKS[one[0]].kind == "aggregate" else ORDER.index(BLOCKS[one[0]].kind))
    if len(steps) > MAX_STEPS:
        return None
    try:
        return parse_pipeline(steps)
    except MalformedPipeline:
        return None


def _drawn(block: Block, rng: np.random.Generator) -> dict[str, float]:
    """Parameters from the grids that are worth trying first."""
    return {name: span.grid[int(rng.integers(len(span.grid)))] for name, span in block.parameters.items()}
