"""The small decision tree: the answers of scikit-learn's, whose ties it breaks by the same draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from aar.lab.problems.tree import tree_answers


@pytest.mark.parametrize("levels", [2, 5, 65])
def test_its_answers_are_those_of_scikit_learn_s_tree_to_the_last_bit(levels: int) -> None:
    """Few levels and few items make for many ties; some columns are constant, some items stand repeatedly."""
    rng = np.random.default_rng(levels)
    for case in range(100):
        columns = rng.integers(0, levels, (16, 400)).astype(np.int16)
        columns[rng.random(16) < 0.2] = 7
        labels = columns[:4].sum(axis=0) + rng.integers(0, 2 * levels, 400) > 3 * levels
        learnt = rng.integers(0, 200, rng.choice([2, 5, 20, 150]))
        asked = rng.permutation(400)[:300]
        depth, leaf, seed = int(rng.integers(1, 9)), int(rng.integers(1, 6)), int(rng.integers(2**31))
        theirs = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, random_state=seed)
        both = theirs.fit(columns.T[learnt], labels[learnt]).predict_proba(columns.T[asked])
        wanted = both[:, -1] if theirs.classes_[-1] else np.zeros(len(asked))
        found = tree_answers(columns, labels, learnt, asked, depth=depth, leaf=leaf, seed=seed)
        np.testing.assert_array_equal(found, wanted, f"case {case}")


def test_a_tree_without_any_split_answers_with_the_share_of_ones() -> None:
    columns, labels = np.zeros((3, 8), dtype=np.int16), np.arange(8) < 2
    found = tree_answers(columns, labels, np.arange(8), np.arange(3), depth=5, leaf=2, seed=0)
    np.testing.assert_array_equal(found, [0.25] * 3)
