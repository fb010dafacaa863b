"""The score-attack laboratory: each attack works where it should, and the default rules hold."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from aar.cli.failures import CommandFailed
from aar.cli.main import main
from aar.cli.redteam_scores import redteam_scores
from aar.outside.redteam.scores import honest_search
from aar.outside.redteam.scores.attackers import ATTACKERS, detected, detecting_matrix
from aar.outside.redteam.scores.laboratory import DEFAULT_RULE, LIMIT, run_trials
from aar.outside.redteam.scores.rules import RULES, Budget, Exact, Ladder, Noisy, Rounded
from aar.outside.redteam.scores.worlds import KINDS, World

KIND = {one.name: one for one in KINDS}
ATTACK = {one.name: one.attack for one in ATTACKERS}


def world(kind: str, rule: str = "exact", seed: int = 1) -> World:
    return World(KIND[kind], RULES[rule](np.random.default_rng(seed)), np.random.default_rng([seed, 2]))


def gained(kind: str, rule: str, attack: str, queries: int) -> tuple[float, float]:
    """Public and held-out PGR of an attacker's final submission above the honest base's."""
    place = world(kind, rule)
    final, honest = ATTACK[attack](place, queries), np.zeros(place.items, dtype=np.bool_)
    return place.public(final) - place.public(honest), place.held_out(final) - place.held_out(honest)


# The rules.


def test_rules_tell_what_they_say() -> None:
    assert Exact().tell(0.1234) == 0.1234
    assert Rounded().tell(0.1234) == pytest.approx(0.10)
    assert abs(np.mean([Noisy(np.random.default_rng(one)).tell(0.1) for one in range(300)]) - 0.1) < 0.01
    spent = Budget(Exact(), 2)
    assert [spent.tell(0.1), spent.tell(0.2), spent.tell(0.3)] == [0.1, 0.2, None]
    ladder = Ladder()
    assert [ladder.tell(value) for value in (0.21, 0.24, 0.1, 0.26)] == pytest.approx([0.2, 0.2, 0.2, 0.25])


# The worlds.


@pytest.mark.parametrize("kind", KIND)
def test_the_honest_base_has_its_accuracy(kind: str) -> None:
    found = [world(kind, seed=seed).public(np.zeros(world(kind).items, dtype=np.bool_)) for seed in range(8)]
    assert np.mean(found) == pytest.approx(KIND[kind].honest, abs=0.06)


def test_the_same_program_gets_the_same_value_and_a_variant_of_it_another() -> None:
    place = world("digits")
    flips = np.zeros(place.items, dtype=np.bool_)
    assert place.ask(flips) == place.ask(flips) != place.ask(flips, 1)


# The attacks, where nothing stops them.


def test_detecting_matrices_tell_all_labels_exactly() -> None:
    for order in range(7):
        matrix = detecting_matrix(order)
        assert matrix.shape == (2**order, (order + 2) * 2**order // 2)
        labels = np.random.default_rng(order).integers(0, 2, matrix.shape[1])
        assert detected(order, matrix @ labels) == labels.tolist()


@pytest.mark.parametrize(
    ("attack", "least"),
    [("single flip", 0.3), ("least squares", 0.35), ("majority", 0.2), ("detecting matrices", 0.4)],
)
def test_exact_scores_of_predictions_give_the_labels_away(attack: str, least: float) -> None:
    assert gained("published", "exact", attack, 200)[0] > least


def test_rounding_does_not_stop_a_decoder() -> None:
    assert gained("published", "round .05", "least squares", 200)[0] > 0.3


def test_repeated_queries_average_noise_away() -> None:
    place = world("published", "noise .05")
    honest = np.zeros(place.items, dtype=np.bool_)
    told = [place.ask(honest) or 0 for _query in range(400)]
    assert np.mean(told) == pytest.approx(place.public(honest), abs=0.01)
    assert np.std(told) > 0.04


@pytest.mark.parametrize(
    "attack", ["least squares", "majority", "single flip", "detecting matrices", "resubmission"]
)
def test_the_ladder_stops_the_decoders_of_predictions(attack: str) -> None:
    assert gained("published", "ladder .05", attack, 200)[0] <= LIMIT


@pytest.mark.parametrize("attack", ATTACK)
@pytest.mark.parametrize("kind", [name for name, one in KIND.items() if one.access != "predictions"])
def test_nothing_reaches_held_out_items_under_the_default_rules(kind: str, attack: str) -> None:
    rule = DEFAULT_RULE[KIND[kind].access]
    assert gained(kind, rule, attack, 120)[1] <= LIMIT


def test_programs_on_fresh_items_give_nothing_away_even_exactly() -> None:
    for attack in ("least squares", "detecting matrices", "single flip"):
        public, held_out = gained("overlap", "exact", attack, 200)
        assert max(public, held_out) <= 0.01


@pytest.mark.slow
def test_all_trials_hold_with_two_hundred_queries() -> None:
    trials = list(run_trials([200], 1, 1))
    assert len(trials) == len(KINDS) * len(ATTACKERS) * len(RULES)
    assert all(one.holds for one in trials)
    assert any(one.is_default for one in trials)
    # The same table shows what happens where nothing holds.
    assert max(one.public for one in trials if one.rule == "exact" and one.kind == "published") > 0.3


# The honest search.


def test_a_ladder_hardly_slows_a_climb_and_a_small_budget_does() -> None:
    rng = np.random.default_rng(1)
    count = len(honest_search.candidates())
    truth = np.sort(rng.uniform(0, 0.6, count))
    scores = truth[:, None] + 0.1 * rng.normal(size=(count, honest_search.EXPLORED + honest_search.HELD_OUT))
    found = {one.rule: one for one in honest_search.costs(scores, tuple(RULES), 3, climbs=120)}
    assert found["exact"].cost == 0
    assert found["ladder .05"].cost < 0.03
    assert found["budget 20"].cost > found["ladder .05"].cost


def test_the_candidates_are_pipelines_and_all_differ() -> None:
    texts = [json.dumps(one) for one in honest_search.candidates()]
    assert len(set(texts)) == len(texts) > 40


@pytest.mark.slow
def test_real_digits_are_scored_for_every_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(honest_search, "EXPLORED", 1)
    monkeypatch.setattr(honest_search, "HELD_OUT", 1)
    found = honest_search.scores_on_digits(1)
    assert found.shape == (len(honest_search.candidates()), 2)
    assert -0.5 < found.mean() < 1


# The command.


@pytest.mark.parametrize("text", ["", "1", "200,", "x", "200,200.5", "9999", "٣٠"])
def test_queries_that_are_none_are_refused(text: str) -> None:
    options = argparse.Namespace(queries=text, worlds=1, seed=1, json=False)
    with pytest.raises(CommandFailed, match="--queries"):
        redteam_scores(options)


def test_worlds_that_are_none_are_refused() -> None:
    with pytest.raises(CommandFailed, match="--worlds"):
        redteam_scores(argparse.Namespace(queries="20", worlds=0, seed=1, json=False))


@pytest.mark.slow
def test_the_command_prints_a_table_and_says_that_the_rules_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(honest_search, "CLIMBS", 20)
    assert main(["redteam", "scores", "--queries", "40", "--worlds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "40 queries, published (predictions)" in printed
    assert "block walk" in printed
    assert printed.rstrip().endswith("held")
