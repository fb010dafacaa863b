"""The free researcher's choice of what to try next: a rule over what the forum's receipts say.

Thompson sampling over families of ideas: each has a score from the best value it took part in, widened where
little was tried; the task's direction is a head start, not an order. A block of the winning family is then
put into, tuned in, or crossed over to a good method. What was tried by anyone is not tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from aar.inside.forum import Tried
from aar.lab.blocks import BLOCKS
from aar.lab.blocks.block import ALWAYS, KINDS, Block, Range
from aar.lab.errors import MalformedPipeline
from aar.lab.pipeline import Pipeline, format_pipeline, parse_pipeline, pipeline_families
from aar.verify.workflow import PLAIN_FAMILY

PLAIN: Pipeline = parse_pipeline([["probe", {}]])
# What a method is believed to be worth before anything is known of it, in PGR, and how sure that is.
BEFOREHAND = NormalDist(0.35, 0.15)
# A receipt that is not better leaves out only what lies above the researcher's best by more than this.
LADDER_STEP = 0.05
HEAD_START = 0.15
WIDTH = 0.12
# What an idea that turned out to be known costs its family's next draw, in PGR.
MISS = 0.02
# How often the parent is the best method known, the second best, and so on.
PARENT_SCALE = 0.8
FROM_PLAIN = 0.15
MAX_BLOCKS = 5
ATTEMPTS = 200
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "neighbourhood": ("neighbour", "neighbor", "geometry", "graph", "smooth", "local"),
    "confidence": ("confiden", "sure", "trust"),
    "self-training": ("self-train", "self train", "itself", "born-again", "own prediction"),
    "ensembles": ("ensemble", "bag", "averag"),
    "representation": ("component", "pca", "whiten", "coordinates"),
    "simplicity": ("simpl", "early", "regular"),
    "channel": ("channel", "confusion", "noise"),
    "robustness": ("robust", "loss", "outlier", "augment"),
    "elicitation": ("elicit", "unsupervised", "truth", "latent", "cluster"),
    "prior": ("prior", "balance"),
    "baseline": ("baseline", "plain"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to try next, from which family of ideas, why in words, and on whose method it builds."""

    pipeline: Pipeline
    family: str
    why: str
    parent: Tried | None


def worth_of(tried: Tried) -> float:
    """The PGR that a method is believed to have.

    Its own where it was released; otherwise the mean of what was believed beforehand, cut off above what its
    receipt leaves possible. A run without a score is worth the bottom of that.
    """
    if tried.pgr is None:
        return BEFOREHAND.mean - 2 * BEFOREHAND.stdev
    if tried.is_improved:
        return tried.pgr
    cut = (tried.pgr + LADDER_STEP - BEFOREHAND.mean) / BEFOREHAND.stdev
    standard = NormalDist()
    return BEFOREHAND.mean - BEFOREHAND.stdev * standard.pdf(cut) / max(standard.cdf(cut), 1e-3)


def is_asked_for(family: str, direction: str) -> bool:
    """Whether a task's words speak of a family."""
    return any(word in direction.lower() for word in KEYWORDS[family])


def choose(
    tried: Sequence[Tried],
    direction: str,
    rng: np.random.Generator,
    *,
    offered: Collection[str] = ALWAYS,
    profile: Collection[str] | None = None,
    families: Collection[str] | None = None,
) -> Choice | None:
    """The next pipeline; `None` when every idea drawn in a long row was known already.

    Blocks that need more than is `offered` (`aar.lab.pipeline.offered_by`), or that a study's `profile`
    withholds, are neither drawn nor taken over from others. Nor are those outside of a task's `families`.
    """
    known = {format_pipeline(one.pipeline) for one in tried}
    blocks = [
        block
        for block in BLOCKS.values()
        if set(block.needs) <= set(offered)
        and (profile is None or block.name in profile)
        and (families is None or block.family in (*families, PLAIN_FAMILY))
    ]
    names = {block.name for block in blocks}
    good = sorted((one for one in tried if one.is_improved), key=worth_of, reverse=True)
    good = [one for one in good if all(name in names for name, _values in one.pipeline)]
    # A family whose ideas are known already gives way to the next, else the best one ends the search for all.
    misses = {family: 0 for family in KEYWORDS if families is None or family in families}
    for _attempt in range(ATTEMPTS if misses else 0):
        family = draw_family(tried, direction, rng, misses)
        parent = None
        if good and rng.random() >= FROM_PLAIN:
            parent = good[min(int(rng.exponential(PARENT_SCALE)), len(good) - 1)]
        base = parent.pipeline if parent is not None else PLAIN
        moved = _move([block for block in blocks if block.family == family], base, good, rng)
        if moved is not None and format_pipeline(moved[0]) not in known:
            return Choice(pipeline=moved[0], family=family, why=moved[1], parent=parent)
        misses[family] += 1
    return None


