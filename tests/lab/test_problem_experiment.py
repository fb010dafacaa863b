"""From problem, seed and replicate to an instance; groups stay together; what is stated is drawn again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aar.lab.errors import MalformedSplit, UnknownProblem
from aar.lab.experiment import draw_seed, sample
from aar.lab.problems import CANARIES, DEFAULT_PROBLEM, PROBLEMS
from aar.lab.problems.problem import Sizes, deal
from aar.lab.problems.registry import problem_named
from aar.lab.problems.stated import STATED_FILE, measure, stated
from aar.verify.splits import split

GROUPED = Sizes(pool=60, features=1, sealed=10, labelled=7, unlabelled=11, group=5)


# Dealing.


def test_single_items_are_dealt_as_the_verifier_deals_them() -> None:
    sizes = Sizes(pool=30, features=1, sealed=5, labelled=4, unlabelled=6)
    sealed = (0, 3, 9, 11, 29)
    public = [item for item in range(30) if item not in sealed]
    assert deal(sizes, 12, 3, sealed) == split(12, 3, public, 4, 6)


def test_groups_stand_on_one_side_and_the_rest_of_a_cut_one_is_not_used() -> None:
    sealed = [*range(10, 15), *range(55, 60)]
    for seed in range(30):
        one = deal(GROUPED, seed, 0, sealed)
        assert (len(one.labelled), len(one.unlabelled)) == (7, 11)
        seen = {item // 5 for item in (*one.labelled, *one.unlabelled)}
        tested = {item // 5 for item in one.tested}
        assert not seen & tested
        assert not {2, 11} & (seen | tested)
        # 18 items need 4 groups of 5; all six others are tested whole.
        assert len(tested) == 6
        assert len(one.tested) == 30
        assert len({*one.labelled, *one.unlabelled, *one.tested}) == 48


def test_a_deal_is_a_function_of_seed_and_replicate() -> None:
    assert deal(GROUPED, 1, 0) == deal(GROUPED, 1, 0)
    assert len({deal(GROUPED, seed, replicate) for seed in range(4) for replicate in range(4)}) == 16


BAD_SEALS = {
    "twice": [1, 1],
    "beyond the pool": [60],
    "below the pool": [-1],
    "a cut group": [0, 1, 2],
    "too many": list(range(40)),
}


@pytest.mark.parametrize("case", BAD_SEALS)
def test_sealed_items_that_leave_no_split_are_refused(case: str) -> None:
    with pytest.raises(MalformedSplit):
        deal(GROUPED, 0, 0, BAD_SEALS[case])


def test_single_items_of_which_none_is_left_to_test_are_refused() -> None:
    sizes = Sizes(pool=10, features=1, sealed=0, labelled=4, unlabelled=6)
    with pytest.raises(MalformedSplit, match="none is left to test"):
        deal(sizes, 0, 0)


# Samples.


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_gives_an_instance_with_the_sizes_told(name: str) -> None:
    problem = problem_named(name)
    one = sample(problem, 5)
    sizes = problem.sizes
    assert one.instance.train_x.shape == (sizes.unlabelled, sizes.features)
    assert one.instance.weak.shape == (sizes.unlabelled,)
    assert one.instance.votes is not None
    assert one.instance.votes.shape == (sizes.unlabelled, 7)
    assert one.instance.student_l2 == problem.student_l2
    assert len(one.instance.test_x) == len(one.taught.truth) == len(one.taught.weak_correct)
    assert (one.instance.zero_shot is not None) == (name == "claims-ue")
    assert f"[{sizes.unlabelled}, {sizes.features}]" in problem.statement


@pytest.mark.parametrize("name", ["digits", "overlap"])
def test_a_sample_is_a_function_of_its_arguments_and_replicates_differ(name: str) -> None:
    problem = problem_named(name)
    first, again, other = sample(problem, 7, 1), sample(problem, 7, 1), sample(problem, 7, 2)
    np.testing.assert_array_equal(first.instance.train_x, again.instance.train_x)
    np.testing.assert_array_equal(first.taught.truth, again.taught.truth)
    assert not np.array_equal(first.instance.train_x, other.instance.train_x)


def test_a_fixed_sample_s_features_are_those_of_its_items() -> None:
    problem = problem_named("digits")
    sealed = range(100)
    one, dealt = sample(problem, 3, 2, sealed), deal(problem.sizes, 3, 2, sealed)
    features = problem.features  # type: ignore[union-attr]
    np.testing.assert_array_equal(one.instance.train_x, features[list(dealt.unlabelled)])
    np.testing.assert_array_equal(one.instance.test_x, features[list(dealt.tested)])


def test_the_replicates_of_two_official_seeds_never_meet() -> None:
    assert draw_seed(9, 0) == 9
    seeds = {draw_seed(seed, replicate) for seed in (0, 1, 2**48 - 1) for replicate in range(4)}
    assert len(seeds) == 12


def test_what_a_procedural_problem_cannot_seal_is_refused() -> None:
    with pytest.raises(MalformedSplit, match="draws its items anew"):
        sample(problem_named("overlap"), 0, 0, [1])


@pytest.mark.parametrize(("seed", "replicate"), [(-1, 0), (0, -1)])
def test_negative_seeds_and_replicates_are_refused(seed: int, replicate: int) -> None:
    with pytest.raises(MalformedSplit, match="want integers from 0"):
        sample(problem_named("overlap"), seed, replicate)


# Names.


def test_problems_are_built_once_and_the_default_is_one_of_them() -> None:
    assert DEFAULT_PROBLEM in PROBLEMS
    assert problem_named("overlap") is problem_named("overlap")
    with pytest.raises(UnknownProblem, match="there is: claims, digits"):
        problem_named("chess")


DIGESTS = {
    "claims": "39898b673013278a071f588ceac443f706e59994b6110a46d21ea4f4ca2ce47f",
    "digits": "9aa2c672329fd18bd7a7fc77a07324221f094f3556bfe0b29bd0742caff9524a",
    "overlap": "28c859418a98a7d7e52ddaba6e36a86ac7f3d379ae331ac773b662ecbc3b07fe",
    "shortcut": "e03731d3aec527abfebdd66fee5516dc4ee8a9031b5738a74d75a892fa5171af",
    "claims-ue": "0f684d2922d66f9efcfe72ceedfeb7328822f29fa468819e3d5e480b0e33ec22",
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_digest_is_its_construction_s(name: str) -> None:
    """It stands in study files: a change of it is a new problem, not a detail."""
    assert problem_named(name).digest == DIGESTS[name]


# What is stated.


def test_something_is_stated_of_every_problem() -> None:
    told = json.loads(STATED_FILE.read_text())
    assert [one["problem"] for one in told["problems"]] == list(PROBLEMS)
    for name in PROBLEMS:
        one = stated(name)
        assert one.seeds >= 20
        assert one.gap >= 0.10
        assert one.gap >= 6 * one.gap_error
        assert one.gap == pytest.approx(one.ceiling - one.weak, abs=2e-4)
        assert one.is_canary == (name in CANARIES)
    with pytest.raises(UnknownProblem, match="nothing is stated"):
        stated("chess")


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "claims-ue"])
def test_what_is_stated_is_found_again_on_other_seeds(name: str) -> None:
    told, found = stated(name), measure(name, range(1_000, 1_004), 1)
    assert found.weak == pytest.approx(told.weak, abs=0.03)
    assert found.ceiling == pytest.approx(told.ceiling, abs=0.02)
    assert found.gap == pytest.approx(told.gap, abs=0.04)
    # Four seeds, of which one split each: as many standard deviations as a mean of four strays.
    assert abs(found.vanilla - told.vanilla) < 4 * max(told.vanilla_sd, 0.08) / 2


def test_the_numbers_on_some_of_the_stated_seeds_are_the_stated_ones() -> None:
    """`overlap` again on all its seeds: the command gives what was written down."""
    told = stated("overlap")
    found = measure("overlap", range(told.seeds), told.replicates)
    assert found.weak == pytest.approx(told.weak, abs=1e-3)
    assert found.ceiling == pytest.approx(told.ceiling, abs=1e-3)
    assert found.vanilla == pytest.approx(told.vanilla, abs=1e-2)
