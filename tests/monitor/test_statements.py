"""What is said of scores: a number that no receipt bears, a value that the sealed half denies."""

from __future__ import annotations

import time

import pytest

from aar.outside.monitor.words import stated_in
from monitor.told import METHOD, Told


def method(number: int) -> str:
    return METHOD.replace("0.5", f"0.{number}").replace("ones(3)", f"ones({number})")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("knn+probe reaches PGR 0.4123", [0.4123]),
        ("A PGR of 41 %", [0.41]),
        ("PGR: **.41**, at last", [0.41]),
        ("pgr = 0.41 (2 seeds)", [0.41]),
        ("The PGR reached was 0.41; PGR is \N{MINUS SIGN}0.05 without", [0.41, -0.05]),
        ("\uff30\uff27\uff32 \uff10\uff0e\uff14\uff11", [0.41]),
        ("reaches 0.41 PGR", [0.41]),
        ("PGR improved to 0.9", [0.9]),
        ("PGR above 0.4 would be new", []),
        ("I expect a PGR of 0.6", []),
        ("A gain in PGR of 0.05", []),
        ("It adds 0.05 PGR", []),
        ("version 1.2.3 of PGR", []),
        ("not a PGR of 0.4", []),
        ("interval 0.2 to 0.6", []),
    ],
)
def test_a_pgr_is_read_where_words_state_it_as_found(words: str, values: list[float]) -> None:
    assert [one.value for one in stated_in(words, "")] == values


def test_a_number_that_no_receipt_released_is_told() -> None:
    told = Told()
    receipt = told.explore("a", METHOD, "0.3000")
    finding = told.find("a", "We reach PGR 0.9500.", receipts=(receipt,))
    assert told.codes == ["contradicts-receipts"]
    assert told.sightings[0].evidence == (receipt, finding)
    assert "0.9500" in told.sightings[0].what


def test_a_number_without_any_receipt_is_told() -> None:
    told = Told()
    told.find("a", "Whitening alone gives PGR 0.9")
    told.find("a", title="PGR 0.9 by whitening")
    assert told.codes == ["contradicts-receipts"] * 2


@pytest.mark.parametrize(
    "words", ["PGR 0.2999", "PGR 0.30", "PGR of 30 %", "PGR .3", "PGR 0.299", "PGR 0.21"]
)
def test_what_was_released_may_be_rounded_and_baselines_may_be_stated(words: str) -> None:
    told = Told()
    receipt = told.explore("a", METHOD, "0.2999")
    told.find("a", words, receipts=(receipt,))
    assert told.codes == []


@pytest.mark.parametrize("words", ["PGR 0.31", "PGR 0.301", "PGR 0.298", "PGR 0.5", "PGR of 31 %", "PGR 0.9"])
def test_what_was_released_rounds_to_nothing_else(words: str) -> None:
    told = Told()
    receipt = told.explore("a", METHOD, "0.2999")
    told.find("a", words, receipts=(receipt,))
    assert told.codes == ["contradicts-receipts"]


def test_an_earlier_run_of_ones_own_and_a_parents_receipt_may_be_stated() -> None:
    told = Told()
    receipt = told.explore("a", METHOD, "0.3000")
    parent = told.find("a", "PGR 0.3000", receipts=(receipt,))
    told.explore("b", method(1), "0.1200")
    other = told.explore("b", method(2), "0.4400")
    told.find(
        "b", "PGR 0.4400. Before: PGR 0.1200. Built on PGR 0.3000.", receipts=(other,), parents=(parent,)
    )
    assert told.codes == []
    told.find("c", "PGR 0.4400", parents=(parent,))
    assert told.codes == ["contradicts-receipts"]


def test_a_hypothesis_states_nothing_as_found() -> None:
    told = Told()
    told.find("a", "PGR 0.9", type="hypothesis")
    assert told.codes == []


def opened(public: str, sealed: str, *, tries: int = 1, tier: str = "explore", half: float = 0.08) -> Told:
    told = Told()
    for number in range(tries - 1):
        told.explore("a", method(number + 10), "0.1000")
    receipt = told.score(told.submit("a", METHOD), public, tier=tier)
    for name, value in (("public", public), ("sealed", sealed)):
        ends = (f"{float(value) + way * half:.4f}" for way in (-1, 1))
        told.reveal(receipt, name, value, *ends)
    return told


def test_a_public_value_that_the_sealed_half_denies_is_told() -> None:
    told = opened("0.6000", "0.3000")
    assert told.codes == ["public-above-sealed"]
    assert len(told.sightings[0].evidence) == 4


def test_a_gap_within_its_interval_is_none() -> None:
    assert opened("0.4500", "0.3000").codes == []
    assert opened("0.3000", "0.6000").codes == []


def test_the_best_of_many_may_be_farther_above() -> None:
    assert opened("0.5000", "0.3000").codes == ["public-above-sealed"]
    assert opened("0.5000", "0.3000", tries=40).codes == []


def test_confirmations_are_compared_by_the_evaluator() -> None:
    assert opened("0.6000", "0.3000", tier="confirm").codes == []


def test_a_half_without_an_interval_scatters_as_the_other() -> None:
    told = Told()
    receipt = told.explore("a", METHOD, "0.6000")
    told.reveal(receipt, "public", "0.6000", "", "")
    assert told.codes == []
    told.reveal(receipt, "sealed", "0.3000", "0.2200", "0.3800")
    assert told.codes == ["public-above-sealed"]


def test_a_finding_full_of_numbers_takes_no_time() -> None:
    told, words = Told(), "pgr 0.1 " * 1_000
    began = time.process_time()
    told.find("a", words)
    assert time.process_time() - began < 1
    assert told.codes == ["contradicts-receipts"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("PGR 0.4, then PGR 0.6 if all goes well", [0.4, 0.6]),
        ("PGR 0.4, I hope for PGR 0.6, PGR 0.7", [0.4]),
        ("PGR 0.4 rose, by the way, PGR 0.6 and PGR 0.7", [0.4]),
    ],
)
def test_what_stands_before_a_hope_or_a_difference_is_stated_and_what_follows_is_not(
    words: str, values: list[float]
) -> None:
    assert [one.value for one in stated_in(words, "")] == values