def draw_family(
    tried: Sequence[Tried], direction: str, rng: np.random.Generator, misses: Mapping[str, int] | None = None
) -> str:
    """Draw a score for each family around the best it did so far, less what it missed; the largest wins.

    `misses` names the families that are drawn from; without it they are all.
    """
    scores = {}
    for family in KEYWORDS if misses is None else misses:
        worths = [worth_of(one) for one in tried if family in pipeline_families(one.pipeline)]
        start = HEAD_START if is_asked_for(family, direction) else 0.0
        middle = max(worths) if worths else BEFOREHAND.mean + start
        missed = MISS * misses[family] if misses is not None else 0.0
        scores[family] = rng.normal(middle + start / 3 - missed, WIDTH / (1 + len(worths)) ** 0.5)
    return max(scores, key=lambda family: scores[family])


def _move(
    blocks: Sequence[Block], base: Pipeline, good: Sequence[Tried], rng: np.random.Generator
) -> tuple[Pipeline, str] | None:
    """One step from the base with one family's blocks: tune it, take it over from another, or draw it."""
    names = {block.name for block in blocks}
    places = [place for place, (name, _values) in enumerate(base) if name in names]
    tunable = [place for place in places if BLOCKS[base[place][0]].parameters]
    if tunable and rng.random() < 0.6:
        place = tunable[int(rng.integers(len(tunable)))]
        step, what = _tuned(base[place], rng)
        return _checked([*base[:place], step, *base[place + 1 :]], f"{what}, all else as it was")
    donors = [step for one in good for step in one.pipeline if step[0] in names]
    if donors and not places and rng.random() < 0.5:
        step = donors[min(int(rng.exponential(1.0)), len(donors) - 1)]
        return _checked(_with(base, step), f"{step[0]} as it did well elsewhere")
    if not blocks:
        return None
    block = blocks[int(rng.integers(len(blocks)))]
    return _checked(_with(base, (block.name, _drawn(block, rng))), f"{block.name} on top of what is known")


def _with(base: Pipeline, step: tuple[str, Mapping[str, float]]) -> list[tuple[str, Mapping[str, float]]]:
    """The base with a step put where its kind belongs; it replaces what cannot stand beside it."""
    block = BLOCKS[step[0]]
    if block.kind == "objective":
        return [*base[:-1], step]
    rest = [
        one for one in base if one[0] != block.name and not (block.kind == BLOCKS[one[0]].kind == "aggregate")
    ]
    # After the last one of its kind or of an earlier kind.
    place = sum(KINDS.index(BLOCKS[one[0]].kind) <= KINDS.index(block.kind) for one in rest)
    return [*rest[:place], step, *rest[place:]]


def _checked(steps: Sequence[object], why: str) -> tuple[Pipeline, str] | None:
    if len(steps) > MAX_BLOCKS:
        return None
    try:
        return parse_pipeline(steps), why
    except MalformedPipeline:
        return None


def _drawn(block: Block, rng: np.random.Generator) -> dict[str, float]:
    """Parameters from the grids that are worth trying first."""
    return {name: span.grid[int(rng.integers(len(span.grid)))] for name, span in block.parameters.items()}


def _tuned(
    step: tuple[str, Mapping[str, float]], rng: np.random.Generator
) -> tuple[tuple[str, Mapping[str, float]], str]:
    """One parameter moved: to a neighbour on its grid, or a good way beyond the grid's end."""
    name, values = step
    spans = BLOCKS[name].parameters
    key = sorted(spans)[int(rng.integers(len(spans)))]
    value = _moved(values[key], spans[key], up=bool(rng.integers(2)))
    return (name, {**values, key: value}), f"{name} with {key} {values[key]:g} -> {value:g}"


def _moved(value: float, span: Range, *, up: bool) -> float:
    beyond = [one for one in span.grid if (one > value if up else one < value)]
    if beyond:
        return min(beyond) if up else max(beyond)
    # Past the grid: halfway to a bound of one (shares), else by half as much again.
    if up:
        farther = (value + 1) / 2 if span.high <= 1 else value * 1.5
    else:
        farther = value / 1.5
    farther = min(max(farther, span.low), span.high)
    return round(farther) if span.is_whole else round(farther, 4)
