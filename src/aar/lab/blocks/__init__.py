"""Blocks: the steps that methods are composed of, each a pure function with its source.

An `aggregate` block repeats all that follows it; represent changes the features, relabel the targets, select
and reweight the weights; the objective, which stands last, fits the student and predicts.

Left out of the literature's list: fine-tuning a language model on the task's text, critics and debate, which
need a generator, and active selection, which needs somebody to ask for labels.
"""

from __future__ import annotations

from collections.abc import Mapping

from aar.lab.blocks.block import Block, real, whole
from aar.lab.blocks.channel import CHANNEL
from aar.lab.blocks.elicit import ELICIT
from aar.lab.blocks.losses import LOSSES
from aar.lab.blocks.objective import OBJECTIVES
from aar.lab.blocks.relabel import RELABEL
from aar.lab.blocks.represent import REPRESENT
from aar.lab.blocks.select import SELECT
from aar.lab.blocks.training import TRAINING
from aar.lab.errors import MalformedPipeline

BAG = Block(
    name="bag",
    kind="aggregate",
    family="ensembles",
    parameters={"count": whole(2, 20, 5, 3, 5, 9), "share": real(0.1, 1, 0.7, 0.5, 0.7, 0.9)},
    source="Breiman 1996, Bagging predictors (here: subsets without replacement)",
    # What it does is to run the rest several times over: that is the pipeline's affair.
    step=lambda state, _parameters, _rng: state,
    needs=(),
)

BLOCKS: Mapping[str, Block] = {
    block.name: block
    for block in (
        *RELABEL,
        *CHANNEL,
        *ELICIT,
        *SELECT,
        *REPRESENT,
        *OBJECTIVES,
        *LOSSES,
        *TRAINING,
        BAG,
    )
}


def block_named(name: object) -> Block:
    """The block of that name; `MalformedPipeline` lists what there is."""
    block = BLOCKS.get(name) if isinstance(name, str) else None
    if block is None:
        raise MalformedPipeline(f"no block {name!r:.60}; there is: {', '.join(BLOCKS)}")
    return block
