"""Pipelines: a method as data, a list of blocks with their parameters, checked before it runs.

```json
[["label_prop", {"k": 12}], ["probe", {}]]
```
The last block is the objective; an aggregate block may stand first and repeats all that follows. A block that
was changed since its first version is written with its version, ``"logconf/2"``; a bare name is the lab's
current one, any other version is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias, TypeGuard

import numpy as np

from aar.lab.blocks import BLOCKS, block_named
from aar.lab.blocks.block import ALWAYS, Block, Range, State
from aar.lab.errors import MalformedPipeline
from aar.lab.instance import Instance, Probabilities

Step: TypeAlias = "tuple[str, Mapping[str, float]]"
Pipeline: TypeAlias = "tuple[Step, ...]"

# The plain baseline of every comparison: the student on hard weak labels (Burns et al. 2023).
VANILLA = '[["harden", {}], ["probe", {}]]'

MAX_BLOCKS = 12
MAX_TEXT_CHARACTERS = 4_000
LEAST_BAGGED = 2


def parse_pipeline(value: object, *, profile: Collection[str] | None = None) -> Pipeline:
    """A pipeline from its JSON value, defaults filled in; `MalformedPipeline` says what is wrong where.

    With a `profile` (`aar.lab.methods.STARTER`) blocks that are not of it are refused.
    """
    if not _is_list(value) or not 1 <= len(value) <= MAX_BLOCKS:
        raise MalformedPipeline(f"want a list of 1 to {MAX_BLOCKS} blocks, got {value!r:.80}")
    steps = []
    for number, item in enumerate(value):
        if not _is_list(item) or len(item) != 2:
            raise MalformedPipeline(f"block {number}: want [NAME, {{PARAMETERS}}], got {item!r:.80}")
        block = _current(item[0])
        if profile is not None and block.name not in profile:
            raise MalformedPipeline(
                f"block {number}: {block.name} is withheld by this study's profile; "
                f"there is: {', '.join(name for name in BLOCKS if name in profile)}"
            )
        is_last = number == len(value) - 1
        if (block.kind == "objective") != is_last:
            raise MalformedPipeline(f"block {number}, {block.name}: an objective stands last, and only there")
        if block.kind == "aggregate" and number:
            raise MalformedPipeline(f"block {number}, {block.name}: an aggregate stands first")
        steps.append((block.name, _parameters(block, item[1])))
    return tuple(steps)


def _current(name: object) -> Block:
    """The block of a name as pipelines write it, with its version where that is not the first."""
    if isinstance(name, str) and "/" in name:
        bare, _slash, version = name.partition("/")
        block = block_named(bare)
        if name != _written(block):
            raise MalformedPipeline(
                f"{bare} is at version {block.version} here, the pipeline wants {version!r:.20}; "
                "take the release that had it, or write the bare name"
            )
        return block
    return block_named(name)


def _written(block: Block) -> str:
    return block.name if block.version == 1 else f"{block.name}/{block.version}"


def parse_pipeline_text(text: str, *, profile: Collection[str] | None = None) -> Pipeline:
    """A pipeline from its JSON text; a key that stands twice is refused."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise MalformedPipeline(f"{len(text)} characters, at most {MAX_TEXT_CHARACTERS}")
    try:
        return parse_pipeline(json.loads(text, object_pairs_hook=_once), profile=profile)
    except MalformedPipeline:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedPipeline(f"{text!r:.80} is not JSON: {error}") from error


def format_pipeline(pipeline: Pipeline) -> str:
    """The one JSON text of a pipeline, every parameter written out, and every version from 2 on."""
    return json.dumps(
        [[_written(block_named(name)), dict(sorted(values.items()))] for name, values in pipeline],
        separators=(",", ":"),
    )


def pipeline_digest(pipeline: Pipeline) -> str:
    """The method's identity: SHA-256 of its text, in hex."""
    return hashlib.sha256(format_pipeline(pipeline).encode()).hexdigest()


