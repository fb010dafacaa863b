"""Scripted researchers with a model for a monitor: it reads what they say and hand in, after a kill, too."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from llm.fake_anthropic import fake_anthropic
from llm.fake_model import MONITOR, FakeModel, Reply, Request
from llm.fake_openai import fake_openai
from llm.model_study import CLAUDE, ModelStudy, prepare
from small_study import SMALL, Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox, pytest.mark.deep]

TERMS = f'\n[llm]\nprices = "prices.toml"\n\n[monitor]\nmodel = "{CLAUDE}"\ntokens = 900_000\n'


def holding(request: Request) -> Reply:
    """An alarm that holds the newest submission, for each page that has one."""
    page = request.turns[0].text
    found = re.findall(r'"entry": (\d+), "kind": "submission"', page)
    if not found:
        return Reply("[]")
    alarm = {"what": "a person should look", "severity": "high", "quote": '"kind": "submission"'}
    return Reply(json.dumps([{**alarm, "submission": int(found[-1])}]))


def worker_of(study: Path) -> int:
    """The process id of the worker of a study that runs, 0 for none."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                home = (folder / "environ").read_bytes()
            except OSError:
                continue
            if b"aar.llm.worker" in words and f"HOME={study}".encode() in home:
                return int(folder.name)
    return 0


def kill_once_it_has_read(study: Path, model: FakeModel) -> None:
    deadline = time.monotonic() + 120
    while MONITOR not in model.accounts and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(worker_of(study), signal.SIGKILL)


def test_scripted_researchers_are_read_and_held_and_a_killed_monitor_goes_on(tmp_path: Path) -> None:
    commands, path = Commands(tmp_path), tmp_path / "study"
    model, other = fake_anthropic(holding), fake_openai(holding)
    with model, other:
        prepare(commands, model, other)
        killer = threading.Thread(target=kill_once_it_has_read, args=(path, model))
        killer.start()
        arguments = ("run", commands.study_file(SMALL + TERMS), "--dir", str(path), "--json")
        done = commands.run(*arguments, timeout_s=280)
        killer.join()
    assert done.returncode == 0, done.stderr
    study = ModelStudy(commands, path, done.stdout, said=done.stderr)
    assert model.errors == []
    assert commands.run("verify", str(path)).returncode == 0
    account, spent = model.accounts[MONITOR], study.spent(MONITOR)
    # A call whose answer the worker did not live to see is on the provider's bill alone.
    assert account.calls - 1 <= spent.calls <= account.calls
    pages = "".join(one.turns[0].text for one in model.requests)
    for kind in ("plan-declared", "submission", "finding"):
        for one in study.of(kind):
            assert f'"entry": {one["index"]}, "kind": "{kind}"' in pages
    held = [one["body"]["submission"] for one in study.of("submission-held")]
    assert held
    # No run of what was held was begun after that.
    holds = {one["body"]["submission"]: one for one in study.of("submission-held")}
    for one in study.of("score-receipt"):
        hold = holds.get(one["body"]["submission"])
        if hold is not None and one["index"] > hold["index"]:
            begun = {(run["submission"], run["run"]) for run in hold["body"]["running"]}
            assert (one["body"]["submission"], one["body"]["tier"]) in begun
    codes = Counter(one["body"]["code"] for one in study.of("alarm"))
    assert codes["model-alarm-high"] >= len(held)
    assert codes["monitor-unread"] == 0
    told = commands.json("budget", str(path), "--json")
    assert told["monitor"]["calls"] == spent.calls
    assert told["monitor"]["tokens"]["limit"] == 900_000
    assert f"{len(held)} submissions were held" in commands.run("verify", str(path)).stdout


def test_a_monitor_that_cannot_be_asked_ends_the_run_in_one_line_and_it_goes_on_later(tmp_path: Path) -> None:
    commands, path = Commands(tmp_path), tmp_path / "study"
    model, other = fake_anthropic(lambda _request: Reply("[]")), fake_openai(holding)
    model.faults = {(MONITOR, 0): ["401"]}
    with model, other:
        prepare(commands, model, other)
        done = commands.run("run", commands.study_file(SMALL + TERMS), "--dir", str(path), timeout_s=280)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "the monitor's provider refuses the key (401): mend it" in done.stderr
        done = commands.run("run", "--dir", str(path), timeout_s=280)
        assert done.returncode == 0, done.stderr
    assert "monitor: " in done.stdout
    assert commands.run("verify", str(path)).returncode == 0
