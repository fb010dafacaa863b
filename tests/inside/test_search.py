"""The free researcher's choice: nothing twice, the direction is a head start, receipts are learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from aar.inside import search
from aar.inside.forum import Tried
from aar.inside.search import (
    KEYWORDS,
    MAX_BLOCKS,
    PLAIN,
    choose,
    draw_family,
    is_asked_for,
    worth_of,
)
from aar.lab.blocks import BLOCKS
from aar.lab.blocks.block import ALWAYS
from aar.lab.methods import STARTER
from aar.lab.pipeline import format_pipeline, parse_pipeline, pipeline_families


def tried(value: Any, pgr: float | None, *, is_improved: bool = True, number: int = 1) -> Tried:
    pipeline = parse_pipeline(value)
    return Tried(
        submission=number,
        researcher="r1",
        pipeline=pipeline,
        pgr=pgr,
        is_improved=is_improved,
        finding=number,
    )


SOME = [
    tried([["probe", {}]], 0.3),
    tried([["knn", {}], ["probe", {}]], 0.5),
    tried([["bag", {}], ["conf_keep", {}], ["early_stop", {}]], 0.5, is_improved=False),
    tried([["whiten", {}], ["probe", {}]], None, is_improved=False),
]


def walk(seed: int, rounds: int, direction: str = "", start: Sequence[Tried] = ()) -> list[search.Choice]:
    """Choose, take a made-up receipt, choose again."""
    known, choices = list(start), []
    receipts = np.random.default_rng(seed + 10_000)
    best = 0.0
    for number in range(rounds):
        choice = choose(known, direction, np.random.default_rng([seed, number]))
        assert choice is not None
        choices.append(choice)
        pgr = float(receipts.normal(0.4, 0.2))
        is_improved = pgr > best + 0.05
        best = max(best, pgr) if is_improved else best
        known.append(
            Tried(
                submission=number,
                researcher="r1",
                pipeline=choice.pipeline,
                pgr=best,
                is_improved=is_improved,
                finding=number,
            )
        )
    return choices


@pytest.mark.parametrize("seed", range(6))
def test_no_method_is_chosen_that_anybody_tried(seed: int) -> None:
    chosen = [format_pipeline(one.pipeline) for one in walk(seed, 60, "neighbours", SOME)]
    assert len(set(chosen)) == 60
    assert not set(chosen) & {format_pipeline(one.pipeline) for one in SOME}


@pytest.mark.parametrize("seed", range(6))
def test_every_choice_is_a_pipeline_of_its_family_that_says_why_and_on_what_it_builds(seed: int) -> None:
    for choice in walk(seed, 60, "", SOME):
        assert parse_pipeline([list(step) for step in choice.pipeline]) == choice.pipeline
        assert choice.family in pipeline_families(choice.pipeline)
        assert 1 <= len(choice.pipeline) <= MAX_BLOCKS
        assert choice.why
        assert choice.parent is None or choice.parent.is_improved


def test_the_same_seed_chooses_the_same_and_another_one_differs() -> None:
    assert walk(3, 25) == walk(3, 25)
    assert walk(3, 25) != walk(4, 25)


def drawn_blocks(**more: Any) -> set[str]:
    """Blocks of first choices, which build on nothing; a search of one family after the other."""
    found = set()
    for family in KEYWORDS:
        for seed in range(60):
            choice = choose([], KEYWORDS[family][0], np.random.default_rng(seed), **more)
            assert choice is not None
            found |= {name for name, _values in choice.pipeline}
    return found


def test_every_block_that_needs_no_more_than_is_there_is_chosen_sooner_or_later() -> None:
    assert drawn_blocks() == {name for name, block in BLOCKS.items() if set(block.needs) <= ALWAYS}


def test_what_is_offered_beside_the_weak_labels_is_used() -> None:
    found = drawn_blocks(offered=ALWAYS | {"votes"})
    assert {"vote_mean", "dawid_skene"} <= found
    assert not found & {"zero_shot", "poe"}


def test_a_profile_s_blocks_are_all_that_is_drawn() -> None:
    found = drawn_blocks(profile=STARTER)
    assert found <= STARTER
    assert "label_prop" in found


def test_nothing_is_taken_over_from_a_method_that_cannot_run_here() -> None:
    known = [tried([["vote_mean", {}], ["probe", {}]], 0.9), tried([["drop_top", {}], ["probe", {}]], 0.8)]
    for seed in range(150):
        choice = choose(known, "ensembles", np.random.default_rng(seed), profile=STARTER)
        assert choice is not None
        assert choice.parent is None
        assert not {name for name, _values in choice.pipeline} & {"vote_mean", "drop_top"}


def test_every_family_of_blocks_has_its_words() -> None:
    assert set(KEYWORDS) == {block.family for block in BLOCKS.values()}
    assert all(words for words in KEYWORDS.values())


@pytest.mark.parametrize("family", sorted(set(KEYWORDS) - {"baseline"}))
def test_the_direction_is_a_head_start_and_no_order(family: str) -> None:
    direction = f"Look at {KEYWORDS[family][0]} things"
    assert is_asked_for(family, direction.upper())
    asked, free = (
        Counter(draw_family([], text, np.random.default_rng(seed)) for seed in range(400))
        for text in (direction, "")
    )
    assert asked[family] > 2 * free[family]
    assert asked.most_common(1)[0][0] == family
    assert len(asked) > 3, "the other families are still tried now and then"


def test_what_did_well_is_gone_on_with() -> None:
    known = [tried([["whiten", {}], ["probe", {}]], 0.9), tried([["knn", {}], ["probe", {}]], 0.3)]
    drawn = Counter(draw_family(known, "", np.random.default_rng(seed)) for seed in range(200))
    assert drawn["representation"] + drawn["baseline"] > 150
    parents: Counter[str] = Counter()
    for seed in range(200):
        choice = choose(known, "", np.random.default_rng(seed))
        assert choice is not None
        if choice.parent is not None:
            parents[format_pipeline(choice.parent.pipeline)] += 1
    good, other = (parents[format_pipeline(one.pipeline)] for one in known)
    assert good > other > 0


def test_a_method_without_a_score_or_a_new_rung_is_nobody_s_parent() -> None:
    known = [
        tried([["knn", {}], ["probe", {}]], 0.5, is_improved=False),
        tried([["pca", {}], ["probe", {}]], None),
    ]
    known[1] = tried([["pca", {}], ["probe", {}]], None, is_improved=False)
    for seed in range(100):
        choice = choose(known, "", np.random.default_rng(seed))
        assert choice is not None
        assert choice.parent is None


def test_when_nothing_is_left_there_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "KEYWORDS", {"prior": ("prior",)})
    monkeypatch.setattr(search, "BLOCKS", {name: BLOCKS[name] for name in ("balance", "probe")})
    only = choose([], "", np.random.default_rng(0))
    assert only is not None
    assert format_pipeline(only.pipeline) == '[["balance",{}],["probe",{"l2_factor":1.0}]]'
    known = [tried([list(step) for step in only.pipeline], 0.4)]
    for seed in range(20):
        assert choose(known, "", np.random.default_rng(seed)) is None


def test_a_finite_world_is_tried_out_to_the_last_idea(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardened or balanced labels, or both: three methods, each once, then nothing."""
    monkeypatch.setattr(search, "KEYWORDS", {"prior": (), "hard": ()})
    few = {"balance": BLOCKS["balance"], "probe": BLOCKS["probe"]}
    few["harden"] = type(BLOCKS["harden"])(
        name="harden",
        kind="relabel",
        family="hard",
        parameters={},
        source="",
        step=BLOCKS["harden"].step,
    )
    monkeypatch.setattr(search, "BLOCKS", few)
    known: list[Tried] = []
    while (choice := choose(known, "", np.random.default_rng(len(known)))) is not None:
        known.append(tried([list(step) for step in choice.pipeline], 0.4, number=len(known)))
        assert len(known) < 20
    shapes = Counter(tuple(sorted(name for name, _values in one.pipeline)) for one in known)
    assert set(shapes) == {("balance", "probe"), ("harden", "probe"), ("balance", "harden", "probe")}


