"""The leaderboard: a fold over receipts, opened values and decisions, and over nothing a researcher wrote."""

from __future__ import annotations

from typing import Any

from aar.formats.entry import Entry, Leaf, format_leaf, parse_leaf, sign_entry
from aar.verify.leaderboard import Row, leaderboard
from forge import ORIGIN, STRANGER


class Record:
    """Entries as the fold sees them; nobody checks a signature here."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []

    def add(self, kind: str, **body: Any) -> int:
        index = len(self.leaves)
        entry = Entry(ORIGIN, STRANGER.name, 0, "", kind, (), body, 1)
        self.leaves.append(parse_leaf(format_leaf(index, 1, sign_entry(entry, STRANGER).data)))
        return index

    def submit(self, name: str) -> int:
        return self.add("submission", name=name)

    def receipt(
        self,
        submission: int,
        digest: str,
        pgr: str,
        *,
        researcher: str = "r1",
        improved: int = 1,
        tier: str = "explore",
        problem: str = "digits",
        outcome: str = "scored",
        seeds: int = 2,
    ) -> int:
        released: dict[str, Any] = {"pgr": pgr, "low": "0.0100", "high": "0.9900", "improved": improved}
        if tier == "confirm":
            released = {"pgr": pgr, "low": "0.0100", "high": "0.9900", "difference": "0.1000"}
        return self.add(
            "score-receipt",
            submission=submission,
            digest=digest,
            researcher=researcher,
            tier=tier,
            problem=problem,
            outcome=outcome,
            released=released if tier in ("explore", "confirm") and outcome == "scored" else {},
            seeds=list(range(seeds)),
        )

    def explore(self, name: str, pgr: str, **options: Any) -> int:
        return self.receipt(self.submit(name), name * 8, pgr, **options)

    def reveal(self, receipt: int, pgr: str, half: str = "sealed", *, digest: str = "ab" * 32) -> int:
        values = {"pgr": pgr, "low": "0.2000", "high": "0.8000"}
        return self.add("score-revealed", receipt=receipt, half=half, blob={"sha256": digest}, **values)

    def decide(
        self, receipts: list[int], decision: str, pgr: str = "0.9000", parents: list[int] | None = None
    ) -> int:
        numbers = {"pgr": pgr, "low": "0.0100", "high": "0.9900"}
        finding = self.add("finding", receipts=receipts, numbers=numbers, parents=parents or [])
        self.add("decision", finding=finding, decision=decision)
        return finding

    def rows(self) -> list[Row]:
        return leaderboard(self.leaves)

    def methods(self) -> list[str]:
        return [row.method for row in self.rows()]


def test_methods_without_an_opened_value_are_ranked_by_their_rung() -> None:
    record = Record()
    for name, pgr in (("a", "0.5000"), ("b", "-0.1000"), ("c", "0.7000")):
        record.explore(name, pgr)
    assert [(row.rank, row.method, row.explored_pgr) for row in record.rows()] == [
        (1, "c", "0.7000"),
        (2, "a", "0.5000"),
        (3, "b", "-0.1000"),
    ]


def test_a_held_out_value_comes_before_any_rung_and_they_are_ranked_by_it() -> None:
    record = Record()
    low, _rung, high = (
        record.explore("a", "0.9000"),
        record.explore("b", "0.9500"),
        record.explore("c", "0.1000"),
    )
    record.reveal(low, "0.3000")
    record.reveal(high, "0.4000")
    assert record.methods() == ["c", "a", "b"]
    row = record.rows()[0]
    assert (row.heldout_pgr, row.low, row.high) == ("0.4000", "0.2000", "0.8000")


def test_equal_held_out_values_are_ranked_by_rung_then_by_age() -> None:
    record = Record()
    for name, pgr in (("a", "0.5000"), ("b", "0.6000"), ("c", "0.5000")):
        record.reveal(record.explore(name, pgr), "0.3000")
    assert record.methods() == ["b", "a", "c"]


def test_negative_values_are_ranked_as_numbers() -> None:
    record = Record()
    for name, pgr in (("a", "-0.5000"), ("b", "-0.1000"), ("c", "-0.0500")):
        record.reveal(record.explore(name, "0.0500"), pgr)
    assert record.methods() == ["c", "b", "a"]


def test_an_opened_public_half_is_no_held_out_value() -> None:
    record = Record()
    record.reveal(record.explore("a", "0.9000"), "0.3000", half="public")
    assert record.rows()[0].heldout_pgr is None


def test_what_was_not_better_is_not_ranked_until_its_sealed_half_is_open() -> None:
    record = Record()
    record.explore("a", "0.9000")
    worse = record.explore("b", "0.9000", improved=0)
    assert record.methods() == ["a"]
    record.reveal(worse, "0.3000")
    assert record.methods() == ["b", "a"]
    assert record.rows()[0].explored_pgr is None
    assert record.rows()[0].as_json()["explored_pgr"] is None


def test_a_failed_run_and_a_reproduction_rank_nothing() -> None:
    record = Record()
    record.explore("a", "0.9000", outcome="failed")
    again = record.explore("b", "0.9000", tier="reproduce")
    record.reveal(again, "0.3000")
    assert record.rows() == []


def test_a_reproduction_changes_nothing_of_its_method() -> None:
    record = Record()
    record.explore("a", "0.5000")
    again = record.explore("a", "0.9000", tier="reproduce")
    record.reveal(again, "0.3000")
    row = record.rows()[0]
    assert (row.explored_pgr, row.heldout_pgr, row.receipts) == ("0.5000", None, [1])


def test_one_method_of_one_researcher_is_one_row_with_all_its_receipts() -> None:
    record = Record()
    first = record.receipt(record.submit("a"), "d", "0.5000")
    second = record.receipt(record.submit("b"), "d", "0.6000", seeds=3)
    record.receipt(record.submit("c"), "d", "0.4000", researcher="r2")
    rows = record.rows()
    assert [(row.method, row.researcher, row.explored_pgr) for row in rows] == [
        ("a", "r1", "0.6000"),
        ("c", "r2", "0.4000"),
    ]
    assert (rows[0].receipts, rows[0].seeds) == ([first, second], 3)


def test_a_later_rung_does_not_hide_an_opened_interval() -> None:
    record = Record()
    first = record.receipt(record.submit("a"), "d", "0.5000")
    record.reveal(first, "0.3000")
    record.receipt(record.submit("a"), "d", "0.6000")
    row = record.rows()[0]
    assert (row.explored_pgr, row.heldout_pgr, row.low, row.high) == ("0.6000", "0.3000", "0.2000", "0.8000")


def test_before_it_is_opened_the_interval_is_the_released_one() -> None:
    record = Record()
    record.explore("a", "0.5000")
    assert (record.rows()[0].low, record.rows()[0].high) == ("0.0100", "0.9900")


def test_what_was_retracted_is_last_and_says_so() -> None:
    record = Record()
    receipt = record.explore("a", "0.9000")
    record.reveal(receipt, "0.9000")
    record.decide([receipt], "retract")
    record.explore("b", "0.1000")
    assert [(row.rank, row.method, row.decision) for row in record.rows()] == [
        (1, "b", ""),
        (2, "a", "retract"),
    ]


def test_the_last_decision_counts() -> None:
    record = Record()
    receipt = record.explore("a", "0.9000")
    record.decide([receipt], "retract")
    record.decide([receipt], "publish")
    assert record.rows()[0].decision == "publish"


def test_a_decision_is_about_the_method_whose_rung_its_finding_states() -> None:
    """And about no other that it cites beside: nobody ran those again."""
    record = Record()
    receipt, other = record.explore("a", "0.9000"), record.explore("b", "0.8000")
    record.decide([other, receipt, 99], "publish")
    record.add("decision", finding=98, decision="retract")
    assert [(row.method, row.decision) for row in record.rows()] == [("a", "publish"), ("b", "")]


def test_a_decision_is_not_about_a_method_that_repeats_anothers_rung() -> None:
    record = Record()
    record.explore("a", "0.9000")
    same = record.explore("b", "0.9000", improved=0)
    record.reveal(same, "0.5000")
    record.decide([same], "publish")
    assert [(row.method, row.decision) for row in record.rows()] == [("b", ""), ("a", "")]


def test_what_builds_on_a_retracted_finding_says_so_though_it_is_published() -> None:
    record = Record()
    parent = record.decide([record.explore("a", "0.9000")], "retract")
    record.decide([record.explore("b", "0.8000")], "publish", "0.8000", [parent])
    record.decide([record.explore("c", "0.7000")], "publish", "0.7000")
    assert [(row.method, row.decision, row.builds_on_retracted) for row in record.rows()] == [
        ("b", "publish", True),
        ("c", "publish", False),
        ("a", "retract", False),
    ]
    record.add("decision", finding=parent, decision="refine")
    assert not any(row.builds_on_retracted for row in record.rows())


def test_a_method_is_marked_by_what_was_said_of_it_even_where_no_value_was_stated() -> None:
    record = Record()
    parent = record.decide([record.explore("a", "0.9000")], "retract")
    record.add("finding", receipts=[record.explore("b", "0.8000")], numbers={}, parents=[parent])
    assert [(row.method, row.builds_on_retracted) for row in record.rows()] == [("b", True), ("a", False)]


def test_no_number_of_a_finding_gets_on_the_board() -> None:
    record = Record()
    record.decide([record.explore("a", "0.5000")], "publish", "9.9999")
    assert "9.9" not in str([row.as_json() for row in record.rows()])


def test_a_value_whose_bytes_were_redacted_is_not_shown_whenever_that_was() -> None:
    record = Record()
    record.reveal(record.explore("a", "0.5000"), "0.9000", digest="cd" * 32)
    record.reveal(record.explore("b", "0.4000"), "0.3000")
    record.add("redaction", sha256="cd" * 32)
    assert [(row.method, row.heldout_pgr, row.high) for row in record.rows()] == [
        ("b", "0.3000", "0.8000"),
        ("a", None, "0.9900"),
    ]


def test_a_row_in_json_has_numbers() -> None:
    record = Record()
    receipt = record.explore("a", "0.5000")
    assert record.rows()[0].as_json() == {
        "rank": 1,
        "method": "a",
        "researcher": "r1",
        "explored_pgr": 0.5,
        "heldout_pgr": None,
        "low": 0.01,
        "high": 0.99,
        "confirmed": {},
        "heldout_problems": {},
        "seeds": 2,
        "receipts": [receipt],
        "decision": "",
        "builds_on_retracted": False,
    }
    record.reveal(receipt, "0.0000")
    assert record.rows()[0].as_json()["heldout_pgr"] == 0.0


def test_a_confirmed_value_stands_beside_the_explored_one() -> None:
    record = Record()
    submission = record.submit("a")
    record.receipt(submission, "a" * 8, "0.5000")
    record.receipt(submission, "a" * 8, "0.4000", tier="confirm")
    row = record.rows()[0].as_json()
    assert (row["explored_pgr"], row["low"], row["receipts"]) == (0.5, 0.01, [1])
    assert row["confirmed"] == {"pgr": 0.4, "low": 0.01, "high": 0.99, "difference": 0.1}


def test_a_decision_on_a_finding_that_states_a_confirmed_value_is_its_method_s() -> None:
    record = Record()
    submission = record.submit("a")
    record.receipt(submission, "a" * 8, "0.5000")
    confirmed = record.receipt(submission, "a" * 8, "0.4000", tier="confirm")
    record.decide([confirmed], "publish", "0.4000")
    assert record.rows()[0].decision == "publish"


def test_values_of_problems_held_out_are_a_method_s_whoever_handed_it_in() -> None:
    record = Record()
    first, second = record.submit("a"), record.submit("a")
    record.receipt(first, "a" * 8, "0.5000")
    record.receipt(second, "a" * 8, "0.5000", researcher="r2")
    other = record.explore("b", "0.4000")
    elsewhere = record.receipt(first, "a" * 8, "", tier="heldout", problem="overlap")
    record.reveal(elsewhere, "0.3000", "sealed")
    assert [row.heldout_problems for row in record.rows()] == [{}, {}, {}]
    record.reveal(elsewhere, "0.7000", "public")
    record.reveal(other, "0.1000")
    rows = {(row.method, row.researcher): row.as_json() for row in record.rows()}
    told = {"overlap": {"pgr": 0.7, "low": 0.2, "high": 0.8}}
    assert rows["a", "r1"]["heldout_problems"] == rows["a", "r2"]["heldout_problems"] == told
    assert (rows["a", "r1"]["heldout_pgr"], rows["b", "r1"]["heldout_problems"]) == (None, {})


def test_a_receipt_of_another_tier_ranks_nothing_by_itself() -> None:
    record = Record()
    record.receipt(record.submit("a"), "a" * 8, "0.5000", tier="confirm")
    record.receipt(record.submit("b"), "b" * 8, "0.5000", tier="heldout", problem="overlap")
    assert record.rows() == []


def test_the_board_can_be_read_while_entries_stream() -> None:
    record = Record()
    record.explore("a", "0.5000")
    assert [row.method for row in leaderboard(iter(record.leaves))] == ["a"]
    assert leaderboard(iter(())) == []
