"""Comparing a run with what its receipt committed to: met, not met, or nothing to judge by."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aar.formats.commitments import commit_secret
from aar.outside.evaluation.official_run import RunResult
from aar.outside.evaluation.reproduce import CannotJudge, _compared, reproduce_receipt
from forge import POOL, SECRET, Run

RECEIPT = 7
MADE = Run("r1", "ab" * 32, "explore", 0.8)
SAME = RunResult(
    seeds=tuple(MADE.seeds), reason="", public=MADE.payloads["public"], sealed=MADE.payloads["sealed"]
)


def projection(*opened: str, **changes: Any) -> Any:
    """A record that holds one receipt, of which these halves are open."""
    body = {
        "problem": "masks",
        "tier": "explore",
        "digest": MADE.digest,
        "outcome": "scored",
        "reason": "",
        "seeds": list(MADE.seeds),
        "commitments": MADE.commitments(),
        **changes,
    }
    study = {
        "problem": "masks",
        "problem_digest": "ab" * 32,
        "pool": {key: getattr(POOL, key) for key in ("items", "sealed", "labelled", "unlabelled")},
        "heldout": [],
        "commitments": {"seed_secret": commit_secret(SECRET)},
    }
    study["pool"] |= {"tested": 0, "group": 1}
    return SimpleNamespace(
        receipts={RECEIPT: body},
        revealed={(RECEIPT, half): {"pgr": MADE.exact(half)["pgr"]} for half in opened},
        opened=study,
        closed={"seed_secret": SECRET.hex()},
        redacted=set(),
    )


def compared(record: Any, result: RunResult, tolerance: str = "0") -> Any:
    return _compared(record, RECEIPT, result, secret=SECRET, label="explore", tolerance=Fraction(tolerance))


def moved(items: int) -> RunResult:
    """The same run on a machine that gets `items` more of the first split's public items wrong."""
    public = MADE.payloads["public"]
    first, student = public.splits[0], public.splits[0].student
    for _item in range(items):
        student &= student - 1
    splits = (replace(first, student=student), *public.splits[1:])
    return replace(SAME, public=replace(public, splits=splits))


def test_the_same_masks_are_met_whether_they_were_opened_or_not() -> None:
    for record in (projection(), projection("public", "sealed")):
        found = compared(record, SAME)
        assert (found.verdict, found.is_exact) == ("met", True)
    assert found.reproduced == found.committed == {half: MADE.exact(half)["pgr"] for half in MADE.payloads}


def test_one_other_item_is_not_met_unless_a_tolerance_covers_it() -> None:
    record = projection("public")
    assert compared(record, moved(1)).verdict == "not-met"
    found = compared(record, moved(1), "0.05")
    assert (found.verdict, found.is_exact) == ("met", False)
    assert compared(record, moved(6), "0.05").verdict == "not-met"


def test_how_far_closed_values_are_apart_is_not_known() -> None:
    with pytest.raises(CannotJudge, match="none of them is open"):
        compared(projection(), moved(1), "0.05")


def test_other_seeds_than_the_secret_gives_are_not_met() -> None:
    found = compared(projection(seeds=[1, 2]), SAME)
    assert (found.verdict, found.reason) == (
        "not-met",
        "the receipt names other seeds than the secret gives",
    )


@pytest.mark.parametrize(
    ("said", "ran", "verdict"),
    [("wall", "wall", "met"), ("wall", "exception", "not-met"), ("wall", "", "not-met")],
)
def test_a_failed_run_is_met_by_the_same_failure(said: str, ran: str, verdict: str) -> None:
    record = projection(outcome="failed", reason=said, commitments={})
    result = RunResult(seeds=SAME.seeds, reason=ran) if ran else SAME
    assert compared(record, result).verdict == verdict


def test_a_scored_receipt_whose_run_fails_is_not_met() -> None:
    found = compared(projection(), RunResult(seeds=SAME.seeds, reason="memory"))
    assert (found.verdict, found.reason) == ("not-met", "the receipt says scored, the run memory")


def judged(record: Any, directory: Path, **changes: Any) -> Any:
    given: dict[str, Any] = {"secret": None, "tolerance": Fraction(0), **changes}
    return reproduce_receipt(record, directory, given.pop("receipt", RECEIPT), **given)


def test_what_is_missing_is_said_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(CannotJudge, match="entry 3 is not a score receipt; receipts are at 7"):
        judged(projection(), tmp_path, receipt=3)
    with pytest.raises(CannotJudge, match="not the one that study-opened committed to"):
        judged(projection(), tmp_path, secret=b"x" * 32)
    running = projection()
    running.closed = {}
    with pytest.raises(CannotJudge, match="the study is open"):
        judged(running, tmp_path)
    with pytest.raises(CannotJudge, match="problem other is none of the study's"):
        judged(projection(problem="other"), tmp_path)
    with pytest.raises(CannotJudge, match="is not in this copy"):
        judged(running, tmp_path, secret=SECRET)
    redacted = projection()
    redacted.redacted.add(MADE.digest)
    with pytest.raises(CannotJudge, match="was redacted"):
        judged(redacted, tmp_path)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / MADE.digest).write_bytes(b"another method")
    with pytest.raises(CannotJudge, match="other bytes than its name says"):
        judged(projection(), tmp_path)
