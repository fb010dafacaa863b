"""Many studies in numpy: the same problems and rules as single ones, and the same numbers every time."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from aar.simulation.choosing import Method, Problem
from aar.simulation.evaluator import Marks
from aar.simulation.many import Outcomes, simulate_many
from aar.simulation.parameters import ARMS, CLASSES, CRAFT, FIXED, FREE
from aar.simulation.problems import deviations, draw_problems, noise_table
from aar.simulation.study import simulate_study
from aar.verify.interval import score

STUDIES = 30
GOLDEN = "adeda0005c4c45ee647a7bd274fdc2b7202c0ab0e90f81019a62b3f24f812d79"


def digest(outcomes: Outcomes) -> str:
    parts = (outcomes.claimed, outcomes.published, outcomes.sealed, outcomes.found, outcomes.tries)
    return hashlib.sha256(b"".join(one.astype("<i8").tobytes() for one in parts)).hexdigest()


def test_the_same_seed_gives_the_same_studies_bit_for_bit() -> None:
    outcomes = simulate_many(CLASSES["hard-2"], FREE, seed=1, runs=300)
    assert digest(outcomes) == GOLDEN
    assert digest(simulate_many(CLASSES["hard-2"], FREE, seed=2, runs=300)) != GOLDEN


def test_a_problem_is_the_same_however_many_are_drawn_and_for_every_arm() -> None:
    kind = CLASSES["easy-3"]
    many = draw_problems(kind, 7, 0, 600)
    for number in (0, 255, 256, 511):
        one = draw_problems(kind, 7, number, 1)
        for mine, theirs in ((one.right, many.right), (one.drops, many.drops), (one.listed, many.listed)):
            assert np.array_equal(mine[0], theirs[number])


def test_lists_hold_a_right_idea_as_often_as_the_class_says_and_no_idea_twice() -> None:
    kind = CLASSES["hard-2"]
    problems = draw_problems(kind, 1, 0, 2_000)
    hits = np.take_along_axis(problems.right, problems.listed, axis=2).any(axis=2)
    assert hits.mean() == pytest.approx(kind.known / 100, abs=0.03)
    assert problems.right.sum(axis=2).tolist() == [[kind.right] * kind.parts] * 2_000
    for listed in problems.listed.reshape(-1, 3)[:200]:
        assert len(set(listed.tolist())) == 3


@pytest.mark.parametrize("name", ["hard-2", "easy-1"])
def test_an_official_run_with_items_scatters_as_the_noise_table_says(name: str) -> None:
    kind = replace(CLASSES[name], items=300)
    problem = Problem(draw_problems(kind, 1, 0, 1), 1, 0)
    marks = Marks(problem, bytes(32))
    for true in (kind.base, kind.top):
        runs = [
            10_000 * float(score(marks.run(true=true, digest=str(at), label="explore")["public"]).pgr)
            for at in range(60)
        ]
        stated = int(deviations(noise_table(kind), np.asarray([true]))[0])
        assert np.mean(runs) == pytest.approx(true, abs=4 * stated / 60**0.5)
        assert np.std(runs) == pytest.approx(stated, rel=0.35)


@pytest.mark.parametrize(
    ("name", "arm_name"), [("hard-1", "free"), ("hard-2", "fixed"), ("hard-2", "one-lazy")]
)
def test_single_studies_and_many_agree_in_distribution(name: str, arm_name: str) -> None:
    """Means within 3.3 standard errors; how many end with all parts solved within the same."""
    kind, arm = replace(CLASSES[name], items=200), ARMS[arm_name]
    single = [
        simulate_study(kind, replace(arm, is_evident=False), seed=3, number=number)
        for number in range(STUDIES)
    ]
    many = simulate_many(kind, arm, seed=3, runs=3_000)
    for field in ("claimed", "published", "found"):
        few, all_ = np.asarray([getattr(one, field) for one in single]), getattr(many, field)
        error = (all_.var() * (1 / STUDIES + 1 / len(all_))) ** 0.5
        assert few.mean() == pytest.approx(all_.mean(), abs=3.3 * error), field
    share = (many.found == kind.top).mean()
    solved = np.mean([one.found == kind.top for one in single])
    assert solved == pytest.approx(share, abs=3.3 * (share * (1 - share) / STUDIES) ** 0.5 + 0.02)
    assert sum(map(sum, (one.tries for one in single))) / STUDIES == pytest.approx(
        many.tries.sum() / len(many.tries), rel=0.1
    )


def test_free_does_not_always_win() -> None:
    for name, is_free_ahead in (("hard-2", True), ("routine-3", False)):
        free, fixed = (simulate_many(CLASSES[name], arm, seed=1, runs=500) for arm in (FREE, FIXED))
        assert (free.published.mean() > fixed.published.mean() + 500) == is_free_ahead


def test_without_protections_a_forgery_leads_and_the_honest_find_less() -> None:
    kind = CLASSES["hard-2"]
    two, lied, unprotected = (
        simulate_many(kind, ARMS[name], seed=1, runs=500)
        for name in ("two-honest", "one-lying", "one-lying-unprotected")
    )
    assert unprotected.published.tolist() == [kind.base] * 500
    assert not unprotected.holds.any()
    assert two.found.mean() > lied.found.mean() > unprotected.found.mean() + 500
    assert lied.holds[lied.passes].mean() > 0.8


def test_a_method_is_worth_what_its_parts_are_worth() -> None:
    kind = CLASSES["hard-2"]
    assert kind.values == (1_100, 2_175, 9_700)
    problem = Problem(draw_problems(kind, 5, 0, 1), 5, 0)
    method = Method.plain(kind)
    assert problem.true_value(method) == kind.base
    right = [problem.ideas(part, right=True)[0] for part in range(2)]
    tries = [problem.true_value(method.with_idea(0, right[0], f"v{at}")) for at in range(200)]
    assert set(tries) == {kind.base, 2_175}
    assert tries.count(2_175) == pytest.approx(2 * CRAFT, abs=25)
    wrong = problem.ideas(0, right=False)[0]
    drop = int(problem.problems.drops[0, 0, wrong])
    assert problem.true_value(method.with_idea(0, wrong, "v")) == kind.base - drop
    both = next(
        method.with_idea(0, right[0], f"v{tries.index(2_175)}").with_idea(1, right[1], f"w{at}")
        for at in range(50)
        if problem.true_value(method.with_idea(1, right[1], f"w{at}")) == 2_175
    )
    assert problem.true_value(both) == kind.top
    assert Method.parse(both.format()) == both