def pipeline_name(pipeline: Pipeline) -> str:
    """A short name for people: parameters that differ from their default are shown.

    >>> pipeline_name(parse_pipeline([["label_prop", {"k": 24}], ["probe", {}]]))
    'label_prop(k=24)+probe'
    """
    words = []
    for name, values in pipeline:
        spans = block_named(name).parameters
        told = [f"{key}={value:g}" for key, value in values.items() if value != spans[key].default]
        words.append(f"{name}({','.join(told)})" if told else name)
    return "+".join(words)


def pipeline_families(pipeline: Pipeline) -> tuple[str, ...]:
    """The families of ideas that a pipeline's blocks stand for, each once, in the order of the blocks."""
    return tuple(dict.fromkeys(BLOCKS[name].family for name, _values in pipeline))


def needs_of(pipeline: Pipeline) -> frozenset[str]:
    """What its blocks read, of `aar.lab.blocks.block.NEEDS`."""
    return frozenset(need for name, _values in pipeline for need in block_named(name).needs)


def offered_by(instance: Instance) -> frozenset[str]:
    """What an instance has of `NEEDS`."""
    more = {"votes": instance.votes, "zero-shot": instance.zero_shot}
    return ALWAYS | {name for name, value in more.items() if value is not None}


def run_pipeline(pipeline: Pipeline, instance: Instance, rng: np.random.Generator) -> Probabilities:
    """P(y = 1) on the instance's test items [m]; a pure function of its arguments.

    `MalformedPipeline` where a block needs votes or zero-shot answers that the instance does not have.
    """
    missing = needs_of(pipeline) - offered_by(instance)
    if missing:
        raise MalformedPipeline(
            f"{pipeline_name(pipeline)} needs {' and '.join(sorted(missing))}, which this instance does not "
            "have; take another block, or a problem that offers them"
        )
    name, values = pipeline[0]
    if block_named(name).kind == "aggregate":
        return _bagged(pipeline[1:], instance, rng, count=int(values["count"]), share=values["share"])
    state = State.of(instance)
    for name, values in pipeline:
        state = block_named(name).step(state, values, rng)
    if state.answer is None:
        raise MalformedPipeline(f"{pipeline_name(pipeline)}: no objective")
    return state.answer


def _bagged(
    rest: Pipeline, instance: Instance, rng: np.random.Generator, *, count: int, share: float
) -> Probabilities:
    """The mean over `count` runs of the rest, each on a random share of the training items."""
    size = min(max(round(share * len(instance.weak)), LEAST_BAGGED), len(instance.weak))
    answers = []
    for _member in range(count):
        chosen = rng.choice(len(instance.weak), size, replace=False)
        part = Instance(
            train_x=instance.train_x[chosen],
            weak=instance.weak[chosen],
            test_x=instance.test_x,
            class_prior=instance.class_prior,
            student_l2=instance.student_l2,
            votes=None if instance.votes is None else instance.votes[chosen],
            zero_shot=instance.zero_shot and (instance.zero_shot[0][chosen], instance.zero_shot[1]),
        )
        answers.append(run_pipeline(rest, part, rng))
    mean: Probabilities = np.mean(answers, axis=0)
    return mean


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise MalformedPipeline(f"a parameter stands twice in {[key for key, _value in pairs]!r:.80}")
    return dict(pairs)


def _parameters(block: Block, given: object) -> dict[str, float]:
    if not isinstance(given, Mapping) or not set(given) <= set(block.parameters):
        wanted = ", ".join(block.parameters) or "nothing"
        raise MalformedPipeline(f"{block.name}: got {given!r:.80}, want an object with some of: {wanted}")
    return {
        name: _value(block.name, name, given.get(name, span.default), span)
        for name, span in block.parameters.items()
    }


def _value(block: str, name: str, value: object, span: Range) -> float:
    # Written so that NaN is refused too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not span.low <= value <= span.high:
        raise MalformedPipeline(
            f"{block}.{name}: got {value!r:.40}, want a number from {span.low:g} to {span.high:g}"
        )
    if span.is_whole and value != int(value):
        raise MalformedPipeline(f"{block}.{name}: got {value!r:.40}, want a whole number")
    return int(value) if span.is_whole else float(value)
