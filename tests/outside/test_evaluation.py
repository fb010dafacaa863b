"""What the evaluator lets out: parsed predictions, rungs of the ladder, opened numbers, files kept."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.formats.errors import FormatError
from aar.formats.keys import format_skey
from aar.formats.kinds import FAILURES, check_body
from aar.outside.admission import Refused
from aar.outside.evaluation.bench import Prepared
from aar.outside.evaluation.official_run import (
    Problem,
    ProblemRefused,
    by_item,
    check_pool,
    parse_predictions,
    payload_bytes,
    run_officially,
)
from aar.outside.evaluation.release import (
    confirmed,
    interval_method,
    opened_numbers,
    release,
    release_terms,
)
from aar.outside.gateway.blobs import MAX_BLOB_BYTES, Blobs
from aar.outside.gateway.requests import fields, method_files, whole_number
from aar.outside.keyring import load_or_create_key
from aar.verify.interval import decimal4, score, t_interval
from aar.verify.payload import Payload, SplitCounts, format_payload
from aar.verify.splits import Pool
from every_format import RECEIPT

ITEMS = 200


def payload(right: int, half: str = "public") -> Payload:
    """A student that is right on `right` of 200 items, between a teacher at 100 and a ceiling at 200."""
    everything = (1 << ITEMS) - 1
    splits = tuple(
        SplitCounts(seed, 0, everything, (1 << right) - 1, (1 << 100) - 1, everything) for seed in (1, 2, 3)
    )
    return Payload(half, ITEMS, splits)


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"01\n",
        b"01\n1\n0",
        b"01\n10\n",
        b"01\n1\n\n",
        b"0\n1\n",
        b"012\n1\n",
        b"01\n1 \n",
        b"01\r\n1\n",
        b"\xff1\n1\n",
    ],
)
def test_anything_but_one_line_of_exact_width_per_split_is_bad_output(output: bytes) -> None:
    assert parse_predictions(b"01\n1\n", [2, 1]) == ["01", "1"]
    assert parse_predictions(output, [2, 1]) is None


@given(st.permutations(range(9)), st.integers(1, 9), st.data())
def test_marks_in_test_order_become_a_mask_over_items(
    order: list[int], count: int, data: st.DataObject
) -> None:
    items = order[:count]
    line = data.draw(st.text("01", min_size=count, max_size=count))
    places = [items.index(item) if item in items else count for item in range(9)]
    wanted = sum(1 << item for item, mark in zip(items, line, strict=True) if mark == "1")
    assert by_item(line, places) == wanted


def test_a_first_score_is_a_rung_within_its_interval() -> None:
    told = release(payload(142), {}, draws=50, group=1)
    assert told["improved"] == 1
    assert told["pgr"] == "0.4000"
    assert Fraction(told["low"]) <= Fraction(told["pgr"]) <= Fraction(told["high"])
    assert all(Fraction(told[key]) % Fraction(1, 20) == 0 for key in ("pgr", "low", "high"))


def test_what_is_not_better_by_a_step_gets_the_previous_answer_whatever_it_scored() -> None:
    previous = {"pgr": "0.4000", "low": "0.3000", "high": "0.5000", "improved": 1}
    answers = [release(payload(right), previous, draws=50, group=1) for right in (60, 120, 140, 144, 145)]
    assert answers == [{**previous, "improved": 0}] * 5
    assert release(payload(146), previous, draws=50, group=1)["improved"] == 1


def test_of_fresh_items_the_exact_value_is_told_whatever_was_told_before() -> None:
    previous = {"pgr": "0.9000", "low": "0.8000", "high": "1.0000", "improved": 1}
    for right in (60, 142):
        fresh = replace(payload(right), is_fresh=True)
        told = release(fresh, previous, draws=50, group=1)
        assert told["improved"] == 1
        assert told["pgr"] == decimal4(score(fresh).pgr)
        assert told["low"] == decimal4(t_interval(fresh).low)


def test_a_confirmed_value_is_exact_and_compared_with_the_plain_student() -> None:
    public = payload(142)
    splits = tuple(replace(one, vanilla=(1 << 120) - 1) for one in public.splits)
    told = confirmed(replace(public, splits=splits), draws=50, group=1)
    assert (told["pgr"], told["difference"]) == ("0.4200", "0.2200")
    assert Fraction(told["difference_low"]) <= Fraction("0.22") <= Fraction(told["difference_high"])
    check_body("score-receipt", {**RECEIPT, "tier": "confirm", "released": told})


def test_the_terms_of_a_study_follow_from_its_problem() -> None:
    assert release_terms(is_fresh=True) == {"rule": "exact", "step": "0.0000"}
    assert release_terms(is_fresh=False) == {"rule": "ladder", "step": "0.0500"}
    assert (interval_method(is_fresh=True), interval_method(is_fresh=False)) == (
        "t-over-seeds",
        "crossed-bootstrap",
    )


class Gapless:
    """A bench and its sandboxes: a teacher as good as its ceiling, a method that says nothing but ones."""

    stdout, truncated, exit = b"111\n", False, SimpleNamespace(reason="exited", code=0)

    def prepare(self, problem: str, runs: Any, sealed: Any, key: bytes) -> Prepared:
        assert (problem, len(runs), list(sealed)) == ("tiny", 1, [2])
        marks = {**dict.fromkeys(("true", "weak", "ceiling", "vanilla"), "3"), "tested": "7"}
        return Prepared(files={"splits.json": b"{}"}, kept=[{"truth": "110", "places": "AAABAAIA", **marks}])

    def handed(self, files: Any) -> Any:
        assert "/instance/splits.json" in files
        running = SimpleNamespace(collect=lambda **_limits: self)
        return nullcontext(running)


def test_a_run_whose_seeds_left_no_gap_is_a_typed_outcome() -> None:
    pool = Pool(items=0, sealed=1, labelled=1, unlabelled=1, tested=3, group=1)
    snapshot = b'{"files":{}}'
    gapless: Any = Gapless()
    result = run_officially(
        secret=bytes(32),
        problem=Problem(name="tiny", pool=pool, seeds=1, replicates=1),
        label="explore",
        digest=hashlib.sha256(snapshot).hexdigest(),
        snapshot=snapshot,
        bench=gapless,
        sandboxes=gapless,
    )
    assert (result.reason, result.public, result.sealed) == ("no-gap", None, None)
    assert result.reason in FAILURES


def test_an_opened_half_states_an_interval_only_where_one_is_asked_for() -> None:
    data = format_payload(payload(142))
    nothing = dict.fromkeys(("difference", "difference_low", "difference_high"), "")
    told = opened_numbers(data, draws=0, group=1, compares=False)
    assert told == {"pgr": "0.4200", "low": "", "high": "", **nothing}
    told = opened_numbers(data, draws=50, group=1, compares=False)
    assert Fraction(told["low"]) < score(payload(142)).pgr < Fraction(told["high"])


def test_a_key_is_made_once_closed_to_others_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "gateway.key"
    made = load_or_create_key(path, "gateway", os.urandom)
    assert path.stat().st_mode & 0o777 == 0o600
    assert format_skey(load_or_create_key(path, "gateway", lambda _size: b"")) == format_skey(made)
    path.write_text("PRIVATE+KEY+gateway+00000000+AAAA\n")
    with pytest.raises(FormatError):
        load_or_create_key(path, "gateway", os.urandom)


def test_blobs_are_named_by_their_hash_and_swept_when_nothing_names_them(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", tmp_path)
    kept, left = blobs.put(b"kept"), blobs.put(b"left")
    assert blobs.put(b"kept") == kept
    (tmp_path / "blobs" / "note.txt").write_text("not ours to remove")
    assert blobs.sweep({kept}) == [left]
    assert blobs.get(kept) == b"kept"
    assert sorted(path.name for path in (tmp_path / "blobs").iterdir()) == sorted([kept, "note.txt"])


@pytest.mark.parametrize(
    ("payload_", "code"),
    [
        ([], "bad-request"),
        ({"a": 1}, "bad-request"),
        ({"a": 1, "b": "x", "c": 1}, "bad-request"),
        ({"a": "1", "b": "x"}, "bad-request"),
        ({"a": True, "b": "x"}, "bad-request"),
        ({"a": 1, "b": "x", "author": "researcher-2"}, "forged-author"),
    ],
)
def test_a_request_has_exactly_its_fields(payload_: object, code: str) -> None:
    assert fields({"a": 1, "b": "x"}, a=int, b=str)["a"] == 1
    with pytest.raises(Refused) as refused:
        fields(payload_, a=int, b=str)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "files",
    [
        {"other.py": ""},
        {"method.py": "", "../up": ""},
        {"method.py": "", "a/b": ""},
        {"method.py": "", ".hidden": ""},
        {"method.py": 1},
        {"method.py": "x" * 262_145},
        {"method.py": "\ud800"},
        {"method.py": "", **{f"f{number}": "" for number in range(32)}},
    ],
)
def test_a_method_is_a_small_flat_directory_of_text_with_a_method_in_it(files: dict[str, object]) -> None:
    assert method_files({"method.py": "x", "config.json": "{}"})
    with pytest.raises(Refused, match=".") as refused:
        method_files(files)
    assert refused.value.code == "bad-method"


@pytest.mark.parametrize("text", ["", "-1", "01", "1e3", "٣", "1" * 30])
def test_a_query_number_has_one_spelling(text: str) -> None:
    assert whole_number({"n": "42"}, "n") == 42
    assert whole_number({}, "n", 7) == 7
    with pytest.raises(Refused):
        whole_number({"n": text}, "n")


def problem_of(items: int, seeds: int = 5, **changes: int) -> Problem:
    sizes = {"sealed": 300, "labelled": 80, "unlabelled": 800, "tested": 0, "group": 1, **changes}
    return Problem(name="jsonl", pool=Pool(items=items, **sizes), seeds=seeds, replicates=8)


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (problem_of(1_180), "may have none to test"),
        (problem_of(1_182, group=2), "may have none to test"),
        (problem_of(1_480, sealed=0), "may have none to test"),
        (problem_of(1 << 15, seeds=50), f"at most {MAX_BLOB_BYTES}; take fewer seeds, replicates or items"),
        (problem_of((1 << 15) + 1, seeds=1), "32769 items, at most 32768"),
    ],
)
def test_a_problem_that_could_not_be_scored_or_opened_is_refused(problem: Problem, says: str) -> None:
    with pytest.raises(ProblemRefused, match=says):
        check_pool(problem)


def test_a_problem_with_one_item_left_for_each_half_is_taken() -> None:
    check_pool(problem_of(1_181))
    check_pool(problem_of(1_183, group=2))


def test_the_greatest_payload_is_as_long_as_is_said() -> None:
    problem = problem_of(1_480)
    every = (1 << 1_480) - 1
    splits = [SplitCounts(2**48 - 1, 7, *[every] * 5) for _split in range(40)]
    size_bytes = len(format_payload(Payload("public", 1_480, tuple(splits))))
    assert size_bytes <= payload_bytes(problem) <= size_bytes + 40
