"""The main job on a small study: what `run` leaves behind, and what the other commands say of it."""

from __future__ import annotations

import json
import random
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


def test_run_prints_one_json_summary_and_nothing_else(finished: Any) -> None:
    summary = json.loads(finished.printed)
    assert finished.printed.count("\n") == 1
    assert summary["verdict"] == "ok"
    assert summary["study"] == str(finished.path)
    assert summary["researchers"] == 2
    assert summary["submissions"] == 6
    assert summary["entries"] == len(finished.commands.entries(str(finished.path)))
    assert 0 < summary["control_plane_cpu_share"] < 1
    status = finished.commands.json("status", str(finished.path), "--json")
    assert 0 < summary["detectable_difference"] == status["detectable_difference"]
    assert set(summary["best"]) == {"method", "researcher", "explored_pgr", "heldout_pgr"}


def test_verify_holds_and_says_up_to_where_a_witness_saw_it(finished: Any) -> None:
    report = finished.commands.json("verify", str(finished.path), "--json")
    assert report["verdict"] == "ok"
    assert report["tree_size"] == report["anchored_up_to"] > 0
    assert report["findings"] == []
    assert report["opened"] >= report["receipts"] > 0


def test_every_submission_has_one_charge_and_one_receipt_with_seeds_of_its_own(finished: Any) -> None:
    entries = finished.commands.entries(str(finished.path))
    submissions = [one for one in entries if one["kind"] == "submission"]
    charges = [
        one["body"]["submission"]
        for one in entries
        if one["kind"] == "budget-charged" and one["body"]["what"] == "submissions"
    ]
    receipts = [
        one["body"] for one in entries if one["kind"] == "score-receipt" and one["body"]["tier"] == "explore"
    ]
    assert charges == [one["index"] for one in submissions]
    assert sorted(one["submission"] for one in receipts) == charges
    assert all(len(set(one["seeds"])) == 2 for one in receipts)
    digests = {one["digest"] for one in receipts}
    assert len({tuple(one["seeds"]) for one in receipts}) == len(digests)


def test_the_free_researcher_had_its_best_confirmed_with_new_seeds(finished: Any) -> None:
    entries = finished.commands.entries(str(finished.path))
    charges = [
        one for one in entries if one["kind"] == "budget-charged" and one["body"]["what"] == "confirmations"
    ]
    receipts = [one for one in entries if one["kind"] == "score-receipt"]
    confirmed = [one for one in receipts if one["body"]["tier"] == "confirm"]
    assert [one["body"]["submission"] for one in charges] == [one["body"]["submission"] for one in confirmed]
    (charge,), (receipt,) = charges, confirmed
    assert charge["index"] < receipt["index"]
    (explored,) = (
        one
        for one in receipts
        if one["body"]["tier"] == "explore" and one["body"]["submission"] == charge["body"]["submission"]
    )
    assert not set(receipt["body"]["seeds"]) & set(explored["body"]["seeds"])
    released = receipt["body"]["released"]
    assert float(released["difference_low"]) <= float(released["difference_high"])
    rows = finished.commands.json("leaderboard", str(finished.path), "--json")
    (row,) = (one for one in rows if one["confirmed"])
    assert row["confirmed"] == {name: float(value) for name, value in released.items()}
    status = finished.commands.json("status", str(finished.path), "--json")
    assert status["budgets"]["confirmations"] == {"budget": 6, "used": 1}


def test_the_fixed_workflow_was_walked_in_the_humans_order(finished: Any) -> None:
    entries = finished.commands.entries(str(finished.path), "--kind", "submission")
    steps = [one["body"]["step"] for one in entries if one["body"]["task"] == "walk"]
    assert steps == ["s1", "s1", "s2"]


def test_no_result_is_without_a_receipt_and_every_number_equals_its_receipt(finished: Any) -> None:
    entries = finished.commands.entries(str(finished.path))
    receipts = {one["index"]: one["body"] for one in entries if one["kind"] == "score-receipt"}
    results = [one["body"] for one in entries if one["kind"] == "finding" and one["body"]["type"] == "result"]
    assert results
    for body in results:
        released = receipts[body["receipts"][0]]["released"]
        assert body["numbers"] == {key: released[key] for key in ("pgr", "low", "high")}


def test_the_leaderboard_has_explored_and_held_out_values_with_an_interval(finished: Any) -> None:
    rows = finished.commands.json("leaderboard", str(finished.path), "--json")
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert set(row) >= {
            "method",
            "researcher",
            "explored_pgr",
            "heldout_pgr",
            "low",
            "high",
            "seeds",
            "receipts",
        }
        assert row["low"] <= row["heldout_pgr"] <= row["high"]


def test_status_counts_what_the_record_holds(finished: Any) -> None:
    status = finished.commands.json("status", str(finished.path), "--json")
    assert set(status) >= {"tasks", "researchers", "budgets", "tree_size", "alarms"}
    assert status["state"] == "closed"
    assert status["budgets"]["submissions"] == {"budget": 6, "used": 6}
    assert status["alarms"] == []
    assert {task["state"] for task in status["tasks"]} == {"done"}


def test_the_forum_shows_findings_with_their_receipts(finished: Any) -> None:
    shown = finished.commands.run("forum", str(finished.path))
    assert shown.returncode == 0
    assert "result by researcher-" in shown.stdout
    assert "receipt #" in shown.stdout