def test_a_method_is_worth_its_own_score_where_that_was_released() -> None:
    assert worth_of(tried([["probe", {}]], 0.62)) == 0.62
    assert worth_of(tried([["probe", {}]], -0.3)) == -0.3


def test_a_receipt_that_is_not_better_leaves_out_only_what_lies_above() -> None:
    """The mean of a normal belief cut off above; checked by drawing it."""
    for best in (0.1, 0.35, 0.8):
        draws = np.random.default_rng(0).normal(0.35, 0.15, 400_000)
        wanted = draws[draws < best + 0.05].mean()
        assert worth_of(tried([["probe", {}]], best, is_improved=False)) == pytest.approx(wanted, abs=0.005)


def test_a_method_without_a_score_is_worth_less_than_one_that_was_not_better() -> None:
    failed = worth_of(tried([["probe", {}]], None, is_improved=False))
    assert failed < worth_of(tried([["probe", {}]], 0.3, is_improved=False))


def test_the_worth_of_a_failure_below_everything_is_finite() -> None:
    assert np.isfinite(worth_of(tried([["probe", {}]], -50.0, is_improved=False)))


def test_the_plain_method_is_where_everything_starts() -> None:
    assert format_pipeline(PLAIN) == '[["probe",{"l2_factor":1.0}]]'
