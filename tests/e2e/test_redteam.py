"""`aar redteam record` on a study that really ran."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from small_study import Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


@pytest.fixture(scope="module")
def trials(finished: Any) -> list[dict[str, Any]]:
    done = finished.commands.run("redteam", "record", str(finished.path), "--seeds", "2", "--json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _files(study: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in study.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_every_attack_on_a_real_study_is_seen_with_code_and_index(trials: list[dict[str, Any]]) -> None:
    tried = [one for one in trials if not one["left_out"]]
    visible = [one for one in tried if one["expected"] != "cannot be seen"]
    assert len({one["attack"] for one in visible}) >= 80
    assert [one for one in visible if one["found"] != one["expected"]] == []
    assert [one for one in visible if one["first_index"] != one["expected_index"]] == []


def test_what_cannot_be_seen_is_not_reported(trials: list[dict[str, Any]]) -> None:
    unseen = [one for one in trials if one["expected"] == "cannot be seen"]
    assert {one["found"] for one in unseen} == {"not reported"}


def test_each_trial_says_what_it_is_and_how_long_it_took(trials: list[dict[str, Any]]) -> None:
    for one in trials:
        assert set(one) >= {"attack", "expected", "found", "first_index", "seconds", "keys", "holds"}
        assert one["left_out"] or one["seconds"] > 0


def test_the_study_itself_is_not_touched(finished: Any) -> None:
    before = _files(finished.path)
    done = finished.commands.run(
        "redteam", "record", str(finished.path), "--attack", "flip-entry", "--attack", "edit-before-pin"
    )
    assert done.returncode == 0, done.stderr
    assert _files(finished.path) == before


def test_the_table_names_attack_code_and_index_and_what_cannot_be_seen(finished: Any) -> None:
    done = finished.commands.run(
        "redteam", "record", str(finished.path), "--attack", "replay-entry", "--attack", "edit-unheld"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["attack", "attacker", "holds"]
    assert lines[1].split()[:3] == ["replay-entry", "log", "witness"]
    assert lines[1].split()[4:6] == ["REPLAY", "REPLAY"]
    assert "cannot be seen in one copy with what the reader holds there:" in lines
    assert lines[-1] == "1 of 1 attacks of 1 classes seen with the right code and first index"


def test_an_auditor_with_the_public_part_alone_is_told_what_was_left_out(
    finished: Any, commands: Commands, tmp_path: Path
) -> None:
    public = tmp_path / "public"
    for name in ("record", "policy", "aar-study.json"):
        source = finished.path / name
        if source.is_dir():
            shutil.copytree(source, public / name)
        else:
            public.mkdir(exist_ok=True)
            shutil.copy(source, public / name)
    done = commands.run("redteam", "record", str(public))
    assert done.returncode == 0, done.stderr
    assert "left out: no key at hand of: log, witness" in done.stdout
    assert "flip-entry" in done.stdout
    assert "classes were left out" in done.stdout
    assert not (commands.config / "aar" / "reviewer.key").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--attack", "no-such"], "--attack no-such: there is no such attack; there is: "),
        (["--seeds", "0"], "--seeds 0: want 1 to"),
        (["--key", "nowhere"], "--key nowhere: there is no such file"),
    ],
)
def test_bad_words_are_refused_in_one_line(finished: Any, words: list[str], says: str) -> None:
    done = finished.commands.run("redteam", "record", str(finished.path), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_study_that_does_not_hold_or_is_none_is_refused(finished: Any, tmp_path: Path) -> None:
    shutil.copytree(finished.path / "record", tmp_path / "broken" / "record")
    shutil.copy(finished.path / "policy", tmp_path / "broken" / "policy")
    (tmp_path / "broken" / "record" / "more").write_text("x")
    (tmp_path / "none").mkdir()
    for name, says in (
        ("broken", "does not hold"),
        ("none", "is not a study"),
        ("absent", "no such directory"),
    ):
        done = finished.commands.run("redteam", "record", str(tmp_path / name))
        assert done.returncode == 2, name
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
