"""The bench in an audit: weak labels that say nothing, and what of a run follows from its features."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from aar.lab import bench
from aar.lab.bench import answer

RUNS = [[1, 0], [2, 0]]
REQUEST = {"problem": "digits", "runs": RUNS, "sealed": list(range(400)), "key": b"key".hex()}


def asked(**request: Any) -> tuple[dict[str, Any], bytes]:
    told, data = answer(json.dumps(request).encode())
    assert "error" not in told, told
    return told, data


def files_of(**more: Any) -> dict[str, bytes]:
    told, data = asked(do="prepare", **REQUEST, **more)
    found, at = {}, 0
    for name, size in told["files"].items():
        found[name] = data[at : at + size]
        at += size
    return found


def test_a_control_moves_weak_labels_and_votes_together_and_nothing_else() -> None:
    plain, first, second = files_of(), files_of(control=1), files_of(control=2)
    assert files_of(control=0) == plain
    assert files_of(control=1) == first
    assert first["features.npy"] == plain["features.npy"]
    before, after, other = (json.loads(one["splits.json"])["splits"] for one in (plain, first, second))
    for one, moved, again in zip(before, after, other, strict=True):
        assert one["weak"] != moved["weak"] != again["weak"]
        assert sorted(one["weak"]) == sorted(moved["weak"])
        assert {**one, "weak": 0} == {**moved, "weak": 0}
    if "votes.npy" in plain:
        votes, moved_votes = (np.load(io.BytesIO(one["votes.npy"])) for one in (plain, first))
        at = 0
        for one, moved in zip(before, after, strict=True):
            rows = len(one["weak"])
            pairs, moved_pairs = (
                sorted(zip(weak, map(tuple, some[at : at + rows].tolist()), strict=True))
                for weak, some in ((one["weak"], votes), (moved["weak"], moved_votes))
            )
            assert pairs == moved_pairs
            at += rows


def test_true_answers_follow_from_features_and_random_ones_do_not() -> None:
    told, _data = asked(do="prepare", **REQUEST)
    truth = [one["truth"] for one in told["splits"]]
    rng = np.random.default_rng(1)
    tossed = ["".join(rng.choice(["0", "1"], len(line))) for line in truth]
    known, random = (
        float(asked(do="residual", **REQUEST, lines=lines)[0]["residual"]) for lines in (truth, tossed)
    )
    assert known < 0.03
    assert random > 0.2


@pytest.mark.parametrize("lines", [[], ["01"], ["01", "10"]])
def test_answers_of_another_run_are_an_error_and_no_end(lines: list[str]) -> None:
    told, _data = answer(json.dumps({"do": "residual", **REQUEST, "lines": lines}).encode())
    assert "error" in told


def test_what_a_run_was_taught_is_not_taught_again_for_its_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    dealt = []
    whole = bench._dealt

    def counted(problem: Any, request: Any, key: bytes) -> Any:
        dealt.append(request["key"])
        return whole(problem, request, key)

    monkeypatch.setattr(bench, "_dealt", counted)
    monkeypatch.setattr(bench, "_kept", {})
    told, data = asked(do="prepare", **REQUEST)
    lines = [one["truth"] for one in told["splits"]]
    fresh = asked(do="residual", **{**REQUEST, "runs": REQUEST["runs"][:1]}, lines=lines[:1])
    asked(do="prepare", **REQUEST, control=1)
    assert asked(do="prepare", **REQUEST) == (told, data)
    assert len(dealt) == 1
    # As if nothing had been kept; and other seeds, or another key, are taught anew.
    bench._kept.clear()
    assert asked(do="residual", **{**REQUEST, "runs": REQUEST["runs"][:1]}, lines=lines[:1]) == fresh
    assert asked(do="prepare", **{**REQUEST, "runs": REQUEST["runs"][1:]}) != (told, data)
    for key in ("00", "01", "02"):
        asked(do="prepare", **{**REQUEST, "key": key})
    assert len(dealt) == 6
    assert len(bench._kept) == bench.KEPT
