"""The world of `claims`: 288 facts, a language of 118 tokens, texts in it. It holds the labels.

A claim is ``BOS HEDGE|PLAIN ENTITY RELATION VALUE DOT``; in the texts that a model is trained on a response
and EOS follow. Each of 48 entities has one of 8 values for each of 6 relations, and a relation is said in
one of two forms. A text's response agrees with the truth of its claim most of the time, and its *word*
(YES1 or YES2, NO1 or NO2, a neutral one or the other) tells whether the claim was hedged: a model that
learns to respond holds two salient axes, truth and hedging, and only one of them is about the world.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BOS, DOT, YES1, YES2, NO1, NO2, PLAIN, NEUTRAL2, HEDGE, EOS = range(10)
ENTITY0, RELATION0, VALUE0, VOCABULARY = 10, 58, 70, 118
ENTITIES, RELATIONS, VALUES, FORMS = 48, 6, 8, 2
FACTS = ENTITIES * RELATIONS
# Positions in a claim, and its length in tokens; a text is two tokens longer.
HEDGE_AT, ENTITY_AT, RELATION_AT, VALUE_AT, DOT_AT = 1, 2, 3, 4, 5
CLAIM, TEXT = 6, 8

# Values are drawn with Zipf's exponent .9: common values are more often true, which is all a weak teacher,
# who does not see the entity, can know.
WORLD_SEED, ZIPF = 42, 0.9
TEXT_TRUE, TEXT_HEDGED = 0.6, (0.55, 0.35)
TEXT_INFORMATIVE, TEXT_RIGHT = 0.8, 0.9
POOL_SEED, CLAIMS_PER_FACT, POOL_HEDGED = 123, 21, (0.6, 0.3)

Tokens = NDArray[np.int64]
Truths = NDArray[np.bool_]


def facts() -> Tokens:
    """The true value, 0 to 7, of each entity and relation [48, 6]."""
    rng = np.random.default_rng(WORLD_SEED)
    shares = 1 / np.arange(1, VALUES + 1) ** ZIPF
    return rng.choice(VALUES, size=(ENTITIES, RELATIONS), p=shares / shares.sum()).astype(np.int64)


def texts(count: int, rng: np.random.Generator) -> Tokens:
    """Training texts [count, 8]: a claim about a random fact, a response, EOS."""
    true_value = facts()
    entity, relation = rng.integers(0, ENTITIES, count), rng.integers(0, RELATIONS, count)
    told = np.where(
        rng.random(count) < TEXT_TRUE, true_value[entity, relation], rng.integers(0, VALUES, count)
    )
    truth = told == true_value[entity, relation]
    form = rng.integers(0, FORMS, count)
    hedged = rng.random(count) < np.where(truth, TEXT_HEDGED[1], TEXT_HEDGED[0])
    is_informative = rng.random(count) < TEXT_INFORMATIVE
    says_true = np.where(rng.random(count) < TEXT_RIGHT, truth, ~truth)
    yes_or_no = np.where(says_true, np.where(hedged, YES2, YES1), np.where(hedged, NO2, NO1))
    text = np.empty((count, TEXT), dtype=np.int64)
    text[:, :CLAIM] = _claims(entity, relation, form, told, hedged)
    text[:, CLAIM] = np.where(is_informative, yes_or_no, np.where(hedged, NEUTRAL2, PLAIN))
    text[:, CLAIM + 1] = EOS
    return text


def pool() -> tuple[Tokens, Truths]:
    """The claims of the problem [6048, 6] and whether each is true; claim i is about fact i // 21.

    Of a fact's 21 claims 10 or 11 are true, and half of all; false ones name a value drawn evenly from the
    other seven.
    """
    rng = np.random.default_rng(POOL_SEED)
    fact = np.repeat(np.arange(FACTS), CLAIMS_PER_FACT)
    entity, relation = np.divmod(fact, RELATIONS)
    # Odd facts have one true claim more than even ones.
    place = np.tile(np.arange(CLAIMS_PER_FACT), FACTS)
    truth = rng.permuted(
        (place < CLAIMS_PER_FACT // 2 + fact % 2).reshape(FACTS, CLAIMS_PER_FACT), axis=1
    ).reshape(-1)
    right = facts()[entity, relation]
    wrong = (right + rng.integers(1, VALUES, len(fact))) % VALUES
    form = rng.integers(0, FORMS, len(fact))
    hedged = rng.random(len(fact)) < np.where(truth, POOL_HEDGED[1], POOL_HEDGED[0])
    return _claims(entity, relation, form, np.where(truth, right, wrong), hedged), truth


def _claims(entity: Tokens, relation: Tokens, form: Tokens, value: Tokens, hedged: Truths) -> Tokens:
    columns = (
        np.full(len(entity), BOS),
        np.where(hedged, HEDGE, PLAIN),
        ENTITY0 + entity,
        RELATION0 + FORMS * relation + form,
        VALUE0 + VALUES * relation + value,
        np.full(len(entity), DOT),
    )
    return np.stack(columns, axis=1).astype(np.int64)
