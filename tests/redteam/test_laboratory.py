"""Every attack on a record is seen with its code and its first index, or stands among what cannot be seen."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from aar.outside.redteam.attack import ATTACKS, CANNOT_BE_SEEN
from aar.outside.redteam.forgery import Forgery
from aar.outside.redteam.laboratory import NOT_REPORTED, Trial, attacks_named, try_attack, try_benign
from aar.outside.redteam.on_history import edit_unseen
from aar.outside.redteam.specimen import Specimen, read_specimen
from forge import honest
from redteam.conftest import specimen_of
from spending import charge, models, usage

ROOT = Path(__file__).resolve().parents[2]
VISIBLE = [name for name, one in ATTACKS.items() if one.is_visible]
INVISIBLE = [name for name, one in ATTACKS.items() if not one.is_visible]
SEEDS, DEEP_SEEDS = range(2), range(200)
BENIGN, DEEP_BENIGN = range(12), range(1_000)
CODES = {
    *(
        "ENTRY_HASH",
        "TILE_HASH",
        "MISSING",
        "BUNDLE_WIDTH",
        "UNEXPECTED_RESOURCE",
        "CHECKPOINT_SIG",
        "POLICY",
    ),
    *("ROLLBACK", "FORK", "REPLAY", "CLOCK_REGRESSION", "AUTHOR_SIG", "AUTHOR_KEY", "AUTHOR_SEQ_GAP"),
    *("ISOLATION", "RECEIPT", "DECISION", "UNKNOWN_KIND", "OMISSION", "WORM_DIVERGENCE", "WORM_VERSIONS"),
}
HELD = {
    *("nothing", "a pinned checkpoint", "the witness's state", "a receipt", "the policy", "a clock"),
    *("an anchor", "a mirror"),
}
# Where full bundles, or tiles above the lowest level, make a difference.
ON_LONG_LOGS = (
    "flip-entry",
    "delete-bundle",
    "smuggle-entry",
    "reorder-entries",
    "flip-tile",
    "delete-tile",
    "truncate-tile",
    "forge-earlier-bundle",
    "forge-unimplied-partial",
    "omit-entry",
    "replay-leaf",
    "clock-back",
    "old-checkpoint-pin",
    "claim-more",
    "written-ahead",
    "edit-leaving-partials",
    "edit-after-pin-anchored",
    "edit-mirrored",
    "anchor-flip-entry",
    "mirror-flip-bundle",
    "truncate-anchored",
    "move-tiles",
    "anchor-second-segment",
)


def told(trial: Trial) -> tuple[str, int, str]:
    return trial.found, trial.found_index, trial.left_out


def assert_seen(specimen: Specimen, name: str, seeds: range, scratch: Path) -> None:
    attack = ATTACKS[name]
    trials = [try_attack(specimen, attack, seed, scratch) for seed in seeds]
    assert not any(one.left_out for one in trials), trials[0].left_out
    for one in trials:
        wanted = (attack.code, one.expected_index) if attack.is_visible else (NOT_REPORTED, -1)
        assert (one.found, one.found_index) == wanted, f"seed {one.seed}"


def test_there_are_attacks_of_every_kind() -> None:
    assert len(VISIBLE) >= 25
    assert {one.holds for one in ATTACKS.values()} >= HELD
    assert {ATTACKS[name].code for name in VISIBLE} >= CODES


@pytest.mark.parametrize("name", VISIBLE)
def test_an_attack_is_seen_with_its_code_and_its_first_index(
    small: Specimen, tmp_path: Path, name: str
) -> None:
    assert_seen(small, name, SEEDS, tmp_path)


def test_where_models_are_charged_for_tokens_what_a_charge_is_for_is_held_against_runs_alone(
    tmp_path: Path,
) -> None:
    forge = honest()
    forge["opened"].body["models"] = models("r1")
    for before in range(40):
        body = charge("r1", "walk", usage(before=before))
        forge.add(f"spent-{before}", "gateway", "budget-charged", body, before="over-walk")
    assert_seen(specimen_of(forge, tmp_path / "study"), "charge-nothing", SEEDS, tmp_path)


@pytest.mark.parametrize("name", INVISIBLE)
def test_what_nobody_can_see_in_one_copy_raises_no_alarm(small: Specimen, tmp_path: Path, name: str) -> None:
    assert_seen(small, name, SEEDS, tmp_path)


@pytest.mark.parametrize("name", ON_LONG_LOGS)
def test_an_attack_on_a_log_with_full_bundles_is_seen(long: Specimen, tmp_path: Path, name: str) -> None:
    assert_seen(long, name, range(1), tmp_path)


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_at_200_places_is_seen_at_each(small: Specimen, tmp_path: Path, name: str) -> None:
    assert_seen(small, name, DEEP_SEEDS, tmp_path)


def assert_no_alarm(specimen: Specimen, seeds: range, scratch: Path) -> None:
    for seed in seeds:
        report, oddities = try_benign(specimen, seed, scratch)
        assert (report.verdict, report.findings) == ("ok", []), (seed, oddities)


def test_an_honest_copy_that_looks_odd_raises_no_alarm(small: Specimen, tmp_path: Path) -> None:
    assert_no_alarm(small, BENIGN, tmp_path)


def test_an_honest_copy_with_full_bundles_that_looks_odd_raises_no_alarm(
    long: Specimen, tmp_path: Path
) -> None:
    assert_no_alarm(long, range(4), tmp_path)


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_none_of_1000_honest_copies_raises_an_alarm(small: Specimen, tmp_path: Path, part: int) -> None:
    assert_no_alarm(small, DEEP_BENIGN[part::10], tmp_path)


def test_the_same_seed_is_the_same_forgery(small: Specimen, tmp_path: Path) -> None:
    first, again = (
        try_attack(small, ATTACKS["edit-before-pin"], 5, tmp_path / name) for name in ("one", "two")
    )
    assert (first.expected_index, told(first)) == (again.expected_index, told(again))


def test_without_private_keys_the_keyless_attacks_are_tried_and_the_others_named(
    small: Specimen, tmp_path: Path
) -> None:
    auditor = replace(small, log=None, witnesses=(), authors={})
    assert told(try_attack(auditor, ATTACKS["flip-entry"], 0, tmp_path))[0] == "ENTRY_HASH"
    left_out = try_attack(auditor, ATTACKS["edit-before-pin"], 0, tmp_path).left_out
    assert left_out == "no key at hand of: log, witness, researcher"


def test_an_attack_for_which_the_study_has_nothing_is_left_out(small: Specimen, tmp_path: Path) -> None:
    assert (
        "there is not a blob"
        in try_attack(
            replace(small, files={path: data for path, data in small.files.items() if "blobs/" not in path}),
            ATTACKS["change-blob"],
            0,
            tmp_path,
        ).left_out
    )


def test_an_unseen_alarm_is_not_as_expected(small: Specimen, tmp_path: Path) -> None:
    trial = try_attack(small, ATTACKS["flip-entry"], 0, tmp_path)
    assert trial.is_as_expected
    assert not replace(trial, found=NOT_REPORTED, found_index=-1).is_as_expected
    assert not replace(trial, found_index=trial.found_index + 1).is_as_expected
    unseen = replace(trial, attack=ATTACKS["edit-unheld"])
    assert not unseen.is_as_expected


def test_a_specimen_is_only_read(tmp_path: Path) -> None:
    study = honest().write(tmp_path / "study")
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    specimen = read_specimen(study)
    for name in ("flip-entry", "delete-blob", "link-bundle"):
        try_attack(specimen, ATTACKS[name], 0, tmp_path / "scratch")
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before
    assert not list((tmp_path / "scratch").iterdir())


def test_an_unknown_attack_is_no_attack() -> None:
    with pytest.raises(KeyError):
        attacks_named(["no-such"])
    assert attacks_named([]) == list(ATTACKS.values())


def test_rewriting_and_signing_a_long_study_again_is_quick(long: Specimen) -> None:
    assert long.tree.root()
    times = []
    for seed in range(5):
        copy = Forgery(long)
        began = time.process_time()
        edit_unseen(copy, Random(seed), len(copy))
        times.append(time.process_time() - began)
    # 220 entries take well under 0.1 s; these are 610, on a machine that may be busy.
    assert min(times) < 0.3 * len(long.leaves) / 220, times


def test_what_cannot_be_seen_stands_in_the_threat_model() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text("utf-8").partition("## What this does not buy")[2]
    assert [name for name in INVISIBLE if f"`{name}`" not in page] == []
    assert ATTACKS[INVISIBLE[0]].code == CANNOT_BE_SEEN
