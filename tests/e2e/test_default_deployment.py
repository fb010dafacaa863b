"""The default study, run with an anchor configured: the review of it is go."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from aar.cli.read import verify_with_pins
from aar.lab.problems import PROBLEMS
from aar.outside.oversight.examination import Reach, examine_study
from aar.outside.oversight.memo import memo_of
from aar.outside.sandbox.doctor import doctor
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import default_study_text, parse_study
from record.object_store import ObjectStore, serving
from small_study import Commands

pytestmark = [pytest.mark.deep, pytest.mark.sandbox]


def test_the_default_study_with_an_anchor_is_go_and_with_its_store_here_no_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "writer")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    commands, store = Commands(tmp_path), ObjectStore()
    store.make("vault", has_lock=True)
    with serving(store) as endpoint:
        table = (
            '[[anchor]]\nname = "vault"\nkind = "s3"\nbucket = "vault"\nprefix = "s/"\n'
            f'region = "us-east-1"\nendpoint = "{endpoint}"\nretain_days = 365\n'
        )
        file = commands.study_file(default_study_text().replace("[[task]]", table + "\n[[task]]", 1))
        done = commands.run("run", file, "--dir", "study", timeout_s=400)
        assert done.returncode == 0, done.stderr
        here = json.loads(commands.run("deployment-review", "study", "--json").stdout)
        study = StudyDirectory(tmp_path / "study")
        memo = memo_of(
            examine_study(
                study.path,
                parse_study(study.study_file.read_text(), source="study.toml", problems=tuple(PROBLEMS)),
                subject="study",
                doctor=doctor(study.path),
                verify=lambda anchors: verify_with_pins(study, anchors=anchors),
                policy=study.policy.read_bytes(),
                problems=tuple(PROBLEMS),
                now_ms=time.time_ns() // 1_000_000,
                # Nothing beyond this machine can be reached from a test.
                reach=Reach(is_here=lambda _host: False),
            )
        )
    assert (here["verdict"], [one["code"] for one in here["refusals"]]) == ("no-go", ["editable-storage"])
    assert "runs on this machine" in here["refusals"][0]["says"]
    assert (memo.verdict, memo.refusals) == ("go", ())
    assert memo.as_json()["log_integrity"]["storage"][0]["entries"] > 50