def test_record_filters_by_kind_and_author(finished: Any) -> None:
    for entry in finished.commands.entries(
        str(finished.path), "--kind", "finding", "--author", "researcher-1"
    ):
        assert (entry["kind"], entry["author"]) == ("finding", "researcher-1")
        assert set(entry) >= {"index", "kind", "author", "at", "refs", "body"}


def test_without_pictures_none_is_drawn_and_a_later_run_draws_them(finished: Any, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(finished.path, study, symlinks=True)
    for name in ("pgr.svg", "pgr.png"):
        (study / name).unlink()
    bare = finished.commands.json("run", "--dir", str(study), "--no-picture", "--json")
    assert bare["pictures"] == []
    assert not list(study.glob("pgr.*"))
    drawn = finished.commands.json("run", "--dir", str(study), "--json")
    assert drawn["pictures"] == [str(study / "pgr.svg"), str(study / "pgr.png")]
    assert (study / "pgr.png").read_bytes() == (finished.path / "pgr.png").read_bytes()


def test_the_pictures_are_an_svg_and_a_png(finished: Any) -> None:
    assert (finished.path / "pgr.svg").read_bytes().lstrip().startswith(b"<?xml")
    assert (finished.path / "pgr.png").read_bytes().startswith(b"\x89PNG")


def test_private_parts_of_a_study_are_closed_to_others(finished: Any) -> None:
    for name in ("gateway", "evaluator", "operator"):
        assert stat.S_IMODE((finished.path / name).stat().st_mode) == 0o700
    assert stat.S_IMODE((finished.commands.config / "aar" / "reviewer.key").stat().st_mode) == 0o600


def test_200_flips_of_a_single_byte_under_the_record_are_all_noticed_and_named(
    finished: Any, tmp_path: Path
) -> None:
    from aar.verify.study import verify_study

    copy = tmp_path / "copy"
    shutil.copytree(
        finished.path, copy, ignore=shutil.ignore_patterns("gateway", "evaluator", "lock", "*.sock")
    )
    files = sorted(path for path in (copy / "record").rglob("*") if path.is_file())
    generator = random.Random(20261123)
    assert verify_study(copy).verdict == "ok"
    for number in range(200):
        # Every file first, then any: a flip in the smallest one is as bad as in the largest.
        path = files[number] if number < len(files) else generator.choice(files)
        original = path.read_bytes()
        place = generator.randrange(len(original))
        changed = bytearray(original)
        changed[place] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        report = verify_study(copy, pause=lambda _seconds: None)
        path.write_bytes(original)
        name = str(path.relative_to(copy / "record"))
        assert report.verdict == "tampered", (name, place)
        named = [one for one in report.findings if one.resource == name or one.first_index >= 0]
        assert named or name == "checkpoint", (name, place, report.findings)


def test_the_command_line_says_1_for_a_flipped_byte_and_0_when_it_is_put_back(
    finished: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.path, copy, ignore=shutil.ignore_patterns("lock", "*.sock"))
    path = next((copy / "record" / "tile" / "entries").rglob("*.p/*"))
    original = path.read_bytes()
    path.write_bytes(original[:100] + bytes([original[100] ^ 1]) + original[101:])
    done = finished.commands.run("verify", str(copy), "--json")
    found = json.loads(done.stdout)["findings"][0]
    assert done.returncode == 1
    assert found["code"] in ("ENTRY_HASH", "BUNDLE_WIDTH")
    assert found["expected"] != found["got"]
    path.write_bytes(original)
    assert finished.commands.run("verify", str(copy)).returncode == 0


def test_a_rolled_back_copy_is_noticed_by_the_pin_alone(interrupted: Any) -> None:
    """A finished study replaced by an earlier state of itself, its witness's memory rolled back with it."""
    assert interrupted.early_verified == 0
    done = interrupted.commands.run("verify", str(interrupted.early), "--json")
    assert done.returncode == 1
    assert "ROLLBACK" in {one["code"] for one in json.loads(done.stdout)["findings"]}


def test_ctrl_c_ends_in_order_within_5_seconds_and_run_goes_on(interrupted: Any) -> None:
    assert interrupted.took_s < 5
    assert interrupted.status == 130
    assert "goes on" in interrupted.error
    assert not interrupted.left
    assert 0 < len(interrupted.entries) < interrupted.summary["entries"]
    after = interrupted.commands.entries(str(interrupted.path))
    assert after[: len(interrupted.entries)] == interrupted.entries


def test_what_a_study_took_is_counted_over_all_its_runs(interrupted: Any) -> None:
    before, summary = interrupted.usage, interrupted.summary
    assert before["seconds"] > 0
    assert summary["seconds"] > before["seconds"] + interrupted.added_s
    assert summary["sandboxes_cpu_s"] >= before["sandboxes_cpu_s"]


def test_a_closed_study_is_shown_again_and_not_run_again(finished: Any) -> None:
    before = finished.commands.entries(str(finished.path))
    done = finished.commands.run("run", "--dir", str(finished.path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "ok"
    assert finished.commands.entries(str(finished.path)) == before


def test_plain_lines_are_printed_when_stdout_is_not_a_terminal(interrupted: Any) -> None:
    assert "\x1b" not in interrupted.printed
    assert "verify: ok" in interrupted.printed
    assert "./aar verify study" in interrupted.printed
    assert "control plane" in interrupted.printed
