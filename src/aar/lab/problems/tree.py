"""A small decision tree for two classes: the one that scikit-learn grows, without the seconds of its import.

Gini impurity, depth first, every threshold of every column, as `DecisionTreeClassifier` (BSD-3-Clause) does
it: of splits that are equally good it takes the one in the column that it drew first, so its draws are part
of the tree and are made here, too. A test holds both to the same answers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Probabilities

Whole = NDArray[np.int16]
Rows = NDArray[np.intp]

_DRAWN_BELOW = 2**31


class _Draws:
    """scikit-learn's 32-bit xorshift generator, and the order of columns that it shuffles node by node."""

    def __init__(self, seed: int, columns: int) -> None:
        self._state = _first_state(seed)
        self._order = list(range(columns))
        self._constant = [0] * columns

    def visit(self, is_constant: list[bool], known: int) -> tuple[list[int], int]:
        """The columns of a node that say anything, in the order drawn; how many are constant from here down.

        `known` columns were constant in the node's parent. They stand first in the order, and are drawn, too.
        """
        order, state, visited = self._order, self._state, []
        left, found, drawn = len(order), 0, 0
        for _visit in range(len(order)):
            if left <= known + found:
                break
            state ^= (state << 13) & 0xFFFFFFFF
            state ^= state >> 17
            state ^= (state << 5) & 0xFFFFFFFF
            place = drawn + state % _DRAWN_BELOW % (left - found - drawn)
            if place < known:
                order[drawn], order[place] = order[place], order[drawn]
                drawn += 1
                continue
            place += found
            column = order[place]
            if is_constant[column]:
                order[place], order[known + found] = order[known + found], order[place]
                found += 1
                continue
            left -= 1
            order[left], order[place] = order[place], order[left]
            visited.append(column)
        self._state = state
        order[:known] = self._constant[:known]
        self._constant[known : known + found] = order[known : known + found]
        return visited, known + found


@lru_cache(maxsize=1)
def _first_state(seed: int) -> int:
    return int(np.random.RandomState(seed).randint(0, _DRAWN_BELOW - 1)) or 1


def tree_answers(
    columns: Whole, labels: NDArray[np.bool_], learnt: Rows, asked: Rows, *, depth: int, leaf: int, seed: int
) -> Probabilities:
    """P(label) [q] of the `asked` items, from a tree on the `learnt` ones, where items may stand repeatedly.

    `columns` [d, n] are whole numbers from 0 to 16,383, an item in each place of a row. No leaf has fewer
    than `leaf` items or lies deeper than `depth`. `seed` is what scikit-learn calls `random_state`.
    """
    # A label in a value's last bit comes along when the values are sorted.
    marked = (columns * np.int16(2) + labels)[:, learnt]
    weighed, draws = _weighed_impurities(len(learnt)), _Draws(seed, len(columns))
    answers, questions = np.empty(len(asked)), 2 * columns[:, asked]
    # Of each node: places of the items learnt from and of those asked for, depth, columns constant above.
    nodes = [(np.arange(len(learnt)), np.arange(len(asked)), 0, 0)]
    while nodes:
        own, wanted, level, constant = nodes.pop()
        items = marked[:, own]
        ones, split = int(np.count_nonzero(items[0] & 1)), None
        if level < depth and len(own) >= 2 * leaf and 0 < ones < len(own):
            split = _best_split(items, ones, leaf, weighed, draws, constant)
        if split is None:
            answers[wanted] = ones / len(own)
            continue
        column, twice, constant = split
        is_above, is_asked_above = items[column] > twice, questions[column, wanted] > twice
        nodes.append((own[is_above], wanted[is_asked_above], level + 1, constant))
        nodes.append((own[~is_above], wanted[~is_asked_above], level + 1, constant))
    return answers


def _best_split(
    items: Whole, ones: int, leaf: int, weighed: NDArray[np.float64], draws: _Draws, constant: int
) -> tuple[int, int, int] | None:
    """The column to split at, twice the threshold, how many columns are constant below; `None`: a leaf.

    `items` are marked [d, m], `ones` of them with the label.
    """
    count, width = items.shape[1], len(weighed)
    items = np.sort(items, axis=1)
    visited, constant = draws.visit((items[:, 0] ^ items[:, -1] < 2).tolist(), constant)
    # Of each place with enough items on both sides: how many are below it and how many of them are ones, in
    # one number; that of the rest is what is missing.
    places = slice(leaf - 1, count - leaf)
    below = (items & 1).cumsum(axis=1, dtype=np.intp)[:, places]
    below += np.arange(leaf * width, (count - leaf + 1) * width, width)
    flat = weighed.ravel()
    impurity = flat.take(below)
    impurity += flat.take(count * width + ones - below)
    impurity[items[:, leaf : count - leaf + 1] ^ items[:, places] < 2] = np.inf
    least = impurity.min(axis=1).tolist()
    lowest = min(least)
    if lowest == math.inf:
        return None
    column = next(one for one in visited if least[one] == lowest)
    place = int(impurity[column].argmin()) + leaf
    return column, (int(items[column, place - 1]) >> 1) + (int(items[column, place]) >> 1), constant


@lru_cache(maxsize=4)
def _weighed_impurities(count: int) -> NDArray[np.float64]:
    """Gini impurity times the number of items, by how many items there are and how many of them are ones."""
    items, ones = np.mgrid[: count + 1, : count + 1].astype(np.float64)
    zeros = items - ones
    weighed: NDArray[np.float64] = items * (1 - (zeros * zeros + ones * ones) / np.maximum(items * items, 1))
    return weighed
