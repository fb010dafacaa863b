"""What opened values say of several methods at once, and what is not said while a try is still sealed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aar.cli.opened_values import comparison_lines, comparisons_of
from aar.outside.projection import Projection
from aar.verify.comparisons import best_of_runs, compared
from aar.verify.payload import Payload, SplitCounts, format_payload
from forge import is_right, mask_of

GROUP, ITEMS = 3, 300
ACCURACIES = {"a": 0.6, "b": 0.72, "c": 0.7}


def payload(digest: str, salt: str) -> Payload:
    splits = []
    for seed in range(5):
        masks = [
            mask_of([item for item in range(ITEMS) if is_right(share, salt + who, item // GROUP, seed, 0)])
            for who, share in (
                (digest, ACCURACIES[digest]),
                ("weak", 0.5),
                ("ceiling", 0.95),
                ("vanilla", 0.6),
            )
        ]
        splits.append(SplitCounts(seed, 0, (1 << ITEMS) - 1, *masks))
    return Payload("public", ITEMS, tuple(splits))


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Any]:
    """A closed study: three tries of one researcher, two of them confirmed, one try of another."""
    projection = Projection()
    projection.opened = {"pool": {"group": GROUP}, "researchers": ["r1", "r2"]}
    (tmp_path / "blobs").mkdir()
    runs = [("r1", tier, one) for tier, ones in (("explore", "abc"), ("confirm", "bc")) for one in ones]
    for index, (researcher, tier, digest) in enumerate([*runs, ("r2", "explore", "a")]):
        name = f"{tier}-{digest}"
        (tmp_path / "blobs" / name).write_bytes(format_payload(payload(digest, tier)))
        projection.receipts[index] = {
            "tier": tier,
            "researcher": researcher,
            "digest": digest,
            "commitments": {"public": "00"},
        }
        projection.revealed[index, "public"] = {"blob": {"sha256": name}}
    return tmp_path, projection


def test_confirmed_methods_are_tested_together_and_the_best_try_is_corrected(study: tuple[Path, Any]) -> None:
    found = comparisons_of(*study)
    wanted = compared({one: payload(one, "confirm") for one in "bc"}, group=GROUP)
    assert [found[one, "r1"]["holm_p"] for one in "bc"] == [round(one.adjusted, 6) for one in wanted]
    best = best_of_runs([payload(one, "explore") for one in "abc"], group=GROUP)
    told = [one["best_of"] for one in found.values() if "best_of" in one]
    assert told == [
        {"tries": 3, "pgr": round(best.estimate, 4), "low": round(best.low, 4), "high": round(best.high, 4)}
    ]
    # One try of r2's was picked from nothing.
    assert ("a", "r2") not in found
    lines = list(comparison_lines({key: f"method {key[0]}" for key in found}, found))
    assert len(lines) == 3
    assert sum("best of 3 tries of r1" in line for line in lines) == 1


def test_a_try_that_is_not_open_leaves_the_others_uncorrected(study: tuple[Path, Any]) -> None:
    record, projection = study
    del projection.revealed[0, "public"]
    assert all("best_of" not in one for one in comparisons_of(record, projection).values())
    projection.redacted.add("confirm-b")
    assert comparisons_of(record, projection) == {}


def test_before_a_study_is_open_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert comparisons_of(tmp_path, Projection()) == {}


def test_tries_that_all_answer_like_the_teacher_were_not_picked(study: tuple[Path, Any]) -> None:
    record, projection = study
    for one in "abc":
        whole = payload(one, "explore")
        like = tuple(replace(split, student=split.weak) for split in whole.splits)
        (record / "blobs" / f"explore-{one}").write_bytes(format_payload(replace(whole, splits=like)))
    assert all("best_of" not in one for one in comparisons_of(record, projection).values())
